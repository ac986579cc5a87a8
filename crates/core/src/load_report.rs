//! What an endpoint says of its own load with its answers: an Open Request Cost Aggregation report
//! (<https://github.com/cncf/xds/blob/main/xds/data/orca/v3/orca_load_report.proto>), as text or JSON in the header
//! `endpoint-load-metrics`.
//!
//! Nothing is allocated: reports come with every answer.

/// Bytes of a report that is read; a longer one says nothing.
pub const BYTES_MAX: usize = 4096;
/// No figure is larger: a processor that is a thousand times as busy as it can be is none.
const UTILIZATION_MAX: f32 = 1_000.0;
/// Requests a second that are believed.
const RATE_MAX: f32 = 1e9;
/// How deep values of JSON may be nested.
const DEPTH_MAX: usize = 16;

/// What an endpoint says. Shares are of one: 0.5 is half.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Report {
    /// Of its processors; may be above one.
    pub cpu: Option<f32>,
    /// Of its memory.
    pub memory: Option<f32>,
    /// Of whatever the application is limited by; may be above one.
    pub application: Option<f32>,
    /// Requests a second.
    pub requests: Option<f32>,
    /// Errors a second.
    pub errors: Option<f32>,
}

impl Report {
    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Takes a figure by its name, which is that of the protocol's text, its JSON, or a short one in answers to health checks.
    fn take(&mut self, name: &[u8], value: f32) {
        let (place, max) = match name {
            b"cpu_utilization" | b"cpuUtilization" => (&mut self.cpu, UTILIZATION_MAX),
            b"mem_utilization" | b"memUtilization" => (&mut self.memory, 1.0),
            b"application_utilization" | b"applicationUtilization" => (&mut self.application, UTILIZATION_MAX),
            b"rps_fractional" | b"rpsFractional" => (&mut self.requests, RATE_MAX),
            b"eps" => (&mut self.errors, RATE_MAX),
            _other => return,
        };
        if value.is_finite() && (0.0..=max).contains(&value) {
            *place = Some(value);
        }
    }
}

/// Reads the header's value. `None` if it is in no known form or says nothing that is known.
pub fn parse(value: &[u8]) -> Option<Report> {
    if value.len() > BYTES_MAX {
        return None;
    }
    let report = match value.split_first_chunk::<5>() {
        Some((b"TEXT ", rest)) => text(rest),
        Some((b"JSON ", rest)) => json(rest)?,
        _none => return None,
    };
    (!report.is_empty()).then_some(report)
}

/// Reads the members of a JSON object that are known, as answers to health checks may have them. `None` if it is no object, or
/// says nothing that is known.
pub fn members(object: &[u8]) -> Option<Report> {
    json(object).filter(|report| !report.is_empty())
}

/// `name=value, name=value`.
fn text(pairs: &[u8]) -> Report {
    let mut report = Report::default();
    for pair in pairs.split(|byte| *byte == b',') {
        let mut parts = pair.splitn(2, |byte| *byte == b'=');
        if let (Some(name), Some(value)) = (parts.next(), parts.next().and_then(number)) {
            report.take(name.trim_ascii(), value);
        }
    }
    report
}

fn number(text: &[u8]) -> Option<f32> {
    std::str::from_utf8(text.trim_ascii()).ok()?.parse().ok()
}

/// The members of an object, nested values passed over.
fn json(bytes: &[u8]) -> Option<Report> {
    let mut scan = Scan { rest: bytes.trim_ascii() };
    let mut report = Report::default();
    scan.expect(b'{')?;
    if scan.peek()? == b'}' {
        return Some(report);
    }
    loop {
        let name = scan.string()?;
        scan.expect(b':')?;
        let value = scan.value(0)?;
        // Strings and whatever is nested are no numbers.
        if let Some(value) = number(value) {
            report.take(name, value);
        }
        match scan.next()? {
            b',' => {}
            b'}' => return Some(report),
            _other => return None,
        }
    }
}

/// What is left to be read.
struct Scan<'a> {
    rest: &'a [u8],
}

impl<'a> Scan<'a> {
    fn peek(&mut self) -> Option<u8> {
        self.rest = self.rest.trim_ascii_start();
        self.rest.first().copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.rest = &self.rest[1..];
        Some(byte)
    }

    fn expect(&mut self, wanted: u8) -> Option<()> {
        (self.next()? == wanted).then_some(())
    }

    /// What stands between quotes, as it is written.
    fn string(&mut self) -> Option<&'a [u8]> {
        self.expect(b'"')?;
        let mut is_escaped = false;
        let end = self.rest.iter().position(|byte| {
            let ends = *byte == b'"' && !is_escaped;
            is_escaped = *byte == b'\\' && !is_escaped;
            ends
        })?;
        let text = &self.rest[..end];
        self.rest = &self.rest[end + 1..];
        Some(text)
    }

    /// A value, as it is written; of strings, objects and lists nothing.
    fn value(&mut self, depth: usize) -> Option<&'a [u8]> {
        match self.peek()? {
            b'"' => self.string().map(|_text| &b""[..]),
            open @ (b'{' | b'[') => {
                let close = if open == b'{' { b'}' } else { b']' };
                (depth < DEPTH_MAX).then_some(())?;
                self.next()?;
                if self.peek()? == close {
                    self.next()?;
                    return Some(b"");
                }
                loop {
                    if open == b'{' {
                        self.string()?;
                        self.expect(b':')?;
                    }
                    self.value(depth + 1)?;
                    match self.next()? {
                        b',' => {}
                        byte if byte == close => return Some(b""),
                        _other => return None,
                    }
                }
            }
            _scalar => {
                let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
                let end = self.rest.iter().position(|byte| !is_part(byte)).unwrap_or(self.rest.len());
                let value = &self.rest[..end];
                self.rest = &self.rest[end..];
                (end > 0).then_some(value)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_say_the_same() {
        let expected = Report { cpu: Some(0.3), memory: Some(0.8), requests: Some(10.5), ..Report::default() };
        for value in [
            "TEXT cpu_utilization=0.3,mem_utilization=0.8,rps_fractional=10.5,named_metrics.queue=7",
            "TEXT  cpu_utilization = 0.3 , mem_utilization=0.8, rps_fractional=10.5",
            r#"JSON {"cpu_utilization": 0.3, "mem_utilization": 8e-1, "rps_fractional": 10.5}"#,
            r#"JSON {"named_metrics": {"a}\"": [1, {"cpu_utilization": 9}]}, "cpuUtilization":0.3,"memUtilization":0.8,"rpsFractional":10.5, "x": null}"#,
        ] {
            assert_eq!(parse(value.as_bytes()), Some(expected), "{value}");
        }
        let all = parse(b"TEXT application_utilization=1.5, eps=0").expect("a report");
        assert_eq!((all.application, all.errors, all.cpu), (Some(1.5), Some(0.0), None));
        assert_eq!(members(br#"{"status": "pass", "cpu_utilization": 0.5}"#).and_then(|it| it.cpu), Some(0.5));
    }

    #[test]
    fn what_is_not_known_or_not_to_be_believed_says_nothing() {
        for value in [
            "",
            "TEXT",
            "TEXT ",
            "BIN CZqZmZmZmbk/",
            "cpu_utilization=0.5",
            "TEXT cpu_utilization=NaN,mem_utilization=-1,eps=inf",
            "TEXT mem_utilization=1.1",
            "TEXT cpu_utilization=1e30",
            "JSON [1]",
            "JSON {}",
            "JSON {",
            r#"JSON {"cpu_utilization": 0.5"#,
            r#"JSON {"cpu_utilization": "0.5"}"#,
            r#"JSON {"cpu_utilization" 0.5}"#,
            r#"JSON {"cpu_utilization": }"#,
        ] {
            assert_eq!(parse(value.as_bytes()), None, "{value}");
        }
        let long = format!("TEXT cpu_utilization=0.5,{}", "x".repeat(BYTES_MAX));
        assert_eq!(parse(long.as_bytes()), None);
        assert_eq!(parse(format!("JSON {{\"a\": {}", "[".repeat(4000)).as_bytes()), None);
    }
}

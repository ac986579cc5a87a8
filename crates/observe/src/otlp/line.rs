//! A line of the access log, read back.

use mainstay_core::timestamp;
use serde_json::{Map, Value};

/// A line: when the request ended, how long it took, and everything else under its key.
#[derive(Debug)]
pub(super) struct Line {
    /// In nanoseconds since 1970, to the millisecond.
    pub(super) end: u64,
    /// In nanoseconds.
    pub(super) duration: u64,
    pub(super) fields: Map<String, Value>,
}

impl Line {
    /// Reads a line. `None` if it is none, which only a line that was cut off is not.
    pub(super) fn read(line: &[u8]) -> Option<Self> {
        let Ok(Value::Object(mut fields)) = serde_json::from_slice(line) else { return None };
        let end = nanos_of(fields.remove("time")?.as_str()?)?;
        let duration = nanos(fields.remove("duration_ms").as_ref());
        Some(Self { end, duration, fields })
    }

    pub(super) fn text(&self, key: &str) -> &str {
        self.fields.get(key).and_then(Value::as_str).unwrap_or_default()
    }

    pub(super) fn number(&self, key: &str) -> u64 {
        self.fields.get(key).and_then(Value::as_u64).unwrap_or_default()
    }

    pub(super) fn start(&self) -> u64 {
        self.end.saturating_sub(self.duration)
    }
}

/// Nanoseconds of a number of milliseconds; 0 if there is none.
pub(super) fn nanos(millis: Option<&Value>) -> u64 {
    let millis = millis.and_then(Value::as_f64).unwrap_or_default();
    (millis * 1e6).round().max(0.0) as u64
}

/// The bytes of an id in hexadecimal; none if it is not one.
pub(super) fn bytes_of(id: &str) -> Vec<u8> {
    let pairs = id.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    pairs.collect::<Option<Vec<u8>>>().unwrap_or_default()
}

/// Nanoseconds since 1970 of a time such as `2026-11-21T12:00:00.123Z`.
fn nanos_of(time: &str) -> Option<u64> {
    timestamp::parse(time)?.checked_mul(1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_to_the_millisecond() {
        for (time, expected) in [
            ("1970-01-01T00:00:00.000Z", Some(0)),
            ("2000-02-29T12:34:56.789Z", Some(951_827_696_789)),
            ("2026-11-21T12:00:00.123Z", Some(1_795_262_400_123)),
            ("2026-11-21", None),
            ("", None),
        ] {
            assert_eq!(nanos_of(time), expected.map(|millis: u64| millis * 1_000_000), "{time}");
        }
    }

    #[test]
    fn what_is_no_line_is_none() {
        for line in [&b""[..], b"{", b"[]", b"{\"time\":1}", b"{\"time\":\"x\"}"] {
            assert!(Line::read(line).is_none());
        }
        assert_eq!(bytes_of("00ff10"), [0, 255, 16]);
        assert!(bytes_of("zz").is_empty() && bytes_of("\u{e9}").is_empty());
    }
}

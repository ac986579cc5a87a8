//! B3, which Zipkin brought up: one header `b3`, or several `x-b3-*` (<https://github.com/openzipkin/b3-propagation>).

use super::{Parent, hexadecimal};

/// Reads the value of `b3`: `TRACE-SPAN`, then perhaps `-SAMPLED`, then perhaps `-PARENT`. A value that only says whether the
/// trace is recorded names none.
pub fn single(value: &[u8]) -> Option<Parent> {
    let mut parts = value.split(|byte| *byte == b'-');
    let (trace, span) = (parts.next()?, parts.next()?);
    let sampled = match parts.next() {
        None => None,
        Some(b"0") => Some(false),
        // `d` asks for more than that, which is not offered.
        Some(b"1" | b"d") => Some(true),
        Some(_unknown) => return None,
    };
    if let Some(parent) = parts.next() {
        id(parent, &[16])?;
    }
    let is_over = parts.next().is_none();
    named(trace, span, sampled).filter(|_parent| is_over)
}

/// Reads the values of `x-b3-traceid`, `x-b3-spanid`, `x-b3-sampled` and `x-b3-flags`.
pub fn multi(trace: &[u8], span: &[u8], sampled: Option<&[u8]>, flags: Option<&[u8]>) -> Option<Parent> {
    let sampled = match (flags, sampled) {
        (Some(b"1"), _) => Some(true),
        (_, None) => None,
        (_, Some(b"1" | b"true")) => Some(true),
        (_, Some(b"0" | b"false")) => Some(false),
        (_, Some(_unknown)) => return None,
    };
    named(trace, span, sampled)
}

fn named(trace: &[u8], span: &[u8], sampled: Option<bool>) -> Option<Parent> {
    Some(Parent { trace: id(trace, &[16, 32])?, span: id(span, &[16])? as u64, sampled, random: false })
}

fn id(digits: &[u8], lengths: &[usize]) -> Option<u128> {
    hexadecimal(digits).filter(|id| *id != 0 && lengths.contains(&digits.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "80f198ee56343ba864fe8b2a57d3eff7";
    const SPAN: &str = "e457b5a2e4d86bd1";

    #[test]
    fn one_header() {
        for (value, expected) in [
            (format!("{TRACE}-{SPAN}"), Some(None)),
            (format!("{TRACE}-{SPAN}-1"), Some(Some(true))),
            (format!("{TRACE}-{SPAN}-d"), Some(Some(true))),
            (format!("{TRACE}-{SPAN}-0"), Some(Some(false))),
            (format!("{TRACE}-{SPAN}-1-05e3ac9a4f6e3b90"), Some(Some(true))),
            (format!("{TRACE}-{SPAN}-1-05e3ac9a4f6e3b90-"), None),
            (format!("{TRACE}-{SPAN}-1-05e3"), None),
            (format!("{TRACE}-{SPAN}-2"), None),
            (format!("{TRACE}-{}", &SPAN[1..]), None),
            (format!("{}-{SPAN}", &TRACE[1..]), None),
            (format!("{}-{SPAN}", "0".repeat(32)), None),
            (TRACE.to_owned(), None),
            ("0".to_owned(), None),
            (String::new(), None),
        ] {
            let parent = single(value.as_bytes());
            assert_eq!(parent.map(|it| it.sampled), expected, "{value}");
            assert!(parent.is_none_or(|it| it.trace == 0x80f1_98ee_5634_3ba8_64fe_8b2a_57d3_eff7), "{value}");
        }
    }

    #[test]
    fn several_headers() {
        let short = &TRACE[16..];
        for (trace, sampled, flags, expected) in [
            (TRACE, None, None, Some((0x80f1_98ee_5634_3ba8_64fe_8b2a_57d3_eff7, None))),
            (short, Some("1"), None, Some((0x64fe_8b2a_57d3_eff7, Some(true)))),
            (short, Some("false"), None, Some((0x64fe_8b2a_57d3_eff7, Some(false)))),
            (short, Some("0"), Some("1"), Some((0x64fe_8b2a_57d3_eff7, Some(true)))),
            (short, Some("yes"), None, None),
            (&short[1..], None, None, None),
        ] {
            let text = |text: Option<&'static str>| text.map(str::as_bytes);
            let parent = multi(trace.as_bytes(), SPAN.as_bytes(), text(sampled), text(flags));
            assert_eq!(parent.map(|it| (it.trace, it.sampled)), expected, "{trace} {sampled:?} {flags:?}");
        }
    }
}

//! Which trace a request belongs to: the headers of W3C Trace Context and of B3, read without allocating. What breaks a rule
//! is as good as absent, and a trace of one's own begins.

pub mod b3;
pub mod tracestate;

use crate::random;

/// What a request says of the trace that it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parent {
    /// The id of the trace; never 0.
    pub trace: u128,
    /// The id of the sender's span; never 0.
    pub span: u64,
    /// Whether the sender records the trace; `None` if it leaves that to us.
    pub sampled: Option<bool>,
    /// Whether the sender says that the last 56 bits of the trace's id are random.
    pub random: bool,
}

/// The bit of the flags that says that the sender records the trace.
pub const SAMPLED: u8 = 1;
/// The bit that says that the trace's id is random (Level 2, section 3.2.2.3.2).
pub const RANDOM: u8 = 2;

/// Bytes of a `traceparent` of version 00.
const LENGTH: usize = 55;

/// Reads the value of `traceparent` (W3C Trace Context, section 3.2.2), trimmed.
pub fn traceparent(value: &[u8]) -> Option<Parent> {
    let version = hexadecimal(value.get(..2)?)?;
    let fits = match version {
        0 => value.len() == LENGTH,
        0xff => false,
        // Later versions may add parts, each behind a dash.
        _later => value.len() == LENGTH || value.get(LENGTH) == Some(&b'-'),
    };
    let dashes = [2, 35, 52].iter().all(|place| value.get(*place) == Some(&b'-'));
    if !fits || !dashes {
        return None;
    }
    let trace = hexadecimal(value.get(3..35)?).filter(|id| *id != 0)?;
    let span = hexadecimal(value.get(36..52)?).filter(|id| *id != 0)?;
    let flags = hexadecimal(value.get(53..LENGTH)?)? as u8;
    // What a later version means by its other flags is not known.
    let random = version == 0 && flags & RANDOM != 0;
    Some(Parent { trace, span: span as u64, sampled: Some(flags & SAMPLED != 0), random })
}

/// The number that up to 32 lower-case digits stand for.
fn hexadecimal(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |number: u128, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _other => return None,
        };
        Some((number << 4) | u128::from(digit))
    })
}

/// The id of the span of the `nth` attempt (from 0) at endpoint `endpoint`, under the request's own span. It is worked out anew
/// wherever it is needed, so that nobody has to keep it. `elsewhere` tells apart the service that a route falls back on.
pub const fn attempt_span(own: u64, endpoint: usize, nth: usize, elsewhere: bool) -> u64 {
    let place = ((endpoint as u64) << 17) | ((nth as u64 & 0xffff) << 1) | elsewhere as u64;
    match random::mix(own ^ random::mix(place + 1)) {
        0 => 1,
        id => id,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const SPAN: &str = "b7ad6b7169203331";

    #[test]
    fn the_rules_of_traceparent() {
        let good = |flags: &str| format!("00-{TRACE}-{SPAN}-{flags}");
        let zeros = "0".repeat(32);
        // The cases of the W3C's validation suite.
        for (value, expected) in [
            (good("00"), Some((false, false))),
            (good("01"), Some((true, false))),
            (good("03"), Some((true, true))),
            (good("ff"), Some((true, true))),
            (good(".0"), None),
            (good("0."), None),
            (good("8"), None),
            (good("0F"), None),
            (good("01.what-the-future-will-be-like"), None),
            (good("01-what-the-future-will-be-like"), None),
            (format!("cc-{TRACE}-{SPAN}-01"), Some((true, false))),
            (format!("cc-{TRACE}-{SPAN}-03"), Some((true, false))),
            (format!("cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like"), Some((true, false))),
            (format!("cc-{TRACE}-{SPAN}-01.what-the-future-will-be-like"), None),
            (format!("ff-{TRACE}-{SPAN}-01"), None),
            (format!(".0-{TRACE}-{SPAN}-01"), None),
            (format!("0.-{TRACE}-{SPAN}-01"), None),
            (format!("000-{TRACE}-{SPAN}-01"), None),
            (format!("0-{TRACE}-{SPAN}-01"), None),
            (format!("00-{zeros}-{SPAN}-01"), None),
            (format!("00-{TRACE}-{}-01", &zeros[..16]), None),
            (format!("00-.{}-{SPAN}-01", &TRACE[1..]), None),
            (format!("00-{}.-{SPAN}-01", &TRACE[1..]), None),
            (format!("00-{}-{SPAN}-01", &TRACE[1..]), None),
            (format!("00-0{TRACE}-{SPAN}-01"), None),
            (format!("00-{}-{SPAN}-01", TRACE.to_uppercase()), None),
            (format!("00-{TRACE}-{}-01", SPAN.to_uppercase()), None),
            (format!("00-{TRACE}-.{}-01", &SPAN[1..]), None),
            (format!("00-{TRACE}-{}-01", &SPAN[1..]), None),
            (format!("00_{TRACE}_{SPAN}_01"), None),
            (format!("00-{TRACE}-{SPAN}"), None),
            (format!("00-{TRACE}"), None),
            ("00".to_owned(), None),
            (String::new(), None),
            ("é".repeat(40), None),
        ] {
            let parent = traceparent(value.as_bytes());
            let expected = expected.map(|(sampled, random)| Parent {
                trace: 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c,
                span: 0xb7ad_6b71_6920_3331,
                sampled: Some(sampled),
                random,
            });
            assert_eq!(parent, expected, "{value}");
        }
    }

    #[test]
    fn attempts_have_spans_of_their_own() {
        let mut ids = std::collections::BTreeSet::from([7]);
        for endpoint in 0..100 {
            for nth in 0..10 {
                for elsewhere in [false, true] {
                    assert!(ids.insert(attempt_span(7, endpoint, nth, elsewhere)));
                }
            }
        }
        assert_ne!(attempt_span(7, 0, 0, false), attempt_span(8, 0, 0, false));
        assert!(!ids.contains(&0));
    }
}

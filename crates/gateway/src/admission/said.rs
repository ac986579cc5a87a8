//! What callers say of a request, how long they wait and how much it matters, and what endpoints are told of it.

use std::time::Duration;

use mainstay_core::criticality::Criticality;

use crate::http::exchange::{Exchange, Run};
use crate::http::identity;
use crate::http1::write;
use crate::spec::{self, ByCriticality};

/// How long the caller waits for its answer, if it says so: by the route's header or as a gRPC call.
pub(crate) fn asked(spec: &spec::Route, exchange: &Exchange) -> Option<Duration> {
    let by_header = spec.admission.deadline.as_ref().and_then(|deadline| {
        let value = identity::header(&exchange.head, exchange.head_bytes(), &deadline.header)?;
        millis(value)
    });
    let by_call = exchange.call.and_then(|call| call.timeout);
    match (by_header, by_call) {
        (Some(header), Some(call)) => Some(header.min(call)),
        (asked, None) | (None, asked) => asked,
    }
}

/// A number of milliseconds. What is no number says nothing; what is too long for a number of ours never ends.
fn millis(value: &[u8]) -> Option<Duration> {
    if value.is_empty() || value.len() > 20 || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = |sum: u64, digit: &u8| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0'));
    Some(Duration::from_millis(value.iter().fold(0, number)))
}

/// The class of a request: what a trusted proxy says, or the route's.
pub(super) fn criticality(by: &ByCriticality, exchange: &Exchange, is_trusted: bool) -> Criticality {
    if !is_trusted {
        return by.default;
    }
    let said = identity::header(&exchange.head, exchange.head_bytes(), &by.header);
    said.and_then(Criticality::parse).unwrap_or(by.default)
}

/// What an endpoint is told.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Passed<'a> {
    /// The header, and the time that is left.
    deadline: Option<(&'a str, Duration)>,
    criticality: Option<(&'a str, Criticality)>,
}

/// What the endpoint of an attempt that begins now is told.
pub(crate) fn passed<'a>(run: &Run<'a>, exchange: &Exchange) -> Passed<'a> {
    let settings = &run.route.state.spec.admission;
    let left = || run.deadline.since(run.worker.now());
    Passed {
        deadline: settings.deadline.as_ref().map(|deadline| (deadline.header.as_str(), left())),
        criticality: settings.criticality.as_ref().map(|by| (by.header.as_str(), exchange.admission.class)),
    }
}

impl Passed<'_> {
    /// Whether the header of this name is written anew, so that what came does not go on.
    pub(crate) fn replaces(&self, name: &[u8]) -> bool {
        let is = |header: &str| name.eq_ignore_ascii_case(header.as_bytes());
        self.deadline.is_some_and(|(header, _left)| is(header))
            || self.criticality.is_some_and(|(header, _)| is(header))
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        if let Some((header, left)) = self.deadline {
            out.extend_from_slice(header.as_bytes());
            out.extend_from_slice(b": ");
            write::decimal(out, u64::try_from(left.as_millis()).unwrap_or(u64::MAX));
            out.extend_from_slice(b"\r\n");
        }
        if let Some((header, class)) = self.criticality {
            write::field(out, header.as_bytes(), class.word().as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_are_read_and_nothing_else() {
        assert_eq!(millis(b"1500"), Some(Duration::from_millis(1500)));
        assert_eq!(millis(b"0"), Some(Duration::ZERO));
        assert_eq!(millis(b"99999999999999999999"), Some(Duration::from_millis(u64::MAX)));
        for wrong in [&b""[..], b"-1", b"1.5", b"1s", b" 1", b"0x10", b"999999999999999999999"] {
            assert_eq!(millis(wrong), None, "{wrong:?}");
        }
    }
}

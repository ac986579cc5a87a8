//! What gRPC says in header fields and trailers (the protocol description "gRPC over HTTP2"): status codes, time-outs,
//! pushback. An HTTP status of 200 says nothing about a gRPC call.

use std::time::Duration;

/// A status code (gRPC documentation, "Status codes and their use in gRPC").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Status(pub u32);

impl Status {
    /// The call succeeded.
    pub const OK: Self = Self(0);
    /// The server threw something that nobody caught.
    pub const UNKNOWN: Self = Self(2);
    /// The time ran out.
    pub const DEADLINE_EXCEEDED: Self = Self(4);
    /// There is no such method.
    pub const UNIMPLEMENTED: Self = Self(12);
    /// Something is broken.
    pub const INTERNAL: Self = Self(13);
    /// The server cannot serve now; the call may be sent again.
    pub const UNAVAILABLE: Self = Self(14);
    /// Data is lost for good.
    pub const DATA_LOSS: Self = Self(15);

    /// Reads the value of `grpc-status`: decimal digits.
    pub fn parse(value: &[u8]) -> Option<Self> {
        if value.is_empty() || value.len() > 9 || !value.iter().all(u8::is_ascii_digit) {
            return None;
        }
        Some(Self(value.iter().fold(0, |code, digit| code * 10 + u32::from(digit - b'0'))))
    }

    /// The HTTP status that says of an endpoint what this one says: 5xx if the endpoint does not work, else one that does
    /// not speak against it. A call that was wrong, forbidden or unwanted is no failure of the endpoint.
    pub const fn http_equivalent(self) -> u16 {
        match self {
            Self::OK => 200,
            Self::UNKNOWN | Self::INTERNAL | Self::DATA_LOSS => 500,
            Self::UNAVAILABLE => 503,
            Self::DEADLINE_EXCEEDED => 504,
            _the_calls_own_fault => 400,
        }
    }

    /// What a client is told when a proxy answers with an HTTP status (gRPC documentation, "HTTP to gRPC Status Code
    /// Mapping"; our own 504 means that the deadline has passed).
    pub const fn of_http(status: u16) -> Self {
        match status {
            400 | 431 => Self::INTERNAL,
            401 => Self(16),
            403 => Self(7),
            404 | 405 | 501 => Self::UNIMPLEMENTED,
            408 | 504 => Self::DEADLINE_EXCEEDED,
            429 | 502 | 503 => Self::UNAVAILABLE,
            _other => Self::UNKNOWN,
        }
    }
}

/// Whether a content type is one of gRPC.
pub fn is_content_type(value: &[u8]) -> bool {
    let Some((start, rest)) = value.split_at_checked(b"application/grpc".len()) else { return false };
    start.eq_ignore_ascii_case(b"application/grpc") && matches!(rest.first(), None | Some(b'+' | b';'))
}

/// Longest `grpc-timeout` that is believed; what is longer means for ever.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// Reads the value of `grpc-timeout`: at most eight digits and a unit.
pub fn parse_timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let count = digits.iter().fold(0, |count, digit| count * 10 + u64::from(digit - b'0'));
    let timeout = match unit {
        b'H' => Duration::from_secs(count * 3600),
        b'M' => Duration::from_secs(count * 60),
        b'S' => Duration::from_secs(count),
        b'm' => Duration::from_millis(count),
        b'u' => Duration::from_micros(count),
        b'n' => Duration::from_nanos(count),
        _unknown => return None,
    };
    Some(timeout.min(LONGEST))
}

/// Writes what is left of the time as a `grpc-timeout`, in the finest unit whose digits suffice.
pub fn write_timeout(left: Duration, out: &mut Vec<u8>) {
    let most = 100_000_000;
    let (count, unit) = match (left.as_nanos(), left.as_micros(), left.as_millis()) {
        (nanos, _, _) if nanos < most => (nanos, b'n'),
        (_, micros, _) if micros < most => (micros, b'u'),
        (_, _, millis) if millis < most => (millis, b'm'),
        _longer => (u128::from(left.as_secs()).min(most - 1), b'S'),
    };
    out.extend_from_slice(count.to_string().as_bytes());
    out.push(unit);
}

/// What a server says about trying again, in `grpc-retry-pushback-ms` (gRFC A6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushback {
    /// Not before this long.
    After(Duration),
    /// Not at all.
    Never,
}

impl Pushback {
    /// Reads the value: milliseconds; anything else, a negative number above all, means never.
    pub fn parse(value: &[u8]) -> Self {
        if value.is_empty() || value.len() > 9 || !value.iter().all(u8::is_ascii_digit) {
            return Self::Never;
        }
        let millis = value.iter().fold(0, |millis, digit| millis * 10 + u64::from(digit - b'0'));
        Self::After(Duration::from_millis(millis))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_and_written() {
        assert_eq!(parse_timeout(b"1S"), Some(Duration::from_secs(1)));
        assert_eq!(parse_timeout(b"250m"), Some(Duration::from_millis(250)));
        assert_eq!(parse_timeout(b"99999999H"), Some(LONGEST));
        for wrong in [&b""[..], b"S", b"1", b"1s", b"-1S", b"1.5S", b"123456789S", b" 1S"] {
            assert_eq!(parse_timeout(wrong), None, "{wrong:?}");
        }
        for time in [0, 1, 999, 99_999_999, 100_000_000, 1_500_000_000, 3_600_000_000_000, 10_000_000_000_000_000] {
            let time = Duration::from_nanos(time);
            let mut text = Vec::new();
            write_timeout(time, &mut text);
            let read = parse_timeout(&text).expect("what was written is read");
            assert!(read <= time && read.as_nanos() * 1000 >= time.as_nanos() * 999, "{time:?} became {read:?}");
        }
    }

    #[test]
    fn content_types_are_told_apart() {
        for yes in [&b"application/grpc"[..], b"application/grpc+proto", b"Application/gRPC; charset=x"] {
            assert!(is_content_type(yes), "{yes:?}");
        }
        for no in [&b"application/grpc-web"[..], b"application/json", b"", b"application/grp"] {
            assert!(!is_content_type(no), "{no:?}");
        }
    }

    #[test]
    fn only_statuses_of_a_broken_endpoint_speak_against_it() {
        let failures: Vec<u32> = (0..=16).filter(|code| Status(*code).http_equivalent() >= 500).collect();
        assert_eq!(failures, [2, 4, 13, 14, 15]);
        assert_eq!(Status::parse(b"14"), Some(Status::UNAVAILABLE));
        assert_eq!(Status::parse(b"x"), None);
    }

    #[test]
    fn pushback_that_is_no_number_means_never() {
        assert_eq!(Pushback::parse(b"250"), Pushback::After(Duration::from_millis(250)));
        assert_eq!(Pushback::parse(b"-1"), Pushback::Never);
        assert_eq!(Pushback::parse(b"soon"), Pushback::Never);
    }
}

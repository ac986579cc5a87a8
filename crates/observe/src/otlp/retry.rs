//! When a message is sent again (OTLP specification, "Failures"): what may pass is tried again after a time that grows and
//! varies, or after the time that the collector names.

use std::time::Duration;

use mainstay_core::random::Rng;

/// Before the first repetition; it doubles with each further one.
const FIRST: Duration = Duration::from_secs(1);
/// The longest wait that grows by itself.
const MOST: Duration = Duration::from_secs(15);

/// Why a message was not accepted.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It will not be, however often it is sent.
    Final(String),
    /// It may be later; the collector may say how much later.
    Passing { reason: String, after: Option<Duration> },
}

/// Whether a status of HTTP may pass.
pub(super) const fn http_may_pass(status: u16) -> bool {
    matches!(status, 429 | 502 | 503 | 504)
}

/// Whether a status of gRPC may pass. Of `RESOURCE_EXHAUSTED` only a collector that says when knows that it does.
pub(super) fn grpc_may_pass(code: tonic::Code, says_when: bool) -> bool {
    use tonic::Code;
    match code {
        Code::Cancelled | Code::DeadlineExceeded | Code::Aborted | Code::OutOfRange => true,
        Code::Unavailable | Code::DataLoss => true,
        Code::ResourceExhausted => says_when,
        Code::Ok | Code::Unknown | Code::InvalidArgument | Code::NotFound | Code::AlreadyExists => false,
        Code::PermissionDenied | Code::FailedPrecondition | Code::Unimplemented => false,
        Code::Internal | Code::Unauthenticated => false,
    }
}

/// How long to wait before repetition `number` (from 0): half of the time is fixed, half drawn, so that nodes that were refused
/// together do not come back together.
pub(super) fn wait(number: u32, after: Option<Duration>, rng: &mut Rng) -> Duration {
    let grown = FIRST.saturating_mul(1 << number.min(10)).min(MOST);
    grown.mul_f64(0.5 + 0.5 * rng.unit()).max(after.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_vary_and_heed_the_collector() {
        let mut rng = Rng::seeded(1);
        for number in 0..40 {
            let grown = FIRST.saturating_mul(1 << number.min(10)).min(MOST);
            let wait = wait(number, None, &mut rng);
            assert!(wait >= grown / 2 && wait <= grown, "{number}: {wait:?}");
        }
        assert_eq!(wait(0, Some(Duration::from_secs(40)), &mut rng), Duration::from_secs(40));
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        for (status, expected) in
            [(429, true), (502, true), (503, true), (504, true), (400, false), (401, false), (500, false)]
        {
            assert_eq!(http_may_pass(status), expected, "{status}");
        }
        assert!(grpc_may_pass(tonic::Code::Unavailable, false) && !grpc_may_pass(tonic::Code::Unauthenticated, true));
        assert!(
            grpc_may_pass(tonic::Code::ResourceExhausted, true)
                && !grpc_may_pass(tonic::Code::ResourceExhausted, false)
        );
    }
}

//! Whether a failed attempt is followed by another.
//!
//! The rule behind every arm: a second attempt must not be able to do twice what the client asked for once, and must not
//! add load where retries are the load.

use std::time::Duration;

use crate::backoff;
use crate::random::Rng;

/// A route's rules.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    /// Attempts in all, the first one included; 1 turns retries off.
    pub attempts: u32,
    /// Waits between attempts at endpoints that answered with a failure; a refused connection is retried at once.
    pub backoff: backoff::Policy,
    /// Also retry idempotent requests that were answered 5xx.
    pub on_5xx: bool,
    /// Also retry idempotent requests whose attempt timed out.
    pub on_timeout: bool,
    /// The longest `Retry-After` that is waited for; an answer that asks for more goes to the client at once.
    pub retry_after_max: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            attempts: 3,
            backoff: backoff::Policy::default(),
            on_5xx: false,
            on_timeout: false,
            retry_after_max: Duration::from_secs(2),
        }
    }
}

/// How an attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// No connection came to be: nothing was sent.
    Connect,
    /// The endpoint said that it has not processed the request and never will (HTTP/2: REFUSED_STREAM, or a stream above
    /// the last one that GOAWAY names).
    Refused,
    /// A gRPC server said UNAVAILABLE before anything else, by which it means that the call may be sent again.
    Unavailable,
    /// A reused idle connection closed before any byte of a response.
    StaleConnection,
    /// A fresh connection closed or reset before any byte of a response.
    Reset,
    /// No response in time.
    Timeout,
    /// An answer 5xx, not yet relayed.
    Status(u16),
    /// A response that is not valid HTTP.
    Malformed,
}

/// What is known of the request when an attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Situation {
    /// How it failed.
    pub failure: Failure,
    /// Attempts made, this one included.
    pub made: u32,
    /// The method is GET, HEAD, OPTIONS, PUT, DELETE or TRACE, or an idempotency key came with the request.
    pub idempotent: bool,
    /// The whole body can be sent again.
    pub replayable: bool,
    /// Something of a response has reached the client.
    pub answered: bool,
    /// The request came from another gateway's retry, so that layer owns retries.
    pub retried_upstream: bool,
    /// The answer says that no other attempt may follow.
    pub told_not_to: bool,
    /// After how long the answer allows another attempt (`Retry-After`), if it says so.
    pub asked: Option<Duration>,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Try another endpoint at once, if the budget allows.
    RetryNow,
    /// Try another endpoint after the backoff, if the budget allows.
    RetryAfterBackoff,
    /// Tell the client.
    GiveUp,
}

/// Why no other attempt may follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The client has seen a part of the response.
    Answered,
    /// The layer that sent the request retries it.
    RetriedUpstream,
    /// All attempts that the policy allows were made.
    Attempts,
    /// Failures of this kind are never retried, or the policy leaves them out.
    Failure,
    /// The endpoint may have acted on the request, and its repetition could act twice.
    NotIdempotent,
    /// A part of the body is gone.
    NotReplayable,
    /// The endpoint asked not to be asked again (gRPC).
    Pushback,
    /// The answer says that no other attempt may follow: who answered is overloaded, or has retried already.
    Told,
    /// The answer asks for a longer wait than the policy allows.
    TooLong,
}

/// What stands in the way of another attempt, if anything does.
pub fn refusal(policy: &Policy, situation: &Situation) -> Option<Refusal> {
    if situation.answered {
        return Some(Refusal::Answered);
    }
    if situation.retried_upstream {
        return Some(Refusal::RetriedUpstream);
    }
    if situation.made >= policy.attempts {
        return Some(Refusal::Attempts);
    }
    if situation.told_not_to {
        return Some(Refusal::Told);
    }
    if situation.asked.is_some_and(|asked| asked > policy.retry_after_max) {
        return Some(Refusal::TooLong);
    }
    let is_retried = match situation.failure {
        // Nothing was sent, so neither the method nor the body stands in the way: what was read of it is still here.
        Failure::Connect => return None,
        // The same, by the endpoint's word; but what was sent of the body must still be here.
        Failure::Refused | Failure::Unavailable if situation.replayable => return None,
        Failure::Refused | Failure::Unavailable => return Some(Refusal::NotReplayable),
        Failure::StaleConnection | Failure::Reset => true,
        Failure::Timeout => policy.on_timeout,
        Failure::Status(status) => matches!(status, 500..=599) && policy.on_5xx,
        // An endpoint that does not speak HTTP has still received, and maybe carried out, the request.
        Failure::Malformed => false,
    };
    match (is_retried, situation.idempotent, situation.replayable) {
        (false, _, _) => Some(Refusal::Failure),
        (true, false, _) => Some(Refusal::NotIdempotent),
        (true, true, false) => Some(Refusal::NotReplayable),
        (true, true, true) => None,
    }
}

/// Decides. The caller charges the budget and keeps to the deadline.
pub fn decide(policy: &Policy, situation: &Situation) -> Verdict {
    if refusal(policy, situation).is_some() {
        return Verdict::GiveUp;
    }
    match situation.failure {
        // The endpoint refused, or closed an idle connection just as it was used: no sign of trouble, hence no wait.
        Failure::Connect | Failure::Refused | Failure::StaleConnection => Verdict::RetryNow,
        // An endpoint that dies drops all its requests at once; the jittered wait keeps them from hitting the survivors
        // at once too.
        Failure::Reset | Failure::Unavailable | Failure::Timeout | Failure::Status(_) | Failure::Malformed => {
            Verdict::RetryAfterBackoff
        }
    }
}

/// How long to wait before retry number `retry` (0 for the first one), if the backoff is due: by full jitter, after what the
/// answer asked for. Clients that were told the same time must not come back at the same moment.
pub fn wait(policy: &Policy, asked: Option<Duration>, retry: u32, rng: &mut Rng) -> Duration {
    let jitter = backoff::delay(&policy.backoff, retry, rng);
    match asked.filter(|asked| !asked.is_zero()) {
        None => jitter,
        Some(asked) => asked.saturating_add(jitter.max(asked.mul_f64(rng.unit() * 0.1))),
    }
}

/// Whether a layer that gives up on a request for this reason has retried for everybody in front of it: if these retried, too,
/// attempts would multiply from layer to layer.
pub const fn speaks_for_all(policy: &Policy, refusal: Refusal) -> bool {
    match refusal {
        Refusal::Attempts => policy.attempts > 1,
        Refusal::Told | Refusal::Pushback => true,
        Refusal::Answered
        | Refusal::RetriedUpstream
        | Refusal::Failure
        | Refusal::NotIdempotent
        | Refusal::NotReplayable
        | Refusal::TooLong => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL_ON: Policy = Policy {
        attempts: 3,
        backoff: backoff::Policy { base: Duration::ZERO, cap: Duration::ZERO },
        on_5xx: true,
        on_timeout: true,
        retry_after_max: Duration::from_secs(2),
    };
    const FAILURES: [Failure; 8] = [
        Failure::Unavailable,
        Failure::Connect,
        Failure::Refused,
        Failure::StaleConnection,
        Failure::Reset,
        Failure::Timeout,
        Failure::Status(503),
        Failure::Malformed,
    ];

    fn first_get(failure: Failure) -> Situation {
        Situation {
            failure,
            made: 1,
            idempotent: true,
            replayable: true,
            answered: false,
            retried_upstream: false,
            told_not_to: false,
            asked: None,
        }
    }

    #[test]
    fn by_failure_and_request() {
        use Verdict::{GiveUp, RetryAfterBackoff, RetryNow};
        // Failure; a GET by default; a GET with everything on; a POST with everything on; a PUT whose body is gone.
        let table = [
            (Failure::Connect, [RetryNow, RetryNow, RetryNow, RetryNow]),
            (Failure::StaleConnection, [RetryNow, RetryNow, GiveUp, GiveUp]),
            (Failure::Reset, [RetryAfterBackoff, RetryAfterBackoff, GiveUp, GiveUp]),
            (Failure::Timeout, [GiveUp, RetryAfterBackoff, GiveUp, GiveUp]),
            (Failure::Status(499), [GiveUp; 4]),
            (Failure::Status(500), [GiveUp, RetryAfterBackoff, GiveUp, GiveUp]),
            (Failure::Status(503), [GiveUp, RetryAfterBackoff, GiveUp, GiveUp]),
            (Failure::Status(599), [GiveUp, RetryAfterBackoff, GiveUp, GiveUp]),
            (Failure::Status(600), [GiveUp; 4]),
            (Failure::Malformed, [GiveUp; 4]),
        ];
        for (failure, expected) in table {
            let get = first_get(failure);
            let found = [
                decide(&Policy::default(), &get),
                decide(&ALL_ON, &get),
                decide(&ALL_ON, &Situation { idempotent: false, ..get }),
                decide(&ALL_ON, &Situation { replayable: false, ..get }),
            ];
            assert_eq!(found, expected, "{failure:?}");
        }
    }

    #[test]
    fn never_once_answered_or_out_of_attempts_or_owned_by_another_layer() {
        for failure in FAILURES {
            let get = first_get(failure);
            let refused = [
                (ALL_ON, Situation { answered: true, ..get }),
                (ALL_ON, Situation { retried_upstream: true, ..get }),
                (ALL_ON, Situation { told_not_to: true, ..get }),
                (ALL_ON, Situation { asked: Some(Duration::from_millis(2001)), ..get }),
                (ALL_ON, Situation { made: 3, ..get }),
                (ALL_ON, Situation { made: u32::MAX, ..get }),
                (Policy { attempts: 1, ..ALL_ON }, get),
                (Policy { attempts: 0, ..ALL_ON }, get),
            ];
            for (policy, situation) in refused {
                assert_eq!(decide(&policy, &situation), Verdict::GiveUp, "{situation:?}");
            }
        }
    }

    #[test]
    fn what_an_answer_asks_for_is_waited_for_and_a_random_time_on_top() {
        let policy = Policy {
            backoff: backoff::Policy { base: Duration::from_millis(20), cap: Duration::from_secs(1) },
            ..ALL_ON
        };
        let waits = |asked: Option<Duration>| -> Vec<Duration> {
            let mut rng = Rng::seeded(5);
            (0..1000).map(|_draw| wait(&policy, asked, 0, &mut rng)).collect()
        };
        let second = Duration::from_secs(1);
        let asked = waits(Some(second));
        assert!(asked.iter().all(|wait| *wait >= second && *wait <= second.mul_f64(1.1)));
        assert!(asked.iter().any(|wait| *wait > second.mul_f64(1.09)), "spread over a tenth");
        assert!(waits(None).iter().chain(&waits(Some(Duration::ZERO))).all(|wait| *wait <= Duration::from_millis(20)));
        let get = Situation { asked: Some(second), ..first_get(Failure::Status(503)) };
        assert_eq!(decide(&policy, &get), Verdict::RetryAfterBackoff);
    }

    #[test]
    fn a_layer_that_retried_speaks_for_those_in_front_of_it() {
        assert!(speaks_for_all(&ALL_ON, Refusal::Attempts) && speaks_for_all(&ALL_ON, Refusal::Told));
        assert!(!speaks_for_all(&Policy { attempts: 1, ..ALL_ON }, Refusal::Attempts), "it never retries");
        assert!(!speaks_for_all(&ALL_ON, Refusal::RetriedUpstream), "the layer in front does");
        assert!(!speaks_for_all(&ALL_ON, Refusal::NotIdempotent));
    }
}

//! Exponential backoff with full jitter: `random(0, min(cap, base * 2^attempt))` (Brooker, AWS Architecture Blog, 2015).

use std::time::Duration;

use crate::random::Rng;

/// How long to wait between the attempts of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The bound of the first wait.
    pub base: Duration,
    /// The bound that no wait exceeds.
    pub cap: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self { base: Duration::from_millis(25), cap: Duration::from_secs(1) }
    }
}

/// The wait before retry number `retry` (0 for the first retry).
pub fn delay(policy: &Policy, retry: u32, rng: &mut Rng) -> Duration {
    let bound = policy.base.saturating_mul(1u32.checked_shl(retry.min(31)).unwrap_or(u32::MAX)).min(policy.cap);
    bound.mul_f64(rng.unit())
}

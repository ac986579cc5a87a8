//! Exponential backoff with full jitter: `random(0, min(cap, base * 2^attempt))` (Brooker, AWS Architecture Blog, 2015).

use std::time::Duration;

use crate::random::Rng;

/// How long to wait between the attempts of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_double_up_to_the_cap() {
        let policy = Policy { base: Duration::from_millis(25), cap: Duration::from_millis(150) };
        for (retry, bound_ms) in [(0, 25), (1, 50), (2, 100), (3, 150), (4, 150), (31, 150), (u32::MAX, 150)] {
            let mut rng = Rng::seeded(7);
            let longest = (0..2000).map(|_draw| delay(&policy, retry, &mut rng)).max().unwrap();
            assert!(longest <= Duration::from_millis(bound_ms), "{retry}: {longest:?}");
            assert!(longest > Duration::from_millis(bound_ms).mul_f64(0.98), "{retry}: {longest:?}");
        }
    }
}

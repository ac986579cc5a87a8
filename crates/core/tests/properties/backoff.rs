use std::time::Duration;

use mainstay_core::backoff::{Policy, delay};
use mainstay_core::random::Rng;
use proptest::prelude::*;

proptest! {
    #![proptest_config(crate::config())]

    #[test]
    fn waits_stay_within_bounds(
        base_us in 0u64..2_000_000,
        cap_us in 0u64..60_000_000,
        retry in prop_oneof![4 => 0u32..8, 1 => any::<u32>()],
        seed: u64,
    ) {
        let policy = Policy { base: Duration::from_micros(base_us), cap: Duration::from_micros(cap_us) };
        let wait = delay(&policy, retry, &mut Rng::seeded(seed));
        prop_assert!(wait <= policy.cap);
        let doubled = base_us as f64 * 2f64.powi(retry.min(1000) as i32);
        prop_assert!(wait.as_secs_f64() * 1e6 <= doubled + 1e-3, "{:?} after {}", wait, retry);
    }

    #[test]
    fn no_policy_panics(base_s: u64, cap_s: u64, retry: u32, seed: u64) {
        let policy = Policy { base: Duration::from_secs(base_s), cap: Duration::from_secs(cap_s) };
        prop_assert!(delay(&policy, retry, &mut Rng::seeded(seed)) <= policy.cap);
    }
}

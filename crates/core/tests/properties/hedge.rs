use std::time::Duration;

use mainstay_core::hedge::{Hedge, Policy};
use mainstay_core::time::Moment;
use proptest::prelude::*;

proptest! {
    #![proptest_config(crate::config())]

    /// Whatever is recorded: the extra load stays within the share that the quantile leaves, and a delay lies between the least one
    /// and the longest duration (up to a bucket of 9 %).
    #[test]
    fn the_extra_load_and_the_delay_are_bounded(
        percent in 50u32..100,
        least_ms in 0u64..20,
        requests in prop::collection::vec((0u64..2_000, 0usize..6, 0u64..60_000), 1..300),
    ) {
        let quantile = f64::from(percent) / 100.0;
        let policy = Policy { quantile, min_delay: Duration::from_millis(least_ms) };
        let mut hedge = Hedge::new(policy, Moment::ZERO);
        let (mut now, mut longest, mut paid) = (Moment::ZERO, policy.min_delay, 0u32);
        for (number, (wait_ms, endpoint, took_ms)) in requests.iter().enumerate() {
            now = now.after(Duration::from_millis(*wait_ms / 20));
            let took = Duration::from_millis(*took_ms);
            longest = longest.max(took.max(Duration::from_micros(64)));
            hedge.record(now, *endpoint, took);
            paid += u32::from(hedge.pay());
            let allowed = (1.0 - quantile) * (number + 1) as f64;
            prop_assert!(f64::from(paid) <= allowed + 1e-6, "{paid} of {} requests", number + 1);
            if let Some(delay) = hedge.delay(now) {
                prop_assert!(delay >= policy.min_delay && delay <= longest.mul_f64(1.0906), "{delay:?} of {longest:?}");
            }
        }
    }
}

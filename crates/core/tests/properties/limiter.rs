use std::collections::HashMap;
use std::time::Duration;

use mainstay_core::limiter::{Bucket, Rate, Table};
use mainstay_core::random::mix;
use mainstay_core::time::Moment;
use proptest::prelude::*;

/// Waits in microseconds: mostly short. A negative one is a worker that read the clock before another took the lock.
fn wait() -> impl Strategy<Value = i64> {
    prop_oneof![8 => 0i64..40_000, 1 => 0i64..5_000_000, 1 => -2_000i64..0]
}

proptest! {
    #![proptest_config(crate::config())]

    /// Over any span at most `burst + rate * t` pass, and nothing is refused that would not break this.
    #[test]
    fn a_bucket_passes_exactly_its_rate(
        requests in 1u32..1000,
        per_ms in 1u64..10_000,
        burst in 1u32..50,
        waits in prop::collection::vec(wait(), 1..300),
    ) {
        let rate = Rate::new(requests, Duration::from_millis(per_ms), burst);
        let interval = (per_ms * 1_000_000 / u64::from(requests)) as i128;
        let mut bucket = Bucket::default();
        let mut clock = 1_000_000_000u64;
        let mut passed: Vec<i128> = Vec::new();
        let mut latest = 0;
        for wait_us in waits {
            let now = clock.saturating_add_signed(wait_us * 1000);
            clock = clock.max(now);
            match bucket.take(Moment::from_nanos(now), &rate, 1.0) {
                Ok(()) => passed.push(i128::from(now)),
                Err(limited) => {
                    prop_assert!(limited.after > Duration::ZERO);
                    let again = Moment::from_nanos(now).after(limited.after);
                    prop_assert!(bucket.clone().take(again, &rate, 1.0).is_ok(), "what it says is enough");
                }
            }
            latest = latest.max(now);
        }
        // A clock that goes back by up to 2 ms may count for that much more.
        let slack = 2_000_000;
        for (index, from) in passed.iter().enumerate() {
            for (further, to) in passed.iter().enumerate().skip(index) {
                let count = (further - index + 1) as i128;
                prop_assert!((count - i128::from(burst)) * interval <= to - from + slack, "{count} in {}", to - from);
            }
        }
    }

    /// As long as fewer keys are in use than fit, the table behaves as a map of buckets does, unless one set is full.
    #[test]
    fn a_table_without_eviction_is_a_map_of_buckets(
        burst in 1u32..5,
        steps in prop::collection::vec((0u64..40, 0u64..300, any::<bool>()), 1..400),
    ) {
        let rate = Rate::new(1, Duration::from_millis(500), burst);
        let mut table = Table::new(rate, 4096);
        let mut map: HashMap<u64, Bucket> = HashMap::new();
        let mut now = Moment::from_millis(10);
        for (key, wait_ms, puts_back) in steps {
            now = now.after(Duration::from_millis(wait_ms));
            let bucket = map.entry(key).or_default();
            let taken = table.take(now, mix(key), 1.0);
            prop_assert_eq!(taken, bucket.take(now, &rate, 1.0));
            if puts_back && taken.is_ok() {
                table.put_back(mix(key));
                bucket.put_back(&rate);
            }
            prop_assert_eq!(table.active(now), map.values().filter(|bucket| !bucket.is_full(now)).count());
        }
        prop_assert_eq!(table.evicted(), 0);
    }

    /// Whatever comes, the table does not grow, and a key that is over its limit is not freed by others with less debt.
    #[test]
    fn a_table_is_bounded_and_forgets_the_least(keys in 0usize..200, flood in 1u64..3000, seed in any::<u64>()) {
        let mut table = Table::new(Rate::new(1, Duration::from_secs(1), 8), keys);
        let capacity = table.capacity();
        prop_assert!(capacity >= keys && capacity <= (2 * keys).max(8));
        let now = Moment::from_millis(1);
        while table.take(now, mix(seed), 1.0).is_ok() {}
        for other in 1..=flood {
            let _taken = table.take(now, mix(seed.wrapping_add(other)), 1.0);
        }
        prop_assert!(table.take(now, mix(seed), 1.0).is_err());
        prop_assert_eq!(table.capacity(), capacity);
        prop_assert!(table.active(now) <= capacity);
    }
}

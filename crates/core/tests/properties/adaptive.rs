use std::time::Duration;

use mainstay_core::adaptive::{Adaptive, Policy, Sample};
use mainstay_core::time::Moment;
use proptest::prelude::*;

fn policy() -> impl Strategy<Value = Policy> {
    (0u32..40, 0u32..500, 0u32..100, 0u32..20, 0.5f64..4.0, 0u64..20, 1u64..100_000, 0.0f64..1.0).prop_map(
        |(min, max, initial, probe, tolerance, slack_ms, remeasure_ms, jitter)| Policy {
            min,
            max,
            initial,
            probe,
            tolerance,
            slack: Duration::from_millis(slack_ms),
            remeasure: Duration::from_millis(remeasure_ms),
            jitter,
        },
    )
}

proptest! {
    #![proptest_config(crate::config())]

    /// Whatever is measured, the limit stays within its bounds, and is lowered below the floor only to measure, for a
    /// bounded time and not again at once.
    #[test]
    fn the_limit_stays_within_bounds(
        policy in policy(),
        samples in prop::collection::vec((0u64..2_000_000, 0u64..3_000_000, 1u32..200, 1u32..200), 0..500),
        seed in any::<u64>(),
    ) {
        let (min, max) = (policy.min.max(1), policy.max.max(policy.min).max(1));
        let mut now = Moment::from_millis(3);
        let mut machine = Adaptive::new(policy, now, seed);
        let mut measuring_since: Option<Moment> = None;
        let mut measured_until: Option<Moment> = None;
        for (wait_us, latency_us, entered_with, left_with) in samples {
            now = now.after(Duration::from_micros(wait_us));
            machine.turn(now);
            if machine.is_measuring() {
                let since = *measuring_since.get_or_insert(now);
                prop_assert!(now.since(since) < Duration::from_secs(2), "for a bounded time");
                prop_assert!(machine.limit() <= policy.probe.max(1));
            } else {
                if measuring_since.take().is_some() {
                    measured_until = Some(now);
                }
                prop_assert!(machine.limit() >= min);
            }
            prop_assert!(machine.limit() >= 1 && machine.limit() <= max);
            let was_measuring = machine.is_measuring();
            let before = machine.limit();
            machine.sample(now, Sample { latency: Duration::from_micros(latency_us), entered_with, left_with });
            if machine.is_measuring() && !was_measuring {
                let rested = measured_until.is_none_or(|until| now.since(until) >= Duration::from_secs(4));
                prop_assert!(rested || machine.base().is_none(), "not again at once");
            }
            // One window moves it by half at most, and up by its root.
            if !machine.is_measuring() && !was_measuring {
                let (before, after) = (f64::from(before), f64::from(machine.limit()));
                prop_assert!(after >= (before * 0.5).floor().min(before) && after <= before + before.sqrt() + 2.0);
            }
        }
    }

    /// A backend of any size and speed that is offered more than it takes is kept busy, and not much more than busy.
    #[test]
    fn an_overloaded_backend_is_kept_busy(workers in 3u32..100, service_ms in 5u64..300, seed in any::<u64>()) {
        let policy = Policy { probe: 3, ..Policy::default() };
        let mut now = Moment::ZERO;
        let mut machine = Adaptive::new(policy, now, seed);
        let service = Duration::from_millis(service_ms);
        let end = now.after(Duration::from_secs(200));
        let mut steps = 0;
        while now < end && steps < 100_000 {
            steps += 1;
            let in_flight = machine.limit();
            let latency = service.mul_f64((f64::from(in_flight) / f64::from(workers)).max(1.0));
            now = now.after(latency.div_f64(f64::from(in_flight)));
            machine.sample(now, Sample { latency, entered_with: in_flight, left_with: in_flight });
        }
        if !machine.is_measuring() {
            let limit = f64::from(machine.limit());
            let aim = f64::from(workers) * (service + policy.slack).div_duration_f64(service).max(policy.tolerance);
            prop_assert!(limit >= f64::from(workers).min(f64::from(policy.max)), "{limit} of {workers}");
            prop_assert!(limit <= aim + 2.0 * aim.sqrt() + 3.0, "{limit} of {workers}");
        }
    }
}

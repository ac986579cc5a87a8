use std::time::Duration;

use mainstay_core::budget::{Budget, Policy};
use mainstay_core::time::Moment;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Event {
    Deposit(u32),
    /// Retries asked for at one moment.
    Withdraw(u32),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![(0u32..200).prop_map(Event::Deposit), (1u32..40).prop_map(Event::Withdraw)]
}

/// Waits in milliseconds: mostly short, some about as long as a window. A negative one is a worker that read the clock
/// before another took the lock.
fn wait() -> impl Strategy<Value = i64> {
    prop_oneof![6 => 0i64..300, 2 => 0i64..12_000, 1 => -20i64..0]
}

fn policy() -> impl Strategy<Value = Policy> {
    (0u32..=100, 0u32..20, 1u64..500).prop_map(|(percent, floor, twentieth_ms)| Policy {
        ratio: f64::from(percent) / 100.0,
        floor_per_second: f64::from(floor) / 2.0,
        shared: false,
        window: Duration::from_millis(twentieth_ms * 20),
    })
}

/// All requests, or all granted retries, by time.
#[derive(Default)]
struct History(Vec<(Moment, u64)>);

impl History {
    /// Those from `from`, or after it if it is not `included`, up to and with `to`.
    fn sum(&self, from: i128, included: bool, to: Moment) -> u64 {
        let counts = |at: Moment| {
            let nanos = i128::from(at.as_nanos());
            at <= to && (nanos > from || included && nanos == from)
        };
        self.0.iter().filter(|(at, _count)| counts(*at)).map(|(_at, count)| count).sum()
    }
}

fn before(moment: Moment, by: Duration) -> i128 {
    i128::from(moment.as_nanos()) - by.as_nanos() as i128
}

proptest! {
    #![proptest_config(crate::config())]

    #[test]
    fn never_exceeded_over_any_span(
        policy in policy(),
        start_ms in 0u64..100_000,
        events in prop::collection::vec((wait(), event()), 1..80),
    ) {
        let mut latest = Moment::from_millis(start_ms);
        let mut budget = Budget::new(policy, latest);
        let (mut requests, mut retries) = (History::default(), History::default());
        let floor = policy.floor_per_second * policy.window.as_secs_f64();
        let slice = policy.window / 20;
        for (wait_ms, event) in events {
            let now = Moment::from_nanos(latest.as_nanos().saturating_add_signed(wait_ms * 1_000_000));
            latest = latest.max(now);
            match event {
                Event::Deposit(count) => {
                    budget.deposit(now, count);
                    requests.0.push((latest, u64::from(count)));
                }
                Event::Withdraw(count) => {
                    // What a stricter budget, forgetful by a whole slice more both ways, would surely allow.
                    let recent = requests.sum(before(latest, policy.window - slice), false, latest);
                    let charged = retries.sum(before(latest, policy.window + slice), true, latest);
                    let granted = (0..count).map(|_retry| u64::from(budget.withdraw(now))).sum();
                    let sure = (policy.ratio * recent as f64 + floor - charged as f64 - 1e-6).floor();
                    prop_assert!(granted as f64 >= sure.min(f64::from(count)), "refused without need at {latest:?}");
                    retries.0.push((latest, granted));
                }
            }
        }
        // Only a granted retry ends a span: after it, requests grow old before the retries that they paid for.
        retries.0.retain(|(_at, granted)| *granted > 0);
        for (to, _count) in &retries.0 {
            let start = before(*to, policy.window);
            let within = retries.sum(start, true, *to) as f64;
            let funded = policy.ratio * requests.sum(start, false, *to) as f64;
            prop_assert!(within <= funded + floor + 1e-6, "window up to {to:?}: {within} > {funded} + {floor}");
            for (from, _count) in retries.0.iter().filter(|(from, _count)| from <= to) {
                let windows = (to.since(*from).as_nanos() / policy.window.as_nanos()) as f64 + 1.0;
                let within = retries.sum(i128::from(from.as_nanos()), true, *to) as f64;
                let funded = policy.ratio * requests.sum(before(*from, policy.window), false, *to) as f64;
                prop_assert!(within <= funded + floor * windows + 1e-6, "{from:?} to {to:?}");
            }
        }
    }
}

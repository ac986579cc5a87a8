use std::collections::VecDeque;
use std::time::Duration;

use mainstay_core::breaker::{Admission, Breaker, Outcome, Phase, Policy, Slow, Span, Ticket};
use mainstay_core::random::Rng;
use mainstay_core::time::Moment;
use proptest::prelude::*;

const SLOW: Duration = Duration::from_millis(500);

fn policy() -> impl Strategy<Value = Policy> {
    let window = prop_oneof![(1u32..40).prop_map(Span::Calls), (1u64..20_000).prop_map(|ms| Span::Time(millis(ms)))];
    let rate = || prop::option::of((1u32..=100).prop_map(|percent| f64::from(percent) / 100.0));
    let times = (1u64..5_000, 0u64..20_000, 0u32..=100, 1u64..5_000, prop_oneof![Just(0u64), 1u64..20_000]);
    (window, 1u32..30, rate(), prop::option::of(1u32..10), rate(), 1u32..6, times).prop_map(
        |(window, min_calls, failure_rate, consecutive, slow, probes, (open, more, jitter, probe, ramp))| Policy {
            window,
            min_calls,
            failure_rate,
            consecutive,
            slow: slow.map(|rate| Slow { rate, after: SLOW }),
            open_for: millis(open),
            open_max: millis(open + more),
            jitter: f64::from(jitter) / 100.0,
            probes,
            probe_timeout: millis(probe),
            ramp: millis(ramp),
        },
    )
}

const fn millis(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[derive(Clone, Copy, Debug)]
enum Event {
    /// A call begins.
    Begin,
    /// One of the calls under way ends.
    End(usize, Outcome),
    /// This many calls went well that nobody told of one by one.
    Well(u32),
}

fn event() -> impl Strategy<Value = (u64, Event)> {
    let outcome = prop_oneof![
        4 => (0u64..1000).prop_map(|ms| Outcome::Success(millis(ms))),
        4 => (0u64..1000).prop_map(|ms| Outcome::Failure(millis(ms))),
        1 => Just(Outcome::Abandoned),
    ];
    let event = prop_oneof![
        5 => Just(Event::Begin),
        5 => (0usize..8, outcome).prop_map(|(which, outcome)| Event::End(which, outcome)),
        1 => (0u32..50).prop_map(Event::Well),
    ];
    (prop_oneof![4 => 0u64..50, 1 => 0u64..3000], event)
}

proptest! {
    #![proptest_config(crate::config())]

    /// What must hold whatever happens: an open breaker lets nothing through, a half-open one no more than it has slots,
    /// and an opening has an end within its bounds.
    #[test]
    fn lets_through_what_its_phase_allows(
        policy in policy(),
        seed in any::<u64>(),
        events in prop::collection::vec(event(), 0..200),
    ) {
        let (mut breaker, mut rng) = (Breaker::new(policy), Rng::seeded(seed));
        let mut now = Moment::from_millis(1000);
        let mut under_way: Vec<Ticket> = Vec::new();
        let longest = policy.open_max.mul_f64(1.0 + policy.jitter) + Duration::from_nanos(1);
        for (wait_ms, event) in events {
            now = now.after(millis(wait_ms));
            match event {
                Event::Begin => {
                    let admission = breaker.admit(now, &mut rng);
                    match (breaker.phase(), admission) {
                        (Phase::Closed, admission) => prop_assert!(matches!(admission, Admission::Pass(_))),
                        (Phase::Open, Admission::Refuse(wait)) => prop_assert!(wait > Duration::ZERO && wait <= longest),
                        (Phase::Open, admission) => prop_assert!(false, "{admission:?} while open"),
                        (Phase::HalfOpen | Phase::Ramping, _) => {}
                    }
                    if let Admission::Pass(ticket) = admission {
                        prop_assert_eq!(ticket.is_probe(), breaker.phase() == Phase::HalfOpen);
                        under_way.push(ticket);
                    }
                    let probes = under_way.iter().filter(|it| it.is_probe() && it.era() == breaker.era()).count();
                    prop_assert!(probes <= policy.probes as usize || breaker.phase() != Phase::HalfOpen);
                }
                Event::End(which, outcome) if which < under_way.len() => {
                    let ticket = under_way.swap_remove(which);
                    breaker.step(now, &mut rng);
                    let before = breaker.phase();
                    breaker.record(now, ticket, outcome, &mut rng);
                    let is_neither = outcome == Outcome::Abandoned || ticket.era() != breaker.era() && before == Phase::Open;
                    prop_assert!(!is_neither || breaker.phase() == before, "{outcome:?} changed {before:?}");
                }
                Event::End(..) => {}
                Event::Well(number) => breaker.record_well(now, breaker.era(), number, &mut rng),
            }
            prop_assert!((0.0..=1.0).contains(&breaker.share(now)));
            let mut phase = None;
            while let Some(change) = breaker.poll_output() {
                prop_assert!(change.from != change.to || change.from == Phase::Open);
                prop_assert!(phase.is_none_or(|phase| phase == change.from), "changes follow each other");
                if let Some(until) = change.until {
                    prop_assert!(until > now && until <= now.after(longest) && until >= now.after(policy.open_for));
                }
                phase = Some(change.to);
            }
            prop_assert!(phase.is_none_or(|phase| phase == breaker.phase()));
        }
    }

    /// While it is closed and counts calls, it opens with exactly the call that a plain recount says.
    #[test]
    fn opens_with_the_call_that_a_recount_says(
        policy in policy(),
        most in 1u32..40,
        outcomes in prop::collection::vec((any::<bool>(), 0u64..1000), 0..150),
    ) {
        let policy = Policy { window: Span::Calls(most), ..policy };
        let (mut breaker, mut rng) = (Breaker::new(policy), Rng::seeded(1));
        let mut last: VecDeque<(bool, bool)> = VecDeque::new();
        let mut row = 0;
        for (failed, took_ms) in outcomes {
            let outcome = if failed { Outcome::Failure(millis(took_ms)) } else { Outcome::Success(millis(took_ms)) };
            let Admission::Pass(ticket) = breaker.admit(Moment::ZERO, &mut rng) else { unreachable!("it is closed") };
            breaker.record(Moment::ZERO, ticket, outcome, &mut rng);
            last.push_back((failed, policy.slow.is_some() && millis(took_ms) > SLOW));
            if last.len() > most as usize {
                last.pop_front();
            }
            row = if failed { row + 1 } else { 0 };
            let percent = |part: usize| part * 100 / last.len();
            let exceeds = |rate: f64, part: usize| {
                part > 0 && part * 100 >= (rate * 100.0).round() as usize * last.len() && percent(part) <= 100
            };
            let failures = last.iter().filter(|(failed, _slow)| *failed).count();
            let slow = last.iter().filter(|(_failed, slow)| *slow).count();
            let is_enough = last.len() >= policy.min_calls as usize;
            let expected = policy.consecutive.is_some_and(|most| row > 0 && row >= most)
                || is_enough && policy.failure_rate.is_some_and(|rate| exceeds(rate, failures))
                || is_enough && policy.slow.is_some_and(|limit| exceeds(limit.rate, slow));
            prop_assert_eq!(breaker.phase() == Phase::Open, expected, "after {:?}", last);
            if expected {
                return Ok(());
            }
        }
    }

    /// Whatever happened before: once calls succeed, it is closed again after a bounded number of steps.
    #[test]
    fn closes_by_itself_once_calls_succeed(
        policy in policy(),
        seed in any::<u64>(),
        events in prop::collection::vec(event(), 0..100),
    ) {
        let (mut breaker, mut rng) = (Breaker::new(policy), Rng::seeded(seed));
        let mut now = Moment::ZERO;
        for (wait_ms, event) in events {
            now = now.after(millis(wait_ms));
            match event {
                // The callers of these never tell how they ended.
                Event::Begin => {
                    let _forgotten = breaker.admit(now, &mut rng);
                }
                Event::End(_, outcome) => breaker.record(now, Ticket::closed(breaker.era()), outcome, &mut rng),
                Event::Well(_) => breaker.belie(now, &mut rng),
            }
        }
        // A forgotten probe runs out of time, and bad calls of before may be judged only now that there are enough calls.
        for _step in 0..100 {
            while let Admission::Pass(ticket) = breaker.admit(now, &mut rng) {
                breaker.record(now, ticket, Outcome::Success(Duration::ZERO), &mut rng);
                if breaker.phase() != Phase::HalfOpen {
                    break;
                }
            }
            now = breaker.deadline().map_or(now, |deadline| deadline.max(now));
        }
        breaker.step(now, &mut rng);
        prop_assert_eq!(breaker.phase(), Phase::Closed);
    }
}

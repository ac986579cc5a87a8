use std::time::Duration;

use mainstay_core::balance::Share;
use mainstay_core::outlier::gray::{self, Peers, Verdict};
use mainstay_core::outlier::meter::{BUCKETS, Meter, Totals};
use mainstay_core::outlier::{Input, Machine, Output, Policy, STEPS};
use mainstay_core::random::{Rng, mix};
use mainstay_core::time::Moment;
use proptest::prelude::*;

const BOUNDS: [f64; BUCKETS - 1] = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

fn answer(totals: &mut Totals, millis: f64, failed: bool) {
    let bucket = BOUNDS.iter().position(|bound| millis / 1e3 <= *bound).unwrap_or(BUCKETS - 1);
    totals.started += 1;
    totals.settled += 1;
    totals.failed += u64::from(failed);
    totals.buckets[bucket] += 1;
    totals.sum_nanos += (millis * 1e6) as u64;
}

fn at(interval: u64) -> Moment {
    Moment::from_millis(500 + interval * 1000)
}

/// What the comparison says of each endpoint in each of ten intervals; `serve` is told the endpoint and the request's number.
fn verdicts(endpoints: usize, requests: u64, serve: impl Fn(usize, u64) -> (f64, bool)) -> Vec<Vec<Verdict>> {
    let mut peers = Peers::new(gray::Policy::default(), endpoints, &BOUNDS, Moment::ZERO);
    let mut totals = vec![Totals::default(); endpoints];
    let mut found = vec![Vec::new(); endpoints];
    for interval in 0..10 {
        for finding in peers.read(at(interval), &totals, |_endpoint| Share::FULL) {
            found[finding.endpoint].push(finding.verdict);
        }
        for (endpoint, totals) in totals.iter_mut().enumerate() {
            for number in 0..requests {
                let (millis, failed) = serve(endpoint, interval * requests + number);
                answer(totals, millis, failed);
            }
        }
    }
    found
}

fn verdict() -> impl Strategy<Value = Verdict> {
    prop::sample::select(vec![Verdict::Well, Verdict::Unclear, Verdict::Slow, Verdict::Failing])
}

proptest! {
    #![proptest_config(crate::config())]

    #[test]
    fn one_that_is_twenty_times_slower_is_found_and_nobody_else(
        endpoints in 3usize..9,
        slow in any::<prop::sample::Index>(),
        base in 1.0f64..200.0,
        requests in 20u64..60,
        spread in 0.0f64..0.5,
    ) {
        let slow = slow.index(endpoints);
        let found = verdicts(endpoints, requests, |endpoint, number| {
            let jitter = 1.0 + spread * ((number * 7 + endpoint as u64) % 11) as f64 / 10.0;
            (base * jitter * if endpoint == slow { 20.0 } else { 1.0 }, false)
        });
        for (endpoint, found) in found.iter().enumerate() {
            prop_assert!(found.len() >= 8, "{:?}", found);
            let expected = if endpoint == slow { Verdict::Slow } else { Verdict::Well };
            prop_assert!(found.iter().all(|verdict| *verdict == expected), "{}: {:?}", endpoint, found);
        }
    }

    #[test]
    fn one_that_fails_every_other_request_is_found_and_what_all_share_is_not(
        endpoints in 3usize..9,
        failing in any::<prop::sample::Index>(),
        requests in 20u64..60,
        shared in 0u64..4,
    ) {
        let failing = failing.index(endpoints);
        // So many of ten requests fail everywhere.
        let found = verdicts(endpoints, requests, |endpoint, number| {
            (3.0, number % 10 < shared || (endpoint == failing && number % 2 == 1))
        });
        for (endpoint, found) in found.iter().enumerate() {
            let expected = if endpoint == failing { Verdict::Failing } else { Verdict::Well };
            prop_assert!(found.iter().all(|verdict| *verdict == expected), "{}: {:?}", endpoint, found);
        }
    }

    #[test]
    fn likes_are_never_told_apart(
        endpoints in 1usize..9,
        requests in 0u64..60,
        durations in prop::collection::vec(0.1f64..20.0, 1..30),
    ) {
        // Drawn at random for each request: a stride could give an endpoint one of the durations for ever, a slow one, say.
        let found = verdicts(endpoints, requests, |endpoint, number| {
            let draw = Rng::seeded(mix(number * 16 + endpoint as u64)).below(durations.len());
            (durations[draw], false)
        });
        for found in found {
            prop_assert!(found.iter().all(|verdict| !matches!(verdict, Verdict::Slow | Verdict::Failing)), "{:?}", found);
        }
    }

    #[test]
    fn requests_that_hang_are_known_by_their_age(
        before in 0u64..50,
        hanging in 1u64..50,
        seconds in 3u64..20,
    ) {
        let mut meter = Meter::new(&BOUNDS);
        let mut totals = Totals::default();
        (0..before).for_each(|_request| answer(&mut totals, 3.0, false));
        let (patience, age) = (Duration::from_secs(60), Duration::from_secs(1));
        let mut read = |now: u64, totals: &Totals| meter.read(at(now), totals, 1_000_000, patience, age);
        read(0, &totals);
        totals.started += hanging;
        for second in 1..seconds {
            read(second, &totals);
        }
        let seen = meter.read(at(seconds), &totals, 1, patience, age);
        let seen = seen.ok_or_else(|| TestCaseError::fail("somebody hangs"))?;
        prop_assert_eq!(seen.requests, hanging);
        prop_assert!(seen.latency > Duration::from_millis(500), "{:?}", seen.latency);
        prop_assert!(seen.latency <= Duration::from_secs(seconds.max(10)), "{:?}", seen.latency);
    }

    #[test]
    fn no_counters_panic(readings in prop::collection::vec((any::<[u64; BUCKETS]>(), any::<[u64; 4]>(), any::<u64>()), 0..12)) {
        let mut peers = Peers::new(gray::Policy::default(), 3, &BOUNDS, Moment::ZERO);
        for (buckets, [started, settled, failed, sum_nanos], now) in readings {
            let buckets = buckets.map(|count| count >> 8);
            let totals = Totals { started, settled: settled >> 8, failed, buckets, sum_nanos };
            peers.read(Moment::from_nanos(now), &[totals, Totals::default(), totals], |_endpoint| Share::permille(20));
        }
    }

    #[test]
    fn easing_goes_step_by_step_stays_within_the_cap_and_ends(
        endpoints in 1usize..8,
        percent in 0u32..=100,
        events in prop::collection::vec((0u64..4000, 0usize..8, verdict(), 0usize..5, any::<bool>()), 0..200),
    ) {
        let max_ejected = f64::from(percent) / 100.0;
        let policy = Policy { max_ejected, gray: Some(gray::Policy::default()), ..Policy::default() };
        let mut machine = Machine::new(policy, endpoints);
        let mut shares = vec![Share::FULL; endpoints];
        let mut ejected = vec![false; endpoints];
        let mut now = Moment::ZERO;
        let place = |share: Share| STEPS.iter().position(|step| *step == share);
        for (wait, endpoint, verdict, others, trips) in events {
            now = now.after(Duration::from_millis(wait));
            let input = if trips { Input::Tripped { endpoint, others } } else { Input::Judged { endpoint, verdict, others } };
            for input in [Input::Timeout, input] {
                machine.step(now, input);
                while let Some(output) = machine.poll_output() {
                    match output {
                        Output::Ease { endpoint, share } => {
                            let (from, to) = (place(shares[endpoint]), place(share));
                            let (from, to) = from.zip(to).ok_or_else(|| TestCaseError::fail("not a step"))?;
                            prop_assert!(ejected[endpoint] || from.abs_diff(to) == 1, "{} to {}", from, to);
                            let judged = matches!(input, Input::Judged { .. });
                            prop_assert!(to < from || ejected[endpoint] || judged);
                            shares[endpoint] = share;
                        }
                        Output::Eject { endpoint, until } => {
                            prop_assert!(until > now && !ejected[endpoint] && others > 0);
                            ejected[endpoint] = true;
                        }
                        Output::Restore { endpoint } => {
                            prop_assert!(ejected[endpoint]);
                            prop_assert!(shares[endpoint] < Share::FULL, "it comes back by steps");
                            ejected[endpoint] = false;
                        }
                    }
                    let out = (0..endpoints).filter(|index| ejected[*index] || shares[*index] < Share::FULL).count();
                    prop_assert!(out * 100 <= percent as usize * endpoints, "beyond the cap");
                    prop_assert!(out < endpoints, "one is always left");
                }
            }
            prop_assert!(machine.deadline().is_none_or(|deadline| deadline > now));
        }
        for _event in 0..endpoints * 8 {
            let Some(deadline) = machine.deadline() else { break };
            machine.step(deadline, Input::Timeout);
            while machine.poll_output().is_some() {}
        }
        prop_assert_eq!(machine.deadline(), None, "everything ends");
        prop_assert!((0..endpoints).all(|endpoint| machine.share(endpoint) == Share::FULL));
    }
}

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const QUICK: Outcome = Outcome::Success(Duration::from_millis(1));
const FAILED: Outcome = Outcome::Failure(Duration::from_millis(1));

fn at(seconds: u64) -> Moment {
    Moment::from_millis(seconds * 1000)
}

struct Bench {
    breaker: Breaker,
    rng: Rng,
}

impl Bench {
    fn new(policy: Policy) -> Self {
        Self { breaker: Breaker::new(policy), rng: Rng::seeded(3) }
    }

    fn admit(&mut self, now: Moment) -> Admission {
        self.breaker.admit(now, &mut self.rng)
    }

    fn ticket(&mut self, now: Moment) -> Ticket {
        match self.admit(now) {
            Admission::Pass(ticket) => ticket,
            Admission::Refuse(wait) => panic!("refused for {wait:?}"),
        }
    }

    fn end(&mut self, now: Moment, ticket: Ticket, outcome: Outcome) {
        self.breaker.record(now, ticket, outcome, &mut self.rng);
    }

    fn call(&mut self, now: Moment, outcome: Outcome) {
        let ticket = self.ticket(now);
        self.end(now, ticket, outcome);
    }

    fn refused(&mut self, now: Moment) -> Option<Duration> {
        match self.admit(now) {
            Admission::Pass(_) => None,
            Admission::Refuse(wait) => Some(wait),
        }
    }

    fn changes(&mut self) -> Vec<(Phase, Why)> {
        std::iter::from_fn(|| self.breaker.poll_output()).map(|change| (change.to, change.why)).collect()
    }
}

#[test]
fn classic_opens_at_half_for_a_minute_and_one_call_decides() {
    let mut bench = Bench::new(Policy::CLASSIC);
    for _pair in 0..4 {
        bench.call(at(1), QUICK);
        bench.call(at(1), FAILED);
    }
    bench.call(at(2), QUICK);
    assert_eq!(bench.breaker.phase(), Phase::Closed, "nine calls are too few");
    bench.call(at(2), FAILED);
    let tally = Tally { calls: 10, failed: 5, slow: 0 };
    assert_eq!(bench.changes(), [(Phase::Open, Why::FailureRate(tally))]);
    assert_eq!(bench.refused(at(3)), Some(59 * SECOND));
    let probe = bench.ticket(at(62));
    assert!(probe.is_probe());
    assert_eq!(bench.refused(at(63)), Some(SOON), "one at a time");
    bench.end(at(64), probe, FAILED);
    assert_eq!(bench.refused(at(64)), Some(60 * SECOND), "a minute again: it does not grow");
    bench.call(at(124), QUICK);
    let words: Vec<Phase> = bench.changes().into_iter().map(|(phase, _why)| phase).collect();
    assert_eq!(words, [Phase::HalfOpen, Phase::Open, Phase::HalfOpen, Phase::Closed]);
    bench.call(at(125), FAILED);
    assert_eq!(bench.breaker.phase(), Phase::Closed, "its window began anew");
}

#[test]
fn opens_after_failures_in_a_row_and_for_slow_calls() {
    let row = Policy { consecutive: Some(3), failure_rate: None, ..Policy::default() };
    let mut bench = Bench::new(row);
    for outcome in [FAILED, FAILED, QUICK, FAILED, Outcome::Abandoned, FAILED] {
        bench.call(at(1), outcome);
    }
    assert_eq!(bench.changes(), []);
    bench.call(at(1), FAILED);
    assert_eq!(bench.changes(), [(Phase::Open, Why::Consecutive(3))]);

    let slow = Some(Slow { rate: 0.5, after: SECOND });
    let mut bench = Bench::new(Policy { slow, min_calls: 4, ..Policy::default() });
    for took in [SECOND, SECOND + Duration::from_nanos(1), SECOND, 30 * SECOND] {
        bench.call(at(1), Outcome::Success(took));
    }
    let tally = Tally { calls: 4, failed: 0, slow: 2 };
    assert_eq!(bench.changes(), [(Phase::Open, Why::SlowRate(tally))]);
}

#[test]
fn stays_open_longer_each_time_up_to_the_cap_and_forgets() {
    let policy = Policy {
        consecutive: Some(1),
        open_for: SECOND,
        open_max: 5 * SECOND,
        jitter: 0.0,
        probes: 1,
        ramp: Duration::ZERO,
        ..Policy::default()
    };
    let mut bench = Bench::new(policy);
    let mut now = at(10);
    for lasts in [1, 2, 4, 5, 5] {
        bench.call(now, FAILED);
        assert_eq!(bench.refused(now), Some(lasts * SECOND));
        now = now.after(lasts * SECOND);
    }
    bench.call(now, QUICK);
    assert_eq!(bench.breaker.phase(), Phase::Closed);
    bench.call(now.after(4 * SECOND), FAILED);
    assert_eq!(bench.refused(now.after(4 * SECOND)), Some(5 * SECOND), "it was closed for too short a time");
    now = now.after(9 * SECOND);
    bench.call(now, QUICK);
    now = now.after(5 * SECOND);
    bench.call(now, FAILED);
    assert_eq!(bench.refused(now), Some(SECOND), "closed for as long as it was open");
}

#[test]
fn jitter_only_lengthens() {
    let policy = Policy { consecutive: Some(1), open_for: SECOND, jitter: 0.5, ..Policy::default() };
    let waits: Vec<Duration> = (0..200)
        .map(|seed| {
            let mut bench = Bench { breaker: Breaker::new(policy), rng: Rng::seeded(seed) };
            bench.call(at(1), FAILED);
            bench.refused(at(1)).unwrap()
        })
        .collect();
    let (least, most) = (waits.iter().min().unwrap(), waits.iter().max().unwrap());
    assert!(*least >= SECOND && *least < SECOND.mul_f64(1.05), "{least:?}");
    assert!(*most <= SECOND.mul_f64(1.5) && *most > SECOND.mul_f64(1.45), "{most:?}");
}

fn half_open(probes: u32) -> Bench {
    let policy = Policy {
        consecutive: Some(1),
        open_for: SECOND,
        jitter: 0.0,
        probes,
        probe_timeout: 3 * SECOND,
        ramp: 10 * SECOND,
        ..Policy::default()
    };
    let mut bench = Bench::new(policy);
    bench.call(at(1), FAILED);
    bench.changes();
    bench
}

#[test]
fn half_open_lets_as_many_through_as_it_has_slots_and_gives_them_back() {
    let mut bench = half_open(2);
    let (first, second) = (bench.ticket(at(2)), bench.ticket(at(2)));
    assert!(bench.refused(at(2)).is_some());
    bench.end(at(3), first, Outcome::Abandoned);
    let third = bench.ticket(at(3));
    assert!(bench.refused(at(3)).is_some(), "a slot that was given back is given out once");
    bench.end(at(3), second, QUICK);
    assert!(bench.refused(at(3)).is_some(), "one has passed and one is under way: that makes two");
    bench.end(at(4), third, QUICK);
    assert_eq!(bench.changes(), [(Phase::HalfOpen, Why::Waited), (Phase::Ramping, Why::ProbesPassed)]);
    let passed = (0..1000).filter(|_call| bench.refused(at(9)).is_none()).count();
    assert!((500..600).contains(&passed), "55 % in the middle of the ramp: {passed}");
    bench.breaker.step(at(14), &mut Rng::seeded(1));
    assert_eq!(bench.changes(), [(Phase::Closed, Why::RampOver)]);
}

#[test]
fn a_probe_that_does_not_end_has_failed_and_its_late_end_says_nothing() {
    let mut bench = half_open(2);
    let stuck = bench.ticket(at(2));
    bench.call(at(4), QUICK);
    assert_eq!(bench.breaker.deadline(), Some(at(5)));
    assert_eq!(bench.refused(at(5)), Some(2 * SECOND));
    assert_eq!(bench.changes(), [(Phase::HalfOpen, Why::Waited), (Phase::Open, Why::ProbeTimeout)]);
    let probe = bench.ticket(at(7));
    bench.end(at(7), stuck, FAILED);
    assert_eq!(bench.breaker.phase(), Phase::HalfOpen);
    bench.end(at(7), stuck, Outcome::Abandoned);
    bench.end(at(7), probe, QUICK);
    bench.call(at(7), QUICK);
    assert_eq!(bench.breaker.phase(), Phase::Ramping);
}

#[test]
fn a_failure_told_of_late_opens_a_ramp_and_a_trial() {
    let mut bench = half_open(1);
    let probe = bench.ticket(at(2));
    bench.breaker.belie(at(2), &mut Rng::seeded(1));
    assert_eq!(bench.breaker.phase(), Phase::Open);
    bench.end(at(2), probe, QUICK);
    assert_eq!(bench.breaker.phase(), Phase::Open);
    bench.call(at(4), QUICK);
    assert_eq!(bench.breaker.phase(), Phase::Ramping);
    bench.breaker.belie(at(5), &mut Rng::seeded(1));
    assert_eq!(bench.refused(at(5)), Some(4 * SECOND));
}

#[test]
fn successes_by_the_dozen_count_as_single_ones_do() {
    let mut bench = Bench::new(Policy { consecutive: Some(2), ..Policy::default() });
    bench.call(at(1), FAILED);
    bench.breaker.record_well(at(1), 0, 39, &mut Rng::seeded(1));
    bench.call(at(1), FAILED);
    assert_eq!(bench.breaker.tally(at(1)), Tally { calls: 41, failed: 2, slow: 0 });
    assert_eq!(bench.breaker.phase(), Phase::Closed);
    bench.breaker.record_well(at(1), 7, 39, &mut Rng::seeded(1));
    assert_eq!(bench.breaker.tally(at(1)).calls, 41, "of another era");
}

#[test]
fn an_operator_closes_it_and_nothing_is_held_against_it() {
    let mut bench = Bench::new(Policy::CLASSIC);
    for _call in 0..20 {
        if let Admission::Pass(ticket) = bench.admit(at(1)) {
            bench.end(at(1), ticket, FAILED);
        }
    }
    assert_eq!(bench.breaker.phase(), Phase::Open);
    bench.changes();
    bench.breaker.reset();
    assert_eq!(bench.changes(), [(Phase::Closed, Why::Reset)]);
    bench.call(at(2), FAILED);
    assert_eq!(bench.breaker.tally(at(2)).calls, 1, "what it saw before is forgotten");
    bench.breaker.reset();
    assert_eq!(bench.changes(), [], "closed already");
}

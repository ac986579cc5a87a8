use super::*;

const POLICY: Policy =
    Policy { interval: Duration::from_secs(2), timeout: Duration::from_secs(1), unhealthy: 3, healthy: 2 };

/// A machine with its driver's clock.
struct Bench {
    machine: Machine,
    now: Moment,
    running: Option<u64>,
    changes: Vec<(State, State)>,
    eased: Vec<bool>,
}

impl Bench {
    fn new(policy: Policy, state: State) -> Self {
        let now = Moment::from_millis(5_000);
        let machine = Machine::new(policy, state, false, now, Rng::seeded(1));
        let mut bench = Self { machine, now, running: None, changes: Vec::new(), eased: Vec::new() };
        bench.drain();
        bench
    }

    fn drain(&mut self) {
        while let Some(output) = self.machine.poll_output() {
            match output {
                Output::StartProbe { generation } => self.running = Some(generation),
                Output::Changed { from, to } => self.changes.push((from, to)),
                Output::Eased { degraded } => self.eased.push(degraded),
            }
        }
    }

    fn step(&mut self, input: Input) {
        self.machine.step(self.now, input);
        self.drain();
    }

    fn timeout(&mut self) {
        self.now = self.machine.deadline();
        self.step(Input::Timeout);
    }

    /// Lets the next probe start and end with a verdict.
    fn verdict(&mut self, passed: bool) {
        self.finding(if passed { Verdict::Passed } else { Verdict::Failed });
    }

    fn finding(&mut self, verdict: Verdict) {
        if self.running.is_none() {
            self.timeout();
        }
        let generation = self.running.take().expect("a probe runs after the deadline");
        self.now = self.now.after(Duration::from_millis(10));
        self.step(Input::Verdict { generation, verdict });
    }
}

#[test]
fn verdicts_move_the_state() {
    use State::{Down, Unknown, Up};
    // State at the start; verdicts; state after each.
    let table: [(State, &str, &[State]); 9] = [
        (Unknown, "+", &[Up]),
        (Unknown, "---", &[Unknown, Unknown, Down]),
        (Unknown, "--+", &[Unknown, Unknown, Up]),
        (Up, "---", &[Up, Up, Down]),
        (Up, "--+--+", &[Up; 6]),
        (Up, "--+---", &[Up, Up, Up, Up, Up, Down]),
        (Down, "++", &[Down, Up]),
        (Down, "+-+-++", &[Down, Down, Down, Down, Down, Up]),
        (Up, "---+++-", &[Up, Up, Down, Down, Up, Up, Up]),
    ];
    for (start, verdicts, expected) in table {
        let mut bench = Bench::new(POLICY, start);
        for (verdict, state) in verdicts.chars().zip(expected) {
            bench.verdict(verdict == '+');
            assert_eq!(bench.machine.state(), *state, "{start:?} {verdicts}");
        }
        assert!(bench.changes.iter().all(|(from, to)| from != to), "{:?}", bench.changes);
        let last = bench.changes.last().map_or(start, |(_from, to)| *to);
        assert_eq!(last, bench.machine.state(), "outputs tell what the state is");
    }
}

#[test]
fn the_first_probe_goes_out_at_once() {
    for state in [State::Unknown, State::Up, State::Down] {
        let mut bench = Bench::new(POLICY, state);
        assert_eq!(bench.running, Some(1));
        assert_eq!(bench.machine.state(), state);
        assert_eq!(bench.machine.poll_output(), None);
    }
}

#[test]
fn a_silent_prober_takes_an_endpoint_down() {
    let mut bench = Bench::new(POLICY, State::Up);
    let start = bench.now;
    for _event in 0..5 {
        bench.timeout();
    }
    assert_eq!(bench.machine.state(), State::Down);
    // Three time-outs, two intervals between.
    let took = bench.now.since(start).as_secs_f64();
    assert!((4.6..=5.4).contains(&took), "{took}");
}

#[test]
fn late_and_foreign_verdicts_are_ignored() {
    let mut bench = Bench::new(Policy { unhealthy: 1, healthy: 1, ..POLICY }, State::Up);
    bench.step(Input::Verdict { generation: 0, verdict: Verdict::Failed });
    bench.step(Input::Verdict { generation: 2, verdict: Verdict::Failed });
    assert_eq!(bench.machine.state(), State::Up, "not the probe that runs");
    bench.timeout();
    assert_eq!(bench.machine.state(), State::Down);
    bench.step(Input::Verdict { generation: 1, verdict: Verdict::Passed });
    assert_eq!(bench.machine.state(), State::Down, "its time-out came first");
    bench.timeout();
    assert_eq!(bench.running, Some(2));
    bench.step(Input::Verdict { generation: 1, verdict: Verdict::Passed });
    assert_eq!(bench.machine.state(), State::Down, "another one runs");
    bench.step(Input::Verdict { generation: 2, verdict: Verdict::Passed });
    assert_eq!(bench.machine.state(), State::Up);
    bench.step(Input::Verdict { generation: 2, verdict: Verdict::Failed });
    assert_eq!(bench.machine.state(), State::Up, "a verdict counts once");
}

#[test]
fn a_verdict_at_the_time_out_is_a_failure() {
    let mut bench = Bench::new(Policy { unhealthy: 1, ..POLICY }, State::Up);
    bench.now = bench.machine.deadline();
    bench.step(Input::Verdict { generation: 1, verdict: Verdict::Passed });
    assert_eq!(bench.machine.state(), State::Down);
}

#[test]
fn probes_keep_their_interval_within_the_jitter() {
    let mut bench = Bench::new(POLICY, State::Unknown);
    let mut gaps = Vec::new();
    let mut before = bench.now;
    for _probe in 0..500 {
        bench.verdict(true);
        bench.timeout();
        gaps.push(bench.now.since(before).as_secs_f64());
        before = bench.now;
    }
    assert!(gaps.iter().all(|gap| (1.8..=2.2).contains(gap)), "{gaps:?}");
    let (least, most) = (gaps.iter().copied().fold(9.0, f64::min), gaps.iter().copied().fold(0.0, f64::max));
    assert!(least < 1.85 && most > 2.15, "jitter is used: {least}..{most}");
}

#[test]
fn a_probe_longer_than_the_interval_is_not_cut_short() {
    let policy = Policy { interval: Duration::from_secs(1), timeout: Duration::from_secs(5), ..POLICY };
    let mut bench = Bench::new(policy, State::Up);
    assert_eq!(bench.machine.deadline(), bench.now.after(Duration::from_secs(5)));
    bench.now = bench.now.after(Duration::from_secs(4));
    bench.step(Input::Timeout);
    assert_eq!(bench.running, Some(1), "an early time-out changes nothing");
    bench.step(Input::Verdict { generation: 1, verdict: Verdict::Passed });
    assert_eq!(bench.running, Some(2), "the next one is overdue and starts at once");
}

#[test]
fn senseless_policies_neither_spin_nor_sleep_for_ever() {
    for duration in [Duration::ZERO, Duration::MAX] {
        let policy = Policy { interval: duration, timeout: duration, unhealthy: 0, healthy: 0 };
        let mut bench = Bench::new(policy, State::Up);
        for _event in 0..10 {
            let before = bench.now;
            assert!(bench.machine.deadline() > before);
            assert!(bench.machine.deadline() <= before.after(LONGEST.mul_f64(1.1)));
            bench.timeout();
        }
        assert_eq!(bench.machine.state(), State::Down);
    }
}

#[test]
fn what_is_amiss_marks_it_degraded_and_never_takes_it_down() {
    use State::{Down, Unknown, Up};
    // State at the start; verdicts (~ is degraded); state and whether it is degraded at the end; what was told of the latter.
    let table: [(State, &str, State, bool, &[bool]); 12] = [
        (Unknown, "~", Up, true, &[true]),
        (Unknown, "~+", Up, true, &[true]),
        (Unknown, "~++", Up, false, &[true, false]),
        (Up, "~~", Up, false, &[]),
        (Up, "~~~", Up, true, &[true]),
        (Up, "~~+~~", Up, false, &[]),
        (Up, "~~~~~~~~", Up, true, &[true]),
        (Up, "-~-~", Up, true, &[true]),
        (Up, "~~~---", Down, false, &[true, false]),
        (Up, "---", Down, false, &[]),
        (Down, "~~", Up, true, &[true]),
        (Down, "~+", Up, false, &[]),
    ];
    for (start, verdicts, state, degraded, told) in table {
        let mut bench = Bench::new(POLICY, start);
        for verdict in verdicts.chars() {
            bench.finding(match verdict {
                '+' => Verdict::Passed,
                '~' => Verdict::Degraded,
                _failed => Verdict::Failed,
            });
        }
        let found = (bench.machine.state(), bench.machine.is_degraded(), bench.eased.as_slice());
        assert_eq!(found, (state, degraded, told), "{start:?} {verdicts}");
    }
}

#[test]
fn being_degraded_is_carried_over_with_the_state() {
    let machine = |state| Machine::new(POLICY, state, true, Moment::ZERO, Rng::seeded(1));
    assert!(machine(State::Up).is_degraded());
    assert!(!machine(State::Down).is_degraded() && !machine(State::Unknown).is_degraded());
}

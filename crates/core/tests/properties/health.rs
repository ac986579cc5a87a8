use std::time::Duration;

use mainstay_core::health::{Input, Machine, Output, Policy, State, Verdict};
use mainstay_core::random::Rng;
use mainstay_core::time::Moment;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Event {
    /// The driver wakes when the machine asked for it.
    Deadline,
    /// It wakes at some other time.
    Stray,
    /// A verdict for the probe started so many probes ago; 0 for the latest.
    Verdict { age: u64, verdict: Verdict },
    /// A verdict for a probe that was never started.
    Forged { verdict: Verdict },
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => Just(Event::Deadline),
        1 => Just(Event::Stray),
        4 => verdict().prop_map(|verdict| Event::Verdict { age: 0, verdict }),
        1 => (1u64..4, verdict()).prop_map(|(age, verdict)| Event::Verdict { age, verdict }),
        1 => verdict().prop_map(|verdict| Event::Forged { verdict }),
    ]
}

fn verdict() -> impl Strategy<Value = Verdict> {
    prop_oneof![Just(Verdict::Passed), Just(Verdict::Degraded), Just(Verdict::Failed)]
}

fn policy() -> impl Strategy<Value = Policy> {
    (1u64..5000, 1u64..5000, 1u32..5, 1u32..5).prop_map(|(interval, timeout, unhealthy, healthy)| Policy {
        interval: Duration::from_millis(interval),
        timeout: Duration::from_millis(timeout),
        unhealthy,
        healthy,
    })
}

fn state() -> impl Strategy<Value = State> {
    prop_oneof![Just(State::Unknown), Just(State::Up), Just(State::Down)]
}

/// What the machine should know, from the list of all outcomes that count.
struct Model {
    policy: Policy,
    state: State,
    degraded: bool,
    outcomes: Vec<Verdict>,
    /// The probe that runs, and when its time is up.
    running: Option<(u64, Moment)>,
    /// Of the latest probe.
    generation: u64,
}

impl Model {
    fn ends_with(&self, count: u32, is: impl Fn(Verdict) -> bool) -> bool {
        let count = count as usize;
        self.outcomes.len() >= count && self.outcomes.iter().rev().take(count).all(|outcome| is(*outcome))
    }

    fn conclude(&mut self, outcome: Verdict) {
        self.running = None;
        self.outcomes.push(outcome);
        let before = self.state;
        let (passes, failed) = (|it| it != Verdict::Failed, |it| it == Verdict::Failed);
        self.state = match self.state {
            State::Unknown if passes(outcome) => State::Up,
            State::Down if self.ends_with(self.policy.healthy, passes) => State::Up,
            State::Unknown | State::Up if self.ends_with(self.policy.unhealthy, failed) => State::Down,
            unchanged => unchanged,
        };
        let clean = |it| it == Verdict::Passed;
        if self.state != State::Up {
            self.degraded = false;
        } else if before != State::Up {
            self.degraded = outcome == Verdict::Degraded;
        } else if self.ends_with(self.policy.unhealthy, |it| !clean(it)) {
            self.degraded = true;
        } else if self.ends_with(self.policy.healthy, clean) {
            self.degraded = false;
        }
    }

    fn step(&mut self, now: Moment, input: Input) {
        let Some((running, until)) = self.running else { return };
        match input {
            _due if now >= until => self.conclude(Verdict::Failed),
            Input::Verdict { generation, verdict } if generation == running => self.conclude(verdict),
            _nothing => {}
        }
    }

    /// Checks the outputs of a step, and that the machine will be heard of again.
    fn check(&mut self, machine: &mut Machine, told: &mut State, now: Moment) -> Result<(), TestCaseError> {
        while let Some(output) = machine.poll_output() {
            match output {
                Output::StartProbe { generation } => {
                    prop_assert!(self.running.is_none(), "two probes at once");
                    prop_assert!(generation > self.generation, "generations only grow");
                    self.generation = generation;
                    self.running = Some((generation, now.after(self.policy.timeout)));
                }
                Output::Changed { from, to } => {
                    prop_assert!(from != to && from == *told);
                    *told = to;
                }
                Output::Eased { degraded } => {
                    prop_assert_eq!(degraded, self.degraded);
                    prop_assert!(!degraded || self.state == State::Up, "only what is up is degraded");
                }
            }
        }
        prop_assert_eq!(machine.state(), self.state);
        prop_assert_eq!(machine.is_degraded(), self.degraded);
        prop_assert_eq!(*told, self.state, "changes tell the state");
        let longest = self.policy.timeout.max(self.policy.interval.mul_f64(1.1)) + Duration::from_millis(1);
        prop_assert!(machine.deadline() > now, "no busy loop");
        prop_assert!(machine.deadline() <= now.after(longest), "no wait without end");
        if let Some((_generation, until)) = self.running {
            prop_assert_eq!(machine.deadline(), until);
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(crate::config())]

    #[test]
    fn follows_the_verdicts_that_count_and_always_has_a_deadline(
        policy in policy(),
        start in state(),
        seed: u64,
        events in prop::collection::vec((0u64..3000, event()), 1..120),
    ) {
        let mut now = Moment::from_millis(seed % 1_000_000);
        let mut machine = Machine::new(policy, start, false, now, Rng::seeded(seed));
        let mut model = Model { policy, state: start, degraded: false, outcomes: Vec::new(), running: None, generation: 0 };
        let mut told = start;
        model.check(&mut machine, &mut told, now)?;
        prop_assert!(model.running.is_some(), "the first probe goes out at once");
        for (wait_ms, event) in events {
            let input = match event {
                Event::Deadline => {
                    now = machine.deadline();
                    Input::Timeout
                }
                Event::Stray => {
                    now = now.after(Duration::from_millis(wait_ms));
                    Input::Timeout
                }
                Event::Verdict { age, verdict } => {
                    now = now.after(Duration::from_millis(wait_ms / 4));
                    Input::Verdict { generation: model.generation.wrapping_sub(age), verdict }
                }
                Event::Forged { verdict } => Input::Verdict { generation: model.generation + 1 + wait_ms, verdict },
            };
            model.step(now, input);
            machine.step(now, input);
            model.check(&mut machine, &mut told, now)?;
        }
    }

    #[test]
    fn a_prober_that_never_answers_takes_it_down(policy in policy(), start in state(), seed: u64) {
        let mut now = Moment::ZERO;
        let mut machine = Machine::new(policy, start, false, now, Rng::seeded(seed));
        // At most two events a probe: its time-out, and the start of the next.
        for _event in 0..2 * policy.unhealthy {
            if machine.state() != State::Down {
                now = machine.deadline();
                machine.step(now, Input::Timeout);
            }
        }
        prop_assert_eq!(machine.state(), State::Down);
        let longest = policy.interval.mul_f64(1.1).max(policy.timeout) * (policy.unhealthy + 1);
        prop_assert!(now.since(Moment::ZERO) <= longest);
    }
}

//! The active health of one endpoint, as an event machine.
//!
//! At most one probe runs. The next one starts an interval after the last one did, or when that one ends if it takes
//! longer. The machine holds the probe's time-out itself, so a prober that never answers counts as a failure.

use std::time::Duration;

use crate::random::Rng;
use crate::time::Moment;

/// When to probe and how many verdicts change a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Time from the start of one probe to the start of the next, jittered by up to 10 % either way.
    pub interval: Duration,
    /// A probe without a verdict after this long has failed.
    pub timeout: Duration,
    /// Consecutive failures that take an endpoint down; so many verdicts in a row that are no clean pass mark it degraded.
    pub unhealthy: u32,
    /// Consecutive passes that bring it up; so many clean ones end its being degraded.
    pub healthy: u32,
}

impl Policy {
    /// Slower failover, fewer false positives (source document 003).
    pub const CONSERVATIVE: Self =
        Self { interval: Duration::from_secs(30), timeout: Duration::from_secs(10), unhealthy: 5, healthy: 3 };
    /// Faster failover, more false positives (source document 003).
    pub const AGGRESSIVE: Self =
        Self { interval: Duration::from_secs(5), timeout: Duration::from_secs(2), unhealthy: 2, healthy: 2 };
}

impl Default for Policy {
    fn default() -> Self {
        Self { interval: Duration::from_secs(2), timeout: Duration::from_secs(1), unhealthy: 3, healthy: 2 }
    }
}

/// What is known of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Not proven yet: no verdict, or too few. One pass is enough to leave it upwards, `unhealthy` failures downwards.
    Unknown,
    /// Proven able to serve.
    Up,
    /// Failed `unhealthy` probes in a row.
    Down,
}

/// What a probe found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// The endpoint is well.
    Passed,
    /// It serves, but says of itself that something is amiss: it counts as up, and is to get less traffic than its peers.
    Degraded,
    /// It is not well.
    Failed,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// A probe came back; `generation` is that of the [`Output::StartProbe`] it answers.
    Verdict {
        /// Which probe.
        generation: u64,
        /// What it found.
        verdict: Verdict,
    },
    /// The deadline came.
    Timeout,
}

/// What to do, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Start a probe; a running one of an older generation is void.
    StartProbe {
        /// To be given back with the verdict.
        generation: u64,
    },
    /// The state changed.
    Changed {
        /// Before.
        from: State,
        /// Now.
        to: State,
    },
    /// It became degraded, or is so no longer. Comes after the change of state that goes with it.
    Eased {
        /// Whether it is degraded now. Only what is [`State::Up`] ever is.
        degraded: bool,
    },
}

/// Bounds of intervals and time-outs whatever the policy says: never a busy loop, never a wait without end.
const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// The machine: `step`, then `poll_output` until `None`, then sleep until `deadline`.
#[derive(Clone, Debug)]
pub struct Machine {
    policy: Policy,
    rng: Rng,
    state: State,
    /// Verdicts of the same kind in a row.
    streak: Streak,
    /// Clean passes in a row, or verdicts that are none.
    finish: Streak,
    degraded: bool,
    /// Of the latest probe.
    generation: u64,
    probe: Probe,
    /// When the next probe starts, at the earliest.
    next: Moment,
    /// What `poll_output` told last: a change that is undone before it is polled is no change.
    told: State,
    told_degraded: bool,
    /// The latest probe has not been given to the driver yet.
    start_untold: bool,
}

#[derive(Clone, Copy, Debug)]
enum Streak {
    Passes(u32),
    Failures(u32),
}

impl Streak {
    fn and(self, passed: bool) -> Self {
        match (self, passed) {
            (Self::Passes(count), true) => Self::Passes(count.saturating_add(1)),
            (Self::Failures(count), false) => Self::Failures(count.saturating_add(1)),
            (Self::Failures(_), true) => Self::Passes(1),
            (Self::Passes(_), false) => Self::Failures(1),
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Probe {
    Idle,
    Running { until: Moment },
}

impl Machine {
    /// A machine whose first probe goes out at once. It starts from `state` and, if that is up, `degraded`, which a reload
    /// carries over.
    pub fn new(policy: Policy, state: State, degraded: bool, now: Moment, rng: Rng) -> Self {
        let degraded = degraded && state == State::Up;
        let mut machine = Self {
            policy: Policy {
                interval: policy.interval.clamp(SHORTEST, LONGEST),
                timeout: policy.timeout.clamp(SHORTEST, LONGEST),
                unhealthy: policy.unhealthy.max(1),
                healthy: policy.healthy.max(1),
            },
            rng,
            state,
            streak: Streak::Passes(0),
            finish: Streak::Passes(0),
            degraded,
            generation: 0,
            probe: Probe::Idle,
            next: now,
            told: state,
            told_degraded: degraded,
            start_untold: false,
        };
        machine.start_if_due(now);
        machine
    }

    /// Takes in what happened. Total: never fails or blocks.
    pub fn step(&mut self, now: Moment, input: Input) {
        let answer = match input {
            Input::Verdict { generation, verdict } if generation == self.generation => Some(verdict),
            Input::Verdict { .. } | Input::Timeout => None,
        };
        if let Probe::Running { until } = self.probe {
            // Whatever came, the time-out may be due as well: then the answer is too late, even if it overtook it.
            if now >= until {
                self.conclude(Verdict::Failed);
            } else if let Some(verdict) = answer {
                self.conclude(verdict);
            }
        }
        self.start_if_due(now);
    }

    /// The next effect, in order.
    pub fn poll_output(&mut self) -> Option<Output> {
        if self.told != self.state {
            let from = std::mem::replace(&mut self.told, self.state);
            return Some(Output::Changed { from, to: self.state });
        }
        if self.told_degraded != self.degraded {
            self.told_degraded = self.degraded;
            return Some(Output::Eased { degraded: self.degraded });
        }
        std::mem::take(&mut self.start_untold).then_some(Output::StartProbe { generation: self.generation })
    }

    /// When to feed [`Input::Timeout`]. Never absent: a machine that waits for ever would be a stuck endpoint.
    pub fn deadline(&self) -> Moment {
        match self.probe {
            Probe::Idle => self.next,
            Probe::Running { until } => until,
        }
    }

    /// What is known now.
    pub fn state(&self) -> State {
        self.state
    }

    /// Whether it is up and degraded.
    pub fn is_degraded(&self) -> bool {
        self.degraded
    }

    fn start_if_due(&mut self, now: Moment) {
        if matches!(self.probe, Probe::Idle) && now >= self.next {
            self.generation += 1;
            self.probe = Probe::Running { until: now.after(self.policy.timeout) };
            self.next = now.after(self.policy.interval.mul_f64(0.9 + 0.2 * self.rng.unit()));
            self.start_untold = true;
        }
    }

    /// Ends the running probe, which voids its generation.
    fn conclude(&mut self, verdict: Verdict) {
        self.probe = Probe::Idle;
        self.start_untold = false;
        self.streak = self.streak.and(verdict != Verdict::Failed);
        self.finish = self.finish.and(verdict == Verdict::Passed);
        let before = self.state;
        self.state = match (self.state, self.streak) {
            (State::Unknown, Streak::Passes(_)) => State::Up,
            (State::Down, Streak::Passes(count)) if count >= self.policy.healthy => State::Up,
            (State::Unknown | State::Up, Streak::Failures(count)) if count >= self.policy.unhealthy => State::Down,
            (state, Streak::Passes(_) | Streak::Failures(_)) => state,
        };
        self.degraded = match (self.state, self.finish) {
            (State::Unknown | State::Down, _) => false,
            // What comes up is judged by the verdict that brought it up.
            (State::Up, _) if before != State::Up => verdict == Verdict::Degraded,
            (State::Up, Streak::Passes(count)) => self.degraded && count < self.policy.healthy,
            (State::Up, Streak::Failures(count)) => self.degraded || count >= self.policy.unhealthy,
        };
    }
}

#[cfg(test)]
mod tests;

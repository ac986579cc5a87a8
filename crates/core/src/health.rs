//! The active health of one endpoint, as an event machine. (behaviour to be written)

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
    /// Consecutive failures that take an endpoint down.
    pub unhealthy: u32,
    /// Consecutive passes that bring it up.
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

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// A probe came back; `generation` is that of the [`Output::StartProbe`] it answers.
    Verdict {
        /// Which probe.
        generation: u64,
        /// Whether it passed.
        passed: bool,
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
}

/// The machine: `step`, then `poll_output` until `None`, then sleep until `deadline`.
#[derive(Clone, Debug)]
pub struct Machine {}

impl Machine {
    /// A machine whose first probe goes out at once. It starts from `state`, which a reload carries over.
    pub fn new(_policy: Policy, _state: State, _now: Moment, _rng: Rng) -> Self {
        Self {}
    }

    /// Takes in what happened. Total: never fails or blocks.
    pub fn step(&mut self, _now: Moment, _input: Input) {}

    /// The next effect, in order.
    pub fn poll_output(&mut self) -> Option<Output> {
        None
    }

    /// When to feed [`Input::Timeout`]. Never absent: a machine that waits for ever would be a stuck endpoint.
    pub fn deadline(&self) -> Moment {
        Moment::NEVER
    }

    /// What is known now.
    pub fn state(&self) -> State {
        State::Unknown
    }
}

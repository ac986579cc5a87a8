//! Passive ejection of endpoints that fail real traffic, one machine a service. (behaviour to be written)

use std::time::Duration;

use crate::time::Moment;

/// When real failures take an endpoint out, and for how long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    /// Consecutive failures (connect failures, resets, time-outs, 5xx) that eject; at least 1.
    pub consecutive: u32,
    /// The first ejection lasts this long; the n-th in a row n times as long.
    pub base: Duration,
    /// No ejection lasts longer.
    pub cap: Duration,
    /// Share of a service's endpoints that may be ejected at once, 0 to 1. The last one is never ejected.
    pub max_ejected: f64,
}

impl Default for Policy {
    fn default() -> Self {
        Self { consecutive: 5, base: Duration::from_secs(10), cap: Duration::from_secs(300), max_ejected: 0.5 }
    }
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// The endpoint has failed `consecutive` times in a row.
    Tripped {
        /// Which one.
        endpoint: usize,
        /// How many endpoints of the service would still be eligible without it.
        others: usize,
    },
    /// The deadline came.
    Timeout,
}

/// What to do, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send it nothing.
    Eject {
        /// Which one.
        endpoint: usize,
        /// Until when.
        until: Moment,
    },
    /// Send it traffic again.
    Restore {
        /// Which one.
        endpoint: usize,
    },
}

/// The machine of one service.
#[derive(Clone, Debug)]
pub struct Machine {}

impl Machine {
    /// A machine over `endpoints` endpoints, none ejected.
    pub fn new(_policy: Policy, _endpoints: usize) -> Self {
        Self {}
    }

    /// Takes in what happened.
    pub fn step(&mut self, _now: Moment, _input: Input) {}

    /// The next effect, in order.
    pub fn poll_output(&mut self) -> Option<Output> {
        None
    }

    /// When to feed [`Input::Timeout`]; `None` while nothing is ejected.
    pub fn deadline(&self) -> Option<Moment> {
        None
    }
}

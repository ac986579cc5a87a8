//! Passive ejection of endpoints that fail real traffic, one machine a service.
//!
//! An ejection is refused if it would leave no eligible endpoint, or more than the policy's share ejected. The share is of
//! all endpoints, this one counted: at 50 %, a service of two or three may lose one, of four two; at 10 %, a service of
//! fewer than ten loses none.
//!
//! Ejections are "in a row" if the endpoint stayed in service for a shorter time than its last ejection lasted.

use std::collections::VecDeque;
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

/// No policy makes an ejection last longer than this, so that each one has an end.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// The machine of one service.
#[derive(Clone, Debug)]
pub struct Machine {
    policy: Policy,
    endpoints: Vec<Endpoint>,
    outputs: VecDeque<Output>,
}

#[derive(Clone, Copy, Debug)]
enum Endpoint {
    /// It has never been ejected, or that is so long ago that it does not count.
    Serving,
    Ejected {
        until: Moment,
        lasts: Duration,
        in_a_row: u32,
    },
    /// Back in service; an ejection before `forgotten` counts as the next in a row.
    Restored {
        forgotten: Moment,
        in_a_row: u32,
    },
}

impl Machine {
    /// A machine over `endpoints` endpoints, none ejected.
    pub fn new(policy: Policy, endpoints: usize) -> Self {
        Self { policy, endpoints: vec![Endpoint::Serving; endpoints], outputs: VecDeque::new() }
    }

    /// Takes in what happened.
    pub fn step(&mut self, now: Moment, input: Input) {
        self.restore_due(now);
        match input {
            Input::Tripped { endpoint, others } => self.eject(now, endpoint, others),
            Input::Timeout => {}
        }
    }

    /// Goes on with an ejection that another machine decided and that its owner heeds already. It counts as the first in a
    /// row, and against the policy's share like any other.
    pub fn resume(&mut self, now: Moment, endpoint: usize, until: Moment) {
        let lasts = until.since(now).min(LONGEST);
        if let Some(entry) = self.endpoints.get_mut(endpoint) {
            *entry = Endpoint::Ejected { until: now.after(lasts), lasts, in_a_row: 1 };
        }
    }

    /// The next effect, in order.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to feed [`Input::Timeout`]; `None` while nothing is ejected.
    pub fn deadline(&self) -> Option<Moment> {
        self.endpoints.iter().filter_map(Endpoint::ejected_until).min()
    }

    fn restore_due(&mut self, now: Moment) {
        for (endpoint, entry) in self.endpoints.iter_mut().enumerate() {
            if let Endpoint::Ejected { until, lasts, in_a_row } = *entry
                && until <= now
            {
                *entry = Endpoint::Restored { forgotten: now.after(lasts), in_a_row };
                self.outputs.push_back(Output::Restore { endpoint });
            }
        }
    }

    fn eject(&mut self, now: Moment, endpoint: usize, others: usize) {
        let total = self.endpoints.len();
        let ejected_then = 1 + self.endpoints.iter().filter(|entry| entry.ejected_until().is_some()).count();
        // `others` also knows of endpoints that are down or draining; the count of our own holds if it is out of date.
        let is_last = others == 0 || ejected_then >= total;
        // The small addition lets 29 % of 100 be 29, which it is not in binary.
        let within_cap = ejected_then as f64 <= self.policy.max_ejected * total as f64 + 1e-9;
        let Some(entry) = self.endpoints.get_mut(endpoint) else { return };
        let in_a_row = match *entry {
            Endpoint::Serving => 1,
            Endpoint::Ejected { .. } => return,
            Endpoint::Restored { forgotten, in_a_row } if now < forgotten => in_a_row.saturating_add(1),
            Endpoint::Restored { .. } => 1,
        };
        if is_last || !within_cap {
            return;
        }
        let lasts = self.policy.base.saturating_mul(in_a_row).min(self.policy.cap).min(LONGEST);
        let until = now.after(lasts);
        *entry = Endpoint::Ejected { until, lasts, in_a_row };
        self.outputs.push_back(Output::Eject { endpoint, until });
    }
}

impl Endpoint {
    fn ejected_until(&self) -> Option<Moment> {
        match self {
            Self::Ejected { until, .. } => Some(*until),
            Self::Serving | Self::Restored { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests;

//! The retry budget of a service. (behaviour to be written)

use std::time::Duration;

use crate::time::Moment;

/// How many retries a service may cause.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    /// Retries as a share of recent requests, 0 to 1.
    pub ratio: f64,
    /// Retries a second that are always allowed.
    pub floor_per_second: f64,
    /// What "recent" means.
    pub window: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self { ratio: 0.2, floor_per_second: 3.0, window: Duration::from_secs(10) }
    }
}

/// Counts recent requests and retries; shared by all workers behind a lock that only retries and batched deposits take.
#[derive(Clone, Debug)]
pub struct Budget {}

impl Budget {
    /// A budget without history.
    pub fn new(_policy: Policy, _now: Moment) -> Self {
        Self {}
    }

    /// Records `requests` first attempts.
    pub fn deposit(&mut self, _now: Moment, _requests: u32) {}

    /// Charges one retry, if the budget allows it.
    pub fn withdraw(&mut self, _now: Moment) -> bool {
        false
    }
}

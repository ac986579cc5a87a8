//! The retry budget of a service: over every window, retries stay within a share of the window's requests plus a floor.
//!
//! Time is cut into slices. Requests are forgotten a little early and retries a little late (by up to one slice), so that
//! the bound holds for every window exactly, and not only for those that begin where a slice does.

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

/// Slices a window is cut into: the bound's slack is a twentieth of the window.
const SLICES: u64 = 20;

/// Counts recent requests and retries; shared by all workers behind a lock that only retries and batched deposits take.
#[derive(Clone, Debug)]
pub struct Budget {
    policy: Policy,
    slice_nanos: u64,
    /// Number of the newest slice, counted from the origin of the clock.
    newest: u64,
    /// One more than a window holds: the oldest still counts retries, but no requests.
    slices: [Slice; SLICES as usize + 1],
    /// Sum over the slices whose requests count.
    requests: u64,
    /// Sum over all slices.
    retries: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Slice {
    requests: u64,
    retries: u64,
}

impl Budget {
    /// A budget without history.
    pub fn new(policy: Policy, now: Moment) -> Self {
        let window = u64::try_from(policy.window.as_nanos()).unwrap_or(u64::MAX);
        let slice_nanos = (window / SLICES).max(1);
        Self {
            policy,
            slice_nanos,
            newest: now.as_nanos() / slice_nanos,
            slices: [Slice::default(); SLICES as usize + 1],
            requests: 0,
            retries: 0,
        }
    }

    /// Records `requests` first attempts.
    pub fn deposit(&mut self, now: Moment, requests: u32) {
        self.advance(now);
        let slice = self.slice(self.newest);
        slice.requests = slice.requests.saturating_add(u64::from(requests));
        self.requests = self.requests.saturating_add(u64::from(requests));
    }

    /// Charges one retry, if the budget allows it.
    pub fn withdraw(&mut self, now: Moment) -> bool {
        self.advance(now);
        let floor = self.policy.floor_per_second * self.policy.window.as_secs_f64();
        let allowed = self.policy.ratio * self.requests as f64 + floor;
        // A policy that is not a number allows nothing, since the comparison fails.
        let granted = (self.retries + 1) as f64 <= allowed;
        if granted {
            self.slice(self.newest).retries += 1;
            self.retries += 1;
        }
        granted
    }

    /// Forgets what is too old at `now`. A moment before the newest slice counts as in it: workers read the clock before
    /// they take the lock.
    fn advance(&mut self, now: Moment) {
        let target = now.as_nanos() / self.slice_nanos;
        let steps = target.saturating_sub(self.newest).min(SLICES + 1);
        if steps == 0 {
            return;
        }
        let first = target - steps + 1;
        for number in first..=target {
            // The slice that this one replaces no longer counts at all ...
            let replaced = std::mem::take(self.slice(number));
            self.retries -= replaced.retries;
            // ... and the one after it, now the oldest, no longer counts requests.
            let oldest = std::mem::take(&mut self.slice(number + 1).requests);
            self.requests -= replaced.requests + oldest;
        }
        self.newest = target;
    }

    fn slice(&mut self, number: u64) -> &mut Slice {
        &mut self.slices[(number % (SLICES + 1)) as usize]
    }
}

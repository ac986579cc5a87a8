//! The retry budget of a service: a retry is granted while the retries of the window up to now, this one included, stay
//! within a share of the window's requests plus a floor.
//!
//! Time is cut into slices. Requests are forgotten a little early and retries a little late (by up to one slice), so that
//! the bound holds exactly, and not only for windows that begin where a slice does.

use std::time::Duration;

use crate::time::Moment;

/// How many retries a service may cause.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    /// Retries as a share of recent requests, 0 to 1.
    pub ratio: f64,
    /// Retries a second that are always allowed.
    pub floor_per_second: f64,
    /// The floor is what all nodes of a cluster have together, of which this one has a part ([`Budget::set_part`]). The ratio needs
    /// no such thing: shares of each node's requests add up to the share of all.
    pub shared: bool,
    /// What "recent" means.
    pub window: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self { ratio: 0.2, floor_per_second: 3.0, shared: false, window: Duration::from_secs(10) }
    }
}

/// Slices a window is cut into: the bound's slack is a twentieth of the window.
const SLICES: u64 = 20;

/// Counts recent requests and retries; shared by all workers behind a lock that only retries and batched deposits take.
#[derive(Clone, Debug)]
pub struct Budget {
    policy: Policy,
    /// Of the floor, if that is shared.
    part: f64,
    /// Retries asked for, since the beginning.
    asked: u64,
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
            part: 1.0,
            asked: 0,
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

    /// How much of the floor is this node's, 0 to 1.
    pub fn part(&self) -> f64 {
        self.part
    }

    /// How much of the floor is this node's from now on (0 to 1), if it is shared.
    pub fn set_part(&mut self, part: f64) {
        self.part = part;
    }

    /// Retries asked for, granted or not, since the beginning.
    pub fn asked(&self) -> u64 {
        self.asked
    }

    /// Charges one retry, if the budget allows it.
    pub fn withdraw(&mut self, now: Moment) -> bool {
        self.advance(now);
        self.asked = self.asked.wrapping_add(1);
        let part = if self.policy.shared { self.part } else { 1.0 };
        let floor = self.policy.floor_per_second * self.policy.window.as_secs_f64() * part;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(ratio: f64, floor_per_second: f64) -> Policy {
        Policy { ratio, floor_per_second, ..Policy::default() }
    }

    fn granted(budget: &mut Budget, now: Moment, wanted: u32) -> u32 {
        (0..wanted).map(|_retry| u32::from(budget.withdraw(now))).sum()
    }

    #[test]
    fn the_floor_works_from_idle() {
        for start in [Moment::ZERO, Moment::from_millis(1), Moment::from_millis(86_400_000)] {
            let mut budget = Budget::new(policy(0.2, 3.0), start);
            assert_eq!(granted(&mut budget, start, 1000), 30);
            let later = start.after(Duration::from_secs(3600));
            assert_eq!(granted(&mut budget, later, 1000), 30, "after an idle hour");
        }
    }

    #[test]
    fn of_a_shared_floor_there_is_a_part() {
        let shared = Policy { shared: true, ..policy(0.2, 3.0) };
        let mut budget = Budget::new(shared, Moment::ZERO);
        budget.set_part(0.5);
        budget.deposit(Moment::ZERO, 100);
        assert_eq!(granted(&mut budget, Moment::ZERO, 1000), 20 + 15);
        assert_eq!(budget.asked(), 1000);
        let mut own = Budget::new(policy(0.2, 3.0), Moment::ZERO);
        own.set_part(0.5);
        assert_eq!(granted(&mut own, Moment::ZERO, 1000), 30);
    }

    #[test]
    fn the_share_follows_recent_requests() {
        let mut budget = Budget::new(policy(0.2, 0.0), Moment::ZERO);
        assert_eq!(granted(&mut budget, Moment::ZERO, 10), 0, "no requests, no floor");
        budget.deposit(Moment::ZERO, 1000);
        assert_eq!(granted(&mut budget, Moment::from_millis(9_000), 150), 150);
        assert_eq!(granted(&mut budget, Moment::from_millis(9_400), 150), 50);
        assert_eq!(granted(&mut budget, Moment::from_millis(11_000), 1), 0, "those requests are too old");
        budget.deposit(Moment::from_millis(11_000), 1000);
        assert_eq!(granted(&mut budget, Moment::from_millis(11_000), 1), 0, "those retries are not");
        budget.deposit(Moment::from_millis(20_500), 1000);
        assert_eq!(granted(&mut budget, Moment::from_millis(20_500), 500), 400, "now they are");
    }

    #[test]
    fn a_clock_read_before_the_lock_does_no_harm() {
        let mut budget = Budget::new(policy(1.0, 0.0), Moment::from_millis(60_000));
        budget.deposit(Moment::from_millis(59_000), 5);
        budget.deposit(Moment::ZERO, 5);
        assert_eq!(granted(&mut budget, Moment::from_millis(58_000), 100), 10);
        assert_eq!(granted(&mut budget, Moment::NEVER, 100), 0);
    }

    #[test]
    fn senseless_policies_allow_nothing_and_do_not_panic() {
        for (ratio, floor, window) in [(f64::NAN, 3.0, 10), (0.2, f64::NAN, 10), (-1.0, -1.0, 10), (0.2, 3.0, 0)] {
            let mut budget = Budget::new(
                Policy { ratio, floor_per_second: floor, shared: false, window: Duration::from_secs(window) },
                Moment::ZERO,
            );
            budget.deposit(Moment::ZERO, 1);
            assert_eq!(granted(&mut budget, Moment::from_millis(1), 10), 0);
        }
    }
}

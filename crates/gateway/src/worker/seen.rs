//! What one worker has seen of an endpoint, as far as the service's balancer wants to know it.

use std::cell::Cell;
use std::time::Duration;

use mainstay_core::balance::{PeakEwma, Penalty, Policy};
use mainstay_core::time::Moment;

/// What one worker has seen of an endpoint. Only what the policy compares is kept up to date.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// How fast it answers.
    latency: Cell<PeakEwma>,
    /// What failures and lost attempts add to its load.
    penalty: Cell<Penalty>,
}

impl Seen {
    /// An answer came after `duration`.
    pub(crate) fn answer(&self, policy: Policy, now: Moment, duration: Duration) {
        self.change(policy, |latency| latency.observe(now, duration), Penalty::answered);
    }

    /// An attempt failed: for a while the endpoint counts as slower, or as more loaded, than it is.
    pub(crate) fn failure(&self, policy: Policy, now: Moment) {
        self.change(policy, |latency| latency.fail(now), |penalty| penalty.add(now));
    }

    /// An attempt was cancelled after `age` since another endpoint has answered. Without this an endpoint whose slow answers nobody
    /// waits for would look idle and quick.
    pub(crate) fn lost(&self, policy: Policy, now: Moment, age: Duration) {
        self.change(policy, |latency| latency.lose(now, age), |penalty| penalty.lose(now));
    }

    fn change(&self, policy: Policy, latency: impl FnOnce(&mut PeakEwma), penalty: impl FnOnce(&mut Penalty)) {
        match policy {
            Policy::PeakEwma => {
                let mut known = self.latency.get();
                latency(&mut known);
                self.latency.set(known);
            }
            Policy::LeastRequest => {
                let mut known = self.penalty.get();
                penalty(&mut known);
                self.penalty.set(known);
            }
            Policy::RoundRobin | Policy::Random | Policy::Hash => {}
        }
    }

    /// What one more request at the endpoint costs besides `in_flight` others.
    pub(super) fn cost(&self, policy: Policy, now: Moment, in_flight: u32) -> u64 {
        if policy == Policy::PeakEwma {
            return self.latency.get().cost(now, in_flight);
        }
        let mut penalty = self.penalty.get();
        if penalty.is_zero() {
            return u64::from(in_flight);
        }
        let more = penalty.load(now);
        self.penalty.set(penalty);
        u64::from(in_flight) + u64::from(more)
    }
}

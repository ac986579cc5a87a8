//! Choosing an endpoint: what the balancer is told, and what it asks.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::Ordering;

use mainstay_core::balance::{Balancer, Candidate, Loads, Policy, Wanted};
use mainstay_core::random::Rng;
use mainstay_core::takeover::Occasion;
use mainstay_core::time::Moment;

use super::table::{Endpoint, Service, raise};
use crate::explain::trace::Drawn;
use crate::explain::view::View;
use crate::spec::{self, WhenEmpty};

impl Service {
    /// Chooses an endpoint as `wanted` says, and notes in `drawn` what was compared. `None` if none is eligible.
    pub(crate) fn pick(
        &self,
        wanted: &Wanted<'_>,
        now: Moment,
        rng: &mut Rng,
        drawn: &RefCell<Drawn>,
    ) -> Option<usize> {
        self.pick_or(self.state.spec.when_empty, wanted, now, rng, drawn)
    }

    /// As [`Self::pick`], with what happens if no endpoint is eligible.
    pub(crate) fn pick_or(
        &self,
        when_empty: WhenEmpty,
        wanted: &Wanted<'_>,
        now: Moment,
        rng: &mut Rng,
        drawn: &RefCell<Drawn>,
    ) -> Option<usize> {
        self.refresh(now);
        if self.last_resort.get() {
            if when_empty == WhenEmpty::Refuse {
                return None;
            }
            raise(&self.state.last_resorts);
        }
        let policy = self.state.spec.balance.policy;
        let measured = Measured { endpoints: &self.endpoints, policy, now, drawn };
        // What has failed in this zone is tried in another one: a zone fails as a whole.
        let is_retry = !wanted.excluded.is_empty();
        let elsewhere = |rng: &mut Rng| self.elsewhere.borrow_mut().as_mut()?.pick(wanted, &measured, rng);
        let first = if is_retry { elsewhere(rng) } else { None };
        first.or_else(|| self.balancer.borrow_mut().pick(wanted, &measured, rng)).or_else(|| elsewhere(rng))
    }

    /// Takes over what is known of the endpoints, if that has changed: at once after a quiet time, and otherwise when it is due.
    pub(crate) fn refresh(&self, now: Moment) {
        if !self.is_behind() {
            return;
        }
        if self.takeover.get().due(self.endpoints.len(), Occasion::Request) <= now {
            self.renew(now);
        } else if !self.is_late.replace(true) {
            self.late.notify_one();
        }
    }

    /// Takes over between requests what one of them left for later. When that is due, if it is not yet.
    pub(super) fn catch_up(&self, now: Moment) -> Option<Moment> {
        if !self.is_late.get() {
            return None;
        }
        let due = self.takeover.get().due(self.endpoints.len(), Occasion::Leisure);
        if due > now {
            return Some(due);
        }
        if self.is_behind() {
            self.renew(now);
        }
        self.is_late.set(false);
        None
    }

    fn is_behind(&self) -> bool {
        self.state.epoch.load(Ordering::Acquire) != self.seen_epoch.get()
    }

    /// Logs, once for all workers, that nobody is eligible, and that somebody is again.
    fn tell(&self, is_empty: bool) {
        if self.state.is_empty.swap(is_empty, Ordering::AcqRel) == is_empty {
            return;
        }
        let service = &self.state.spec.name;
        if is_empty {
            let when_empty = self.state.spec.when_empty;
            tracing::warn!(service, ?when_empty, "no endpoint is eligible; routes may say otherwise than the service");
        } else {
            tracing::info!(service, "endpoints are eligible again");
        }
    }

    /// Takes over what is known of the endpoints now.
    fn renew(&self, now: Moment) {
        // Before anything is read: what changes while it is being read is taken over once more.
        self.seen_epoch.set(self.state.epoch.load(Ordering::Acquire));
        let mut takeover = self.takeover.get();
        takeover.done(now);
        self.takeover.set(takeover);
        self.is_late.set(false);
        let choices = self.state.choices();
        self.balancer.borrow_mut().set_shares(&choices.shares);
        self.elsewhere.replace(choices.elsewhere.as_ref().map(|shares| {
            let mut balancer = balancer(&self.state.spec, &self.candidates);
            balancer.set_shares(shares);
            balancer
        }));
        self.last_resort.set(choices.last_resort);
        self.tell(choices.last_resort);
        self.view.replace(Rc::new(View::new(&self.state, &choices)));
    }
}

/// A balancer over all candidates, as the service wants it.
pub(super) fn balancer(spec: &spec::Service, candidates: &[Candidate]) -> Balancer {
    let bound = spec.balance.bounded_percent.map(|percent| f64::from(percent) / 100.0);
    Balancer::new(spec.balance.policy, candidates).bounded(bound)
}

/// What the balancer asks of endpoints.
struct Measured<'a> {
    endpoints: &'a [Rc<Endpoint>],
    policy: Policy,
    now: Moment,
    drawn: &'a RefCell<Drawn>,
}

impl Loads for Measured<'_> {
    fn in_flight(&self, index: usize) -> u32 {
        self.endpoints.get(index).map_or(0, |endpoint| endpoint.state.in_flight.load(Ordering::Relaxed))
    }

    fn cost(&self, index: usize) -> u64 {
        let in_flight = self.in_flight(index);
        self.drawn.borrow_mut().note(index, in_flight);
        self.endpoints.get(index).map_or(0, |endpoint| endpoint.seen.cost(self.policy, self.now, in_flight))
    }
}

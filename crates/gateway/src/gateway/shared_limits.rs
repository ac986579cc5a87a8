//! Limits that the nodes of a cluster share: what this node asks of them, for others, and which part of each it has.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};

use mainstay_core::budget::Budget;
use mainstay_core::random;

use super::Gateway;
use crate::state::State;

/// What of a route or a service is limited.
#[derive(Clone, Copy)]
enum Kind {
    /// The rate limit at this place.
    Rate(usize),
    RouteRetries,
    ServiceRetries,
}

/// The number that a limit has on all nodes.
fn number(of: &str, kind: Kind) -> u64 {
    let place = match kind {
        Kind::RouteRetries => 1,
        Kind::ServiceRetries => 2,
        Kind::Rate(place) => 3 + place as u64,
    };
    random::mix(random::hash(of.as_bytes()) ^ random::mix(place))
}

/// The retry budgets whose floor is shared, by their numbers.
fn budgets(state: &State) -> impl Iterator<Item = (u64, &Mutex<Budget>)> {
    let routes = state.routes.iter().filter(|it| it.spec.retry_budget.is_some_and(|policy| policy.shared));
    let routes = routes.map(|it| (number(&it.spec.name, Kind::RouteRetries), &*it.retry_budget));
    let services = state.services.iter().filter(|it| it.spec.retry_budget.shared);
    routes.chain(services.map(|it| (number(&it.spec.name, Kind::ServiceRetries), &*it.retry_budget)))
}

/// Gives this part of limits that the cluster shares to those that are still whole: a node does not begin with everything.
pub(super) fn begin(state: &State, part: f64) {
    for (_number, budget) in budgets(state) {
        let mut budget = lock(budget);
        if budget.part() == 1.0 {
            budget.set_part(part);
        }
    }
    for admission in state.routes.iter().filter_map(|route| route.admission.as_ref()) {
        admission.begin(part);
    }
}

impl Gateway {
    /// So many nodes of a cluster share limits: until this one is told its parts, it has an even one of each, now and after each
    /// change of the configuration.
    pub fn share_with(&self, nodes: usize) {
        let part = 1.0 / nodes.max(1) as f64;
        self.even_part.store(part.to_bits(), Ordering::Relaxed);
        begin(&self.state(), part);
    }

    /// How often this node has asked, refused or not, of each limit that the cluster shares, by the limits' numbers.
    pub fn asked_of_shared_limits(&self) -> BTreeMap<u64, u64> {
        let state = self.state();
        let mut asked: BTreeMap<u64, u64> = budgets(&state).map(|(number, it)| (number, lock(it).asked())).collect();
        for route in &state.routes {
            let each = route.admission.iter().flat_map(|admission| admission.asked());
            asked.extend(each.map(|(place, count)| (number(&route.spec.name, Kind::Rate(place)), count)));
        }
        asked
    }

    /// Sets which part of each shared limit is this node's, by the limits' numbers. One that is not named keeps its part.
    pub fn allot(&self, parts: &BTreeMap<u64, f64>) {
        let state = self.state();
        for (number, budget) in budgets(&state) {
            if let Some(part) = parts.get(&number) {
                lock(budget).set_part(*part);
            }
        }
        for route in &state.routes {
            if let Some(admission) = &route.admission {
                admission.allot(|place| parts.get(&number(&route.spec.name, Kind::Rate(place))).copied());
            }
        }
    }
}

/// Counts hold whatever a thread that panicked has left of them.
fn lock(budget: &Mutex<Budget>) -> MutexGuard<'_, Budget> {
    budget.lock().unwrap_or_else(PoisonError::into_inner)
}

//! A service, where its endpoints come from, and which of them get traffic.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use mainstay_core::budget::Budget;
use mainstay_core::time::Moment;

use super::{Breaker, Endpoint, Restart, Subject};
use crate::spec;

/// A service, its endpoints and counters.
#[derive(Debug)]
pub struct Service {
    /// Its settings, with the endpoints that its sources have named.
    pub spec: spec::Service,
    /// Its endpoints, as in the spec.
    pub endpoints: Vec<Arc<Endpoint>>,
    /// Their circuit breakers, in the same order; none at all if they are turned off. One is kept over reloads that change
    /// neither its settings nor its endpoint.
    pub breakers: Vec<Arc<Breaker>>,
    /// How its traffic comes back after an outage; kept over reloads that do not change its settings.
    pub restart: Option<Arc<Restart>>,
    /// Where further endpoints come from.
    pub sources: Vec<Arc<Source>>,
    /// One more at each change of any endpoint's eligibility; workers compare it to renew their balancers.
    pub epoch: AtomicU64,
    /// Since when the cascade guard holds, in nanoseconds of the process's clock; 0 if it does not.
    pub guarded_since: AtomicU64,
    /// How often the cascade guard rose.
    pub guard_trips: AtomicU64,
    /// An operator changed the weight of an endpoint since this was made: it is made anew then, and balancers with it.
    pub(crate) is_reweighed: AtomicBool,
    /// What balancers were told last: no endpoint is eligible. So that it is logged once.
    pub(crate) is_empty: AtomicBool,
    /// Requests that were sent although no endpoint was eligible.
    pub last_resorts: AtomicU64,
    /// Retries that the budget refused.
    pub budget_refusals: AtomicU64,
    /// Requests answered 503 because no endpoint was eligible.
    pub empty: AtomicU64,
    /// For what TCP listeners bring; routes have budgets of their own. Shared between workers; only retries and batched deposits
    /// lock it.
    pub retry_budget: Arc<Mutex<Budget>>,
}

impl Service {
    /// The service of `spec`, with the endpoints that belong to it. What `known`, the service of the same name until now, has
    /// counted goes on; so does its budget if that is the same.
    pub fn new(
        spec: spec::Service,
        endpoints: Vec<Arc<Endpoint>>,
        sources: Vec<Arc<Source>>,
        workers: usize,
        known: Option<&Self>,
        now: Moment,
    ) -> Self {
        let restart = match known.filter(|known| known.spec.restart == spec.restart) {
            Some(known) => known.restart.clone(),
            None => spec.restart.map(|policy| Arc::new(Restart::new(&spec.name, policy))),
        };
        let breakers = breakers(&spec, &endpoints, workers, known);
        let carried =
            |read: fn(&Self) -> &AtomicU64| AtomicU64::new(known.map_or(0, |it| read(it).load(Ordering::Relaxed)));
        let retry_budget = match known.filter(|known| known.spec.retry_budget == spec.retry_budget) {
            Some(known) => Arc::clone(&known.retry_budget),
            None => Arc::new(Mutex::new(Budget::new(spec.retry_budget, now))),
        };
        Self {
            endpoints,
            breakers,
            restart,
            sources,
            epoch: AtomicU64::new(0),
            guarded_since: match known.filter(|known| spec.guard.is_some() && known.spec.guard == spec.guard) {
                Some(known) => AtomicU64::new(known.guarded_since.load(Ordering::Acquire)),
                None => AtomicU64::new(0),
            },
            guard_trips: carried(|it| &it.guard_trips),
            is_reweighed: AtomicBool::new(false),
            is_empty: AtomicBool::new(known.is_some_and(|known| known.is_empty.load(Ordering::Relaxed))),
            last_resorts: carried(|it| &it.last_resorts),
            budget_refusals: carried(|it| &it.budget_refusals),
            empty: carried(|it| &it.empty),
            retry_budget,
            spec,
        }
    }
}

fn breakers(
    spec: &spec::Service,
    endpoints: &[Arc<Endpoint>],
    workers: usize,
    known: Option<&Service>,
) -> Vec<Arc<Breaker>> {
    let Some(policy) = spec.breaker else { return Vec::new() };
    let known = known.filter(|known| known.spec.breaker == spec.breaker);
    let kept = |endpoint: &Arc<Endpoint>| {
        let known = known?;
        let at = known.endpoints.iter().position(|it| Arc::ptr_eq(it, endpoint))?;
        known.breakers.get(at).cloned()
    };
    let new = |endpoint: &Arc<Endpoint>| {
        let subject = Subject::Endpoint { service: spec.name.clone(), endpoint: endpoint.name.clone() };
        Arc::new(Breaker::new(subject, policy, workers))
    };
    endpoints.iter().map(|endpoint| kept(endpoint).unwrap_or_else(|| new(endpoint))).collect()
}

/// A name that endpoints come from, and what its last good answer was.
#[derive(Debug)]
pub struct Source {
    /// The name, and what is asked of it.
    pub spec: spec::Source,
    /// The name alone, for logs, metrics and people.
    pub name: String,
    /// The endpoints of the last good answer.
    pub found: Mutex<Vec<spec::Endpoint>>,
    /// Why the last answer was of no use; empty if it was.
    pub reason: Mutex<String>,
    /// Whether it has had an answer or a failure, and that is being served.
    pub settled: AtomicBool,
    /// Answers that were of use.
    pub answers: AtomicU64,
    /// Answers that were empty, and look-ups that failed.
    pub failures: AtomicU64,
}

impl Source {
    /// A source that has not been asked yet.
    pub fn new(spec: spec::Source) -> Self {
        Self {
            name: spec.to_string(),
            spec,
            found: Mutex::default(),
            reason: Mutex::default(),
            settled: AtomicBool::new(false),
            answers: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        }
    }
}

//! A route and its counters.

use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex};

use mainstay_core::budget::Budget;
use mainstay_core::time::Moment;

use super::{Breaker, Counter, Exemplars, Guard, Hedging, Histogram, Shards, Subject};
use crate::admission::{self, Admission};
use crate::spec;
use crate::telemetry::choice::Wish;

/// A route and its counters.
#[derive(Debug)]
pub struct Route {
    /// Its settings.
    pub spec: spec::Route,
    /// Counters, one a worker; kept over reloads by name.
    pub shards: Arc<Shards<RouteCounters>>,
    /// Copies of requests that are under way, over all workers; kept over reloads by name.
    pub mirrors: Arc<AtomicU32>,
    /// How many retries and hedges it may cause; kept over reloads that do not change it. Shared between workers; only retries
    /// and batched deposits lock it.
    pub retry_budget: Arc<Mutex<Budget>>,
    /// What it knows for hedging, if that is on; kept over reloads that do not change its settings.
    pub hedging: Option<Arc<Hedging>>,
    /// Its circuit breaker; kept over reloads that change neither its settings nor where the route leads.
    pub breaker: Option<Arc<Breaker>>,
    /// What its limits remember, shared by all workers; kept over reloads while the limits are the same.
    pub admission: Option<Arc<Admission>>,
    /// Its quarantine, if it has one; kept over reloads by name while its settings are the same.
    pub guard: Option<Arc<Guard>>,
    /// How many of its requests leave a line by somebody's wish; kept over reloads by name.
    pub(crate) sampling: Arc<Wish>,
}

impl Route {
    /// The route of `spec`. What `known`, the route of the same name until now, has counted goes on.
    pub fn new(spec: spec::Route, workers: usize, known: Option<&Self>, now: Moment) -> Self {
        let same = known.filter(|it| it.spec.breaker == spec.breaker && it.spec.service == spec.service);
        let breaker = same.map(|known| known.breaker.clone()).unwrap_or_else(|| {
            let new = |policy| Arc::new(Breaker::new(Subject::Route(spec.name.clone()), policy, workers));
            spec.breaker.map(new)
        });
        let retry_budget = match known.filter(|known| known.spec.retry_budget == spec.retry_budget) {
            Some(known) => Arc::clone(&known.retry_budget),
            None => Arc::new(Mutex::new(Budget::new(spec.retry_budget.unwrap_or_default(), Moment::ZERO))),
        };
        let hedging = match known.filter(|known| known.spec.hedge == spec.hedge) {
            Some(known) => known.hedging.clone(),
            None => spec.hedge.map(|policy| Arc::new(Hedging::new(policy, workers))),
        };
        Self {
            hedging,
            breaker,
            retry_budget,
            shards: known.map_or_else(|| Arc::new(Shards::new(workers)), |known| Arc::clone(&known.shards)),
            sampling: known.map_or_else(Arc::default, |known| Arc::clone(&known.sampling)),
            mirrors: known.map_or_else(Arc::default, |known| Arc::clone(&known.mirrors)),
            guard: spec.quarantine.as_ref().map(|quarantine| {
                let same = known.filter(|known| known.spec.quarantine.as_ref() == Some(quarantine));
                same.and_then(|known| known.guard.clone()).unwrap_or_else(|| Arc::new(Guard::new(quarantine.policy)))
            }),
            admission: Admission::new(&spec.admission, known.and_then(|known| known.admission.as_ref()), now),
            spec,
        }
    }
}

/// Counters of a route.
#[derive(Debug, Default)]
pub struct RouteCounters {
    /// Requests begun.
    pub started: Counter,
    /// Responses by first digit: `[1xx (upgrades), 2xx, 3xx, 4xx, 5xx]`.
    pub by_class: [Counter; 5],
    /// Requests whose client left before the response was complete.
    pub client_gone: Counter,
    /// Error responses that the gateway made itself.
    pub own_errors: Counter,
    /// Retries.
    pub retries: Counter,
    /// Retries and hedges that the budget refused.
    pub budget_refusals: Counter,
    /// Copies of requests.
    pub mirror: MirrorCounters,
    /// What became of requests in the response cache.
    pub cache: CacheCounters,
    /// Answers in place of errors.
    pub fallback: FallbackCounters,
    /// Requests that were kept from endpoints.
    pub isolation: IsolationCounters,
    /// Requests let in and refused.
    pub admission: admission::Counters,
    /// Durations from the first byte of the request to the last of the response.
    pub duration: Histogram,
    /// For each bucket of durations a trace that can be looked up.
    pub exemplars: Exemplars,
}

/// Counters of a route's cache.
#[derive(Debug, Default)]
pub struct CacheCounters {
    /// Requests that were answered by a stored response, those that waited for it included.
    pub hits: Counter,
    /// Requests that were answered by a stored response that was stale.
    pub stale: Counter,
    /// Requests that were answered by a stored response after its origin said that it is still good.
    pub validated: Counter,
    /// Requests for which nothing that could be served was stored.
    pub misses: Counter,
    /// Requests that the cache cannot answer by their nature.
    pub bypassed: Counter,
    /// Requests that waited for another one's response.
    pub coalesced: Counter,
    /// Responses that were stored.
    pub stored: Counter,
    /// Responses that may not be stored, or are too large.
    pub refused: Counter,
    /// Validations in the background.
    pub refreshed: Counter,
}

/// Counters of a route's fallback: requests that were answered by each form.
#[derive(Debug, Default)]
pub struct FallbackCounters {
    /// By the last good copy.
    pub stale: Counter,
    /// By another service.
    pub service: Counter,
    /// By the fixed answer.
    pub fixed: Counter,
    /// By nothing but a head.
    pub empty: Counter,
    /// Not at all: no form had anything to give.
    pub failed: Counter,
}

/// Counters of a route's mirror.
#[derive(Debug, Default)]
pub struct MirrorCounters {
    /// Copies sent.
    pub sent: Counter,
    /// Copies dropped because enough were under way.
    pub busy: Counter,
    /// Copies dropped because the body was too large, or not complete when the request ended.
    pub body: Counter,
    /// Copies that were not answered, or answered 5xx.
    pub failures: Counter,
}

/// Counters of requests that were kept from endpoints.
#[derive(Debug, Default)]
pub struct IsolationCounters {
    /// Refused because they named no tenant.
    pub no_tenant: Counter,
    /// Refused because none of the tenant's endpoints was eligible.
    pub no_shard: Counter,
    /// Refused because requests of their kind are held.
    pub quarantined: Counter,
    /// Refused because the account is new and every cell is full.
    pub cells_full: Counter,
    /// Refused because the account is being moved.
    pub account_moving: Counter,
    /// Requests without the cookie of a session.
    pub sessions_new: Counter,
    /// Requests that went where their cookie says.
    pub sessions_kept: Counter,
    /// Requests whose endpoint was lost.
    pub sessions_moved: Counter,
    /// Requests whose cookie was forged or too old.
    pub sessions_ignored: Counter,
    /// Requests whose session is kept in a table that could not be asked.
    pub sessions_away: Counter,
    /// Sessions that were bound without as many nodes knowing it as were asked for.
    pub sessions_unsafe: Counter,
}

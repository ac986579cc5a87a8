//! The families about the response cache, for routes that have one.

use std::fmt;

use mainstay_gateway::state::{CacheCounters, State};

use super::super::Families;

impl Families<'_, '_> {
    pub(super) fn caches(&mut self, state: &State) -> fmt::Result {
        let Some(store) = &state.cache else { return Ok(()) };
        let with = || state.routes.iter().filter(|route| route.spec.cache.is_some());
        let each = |read: fn(&CacheCounters) -> u64| {
            with().map(move |route| {
                ([("route", route.spec.name.as_str())], route.shards.sum(|counters| read(&counters.cache)))
            })
        };
        let requests = with().flat_map(|route| {
            let row = |result, read: fn(&CacheCounters) -> u64| {
                let labels = [("route", route.spec.name.as_str()), ("result", result)];
                (labels, route.shards.sum(|counters| read(&counters.cache)))
            };
            [
                row("hit", |counters| counters.hits.get()),
                row("stale", |counters| counters.stale.get()),
                row("validated", |counters| counters.validated.get()),
                row("miss", |counters| counters.misses.get()),
                row("bypass", |counters| counters.bypassed.get()),
            ]
        });
        let name = ("mainstay_cache_requests", "Requests by what the response cache had for them.");
        self.counter(name, requests)?;
        let name = ("mainstay_cache_coalesced", "Requests that waited for the response of another one.");
        self.counter(name, each(|counters| counters.coalesced.get()))?;
        let name = ("mainstay_cache_stored", "Responses that were stored.");
        self.counter(name, each(|counters| counters.stored.get()))?;
        let name = ("mainstay_cache_refused", "Responses that may not be stored, or are too large.");
        self.counter(name, each(|counters| counters.refused.get()))?;
        let name = ("mainstay_cache_refreshes", "Validations in the background.");
        self.counter(name, each(|counters| counters.refreshed.get()))?;
        let name = ("mainstay_cache_evictions", "URLs that had to go to make room.");
        let none: [(&str, &str); 0] = [];
        self.counter(name, [(none, store.evictions())])?;
        let name = ("mainstay_cache_bytes", "Bytes that stored responses take.");
        self.gauge(name, None, [(none, store.bytes() as f64)])?;
        let name = ("mainstay_cache_memory_bytes", "Bytes that stored responses may take.");
        self.gauge(name, None, [(none, store.memory() as f64)])?;
        let name = ("mainstay_cache_urls", "URLs of which something is stored.");
        self.gauge(name, None, [(none, store.resources() as f64)])
    }
}

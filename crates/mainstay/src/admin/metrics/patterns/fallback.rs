//! The families about answers in place of errors, for routes that have a fallback.

use std::fmt;

use mainstay_gateway::state::{FallbackCounters, State};

use super::super::Families;

impl Families<'_, '_> {
    pub(super) fn fallbacks(&mut self, state: &State) -> fmt::Result {
        let with = || state.routes.iter().filter(|route| route.spec.fallback.is_some());
        if with().next().is_none() {
            return Ok(());
        }
        let rows = with().flat_map(|route| {
            let row = |form, read: fn(&FallbackCounters) -> u64| {
                let labels = [("route", route.spec.name.as_str()), ("form", form)];
                (labels, route.shards.sum(|counters| read(&counters.fallback)))
            };
            [
                row("stale", |counters| counters.stale.get()),
                row("service", |counters| counters.service.get()),
                row("static", |counters| counters.fixed.get()),
                row("empty", |counters| counters.empty.get()),
            ]
        });
        let name = ("mainstay_fallback_responses", "Requests that were answered by a fallback, by its form.");
        self.counter(name, rows)?;
        let failed = with().map(|route| {
            let labels = [("route", route.spec.name.as_str())];
            (labels, route.shards.sum(|counters| counters.fallback.failed.get()))
        });
        let name = ("mainstay_fallback_failures", "Requests whose fallback had nothing to give either.");
        self.counter(name, failed)
    }
}

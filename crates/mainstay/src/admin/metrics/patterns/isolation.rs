//! The families about tenants, and requests that were kept from endpoints.

use std::fmt;
use std::sync::atomic::Ordering;

use mainstay_gateway::state::{IsolationCounters, State};

use super::super::Families;

impl Families<'_, '_> {
    pub(super) fn sessions(&mut self, state: &State) -> fmt::Result {
        let sticky = |name: &str| state.services.iter().any(|it| it.spec.name == name && it.spec.sticky.is_some());
        let routes = || state.routes.iter().filter(|route| sticky(&route.spec.service));
        if routes().next().is_none() {
            return Ok(());
        }
        let name = ("mainstay_session_requests", "Requests to services with sessions, by what became of the session.");
        let rows = routes().flat_map(|route| {
            let row = |outcome, read: fn(&IsolationCounters) -> u64| {
                let labels = [("route", route.spec.name.as_str()), ("session", outcome)];
                (labels, route.shards.sum(|counters| read(&counters.isolation)))
            };
            [
                row("new", |counters| counters.sessions_new.get()),
                row("kept", |counters| counters.sessions_kept.get()),
                row("moved", |counters| counters.sessions_moved.get()),
                row("ignored", |counters| counters.sessions_ignored.get()),
                row("away", |counters| counters.sessions_away.get()),
            ]
        });
        self.counter(name, rows)?;
        let name =
            ("mainstay_session_unsafe", "Sessions that were bound without as many nodes knowing it as were asked for.");
        let unsafe_ones = routes().map(|route| {
            let count = route.shards.sum(|counters| counters.isolation.sessions_unsafe.get());
            ([("route", route.spec.name.as_str())], count)
        });
        self.counter(name, unsafe_ones)
    }

    pub(super) fn quarantines(&mut self, state: &State) -> fmt::Result {
        let guarded = || state.routes.iter().filter_map(|route| Some((route, route.guard.as_deref()?)));
        if guarded().next().is_none() {
            return Ok(());
        }
        let name =
            ("mainstay_quarantine_refused", "Requests that were refused because requests of their kind are held.");
        let refused = guarded().map(|(route, _guard)| {
            let refused = route.shards.sum(|counters| counters.isolation.quarantined.get());
            ([("route", route.spec.name.as_str())], refused)
        });
        self.counter(name, refused)?;
        let name = ("mainstay_quarantine_holds", "Times that a kind of request was put into quarantine.");
        let holds = guarded()
            .map(|(route, guard)| ([("route", route.spec.name.as_str())], guard.holds.load(Ordering::Relaxed)));
        self.counter(name, holds)
    }

    pub(super) fn isolation(&mut self, state: &State) -> fmt::Result {
        let tenants = |route: &str| {
            let service = state.services.iter().find(|service| service.spec.name == route);
            service.is_some_and(|service| service.spec.tenant.is_some())
        };
        let isolated =
            || state.routes.iter().filter(|route| route.spec.tenant.is_some() || tenants(&route.spec.service));
        if isolated().next().is_none() {
            return Ok(());
        }
        let each = |read: fn(&IsolationCounters) -> u64| {
            isolated().map(move |route| {
                ([("route", route.spec.name.as_str())], route.shards.sum(|counters| read(&counters.isolation)))
            })
        };
        let name = ("mainstay_tenant_missing", "Requests that were refused because they named no tenant.");
        self.counter(name, each(|counters| counters.no_tenant.get()))?;
        let name = (
            "mainstay_shard_unavailable",
            "Requests that were refused because no endpoint of their shard was eligible.",
        );
        self.counter(name, each(|counters| counters.no_shard.get()))
    }
}

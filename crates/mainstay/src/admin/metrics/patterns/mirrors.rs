//! The families about copies of requests, for routes that have a mirror.

use std::fmt;

use mainstay_gateway::state::{MirrorCounters, State};

use super::super::Families;

impl Families<'_, '_> {
    pub(super) fn mirrors(&mut self, state: &State) -> fmt::Result {
        let mirrored = || state.routes.iter().filter(|route| route.spec.mirror.is_some());
        if mirrored().next().is_none() {
            return Ok(());
        }
        let each = |read: fn(&MirrorCounters) -> u64| {
            mirrored().map(move |route| {
                ([("route", route.spec.name.as_str())], route.shards.sum(|counters| read(&counters.mirror)))
            })
        };
        let name = ("mainstay_mirror_sent", "Copies of requests that were sent to the route's mirror.");
        self.counter(name, each(|counters| counters.sent.get()))?;
        let dropped = mirrored().flat_map(|route| {
            let row = |reason, read: fn(&MirrorCounters) -> u64| {
                let labels = [("route", route.spec.name.as_str()), ("reason", reason)];
                (labels, route.shards.sum(|counters| read(&counters.mirror)))
            };
            [row("busy", |counters| counters.busy.get()), row("body", |counters| counters.body.get())]
        });
        let name = ("mainstay_mirror_dropped", "Copies that were not sent: too many under way, or the body too large.");
        self.counter(name, dropped)?;
        let name = ("mainstay_mirror_failures", "Copies that were sent and not answered, or answered 5xx.");
        self.counter(name, each(|counters| counters.failures.get()))
    }
}

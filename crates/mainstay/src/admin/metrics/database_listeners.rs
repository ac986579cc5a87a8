//! The families about listeners that lead to database groups.

use std::fmt;
use std::sync::atomic::Ordering;

use mainstay_gateway::spec::Protocol;
use mainstay_gateway::state::{DatabaseCounters, Histogram, Listener, State};

use super::{Durations, Families};

/// A label's value, and the counter that it is about.
type Labelled = (&'static str, fn(&DatabaseCounters) -> u64);

fn led(state: &State) -> impl Iterator<Item = &Listener> {
    let leads = |listener: &&Listener| matches!(listener.spec.protocol, Protocol::Database(_));
    state.listeners.iter().map(AsRef::as_ref).filter(leads)
}

impl Families<'_, '_> {
    pub(super) fn database_listeners(&mut self, state: &State) -> fmt::Result {
        if led(state).next().is_none() {
            return Ok(());
        }
        let each = |read: fn(&DatabaseCounters) -> u64| {
            let sum = move |listener: &Listener| listener.shards.sum(|counters| read(&counters.database));
            led(state).map(move |listener| ([("listener", listener.spec.name.as_str())], sum(listener)))
        };
        let labelled = |label: &'static str, of: &'static [Labelled]| {
            led(state).flat_map(move |listener| {
                of.iter().map(move |(word, read)| {
                    let labels = [("listener", listener.spec.name.as_str()), (label, *word)];
                    (labels, listener.shards.sum(|counters| read(&counters.database)))
                })
            })
        };
        let name = ("mainstay_database_connections", "Connections led to a server, by what it was.");
        let to = labelled("role", &[("primary", |it| it.to_primary.get()), ("replica", |it| it.to_replicas.get())]);
        self.counter(name, to)?;
        let name = ("mainstay_database_held", "Connections that waited for a server.");
        self.counter(name, each(|it| it.held.get()))?;
        let holding = led(state).map(|listener| {
            ([("listener", listener.spec.name.as_str())], listener.holding.load(Ordering::Relaxed) as f64)
        });
        self.gauge(("mainstay_database_holding", "Connections that wait for a server now."), None, holding)?;
        let name = ("mainstay_database_cut", "Connections ended since the server's role has changed, by how.");
        self.counter(name, labelled("how", &[("told", |it| it.cut_told.get()), ("reset", |it| it.cut_reset.get())]))?;
        let refused = labelled(
            "reason",
            &[
                ("no-server", |it| it.refused.no_server.get()),
                ("queue-full", |it| it.refused.queue_full.get()),
                ("malformed", |it| it.refused.malformed.get()),
                ("too-slow", |it| it.refused.too_slow.get()),
                ("not-encrypted", |it| it.refused.not_encrypted.get()),
            ],
        );
        self.counter(("mainstay_database_refused", "Connections refused, by reason."), refused)?;
        let waited = led(state).map(|listener| {
            let read = |read: &dyn Fn(&Histogram) -> u64| listener.shards.sum(|it| read(&it.database.duration));
            ([("listener", listener.spec.name.as_str())], Durations::sum(read))
        });
        let help =
            "What clients waited for the answer to a command, and at the beginning of a connection for a server.";
        self.durations(("mainstay_database_duration", help), waited)?;
        let cancels = labelled("key", &[("known", |it| it.cancels.get()), ("unknown", |it| it.cancels_unknown.get())]);
        let name = ("mainstay_database_cancels", "Requests to cancel a command, by whether its server is known.");
        self.counter(name, cancels)?;
        let roles = || state.databases.iter().map(|it| ([("database", it.group.as_str())], it.roles()));
        let terms = roles().map(|(labels, roles)| (labels, roles.term as f64));
        self.gauge(("mainstay_database_led_term", "The term that clients are led by."), None, terms)?;
        let current = roles().map(|(labels, roles)| (labels, f64::from(u8::from(roles.is_current))));
        let name = ("mainstay_database_led_current", "1 while what clients are led by is known to be current.");
        self.gauge(name, None, current)
    }
}

//! The seconds in which groups of databases took writes, and in which they could be read, for objectives. A second is good at a
//! node if the node knows of a server for that, and no client of its listener for that is refused or cut off in it.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use mainstay_core::roles::Access;
use mainstay_gateway::spec::{self, Protocol};
use mainstay_gateway::state::{DatabaseCounters, Listener, State};
use mainstay_observe::history::{Counts, History, Kind, Series};

use super::Handle;

/// By series, how many clients were sent away until the last second; a group that this node has not known as it is yet is not in it.
#[derive(Debug, Default)]
pub struct Seconds(Mutex<BTreeMap<Series, u64>>);

impl Seconds {
    /// Counts the second that is over.
    pub fn count(&self, cluster: &Handle, state: &State, history: &History) {
        for database in cluster.groups().configured() {
            let name = &database.name;
            let Some(view) = cluster.databases().view(name).filter(|view| view.is_founded()) else { continue };
            let took_writes = cluster.databases().took_writes(name);
            let writes = led(state, name).filter(|(_listener, spec)| spec.access == Access::Write);
            let refused = writes.map(|(listener, _spec)| sent_away(listener)).sum();
            self.second(Series::new(Kind::Database, name), (took_writes, refused), view.is_current, history);
            let reads = |(_listener, spec): &(_, &spec::Database)| matches!(spec.access, Access::Read { .. });
            if let Some((listener, spec)) = led(state, name).find(reads) {
                let group = state.databases.iter().find(|it| it.group == *name);
                let can_read = group.is_some_and(|group| group.roles().serves(spec.access));
                self.second(Series::reads_of(name), (can_read, sent_away(listener)), view.is_current, history);
            }
        }
    }

    /// Counts one second of one series: whether there was a server, and how many clients were sent away until now.
    fn second(&self, series: Series, (served, sent_away): (bool, u64), is_current: bool, history: &History) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Before it has heard of the group it has nothing to say.
        if !is_current && !known.contains_key(&series) {
            return;
        }
        let is_good = served && known.get(&series).is_none_or(|before| *before == sent_away);
        history.add(&series, &Counts { requests: 1, errors: u64::from(!is_good), ..Counts::default() });
        known.insert(series, sent_away);
    }
}

/// The listeners that lead to a group, and how.
fn led<'s>(state: &'s State, group: &'s str) -> impl Iterator<Item = (&'s Listener, &'s spec::Database)> {
    state.listeners.iter().filter_map(move |listener| match &listener.spec.protocol {
        Protocol::Database(spec) if spec.group == group => Some((listener.as_ref(), spec)),
        _other => None,
    })
}

/// Clients of a listener that were refused for want of a server, or cut off.
fn sent_away(listener: &Listener) -> u64 {
    let of = |it: &DatabaseCounters| {
        it.refused.no_server.get() + it.refused.queue_full.get() + it.cut_told.get() + it.cut_reset.get()
    };
    listener.shards.sum(|counters| of(&counters.database))
}

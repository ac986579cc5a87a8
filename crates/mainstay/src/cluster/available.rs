//! The seconds in which groups of databases took writes, and in which they could be read, and how long clients waited there, for
//! objectives. A second is good at a node if the node knows of a server for that, and no client of its listener for that is
//! refused or cut off in it.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use mainstay_core::roles::Access;
use mainstay_gateway::spec::{self, Protocol};
use mainstay_gateway::state::{Counter, DatabaseCounters, Listener, State};
use mainstay_observe::history::{BUCKET_COUNT, Counts, History, Kind, Series};

use super::Handle;

/// By series, what its listener had counted until the last second; a group that this node has not known as it is yet is not in it.
#[derive(Debug, Default)]
pub struct Seconds(Mutex<BTreeMap<Series, Counted>>);

/// What a listener has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counted {
    /// Clients that were refused for want of a server, or cut off.
    sent_away: u64,
    /// How long clients waited.
    buckets: [u64; BUCKET_COUNT],
}

impl Seconds {
    /// Counts the second that is over.
    pub fn count(&self, cluster: &Handle, state: &State, history: &History) {
        for database in cluster.groups().configured() {
            let name = &database.name;
            let Some(view) = cluster.databases().view(name).filter(|view| view.is_founded()) else { continue };
            let took_writes = cluster.databases().took_writes(name);
            let writes = led(state, name).find(|(_listener, spec)| spec.access == Access::Write);
            let counted = writes.map_or_else(Counted::default, |(listener, _spec)| Counted::by(listener));
            self.second(Series::new(Kind::Database, name), (took_writes, counted), view.is_current, history);
            let reads = |(_listener, spec): &(_, &spec::Database)| matches!(spec.access, Access::Read { .. });
            if let Some((listener, spec)) = led(state, name).find(reads) {
                let group = state.databases.iter().find(|it| it.group == *name);
                let can_read = group.is_some_and(|group| group.roles().serves(spec.access));
                let counted = Counted::by(listener);
                self.second(Series::reads_of(name), (can_read, counted), view.is_current, history);
            }
        }
    }

    /// Counts one second of one series: whether there was a server, and what its listener has counted until now.
    fn second(&self, series: Series, (served, now): (bool, Counted), is_current: bool, history: &History) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Before it has heard of the group it has nothing to say.
        if !is_current && !known.contains_key(&series) {
            return;
        }
        let before = known.get(&series).copied().unwrap_or(now);
        let is_good = served && before.sent_away == now.sent_away;
        let buckets = std::array::from_fn(|at| now.buckets[at].saturating_sub(before.buckets[at]));
        history.add(&series, &Counts { requests: 1, errors: u64::from(!is_good), buckets, ..Counts::default() });
        known.insert(series, now);
    }
}

impl Counted {
    fn by(listener: &Listener) -> Self {
        let sent_away = |it: &DatabaseCounters| {
            it.refused.no_server.get() + it.refused.queue_full.get() + it.cut_told.get() + it.cut_reset.get()
        };
        let bucket = |at: usize| {
            let of = |it: &DatabaseCounters| it.duration.buckets.get(at).map_or(0, Counter::get);
            listener.shards.sum(|counters| of(&counters.database))
        };
        Self {
            sent_away: listener.shards.sum(|counters| sent_away(&counters.database)),
            buckets: std::array::from_fn(bucket),
        }
    }
}

/// The listeners that lead to a group, and how.
fn led<'s>(state: &'s State, group: &'s str) -> impl Iterator<Item = (&'s Listener, &'s spec::Database)> {
    state.listeners.iter().filter_map(move |listener| match &listener.spec.protocol {
        Protocol::Database(spec) if spec.group == group => Some((listener.as_ref(), spec)),
        _other => None,
    })
}

//! The seconds in which groups of databases took writes, for objectives. A second is good at a node if the node knows all the
//! while of a primary that takes writes, and no client of its `write` listener is refused or cut off in it.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use mainstay_core::roles::Access;
use mainstay_gateway::spec::Protocol;
use mainstay_gateway::state::{DatabaseCounters, State};
use mainstay_observe::history::{Counts, History, Kind, Series};

use super::Handle;

/// By group, how many clients were sent away until the last second; a group that this node has not known as it is yet is not in it.
#[derive(Debug, Default)]
pub struct Seconds(Mutex<BTreeMap<String, u64>>);

impl Seconds {
    /// Counts the second that is over.
    pub fn count(&self, cluster: &Handle, state: &State, history: &History) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for database in cluster.groups().configured() {
            let name = &database.name;
            let Some(view) = cluster.databases().view(name).filter(|view| view.is_founded()) else { continue };
            let (sent_away, took_writes) = (sent_away(state, name), cluster.databases().took_writes(name));
            let before = match known.insert(name.clone(), sent_away) {
                Some(before) => before,
                // Before it has heard of the group it has nothing to say.
                None if view.is_current => sent_away,
                None => {
                    known.remove(name);
                    continue;
                }
            };
            let is_good = took_writes && sent_away == before;
            let counts = Counts { requests: 1, errors: u64::from(!is_good), ..Counts::default() };
            history.add(&Series::new(Kind::Database, name), &counts);
        }
    }
}

/// Clients that the group's `write` listener has refused for want of a server, or cut off.
fn sent_away(state: &State, group: &str) -> u64 {
    let of = |it: &DatabaseCounters| {
        it.refused.no_server.get() + it.refused.queue_full.get() + it.cut_told.get() + it.cut_reset.get()
    };
    let listeners = state.listeners.iter().filter(|listener| match &listener.spec.protocol {
        Protocol::Database(spec) => spec.group == group && spec.access == Access::Write,
        _other => false,
    });
    listeners.map(|listener| listener.shards.sum(|counters| of(&counters.database))).sum()
}

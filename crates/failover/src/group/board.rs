//! What a node knows of its groups, for the rest of its process: status, metrics, and where clients are led.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use mainstay_core::database::Engine;
use mainstay_core::database::{Lsn, Plan, Report, Risk};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// A group as this node sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// What kind of servers it has.
    pub engine: Engine,
    /// The plan that was read last. It may be an old one while the node has no lease.
    pub plan: Plan,
    /// The node had a lease when it read it, and has it still.
    pub is_current: bool,
    /// Everybody that the configuration names, in its order.
    pub members: Vec<Member>,
    /// This node's own part; `None` if it is no member.
    pub own: Option<Own>,
    /// Why nobody is promoted while an election lasts, for people.
    pub obstacle: Option<String>,
    /// The greatest position that the primary, or the one that is to be replaced, was seen at.
    #[serde(default)]
    pub end: Option<Lsn>,
    /// An operator has paused it: nothing is changed over by itself.
    pub paused: bool,
    /// The last changes of primary, the latest first; at most [`FAILOVERS_MAX`].
    pub failovers: Vec<Failover>,
}

/// Changes of primary that are remembered.
pub const FAILOVERS_MAX: usize = 16;

/// A change of primary, from the first sign of it to the moment at which writes go to the new one. Times are those that the
/// planner's node saw; one that has begun to plan in the middle knows less of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failover {
    /// The old primary.
    pub from: String,
    /// The new one.
    pub to: String,
    /// The new one's term.
    pub term: u64,
    /// When writes went on, in milliseconds since 1970 by the clock of the planner's node.
    pub at_unix_ms: u64,
    /// An operator asked for it.
    pub planned: bool,
    /// Why, for people.
    pub cause: String,
    /// From the last sign that the old primary was well until it was known that it is not, in milliseconds. What was waited for
    /// its lease is in it, since only the end of the lease says that a node is gone.
    pub detect_ms: Option<u64>,
    /// From there until the old primary could not acknowledge anything any more.
    pub fence_ms: Option<u64>,
    /// From there until the new one was chosen.
    pub elect_ms: Option<u64>,
    /// From there until it took writes.
    pub promote_ms: Option<u64>,
    /// What may have been lost; `None`: nothing that was acknowledged.
    pub risk: Option<Risk>,
}

/// A member of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The node's name.
    pub node: String,
    /// Where its server listens.
    pub address: SocketAddr,
    /// Its node has a lease.
    pub alive: bool,
    /// What it said last.
    pub report: Option<Report>,
}

/// What this node does for its own server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Own {
    /// What is being done to the server, for people; `None`: nothing.
    pub action: Option<String>,
    /// What went wrong last, until something goes right.
    pub error: Option<String>,
    /// The rungs of the fencing ladder that this node has: each with its name and, if it is not there, why.
    pub rungs: Vec<Rung>,
}

/// A way by which an old primary is kept from acknowledging writes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rung {
    /// `agent`, `guard`, `port-lease`, `watchdog` or `stonith`.
    pub name: String,
    /// Why it is not there; `None`: it is.
    pub missing: Option<String>,
}

/// All groups of this node. Copies are the same board.
#[derive(Clone, Debug)]
pub struct Board {
    views: Arc<Mutex<BTreeMap<String, View>>>,
    changes: Arc<watch::Sender<u64>>,
}

impl Default for Board {
    fn default() -> Self {
        Self { views: Arc::default(), changes: Arc::new(watch::Sender::new(0)) }
    }
}

impl Board {
    /// Every group, by name.
    pub fn views(&self) -> BTreeMap<String, View> {
        self.lock().clone()
    }

    /// One group.
    pub fn view(&self, group: &str) -> Option<View> {
        self.lock().get(group).cloned()
    }

    /// Changes what is known of a group, and tells whoever follows if it is another one now.
    pub fn set(&self, group: &str, view: View) {
        let mut views = self.lock();
        if views.get(group) == Some(&view) {
            return;
        }
        views.insert(group.to_owned(), view);
        drop(views);
        self.changes.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Changes a part of what is known of a group, if anything is.
    pub fn update(&self, group: &str, change: impl FnOnce(&mut View)) {
        let mut views = self.lock();
        let Some(view) = views.get_mut(group) else { return };
        let before = view.clone();
        change(view);
        let differs = *view != before;
        drop(views);
        if differs {
            self.changes.send_modify(|count| *count = count.wrapping_add(1));
        }
    }

    /// Tells of changes.
    pub fn follow(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    // What is inside is replaced whole, so that a holder that panicked left nothing half done.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, View>> {
        self.views.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

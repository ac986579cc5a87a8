//! What a node knows of its groups, for the rest of its process: status, metrics, and where clients are led.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use mainstay_core::database::Engine;
use mainstay_core::database::{Lsn, Phase, Plan, Report, Server};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

pub use super::history::{FAILOVERS_MAX, Failover, Loss, Routed};

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

impl View {
    /// The member that takes writes, as far as the node knows now.
    pub fn writable(&self) -> Option<&Member> {
        let primary = self.plan.serving().filter(|_| self.is_current)?;
        let leads = |report: &Report| report.server == Server::Primary && report.led == Some(self.plan.term);
        self.members
            .iter()
            .find(|member| member.node == primary && member.alive && member.report.as_ref().is_some_and(leads))
    }

    /// There has been a primary.
    pub fn is_founded(&self) -> bool {
        !matches!(self.plan.phase, Phase::Founding { .. })
    }
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
    /// Its server takes writes although the node has no lease: why it may.
    #[serde(default)]
    pub without_lease: Option<String>,
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
    /// Groups that took no writes at some time since that was asked last.
    lapsed: Arc<Mutex<BTreeSet<String>>>,
    changes: Arc<watch::Sender<u64>>,
}

impl Default for Board {
    fn default() -> Self {
        Self { views: Arc::default(), lapsed: Arc::default(), changes: Arc::new(watch::Sender::new(0)) }
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
        let is_writable = view.writable().is_some();
        views.insert(group.to_owned(), view);
        drop(views);
        self.note(group, is_writable);
        self.changes.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Changes a part of what is known of a group, if anything is.
    pub fn update(&self, group: &str, change: impl FnOnce(&mut View)) {
        let mut views = self.lock();
        let Some(view) = views.get_mut(group) else { return };
        let before = view.clone();
        change(view);
        let (differs, is_writable) = (*view != before, view.writable().is_some());
        drop(views);
        if differs {
            self.note(group, is_writable);
            self.changes.send_modify(|count| *count = count.wrapping_add(1));
        }
    }

    /// Whether a group took writes all the time since this was asked last.
    pub fn took_writes(&self, group: &str) -> bool {
        let has_lapsed = self.lapsed.lock().unwrap_or_else(PoisonError::into_inner).remove(group);
        !has_lapsed && self.lock().get(group).is_some_and(|view| view.writable().is_some())
    }

    fn note(&self, group: &str, is_writable: bool) {
        if !is_writable {
            self.lapsed.lock().unwrap_or_else(PoisonError::into_inner).insert(group.to_owned());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lapse_of_writes_between_two_questions_is_remembered() {
        let report = Report { term: 3, led: Some(3), ..Report::new(Server::Primary) };
        let address = ([10, 0, 0, 1], 5432).into();
        let member = Member { node: "a".to_owned(), address, alive: true, report: Some(report) };
        let view = View {
            engine: Engine::Postgres,
            plan: Plan { term: 3, phase: Phase::Serving { primary: "a".to_owned() }, ..Plan::default() },
            is_current: true,
            members: vec![member],
            own: None,
            obstacle: None,
            end: None,
            paused: false,
            failovers: Vec::new(),
        };
        let board = Board::default();
        assert!(!board.took_writes("orders"), "nothing is known of it");
        board.set("orders", view.clone());
        assert!(board.took_writes("orders") && board.took_writes("orders"));
        board.update("orders", |view| view.members[0].alive = false);
        board.update("orders", |view| view.members[0].alive = true);
        assert!(!board.took_writes("orders"), "it has lapsed in between");
        assert!(board.took_writes("orders"));
        board.update("orders", |view| view.is_current = false);
        assert!(!board.took_writes("orders"));
        let old = View { plan: Plan { term: 4, ..view.plan.clone() }, ..view };
        assert!(old.writable().is_none(), "what leads by an old term does not take writes");
    }
}

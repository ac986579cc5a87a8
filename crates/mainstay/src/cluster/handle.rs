//! What the rest of the process asks the cluster's thread for: the admin interface above all.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mainstay_cluster::address::driver::Board;
use mainstay_cluster::coordinator::Coordinator;
use mainstay_cluster::membership::Membership;
use mainstay_cluster::peer::NodeId;
use mainstay_cluster::peer::client::TlsTransport;
use mainstay_cluster::session::{Session, Standing};
use mainstay_failover::group::board::Board as Databases;
use mainstay_runtime::clock::Boottime;
use tokio::sync::watch;

use super::engine::Opened;
use super::groups::Groups;

/// The cluster as seen from other threads.
pub struct Handle {
    engine: &'static str,
    parts: Mutex<Option<Parts>>,
    /// Why the engine is not open.
    failure: Mutex<Option<String>>,
    quorum: Mutex<Quorum>,
    /// How the node's session stands, and the clock that it is counted with.
    session: Mutex<Option<(watch::Receiver<Standing>, Boottime)>>,
    addresses: Arc<Board>,
    groups: Groups,
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle").field("engine", &self.engine).finish_non_exhaustive()
    }
}

/// What is there while the engine is open. Whoever takes a copy gives it back soon: the next process waits for it.
#[derive(Clone)]
pub struct Parts {
    /// The node's number.
    pub id: NodeId,
    /// What nodes agree by. May be asked from any thread with a runtime.
    pub coordinator: Arc<dyn Coordinator>,
    /// Of nodes that keep the agreement themselves, with what they know of each other's connections.
    pub membership: Option<(Membership, TlsTransport)>,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Whether the cluster can decide anything, as this node sees it.
#[derive(Clone, Debug)]
pub enum Quorum {
    /// Not asked yet.
    Unknown,
    /// It answered.
    There {
        /// Since when.
        since: Instant,
    },
    /// It did not: what is served stays as it is, and nothing can be changed.
    Lost {
        /// Since when.
        since: Instant,
        /// What it said.
        reason: String,
    },
}

impl Handle {
    pub(super) fn new(engine: &'static str, groups: Groups) -> Self {
        let failure = Some("it is being opened".to_owned());
        Self {
            engine,
            parts: Mutex::default(),
            failure: Mutex::new(failure),
            quorum: Mutex::new(Quorum::Unknown),
            session: Mutex::default(),
            addresses: Arc::default(),
            groups,
        }
    }

    pub(super) fn open(&self, opened: &Opened) {
        *lock(&self.failure) = None;
        *lock(&self.parts) = Some(Parts {
            id: opened.id,
            coordinator: Arc::clone(&opened.coordinator),
            membership: opened.membership.clone(),
        });
    }

    pub(super) fn close(&self) {
        *lock(&self.parts) = None;
        *lock(&self.failure) = Some("this node has left".to_owned());
    }

    pub(super) fn note_session(&self, session: &Session) {
        *lock(&self.session) = Some((session.follow(), session.clock().clone()));
    }

    /// The number of the node's lease, and how long it may be relied on unless it is renewed; `None` without one.
    pub fn session(&self) -> Option<(i64, Duration)> {
        let (standing, clock) = lock(&self.session).clone()?;
        match *standing.borrow() {
            Standing::Held(term) => Some((term.lease, term.deadline.since(clock.now()))),
            Standing::Without | Standing::Closed => None,
        }
    }

    pub(super) fn note_failure(&self, reason: String) {
        *lock(&self.failure) = Some(reason);
    }

    /// What holds the agreement: `memory`, `embedded` or `etcd`.
    pub fn engine(&self) -> &'static str {
        self.engine
    }

    /// The open engine.
    ///
    /// # Errors
    /// Why it is not open.
    pub fn parts(&self) -> Result<Parts, String> {
        let parts = lock(&self.parts).clone();
        parts.ok_or_else(|| lock(&self.failure).clone().unwrap_or_default())
    }

    /// The floating addresses of this node.
    pub fn addresses(&self) -> &Arc<Board> {
        &self.addresses
    }

    /// This node's groups of database servers.
    pub fn groups(&self) -> &Groups {
        &self.groups
    }

    /// What its drivers found out of them.
    pub fn databases(&self) -> &Databases {
        self.groups.board()
    }

    /// Whether the cluster can decide anything.
    pub fn quorum(&self) -> Quorum {
        lock(&self.quorum).clone()
    }

    pub(super) fn note_quorum(&self, quorum: Quorum) {
        *lock(&self.quorum) = quorum;
    }
}

// What is inside is replaced whole, so that a holder that panicked left nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

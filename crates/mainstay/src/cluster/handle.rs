//! What the rest of the process asks the cluster's thread for: the admin interface above all.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use mainstay_cluster::address::driver::Board;
use mainstay_cluster::coordinator::Coordinator;
use mainstay_cluster::peer::NodeId;

use super::engine::Opened;

/// The cluster as seen from other threads.
pub struct Handle {
    id: NodeId,
    engine: &'static str,
    coordinator: Arc<dyn Coordinator>,
    quorum: Mutex<Quorum>,
    addresses: Arc<Board>,
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle").field("id", &self.id).field("engine", &self.engine).finish_non_exhaustive()
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
    pub(super) fn new(opened: &Opened) -> Self {
        Self {
            id: opened.id,
            engine: opened.name,
            coordinator: Arc::clone(&opened.coordinator),
            quorum: Mutex::new(Quorum::Unknown),
            addresses: Arc::default(),
        }
    }

    /// The node's number.
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// What holds the agreement: `memory`, `embedded` or `etcd`.
    pub fn engine(&self) -> &'static str {
        self.engine
    }

    /// What nodes agree by. May be asked from any thread with a runtime.
    pub fn coordinator(&self) -> &Arc<dyn Coordinator> {
        &self.coordinator
    }

    /// The floating addresses of this node.
    pub fn addresses(&self) -> &Arc<Board> {
        &self.addresses
    }

    /// Whether the cluster can decide anything.
    pub fn quorum(&self) -> Quorum {
        self.quorum.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn note_quorum(&self, quorum: Quorum) {
        *self.quorum.lock().unwrap_or_else(PoisonError::into_inner) = quorum;
    }
}

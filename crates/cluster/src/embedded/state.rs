//! What the parts of a running node share.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use mainstay_core::time::Moment;
use tokio::sync::watch;

use super::disk::Disk;
use super::log::Log;
use super::raft::{Applied, Raft};
use super::status::Quorum;
use crate::coordinator::{Error, LeaseId};
use crate::peer::Transport;
use crate::replica::Replica;
use crate::store::{Command, Reply, Request, Store};
use crate::timings::Timings;

/// The clock that leases are counted with.
pub(super) type Now = Arc<dyn Fn() -> Moment + Send + Sync>;

/// When a lease ends for this node, should it lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) epoch: u64,
    pub(super) at: Moment,
}

pub(super) struct State {
    pub(super) node: u64,
    pub(super) timings: Timings,
    pub(super) transport: Arc<dyn Transport>,
    pub(super) replica: Arc<Replica>,
    pub(super) disk: Disk,
    pub(super) log: Log,
    pub(super) now: Now,
    /// Set once, before anything asks for it.
    pub(super) raft: OnceLock<Raft>,
    /// The next entry of the log to be applied, told whenever it grows.
    pub(super) applied: watch::Sender<u64>,
    /// Whether there is a quorum, and since when.
    pub(super) quorum: watch::Sender<Quorum>,
    /// Whether this node leads and a majority does not answer it.
    pub(super) mute: Arc<AtomicBool>,
    /// Held by what stands for election.
    pub(super) standing: tokio::sync::Mutex<()>,
    /// Elections in a row that this node stood for and that brought no leader.
    pub(super) lost: AtomicU32,
    /// When this node last heard its leader, or gave its vote; on the process's clock.
    heard: Mutex<std::time::Instant>,
    /// Until when the election is waited for in which this node last gave its vote, or stood itself.
    promised: Mutex<std::time::Instant>,
    due: Mutex<BTreeMap<LeaseId, Due>>,
    /// Tells this process's requests from those of the one before.
    boot: u64,
    requests: AtomicU64,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("node", &self.node).finish_non_exhaustive()
    }
}

impl State {
    pub(super) fn new(
        node: u64,
        timings: Timings,
        transport: Arc<dyn Transport>,
        disk: Disk,
        log: Log,
        now: Now,
        store: Store,
    ) -> Arc<Self> {
        let state = Self {
            node,
            timings,
            transport,
            replica: Replica::new(Store::default()),
            disk,
            log,
            now,
            raft: OnceLock::new(),
            applied: watch::Sender::new(0),
            quorum: watch::Sender::new(Quorum::unknown()),
            mute: Arc::default(),
            standing: tokio::sync::Mutex::default(),
            lost: AtomicU32::new(0),
            heard: Mutex::new(std::time::Instant::now()),
            promised: Mutex::new(std::time::Instant::now()),
            due: Mutex::new(BTreeMap::new()),
            boot: RandomState::new().hash_one(node),
            requests: AtomicU64::new(0),
        };
        state.replace(store, None);
        Arc::new(state)
    }

    /// The consensus.
    ///
    /// # Errors
    /// While the node starts.
    pub(super) fn raft(&self) -> Result<&Raft, Error> {
        self.raft.get().ok_or_else(|| Error::Unavailable("the node is starting".to_owned()))
    }

    /// Whether the disk has failed, which ends this node's part in the cluster.
    pub(super) fn check(&self) -> Result<(), Error> {
        self.disk.failure().map_or(Ok(()), |error| Err(Error::Storage(error.to_string())))
    }

    pub(super) fn hear(&self) {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = std::time::Instant::now();
    }

    /// How long it is since.
    pub(super) fn silence(&self) -> Duration {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    /// Wishes for no other election within this time: this node takes part in one, which a newer one would bring to nothing.
    pub(super) fn promise(&self, limit: Duration) {
        *self.promised.lock().unwrap_or_else(PoisonError::into_inner) = std::time::Instant::now() + limit;
    }

    /// Whether that time is not over.
    pub(super) fn is_promised(&self) -> bool {
        std::time::Instant::now() < *self.promised.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A name for a request of this node.
    pub(super) fn request(&self) -> Request {
        Request {
            node: self.node,
            boot: self.boot,
            sequence: self.requests.fetch_add(1, Ordering::Relaxed),
            issued: self.replica.read(Store::commands),
        }
    }

    /// Applies an entry of the log, and notes from when on a lease may be over. Whoever sent a renewal did so before it was
    /// in the log, so that a lease counted from now is never counted too short.
    pub(super) fn apply(&self, command: &Command, term: u64) -> Applied {
        let answer = self.replica.apply(command.clone(), term);
        match (&answer, command) {
            (Ok(Reply::Lease(lease)), _) => {
                let epoch = self.replica.read(|store| store.lease(lease.id).map_or(0, |granted| granted.epoch));
                let at = (self.now)().after(lease.ttl);
                self.lock_due().insert(lease.id, Due { epoch, at });
            }
            (Ok(Reply::Ended(true)), Command::Revoke { lease } | Command::Expire { lease, .. }) => {
                self.lock_due().remove(lease);
            }
            _nothing_about_leases => {}
        }
        Applied(Some(answer))
    }

    /// Goes on with another store. Its leases are counted from now, as all were renewed before.
    pub(super) fn replace(&self, store: Store, next: Option<u64>) {
        let now = (self.now)();
        let due = store.leases().map(|(id, granted)| (id, Due { epoch: granted.epoch, at: now.after(granted.ttl) }));
        *self.lock_due() = due.collect();
        self.replica.replace(store);
        if let Some(next) = next {
            self.applied.send_replace(next);
        }
    }

    /// Leases whose time is over, with the renewal that was the last.
    pub(super) fn over(&self, most: usize) -> Vec<(LeaseId, u64)> {
        let now = (self.now)();
        let due = self.lock_due();
        due.iter().filter(|(_lease, due)| due.at <= now).map(|(lease, due)| (*lease, due.epoch)).take(most).collect()
    }

    /// Gives all leases more time: this node was not able to hear of their renewals for so long.
    pub(super) fn grace(&self, by: Duration) {
        self.lock_due().values_mut().for_each(|due| due.at = due.at.after(by));
    }

    fn lock_due(&self) -> MutexGuard<'_, BTreeMap<LeaseId, Due>> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

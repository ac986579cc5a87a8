//! The engine in the binary: openraft for agreement, redb for what must not be forgotten, the store in memory. The same
//! code runs one node, five voters, and learners beyond them.
//!
//! Every node answers every request: what only the leader can do is passed on to it. Reads are linearizable: the leader
//! confirms by a majority that it still leads, and says how far the asking node's own replica must have come.

mod disk;
mod duty;
mod leader;
mod log;
mod machine;
mod membership;
mod network;
mod raft;
mod recover;
mod requests;
mod serve;
mod state;
mod status;
mod wire;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mainstay_core::time::Moment;
use mainstay_runtime::clock::Boottime;
use mainstay_runtime::task::AbortOnDrop;
use openraft::error::{InitializeError, RaftError};
use thiserror::Error;
use tokio::sync::watch;

use crate::coordinator::{Error as RequestError, LeaseId, Range};
use crate::keys;
use crate::peer::{Handler, NodeId, Service, Transport};
use crate::role::Holder;
use crate::store::{Command, Damaged, Limits, Reply, Store};
use crate::timings::Timings;
use state::State;
use wire::{FromLeader, ToLeader};

pub use disk::DiskError;
pub use membership::{Changed, VOTERS_MAX};
pub use raft::Peer;
pub use recover::{RecoverError, Survey, recover, survey};
pub use status::{Member, Part, Quorum, Status};

/// How to start a node.
#[derive(Clone)]
pub struct Settings {
    /// Its number, which it has for ever.
    pub node: NodeId,
    /// Where it keeps what it must not forget. No other process may use it.
    pub folder: PathBuf,
    /// Bytes of the file there, at most; when it would grow beyond, the node stops as if the disk were full.
    pub disk_bytes_max: u64,
    /// Entries of the log after which the store's snapshot takes their place.
    pub snapshot_entries: u64,
    /// How long nodes wait for each other.
    pub timings: Timings,
    /// The way to the others.
    pub transport: Arc<dyn Transport>,
    /// The clock that leases are counted with.
    pub clock: Arc<dyn Fn() -> Moment + Send + Sync>,
}

impl Settings {
    /// Usual settings.
    pub fn new(node: NodeId, folder: impl Into<PathBuf>, timings: Timings, transport: Arc<dyn Transport>) -> Self {
        let clock = Boottime::system();
        let clock = Arc::new(move || clock.now());
        Self { node, folder: folder.into(), disk_bytes_max: 4 << 30, snapshot_entries: 4000, timings, transport, clock }
    }
}

/// Why a node did not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// Its storage is of no use.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The snapshot of the store is not one.
    #[error("{0}; this node must not vote: remove it from the cluster, delete its folder, and let it join anew")]
    Store(#[from] Damaged),
    /// The consensus did not start.
    #[error("the consensus did not start: {0}")]
    Raft(String),
}

/// Why the members were not changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ChangeError {
    /// The leader refuses: it says why, and what to do.
    #[error("{0}")]
    Refused(String),
    /// It could not be asked, or did not answer.
    #[error(transparent)]
    Request(#[from] RequestError),
}

/// A running node. It implements [`crate::coordinator::Coordinator`].
#[derive(Debug)]
pub struct Embedded {
    state: Arc<State>,
    _duties: [AbortOnDrop; 2],
}

impl Embedded {
    /// Starts the node on this thread's runtime. Messages for [`Service::Raft`] and [`Service::Store`] are to be given to
    /// its [`Embedded::handlers`] from then on.
    ///
    /// # Errors
    /// If what it had promised to the others cannot be read: then it must not take part.
    pub async fn start(settings: Settings) -> Result<Self, StartError> {
        let Settings { node, folder, disk_bytes_max, snapshot_entries, timings, transport, clock } = settings;
        let (disk, mut content) = disk::Disk::open(&folder, node.0, disk_bytes_max).await?;
        let snapshot = content.snapshot.take();
        let store = match &snapshot {
            Some((_meta, body)) => Store::restore(body, Limits::default())?,
            None => Store::default(),
        };
        let log = log::Log::new(disk.clone(), content, node.0);
        let state = State::new(node.0, timings, Arc::clone(&transport), disk, log.clone(), clock, store);
        let machine = machine::Machine::new(Arc::clone(&state), snapshot);
        let network =
            network::Network { transport, pause: timings.heartbeat / 2, mute: Arc::clone(&state.mute), timings };
        let raft = raft::Raft::new(node.0, Arc::new(raft::config(&timings, snapshot_entries)), network, log, machine)
            .await
            .map_err(|error| StartError::Raft(error.to_string()))?;
        // It was empty: this is the only place that sets it.
        let _first = state.raft.set(raft.clone());
        let duties = duty::start(&state, &raft, state.request().boot);
        Ok(Self { state, _duties: duties })
    }

    /// Who answers which messages.
    pub fn handlers(&self) -> [(Service, Arc<dyn Handler>); 2] {
        [
            (Service::Raft, Arc::new(serve::RaftHandler(Arc::clone(&self.state)))),
            (Service::Store, Arc::new(serve::StoreHandler(Arc::clone(&self.state)))),
        ]
    }

    /// Makes a new cluster of these members, once and on one node; on others they start empty and wait. Of a cluster that is
    /// there already nothing changes.
    ///
    /// # Errors
    /// If this node is not one of them, or its storage fails.
    pub async fn initialize(&self, members: BTreeMap<NodeId, Peer>) -> Result<(), ChangeError> {
        let voters = members.into_iter().map(|(node, peer)| (node.0, peer)).collect::<BTreeMap<u64, Peer>>();
        match self.state.raft()?.initialize(voters).await {
            Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Ok(()),
            Err(error) => Err(ChangeError::Refused(error.to_string())),
        }
    }

    /// A number for a new node, which no node ever had.
    ///
    /// # Errors
    /// If there is no quorum.
    pub async fn number(&self) -> Result<NodeId, RequestError> {
        let above = self.status().members.iter().map(|member| member.node.0).max().unwrap_or(self.state.node);
        match self.state.write(Command::Number { above }).await? {
            Reply::Node(node) => Ok(NodeId(node)),
            other => Err(RequestError::Unknown(format!("the store answered something else: {other:?}"))),
        }
    }

    /// Takes a node in: it follows at once, and votes when it has caught up if `peer` says so and the number of voters is
    /// odd then. Otherwise it waits for the next one; `even` says that an even number is meant.
    ///
    /// # Errors
    /// If the leader refuses. A node that did not catch up in time stays a learner.
    pub async fn add(&self, node: NodeId, peer: Peer, even: bool) -> Result<Changed, ChangeError> {
        self.change(membership::Change::Add { node: node.0, peer, even }).await
    }

    /// Lets nodes vote that wait for it.
    ///
    /// # Errors
    /// If the leader refuses.
    pub async fn promote(&self, even: bool) -> Result<Changed, ChangeError> {
        self.change(membership::Change::Promote { even }).await
    }

    /// Sends a node away; one that waits to vote takes its place in the same step. Its number is never given again.
    ///
    /// # Errors
    /// If two voters would be left and `even` does not say that this is meant, or none.
    pub async fn remove(&self, node: NodeId, even: bool) -> Result<Changed, ChangeError> {
        self.change(membership::Change::Remove { node: node.0, even }).await
    }

    /// Says where a member is reached from now on, what it is called, and whether it is to vote: if not, one that waits takes
    /// its place.
    ///
    /// # Errors
    /// If it is not a member, or two voters would be left without its vote, or none.
    pub async fn relocate(&self, node: NodeId, peer: Peer) -> Result<Changed, ChangeError> {
        self.change(membership::Change::Move { node: node.0, peer }).await
    }

    async fn change(&self, change: membership::Change) -> Result<Changed, ChangeError> {
        let limit = membership::CATCH_UP + Duration::from_secs(5);
        match self.state.once(ToLeader::Change(change), limit).await? {
            FromLeader::Changed(result) => result.map_err(ChangeError::Refused),
            other => Err(RequestError::Unknown(format!("the leader answered {other:?}")).into()),
        }
    }

    /// Whether, as this node's replica knows, the lease is the session of the node of this name: the node's own keys, or
    /// roles that it holds, go with it.
    pub fn lease_is_of(&self, lease: LeaseId, name: &str) -> bool {
        let own = [keys::node(name), keys::candidate(name)];
        self.state.replica.read(|store| {
            let held = store.lease(lease).map(|granted| &granted.keys);
            held.into_iter().flatten().any(|key| {
                let is_role = || {
                    let listing = store.range(&Range::key(key), None, 1).ok();
                    let entry = listing.and_then(|listing| listing.entries.into_iter().next());
                    let holder = entry.and_then(|entry| Holder::from_bytes(&entry.value));
                    holder.is_some_and(|holder| holder.node == name)
                };
                own.contains(key) || is_role()
            })
        })
    }

    /// What this node knows of itself and of the others.
    pub fn status(&self) -> Status {
        self.state.status()
    }

    /// Whether a majority can be reached, told whenever that changes.
    pub fn quorum(&self) -> watch::Receiver<Quorum> {
        self.state.quorum.subscribe()
    }

    /// Ends the node's part; what was confirmed is on the disk. Watches and requests end with an error.
    pub async fn shutdown(&self) {
        self.state.replica.close(RequestError::Unavailable("the node is stopping".to_owned()));
        if let Some(raft) = self.state.raft.get() {
            // It fails only if a task of openraft panicked, and then it has ended as well.
            let _ended = raft.shutdown().await;
        }
        self.state.disk.close().await;
    }
}

/// Reads a message as each of those that nodes send each other for the log.
#[cfg(any(test, feature = "fuzz"))]
pub(crate) fn fuzz(bytes: &[u8]) {
    let _to_raft = wire::decode::<wire::ToRaft>(bytes);
    let _from_raft = wire::decode::<wire::FromRaft>(bytes);
    let _to_leader = wire::decode::<wire::ToLeader>(bytes);
    let _from_leader = wire::decode::<wire::FromLeader>(bytes);
}

//! openraft's messages over the peers' transport.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use openraft::error::{InstallSnapshotError, NetworkError, RPCError, RaftError, RemoteError, Unreachable};
use openraft::network::{Backoff, RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse, VoteRequest,
    VoteResponse,
};

use super::raft::{Peer, Types};
use super::wire::{FromRaft, ToRaft, decode, encode};
use crate::peer::{CallError, NodeId, Service, Transport};
use crate::timings::Timings;

type Failed<E = openraft::error::Infallible> = RPCError<u64, Peer, RaftError<u64, E>>;

/// Makes links.
#[derive(Debug)]
pub(super) struct Network {
    pub(super) transport: Arc<dyn Transport>,
    /// How long is waited before a node that cannot be reached is tried again.
    pub(super) pause: Duration,
    /// Whether this node leads and a majority does not answer it.
    pub(super) mute: Arc<AtomicBool>,
    pub(super) timings: Timings,
}

/// The way to one node.
#[derive(Debug)]
pub(super) struct Link {
    transport: Arc<dyn Transport>,
    to: NodeId,
    pause: Duration,
    mute: Arc<AtomicBool>,
    timings: Timings,
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Link;

    async fn new_client(&mut self, target: u64, _node: &Peer) -> Link {
        Link {
            transport: Arc::clone(&self.transport),
            to: NodeId(target),
            pause: self.pause,
            mute: Arc::clone(&self.mute),
            timings: self.timings,
        }
    }
}

/// How long a node is waited for that was asked about an election.
pub(super) fn answer_limit(transport: &dyn Transport, timings: &Timings, of: NodeId) -> Duration {
    timings.candidacy().answer(transport.round_trip(of))
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Said(String);

impl Link {
    async fn ask<E: std::error::Error>(&self, message: &ToRaft, option: &RPCOption) -> Result<FromRaft, Failed<E>> {
        let bytes = encode(message).map_err(|reason| self.unexpected(reason))?;
        match self.transport.call(self.to, Service::Raft, bytes, option.hard_ttl()).await {
            Ok(answer) => decode(&answer).map_err(|reason| self.unexpected(reason)),
            Err(error @ CallError::Lost { .. }) => Err(RPCError::Network(NetworkError::new(&error))),
            // With this openraft waits a little before it tries again.
            Err(error @ (CallError::Unreachable { .. } | CallError::Refused { .. })) => {
                Err(RPCError::Unreachable(Unreachable::new(&error)))
            }
        }
    }

    /// Before anything else is sent by a leader that a majority does not answer: what only gets through one way must not
    /// keep the others from electing another.
    async fn greet(&self, option: &RPCOption) -> Result<(), Failed> {
        let half = RPCOption::new((option.hard_ttl() / 2).min(self.timings.rpc));
        match self.ask(&ToRaft::Hello, &half).await? {
            FromRaft::Hello => Ok(()),
            answer => Err(self.other(&answer)),
        }
    }

    fn unexpected<E: std::error::Error>(&self, reason: String) -> Failed<E> {
        RPCError::Unreachable(Unreachable::new(&Said(format!("node {}: {reason}", self.to))))
    }

    fn other<E: std::error::Error>(&self, answer: &FromRaft) -> Failed<E> {
        self.unexpected(format!("the answer does not fit the question: {answer:?}"))
    }
}

impl RaftNetwork<Types> for Link {
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<u64>, Failed> {
        if self.mute.load(Ordering::Relaxed) {
            self.greet(&option).await?;
        }
        match self.ask(&ToRaft::Append(rpc), &option).await? {
            FromRaft::Append(answer) => Ok(answer),
            answer => Err(self.other(&answer)),
        }
    }

    async fn install_snapshot(
        &mut self,
        rpc: InstallSnapshotRequest<Types>,
        option: RPCOption,
    ) -> Result<InstallSnapshotResponse<u64>, Failed<InstallSnapshotError>> {
        match self.ask(&ToRaft::Snapshot(rpc), &option).await? {
            FromRaft::Snapshot(answer) => Ok(answer),
            FromRaft::SnapshotMismatch(mismatch) => {
                let error = RaftError::APIError(InstallSnapshotError::SnapshotMismatch(mismatch));
                Err(RPCError::RemoteError(RemoteError::new(self.to.0, error)))
            }
            answer => Err(self.other(&answer)),
        }
    }

    async fn vote(&mut self, rpc: VoteRequest<u64>, option: RPCOption) -> Result<VoteResponse<u64>, Failed> {
        // What openraft would wait for a vote is bound to be shorter than the leader's lease; see `raft::Runtime`.
        let _too_short = option;
        let option = RPCOption::new(answer_limit(&*self.transport, &self.timings, self.to));
        match self.ask(&ToRaft::Vote(rpc), &option).await? {
            FromRaft::Vote(answer) => Ok(answer),
            answer => Err(self.other(&answer)),
        }
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(self.pause))
    }
}

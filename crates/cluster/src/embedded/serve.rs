//! Answers what other nodes ask.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use openraft::error::{InstallSnapshotError, RaftError};
use openraft::raft::AppendEntriesResponse;
use openraft::{LogId, ServerState};

use super::network::answer_limit;
use super::state::State;
use super::wire::{FromLeader, FromRaft, ToLeader, ToRaft, decode, encode};
use super::{leader, membership};
use crate::peer::{Handler, NodeId, Service};

/// Answers [`Service::Raft`].
#[derive(Debug)]
pub(super) struct RaftHandler(pub(super) Arc<State>);

/// Answers [`Service::Store`].
#[derive(Debug)]
pub(super) struct StoreHandler(pub(super) Arc<State>);

#[async_trait]
impl Handler for RaftHandler {
    async fn handle(&self, from: NodeId, message: Bytes) -> Result<Bytes, String> {
        let state = &self.0;
        // A node that may have forgotten what it promised must not be counted by anyone.
        state.check().map_err(|error| error.to_string())?;
        let raft = state.raft().map_err(|error| error.to_string())?;
        let answer = match decode::<ToRaft>(&message)? {
            ToRaft::Append(request) => {
                own(from, request.vote.leader_id.voted_for())?;
                let answer = raft.append_entries(request).await.map_err(|error| error.to_string())?;
                if !matches!(answer, AppendEntriesResponse::HigherVote(_)) {
                    state.hear();
                }
                FromRaft::Append(answer)
            }
            ToRaft::Vote(request) => {
                own(from, request.vote.leader_id.voted_for())?;
                let answer = raft.vote(request).await.map_err(|error| error.to_string())?;
                if answer.vote_granted {
                    state.hear();
                    state.promise(answer_limit(&*state.transport, &state.timings, from));
                }
                FromRaft::Vote(answer)
            }
            ToRaft::Snapshot(request) => {
                own(from, request.vote.leader_id.voted_for())?;
                match raft.install_snapshot(request).await {
                    Ok(answer) => {
                        state.hear();
                        FromRaft::Snapshot(answer)
                    }
                    Err(RaftError::APIError(InstallSnapshotError::SnapshotMismatch(mismatch))) => {
                        FromRaft::SnapshotMismatch(mismatch)
                    }
                    Err(RaftError::Fatal(error)) => return Err(error.to_string()),
                }
            }
            ToRaft::WouldVote { last, refused } => FromRaft::WouldVote(would_vote(state, from, last, refused).await),
            ToRaft::Hello => FromRaft::Hello,
        };
        encode(&answer)
    }
}

/// A vote that is not the sender's own was not sent by the one who is bound by it.
fn own(from: NodeId, voted_for: Option<u64>) -> Result<(), String> {
    if voted_for == Some(from.0) {
        return Ok(());
    }
    Err(format!("node {from} speaks for another node"))
}

/// Whether this node has no leader either, and no more in its log than who asks.
async fn would_vote(state: &State, from: NodeId, last: Option<LogId<u64>>, refused: Option<u64>) -> bool {
    let Ok(raft) = state.raft() else { return false };
    let metrics = raft.metrics().borrow().clone();
    if last < state.log.last() || metrics.state == ServerState::Leader {
        return false;
    }
    // A leader that asks has been started anew and leads no more. Without any there may be an election under way.
    let leaderless = match metrics.current_leader {
        Some(leader) => leader == from.0,
        None => !state.is_promised(),
    };
    if leaderless || state.silence() >= state.timings.election_min {
        return true;
    }
    // The vote itself is refused while the leader was heard so lately: to stand for it would only cost time.
    let is_missed = state.silence() > state.timings.heartbeat * 2;
    match refused {
        Some(leader) if is_missed && metrics.current_leader == Some(leader) => unreachable(state, leader).await,
        _another_or_none => false,
    }
}

/// Whether the system itself says that nobody listens there. Silence is no proof.
pub(super) async fn unreachable(state: &State, node: u64) -> bool {
    let Ok(hello) = encode(&ToRaft::Hello) else { return false };
    let answer = state.transport.call(NodeId(node), Service::Raft, hello, state.timings.heartbeat).await;
    matches!(answer, Err(crate::peer::CallError::Unreachable { .. }))
}

#[async_trait]
impl Handler for StoreHandler {
    async fn handle(&self, _from: NodeId, message: Bytes) -> Result<Bytes, String> {
        let state = &self.0;
        let answer = match decode::<ToLeader>(&message)? {
            ToLeader::Write(command) => leader::write(state, command).await,
            ToLeader::ReadIndex => leader::read_index(state).await,
            ToLeader::Change(change) => match leader::here(state) {
                Err(elsewhere) => elsewhere,
                Ok(_raft) => FromLeader::Changed(membership::perform(state, change).await),
            },
        };
        encode(&answer)
    }
}

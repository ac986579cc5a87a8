//! What the leader does for others and for itself.

use openraft::ServerState;
use openraft::error::{CheckIsLeaderError, RaftError};

use super::raft::{Applied, Raft};
use super::state::State;
use super::wire::FromLeader;
use crate::coordinator::Error;
use crate::store::{Command, Reply};

/// The consensus, if this node leads it.
///
/// # Errors
/// What to answer instead.
pub(super) fn here(state: &State) -> Result<&Raft, FromLeader> {
    if let Err(error) = state.check() {
        return Err(FromLeader::Refused(error.to_string()));
    }
    let raft = state.raft().map_err(|error| FromLeader::Refused(error.to_string()))?;
    let metrics = raft.metrics();
    let metrics = metrics.borrow();
    if metrics.state != ServerState::Leader {
        return Err(FromLeader::NotLeader(metrics.current_leader.filter(|leader| *leader != state.node)));
    }
    drop(metrics);
    Ok(raft)
}

/// Puts a command into the log and waits for what comes of it.
pub(super) async fn write(state: &State, command: Command) -> FromLeader {
    let raft = match here(state) {
        Ok(raft) => raft,
        Err(elsewhere) => return elsewhere,
    };
    match tokio::time::timeout(state.timings.rpc, raft.client_write(command)).await {
        Ok(Ok(written)) => FromLeader::Written(match written.data {
            Applied(Some(answer)) => answer,
            Applied(None) => Err(Error::Invalid("the log has something else in its place".to_owned())),
        }),
        // It may have got into the log before this node ceased to lead, and the next leader may keep it.
        Ok(Err(error)) => FromLeader::Unknown(error.to_string()),
        Err(_elapsed) => {
            FromLeader::Unknown(format!("a majority of nodes did not confirm it within {:?}", state.timings.rpc))
        }
    }
}

/// How far a replica must have come to be as recent as this question. A majority confirms that this node still leads.
pub(super) async fn read_index(state: &State) -> FromLeader {
    let raft = match here(state) {
        Ok(raft) => raft,
        Err(elsewhere) => return elsewhere,
    };
    match tokio::time::timeout(state.timings.rpc, raft.get_read_log_id()).await {
        Ok(Ok((last, _applied))) => FromLeader::ReadIndex(last.map_or(0, |last| last.index.saturating_add(1))),
        Ok(Err(RaftError::APIError(CheckIsLeaderError::ForwardToLeader(forward)))) => {
            FromLeader::NotLeader(forward.leader_id)
        }
        Ok(Err(error)) => FromLeader::Refused(error.to_string()),
        Err(_elapsed) => FromLeader::Refused(format!("no majority of nodes answered within {:?}", state.timings.rpc)),
    }
}

/// What [`write`] says of a lease that is to end; `false` if it goes on.
pub(super) fn ended(answer: &FromLeader) -> bool {
    matches!(answer, FromLeader::Written(Ok(Reply::Ended(true))))
}

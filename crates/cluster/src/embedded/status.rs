//! What a node knows of itself and of the cluster, for people.

use std::time::SystemTime;

use openraft::ServerState;
use serde::{Deserialize, Serialize};

use super::raft::Peer;
use super::state::State;
use crate::peer::NodeId;
use crate::store::Store;

/// Whether a majority can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quorum {
    /// Whether it can.
    pub reached: bool,
    /// Since when that is so.
    pub since: SystemTime,
}

impl Quorum {
    /// Not yet.
    pub(super) fn unknown() -> Self {
        Self { reached: false, since: SystemTime::now() }
    }
}

/// What a node does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Part {
    /// Leads.
    Leader,
    /// Votes and follows.
    Follower,
    /// Wants to lead.
    Candidate,
    /// Follows without a vote.
    Learner,
    /// Takes no part any more.
    Stopped,
}

/// One member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its number.
    pub node: NodeId,
    /// Its name.
    pub name: String,
    /// Where it is reached.
    pub address: String,
    /// Whether it votes.
    pub voter: bool,
    /// Whether it is to vote and does not yet: it catches up, or waits for another, as an even number of voters is worse
    /// than one less.
    pub waiting: bool,
    /// How many entries it lacks; known by the leader.
    pub lag: Option<u64>,
}

/// What a node knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// This node.
    pub node: NodeId,
    /// What it does.
    pub part: Part,
    /// Who leads, as far as it knows.
    pub leader: Option<NodeId>,
    /// The term of the vote that it gave last.
    pub term: u64,
    /// The last entry of its log.
    pub last_log: Option<u64>,
    /// The last entry that it has applied.
    pub applied: Option<u64>,
    /// The last entry that its snapshot has.
    pub snapshot: Option<u64>,
    /// The revision of its store.
    pub revision: u64,
    /// Who takes part, by number.
    pub members: Vec<Member>,
    /// Whether a majority can be reached.
    pub quorum: Quorum,
    /// Why it takes no part: its storage has failed, say.
    pub failure: Option<String>,
}

impl State {
    pub(super) fn status(&self) -> Status {
        let quorum = *self.quorum.borrow();
        let revision = self.replica.read(Store::revision);
        let mut failure = self.disk.failure().map(|error| error.to_string());
        let node = NodeId(self.node);
        let Some(raft) = self.raft.get() else {
            let part = Part::Stopped;
            return Status {
                node,
                part,
                leader: None,
                term: 0,
                last_log: None,
                applied: None,
                snapshot: None,
                revision,
                members: Vec::new(),
                quorum,
                failure,
            };
        };
        let metrics = raft.metrics().borrow().clone();
        if failure.is_none() {
            failure = metrics.running_state.as_ref().err().map(ToString::to_string);
        }
        let membership = metrics.membership_config.membership();
        let member = |(id, peer): (&u64, &Peer)| {
            let voter = membership.voter_ids().any(|voter| voter == *id);
            let matched = metrics.replication.as_ref().and_then(|all| all.get(id));
            let next = |index: Option<u64>| index.map_or(0, |index| index.saturating_add(1));
            let lag = matched
                .map(|log_id| next(metrics.last_log_index).saturating_sub(next(log_id.map(|log_id| log_id.index))));
            Member {
                node: NodeId(*id),
                name: peer.name.clone(),
                address: peer.address.clone(),
                voter,
                waiting: peer.voter && !voter,
                lag,
            }
        };
        Status {
            node,
            part: match (&failure, metrics.state) {
                (Some(_), _) | (None, ServerState::Shutdown) => Part::Stopped,
                (None, ServerState::Leader) => Part::Leader,
                (None, ServerState::Follower) => Part::Follower,
                (None, ServerState::Candidate) => Part::Candidate,
                (None, ServerState::Learner) => Part::Learner,
            },
            leader: metrics.current_leader.map(NodeId),
            term: metrics.current_term,
            last_log: metrics.last_log_index,
            applied: metrics.last_applied.map(|last| last.index),
            snapshot: metrics.snapshot.map(|last| last.index),
            revision,
            members: membership.nodes().map(member).collect(),
            quorum,
            failure,
        }
    }
}

//! Who is a member and who votes. Performed by the leader; any node passes the wish on to it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use openraft::{ChangeMembers, Membership};
use serde::{Deserialize, Serialize};

use super::raft::{Peer, Raft};
use super::state::State;
use crate::peer::NodeId;

/// Voters at a time, at most. More of them make every write slower and the cluster hardly safer.
pub const VOTERS_MAX: usize = 5;
/// How long a new node may take to get what the others have.
pub(super) const CATCH_UP: Duration = Duration::from_secs(30);
/// Entries that a node may lack and still become a voter.
const LAG_MAX: u64 = 64;

/// A wish.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Change {
    /// Takes a node in.
    Add { node: u64, peer: Peer, even: bool },
    /// Lets nodes that wait for it vote.
    Promote { even: bool },
    /// Sends a node away.
    Remove { node: u64, even: bool },
    /// Says where a member is reached from now on, and whether it is to vote.
    Move { node: u64, peer: Peer },
}

/// What came of a change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// Who votes now.
    pub voters: Vec<NodeId>,
    /// Who follows only.
    pub learners: Vec<NodeId>,
}

/// Performs a change on the leader.
pub(super) async fn perform(state: &State, change: Change) -> Result<Changed, String> {
    let raft = state.raft().map_err(|error| error.to_string())?;
    match change {
        Change::Add { node, peer, even } => add(raft, node, peer, even).await,
        Change::Promote { even } => promote(raft, even).await,
        Change::Remove { node, even } => remove(raft, node, even).await,
        Change::Move { node, peer } => settle(raft, node, peer).await,
    }
}

/// Notes what a member is from now on. One that is not to vote any more follows only, and another that waits takes its place;
/// one that is to vote waits for that as a new one does.
async fn settle(raft: &Raft, node: u64, peer: Peer) -> Result<Changed, String> {
    member(raft, node)?;
    let mut voters = voters(raft);
    // Before anything is changed: it may be refused. A leader without a vote would go on to lead, as openraft has it.
    if !peer.voter && voters.len() > 1 && voters.contains(&node) && raft.metrics().borrow().id == node {
        return Err(format!("node {node} leads, and keeps its vote until another node does"));
    }
    let target = if !peer.voter && voters.remove(&node) { Some(remaining(raft, node, &voters, false)?) } else { None };
    let noted = perform_one(raft, ChangeMembers::SetNodes([(node, peer)].into()), true).await?;
    match target {
        Some(target) => perform_one(raft, ChangeMembers::ReplaceAllVoters(target), true).await,
        None => Ok(noted),
    }
}

async fn add(raft: &Raft, node: u64, peer: Peer, even: bool) -> Result<Changed, String> {
    let voter = peer.voter;
    let voters = voters(raft);
    if voters.contains(&node) {
        return Ok(present(raft));
    }
    let added = raft.add_learner(node, peer, false).await.map_err(|error| error.to_string())?;
    if !voter {
        return Ok(added.membership.as_ref().map_or_else(|| present(raft), Changed::of));
    }
    caught_up(raft, node).await?;
    promote(raft, even).await
}

/// Waits until the node has nearly all that the leader has.
async fn caught_up(raft: &Raft, node: u64) -> Result<(), String> {
    let started = Instant::now();
    while !is_near(raft, node) {
        if started.elapsed() > CATCH_UP {
            return Err(format!(
                "node {node} was taken in and does not vote yet: it did not catch up within {CATCH_UP:?}; \
                 is it running, and can the leader reach it?"
            ));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

fn is_near(raft: &Raft, node: u64) -> bool {
    let metrics = raft.metrics();
    let metrics = metrics.borrow();
    let matched = metrics.replication.as_ref().and_then(|all| all.get(&node)).copied().flatten();
    matched.is_some_and(|matched| matched.index.saturating_add(LAG_MAX) >= metrics.last_log_index.unwrap_or_default())
}

/// Lets nodes vote that wait for it, as many as make the number odd.
async fn promote(raft: &Raft, even: bool) -> Result<Changed, String> {
    let target = target(&voters(raft), &waiting(raft), even);
    become_voters(raft, target).await
}

async fn remove(raft: &Raft, node: u64, even: bool) -> Result<Changed, String> {
    member(raft, node)?;
    let mut voters = voters(raft);
    if !voters.remove(&node) {
        return perform_one(raft, ChangeMembers::RemoveNodes([node].into()), false).await;
    }
    become_voters(raft, remaining(raft, node, &voters, even)?).await
}

/// Who votes without `node`, whose vote is gone from `voters`.
fn remaining(raft: &Raft, node: u64, voters: &BTreeSet<u64>, even: bool) -> Result<BTreeSet<u64>, String> {
    let target = target(voters, &waiting(raft), even);
    match target.len() {
        0 => Err(format!("node {node} is the only voter; the cluster would be gone with it")),
        2 if !even => Err(format!(
            "two voters would be left, of which neither may fail: worse than one. Let another node join first \
             (it takes the place of node {node}), or say that two are meant"
        )),
        _any => Ok(target),
    }
}

/// Those who vote and as many of those who wait as make an odd number; all of them if `even` is meant.
fn target(voters: &BTreeSet<u64>, waiting: &BTreeSet<u64>, even: bool) -> BTreeSet<u64> {
    let mut target = voters.clone();
    for node in waiting.iter().take(VOTERS_MAX.saturating_sub(voters.len())) {
        target.insert(*node);
    }
    if !even && target.len().is_multiple_of(2) && target.len() > voters.len() {
        // The last to come waits for the next.
        if let Some(last) = target.difference(voters).max().copied() {
            target.remove(&last);
        }
    }
    target
}

async fn become_voters(raft: &Raft, target: BTreeSet<u64>) -> Result<Changed, String> {
    if target == voters(raft) {
        return Ok(present(raft));
    }
    perform_one(raft, ChangeMembers::ReplaceAllVoters(target), false).await
}

/// Changes the members. What the metrics say may be a moment behind the answer.
async fn perform_one(raft: &Raft, change: ChangeMembers<u64, Peer>, retain: bool) -> Result<Changed, String> {
    let done = raft.change_membership(change, retain).await.map_err(|error| error.to_string())?;
    Ok(done.membership.as_ref().map_or_else(|| present(raft), Changed::of))
}

fn member(raft: &Raft, node: u64) -> Result<(), String> {
    let known = raft.metrics().borrow().membership_config.membership().get_node(&node).is_some();
    if known { Ok(()) } else { Err(format!("node {node} is not a member; `mainstay cluster status` lists them")) }
}

fn voters(raft: &Raft) -> BTreeSet<u64> {
    raft.metrics().borrow().membership_config.membership().voter_ids().collect()
}

/// Learners that are to vote and have caught up.
fn waiting(raft: &Raft) -> BTreeSet<u64> {
    let membership = raft.metrics().borrow().membership_config.clone();
    let membership = membership.membership();
    let wants = |node: &u64| membership.get_node(node).is_some_and(|peer| peer.voter) && is_near(raft, *node);
    membership.learner_ids().filter(wants).collect()
}

fn present(raft: &Raft) -> Changed {
    let metrics = raft.metrics();
    let metrics = metrics.borrow();
    Changed::of(metrics.membership_config.membership())
}

impl Changed {
    fn of(membership: &Membership<u64, Peer>) -> Self {
        Self {
            voters: membership.voter_ids().map(NodeId).collect(),
            learners: membership.learner_ids().map(NodeId).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    fn target(voters: &[u64], waiting: &[u64], even: bool) -> Vec<u64> {
        super::target(&voters.iter().copied().collect(), &waiting.iter().copied().collect(), even).into_iter().collect()
    }

    #[test]
    fn voters_are_an_odd_number_unless_another_is_meant() {
        assert_eq!(target(&[1], &[2], false), [1]);
        assert_eq!(target(&[1], &[2, 3], false), [1, 2, 3]);
        assert_eq!(target(&[1], &[2], true), [1, 2]);
        assert_eq!(target(&[1, 2, 3], &[4], false), [1, 2, 3]);
        assert_eq!(target(&[1, 2, 3], &[4, 5, 6], false), [1, 2, 3, 4, 5]);
        assert_eq!(target(&[1, 3], &[4], false), [1, 3, 4], "one that waits takes the place of one that leaves");
        assert_eq!(target(&[1, 2, 3, 4], &[], false), [1, 2, 3, 4], "nobody loses a vote by it");
    }
}

//! A way on for a node whose cluster lost the disks of a majority for good.
//!
//! Its log is given one more entry, which makes the node the only member, and its vote a later term. When it is started it
//! elects itself, and everything that stands in its log counts as agreed: what the lost majority had confirmed without this node
//! is gone, and what had not been confirmed may come to be.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use openraft::{CommittedLeaderId, EntryPayload, LogId, Membership, Vote};
use thiserror::Error;

use super::disk::{Content, Disk, DiskError, FILE, Name, Write};
use super::raft::{Entry, Peer};
use crate::coordinator::{Operation, TRANSACTION_PARTS_MAX, Transaction};
use crate::identity::IdentityError;
use crate::peer::NodeId;
use crate::store::Command;

/// Bytes that the file may grow to meanwhile.
const DISK_BYTES_MAX: u64 = 8 << 30;

/// Numbers that are left out: the lost majority may have given some to nodes that this one never heard of.
const NUMBERS_LOST: u64 = 1000;

/// Why it was not done.
#[derive(Debug, Error)]
pub enum RecoverError {
    /// What the node has is of no use either, or another process works with it.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The node never was a member.
    #[error("this node has no log of a cluster that it was a member of: there is nothing to go on from")]
    NoMember,
    /// Its identity cannot be read.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// What was to be written cannot be.
    #[error("cannot be written: {0}")]
    Unwritten(String),
}

/// What a node has of its cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survey {
    /// The last entry of its log: the term that it was proposed in, and its number. Whoever has the greatest has the most.
    pub last: (u64, u64),
    /// The members as it knows them, itself among them.
    pub members: BTreeMap<NodeId, Peer>,
}

/// Looks at what the node has. It must not run.
///
/// # Errors
/// If it runs, or what it has is damaged, or it never was a member.
pub async fn survey(folder: &Path, node: NodeId) -> Result<Survey, RecoverError> {
    let (disk, content) = open(folder, node).await?;
    let survey = of(&content, node);
    disk.close().await;
    survey.map(|(survey, _last)| survey)
}

/// Makes the node the only member of its cluster, from its next start on, and has `notes` performed then. It must not run.
///
/// # Errors
/// As [`survey`]; if it cannot be written nothing has changed.
pub async fn recover(folder: &Path, node: NodeId, notes: &[Operation]) -> Result<Survey, RecoverError> {
    let (disk, content) = open(folder, node).await?;
    let written = match of(&content, node) {
        Ok((survey, last)) => write(&disk, &content, node, &survey, last, notes).await.map(|()| survey),
        Err(error) => Err(error),
    };
    disk.close().await;
    written
}

async fn open(folder: &Path, node: NodeId) -> Result<(Disk, Content), RecoverError> {
    // Opening it would make it.
    if !folder.join(FILE).exists() {
        return Err(RecoverError::NoMember);
    }
    Ok(Disk::open(folder, node.0, DISK_BYTES_MAX).await?)
}

fn of(content: &Content, node: NodeId) -> Result<(Survey, LogId<u64>), RecoverError> {
    let logged = content.log.values().rev().find_map(|(entry, _bytes)| match &entry.payload {
        EntryPayload::Membership(membership) => Some(membership),
        EntryPayload::Blank | EntryPayload::Normal(_) => None,
    });
    let snapshot = content.snapshot.as_ref().map(|(meta, _body)| meta.last_membership.membership());
    let members = logged.or(snapshot).ok_or(RecoverError::NoMember)?;
    let members: BTreeMap<NodeId, Peer> = members.nodes().map(|(node, peer)| (NodeId(*node), peer.clone())).collect();
    let last = content.log.values().next_back().map(|(entry, _bytes)| entry.log_id);
    let last = last.or(content.purged).ok_or(RecoverError::NoMember)?;
    if !members.contains_key(&node) {
        return Err(RecoverError::NoMember);
    }
    Ok((Survey { last: (last.leader_id.term, last.index), members }, last))
}

async fn write(
    disk: &Disk,
    content: &Content,
    node: NodeId,
    survey: &Survey,
    last: LogId<u64>,
    notes: &[Operation],
) -> Result<(), RecoverError> {
    let term = content.vote.map_or(0, |vote| vote.leader_id.term).max(last.leader_id.term) + 1;
    let own = survey.members.get(&node).cloned().unwrap_or_default();
    let alone =
        Membership::new(vec![BTreeSet::from([node.0])], BTreeMap::from([(node.0, Peer { voter: true, ..own })]));
    let notes = notes.chunks(TRANSACTION_PARTS_MAX).map(|part| {
        EntryPayload::Normal(Command::Transact { request: None, transaction: Transaction::always(part.to_vec()) })
    });
    let above = survey.members.keys().map(|node| node.0).max().unwrap_or(node.0).saturating_add(NUMBERS_LOST);
    let first = [EntryPayload::Membership(alone), EntryPayload::Normal(Command::Number { above })];
    let payloads = first.into_iter().chain(notes);
    let mut write = Write::default();
    for (index, payload) in (last.index + 1..).zip(payloads) {
        let entry = Entry { log_id: LogId::new(CommittedLeaderId::new(term, node.0), index), payload };
        write.entries.push((index, encoded(&entry)?));
    }
    write.values.push((Name::Vote, encoded(&Vote::new(term, node.0))?));
    Ok(disk.write_now(write).await?)
}

fn encoded<T: serde::Serialize>(value: &T) -> Result<Vec<u8>, RecoverError> {
    rmp_serde::to_vec_named(value).map_err(|error| RecoverError::Unwritten(error.to_string()))
}

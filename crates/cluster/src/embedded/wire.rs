//! Messages between the engine's nodes: what is asked, and what is answered.

use bytes::Bytes;
use openraft::LogId;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse, VoteRequest,
    VoteResponse,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::membership::{Change, Changed};
use super::raft::Types;
use crate::coordinator::Error;
use crate::store::{Command, Reply};

/// About the log.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum ToRaft {
    /// Entries, or none as a heartbeat.
    Append(AppendEntriesRequest<Types>),
    /// Asks for a vote.
    Vote(VoteRequest<u64>),
    /// A part of a snapshot.
    Snapshot(InstallSnapshotRequest<Types>),
    /// Asks whether a vote would be given, without anything being changed by it.
    WouldVote {
        /// The last entry that the asking node has.
        last: Option<LogId<u64>>,
        /// The leader that it cannot reach: the port was refused.
        refused: Option<u64>,
    },
    /// Asks for a sign of life.
    Hello,
}

/// The answers.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum FromRaft {
    Append(AppendEntriesResponse<u64>),
    Vote(VoteResponse<u64>),
    Snapshot(InstallSnapshotResponse<u64>),
    /// The parts of a snapshot did not come in order; it has to be sent anew.
    SnapshotMismatch(openraft::error::SnapshotMismatch),
    WouldVote(bool),
    Hello,
}

/// What only the leader can do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum ToLeader {
    /// Puts a command into the log.
    Write(Command),
    /// Asks how far a replica must have come to be as recent as this question.
    ReadIndex,
    /// Changes who is a member.
    Change(Change),
}

/// The answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum FromLeader {
    /// The command was decided, and this is what came of it.
    Written(Result<Reply, Error>),
    /// It is not known what came of it.
    Unknown(String),
    /// The next entry after the last that counts.
    ReadIndex(u64),
    Changed(Result<Changed, String>),
    /// Nothing was done: another node leads, or none.
    NotLeader(Option<u64>),
    /// Nothing was done, for this reason.
    Refused(String),
}

/// A message as bytes.
pub(super) fn encode<T: Serialize>(message: &T) -> Result<Bytes, String> {
    rmp_serde::to_vec_named(message).map(Bytes::from).map_err(|error| format!("the message has no form: {error}"))
}

/// Bytes as a message.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    rmp_serde::from_slice(bytes).map_err(|error| format!("the message cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_are_a_message_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _any = decode::<ToRaft>(&bytes);
            let _any = decode::<FromRaft>(&bytes);
            let _any = decode::<ToLeader>(&bytes);
            let _any = decode::<FromLeader>(&bytes);
        }

        #[test]
        fn a_damaged_message_is_a_message_or_refused(place in any::<prop::sample::Index>(), flip in 1u8..) {
            let entry = openraft::Entry::<Types> {
                log_id: LogId::new(openraft::CommittedLeaderId::new(3, 1), 7),
                payload: openraft::EntryPayload::Normal(Command::Number { above: 3 }),
            };
            let message = ToRaft::Append(AppendEntriesRequest {
                vote: openraft::Vote::new_committed(3, 1),
                prev_log_id: None,
                entries: vec![entry],
                leader_commit: None,
            });
            let mut bytes = encode(&message).unwrap().to_vec();
            prop_assert!(matches!(decode::<ToRaft>(&bytes), Ok(ToRaft::Append(_))));
            let place = place.index(bytes.len());
            bytes[place] ^= flip;
            let _any = decode::<ToRaft>(&bytes);
        }
    }
}

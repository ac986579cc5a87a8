//! Transactions: compare, then one of two branches.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Entry, LeaseId, Range, Revision};

/// What is done if all comparisons hold, and otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transaction {
    /// What must hold for the first branch.
    pub compare: Vec<Compare>,
    /// The first branch.
    pub then: Vec<Operation>,
    /// The second branch.
    pub otherwise: Vec<Operation>,
}

impl Transaction {
    /// One that does the same whatever is there.
    pub fn always(operations: impl IntoIterator<Item = Operation>) -> Self {
        Self { then: operations.into_iter().collect(), ..Self::default() }
    }

    /// One with a first branch only.
    pub fn when(compare: impl IntoIterator<Item = Compare>, then: impl IntoIterator<Item = Operation>) -> Self {
        Self { compare: compare.into_iter().collect(), then: then.into_iter().collect(), otherwise: Vec::new() }
    }

    /// With what is done otherwise.
    #[must_use]
    pub fn or_else(self, otherwise: impl IntoIterator<Item = Operation>) -> Self {
        Self { otherwise: otherwise.into_iter().collect(), ..self }
    }

    /// Whether either branch may change something.
    pub fn is_write(&self) -> bool {
        self.then.iter().chain(&self.otherwise).any(|operation| !matches!(operation, Operation::Range { .. }))
    }
}

/// A condition on one key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compare {
    /// The key. One that is not there has the value "", and 0 for all numbers.
    pub key: String,
    /// What of it, with the other side.
    pub target: Target,
    /// How the key's side stands to the other one.
    pub relation: Relation,
}

impl Compare {
    /// The key is not there.
    pub fn absent(key: impl Into<String>) -> Self {
        Self { key: key.into(), target: Target::Created(0), relation: Relation::Equal }
    }

    /// The key was made by this revision and is there since.
    pub fn created(key: impl Into<String>, revision: Revision) -> Self {
        Self { key: key.into(), target: Target::Created(revision), relation: Relation::Equal }
    }

    /// The key was not changed since this revision; 0: it is not there.
    pub fn modified(key: impl Into<String>, revision: Revision) -> Self {
        Self { key: key.into(), target: Target::Modified(revision), relation: Relation::Equal }
    }

    /// The key has this value.
    pub fn value(key: impl Into<String>, value: impl Into<Bytes>) -> Self {
        Self { key: key.into(), target: Target::Value(value.into()), relation: Relation::Equal }
    }
}

/// What of a key is compared, and with what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    /// Its value, byte by byte.
    Value(Bytes),
    /// How often it was written since it was made.
    Version(u64),
    /// The revision that made it.
    Created(Revision),
    /// The revision of its last change.
    Modified(Revision),
}

/// How the key's side stands to the other one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Relation {
    /// The same.
    Equal,
    /// Not the same.
    NotEqual,
    /// Less.
    Less,
    /// Greater.
    Greater,
}

/// A part of a branch. Within a branch a key is changed at most once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operation {
    /// Writes a key.
    Put {
        /// The key.
        key: String,
        /// Its new value.
        value: Bytes,
        /// The lease that it shall end with; none takes it off the one it had.
        lease: Option<LeaseId>,
    },
    /// Deletes keys.
    Delete(Range),
    /// Reads keys as they are after the operations before it, up to `limit` (0: all).
    Range {
        /// Which.
        range: Range,
        /// How many.
        limit: usize,
    },
}

impl Operation {
    /// Writes a key.
    pub fn put(key: impl Into<String>, value: impl Into<Bytes>, lease: Option<LeaseId>) -> Self {
        Self::Put { key: key.into(), value: value.into(), lease }
    }

    /// Deletes one key.
    pub fn delete(key: impl Into<String>) -> Self {
        Self::Delete(Range::key(key))
    }

    /// Reads one key.
    pub fn get(key: impl Into<String>) -> Self {
        Self::Range { range: Range::key(key), limit: 1 }
    }
}

/// What became of a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransactionReply {
    /// The store's revision after it: its own if it changed something.
    pub revision: Revision,
    /// Whether all comparisons held.
    pub succeeded: bool,
    /// The result of each operation of the branch that was taken.
    pub outcomes: Vec<Outcome>,
}

/// The result of one operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// It was written.
    Put,
    /// So many keys were deleted.
    Deleted(u64),
    /// What was read.
    Found {
        /// The entries, by key.
        entries: Vec<Entry>,
        /// Whether there is more than the limit let through.
        more: bool,
    },
}

//! The coordinator: a small, linearizable store of keys with revisions, transactions, watches and leases. Engines
//! implement [`Coordinator`]; the semantics are those of etcd's third API, so that etcd itself can be one of them.
//!
//! What every engine promises:
//!
//! - There is one revision, which each change raises by one. All changes of one transaction have the same revision, and a
//!   watch delivers them together.
//! - Reads are linearizable unless [`Consistency::Local`] is asked for.
//! - A write that fails with [`Error::Unknown`] may or may not have happened; one that fails with another error has not
//!   happened and never will.
//! - A lease lives at least for its time to live after the last confirmed grant or renewal, measured from when that was
//!   *sent*; its keys go in one revision when it ends.

mod error;
mod range;
mod transaction;

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub use error::Error;
pub use range::Range;
pub use transaction::{Compare, Operation, Outcome, Relation, Target, Transaction, TransactionReply};

/// Bytes of a key, at most.
pub const KEY_BYTES_MAX: usize = 1024;
/// Bytes of a value, at most.
pub const VALUE_BYTES_MAX: usize = 1 << 20;
/// Comparisons, and operations of a branch, that a transaction has at most.
pub const TRANSACTION_PARTS_MAX: usize = 128;

/// A number that each change of the store raises by one; 0 is the empty store.
pub type Revision = u64;

/// A lease's name: never 0, never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LeaseId(pub i64);

/// A key with its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Its value.
    pub value: Bytes,
    /// The revision that made the key. It serves as a fencing token: a later owner's is greater.
    pub created: Revision,
    /// The revision of its last change.
    pub modified: Revision,
    /// How often it was written since it was made, from 1.
    pub version: u64,
    /// The lease that it ends with.
    pub lease: Option<LeaseId>,
}

/// How recent an answer must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Consistency {
    /// Not older than the moment of the question; needs a quorum.
    #[default]
    Linearizable,
    /// What this node has seen so far, for people and metrics. Answers without a quorum.
    Local,
}

/// What a read found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// The store's revision when it was read. To follow what comes after it, watch from the one after.
    pub revision: Revision,
    /// What was found, by key.
    pub entries: Vec<Entry>,
    /// Whether there is more than the limit let through.
    pub more: bool,
}

/// One change of one key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// It was written.
    Put(Entry),
    /// It was deleted, or its lease ended.
    Delete {
        /// The key.
        key: String,
    },
}

/// All changes of one revision that a watch is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// The revision.
    pub revision: Revision,
    /// Its changes, in the order in which they were made.
    pub changes: Vec<Change>,
}

/// A lease as granted or renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Its name.
    pub id: LeaseId,
    /// How long it lives from the moment at which the request was sent. It may be more than was asked for.
    pub ttl: Duration,
}

/// Changes from some revision on, each revision once and in order.
#[async_trait]
pub trait Watch: Send {
    /// Waits for the next changes. May be dropped while it waits without losing any.
    ///
    /// # Errors
    /// [`Error::Compacted`] if changes that it should tell of are forgotten: read anew, and watch from the revision after
    /// that of the reading. After any error the watch is over.
    async fn next(&mut self) -> Result<Batch, Error>;
}

/// An engine. All methods may be dropped while they wait, which for a write means what [`Error::Unknown`] means.
#[async_trait]
pub trait Coordinator: Send + Sync {
    /// Reads keys, up to `limit` of them (0: all). `at` asks for what was there at that revision.
    ///
    /// # Errors
    /// [`Error::Compacted`] if `at` is forgotten, [`Error::Future`] if it has not come.
    async fn range(
        &self,
        range: Range,
        at: Option<Revision>,
        limit: usize,
        consistency: Consistency,
    ) -> Result<Listing, Error>;

    /// Performs one branch of a transaction, whole.
    ///
    /// # Errors
    /// [`Error::Unknown`] if it may have been performed; [`Error::LeaseNotFound`] if a key would be put on no lease.
    async fn transact(&self, transaction: Transaction) -> Result<TransactionReply, Error>;

    /// Follows changes of `range` from revision `from` on, `from` included.
    ///
    /// # Errors
    /// If the engine cannot be reached. That `from` is compacted is said by the watch.
    async fn watch(&self, range: Range, from: Revision) -> Result<Box<dyn Watch>, Error>;

    /// Makes a lease that lives for `ttl` unless it is renewed. A lease that was granted without its answer coming through
    /// ends by itself.
    ///
    /// # Errors
    /// If it was not granted, or that is not known.
    async fn grant(&self, ttl: Duration) -> Result<Lease, Error>;

    /// Renews a lease; the answer is confirmed by a quorum.
    ///
    /// # Errors
    /// [`Error::LeaseNotFound`] if it has ended.
    async fn keep_alive(&self, lease: LeaseId) -> Result<Lease, Error>;

    /// Ends a lease and deletes its keys. Ending one that is not there succeeds.
    ///
    /// # Errors
    /// If the engine cannot be reached.
    async fn revoke(&self, lease: LeaseId) -> Result<(), Error>;
}

/// What is commonly asked for, in terms of the above.
impl dyn Coordinator + '_ {
    /// Reads one key.
    ///
    /// # Errors
    /// As [`Coordinator::range`].
    pub async fn get(&self, key: &str) -> Result<Option<Entry>, Error> {
        let listing = self.range(Range::key(key), None, 1, Consistency::Linearizable).await?;
        Ok(listing.entries.into_iter().next())
    }

    /// Writes one key and answers the revision.
    ///
    /// # Errors
    /// As [`Coordinator::transact`].
    pub async fn put(&self, key: &str, value: Bytes, lease: Option<LeaseId>) -> Result<Revision, Error> {
        Ok(self.transact(Transaction::always([Operation::put(key, value, lease)])).await?.revision)
    }
}

//! What a replica is told to do, and what it answers.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::coordinator::{Lease, LeaseId, Transaction, TransactionReply};

/// Tells one request from every other, so that one that is sent again is performed once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Request {
    /// The node that asks.
    pub node: u64,
    /// Drawn at random when its process started.
    pub boot: u64,
    /// Counts that process's requests.
    pub sequence: u64,
    /// How many commands the node's own replica had applied when the request was first sent.
    pub issued: u64,
}

/// A change of the store, as it stands in the log. Variants are told apart by name: they may be added, not renamed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Performs a transaction.
    Transact {
        /// Which request it is, if it may come again.
        request: Option<Request>,
        /// The transaction.
        transaction: Transaction,
    },
    /// Makes a lease.
    Grant {
        /// How long it lives.
        ttl: Duration,
    },
    /// Renews a lease.
    KeepAlive {
        /// Which.
        lease: LeaseId,
    },
    /// Ends a lease because its owner wants it.
    Revoke {
        /// Which.
        lease: LeaseId,
    },
    /// Ends a lease whose time is over, unless it was renewed meanwhile or the leader's term is another.
    Expire {
        /// Which.
        lease: LeaseId,
        /// The renewal that was the last when this was proposed.
        epoch: u64,
        /// The term of the leader that proposed it.
        term: u64,
    },
    /// Gives out a node number that never was given.
    Number {
        /// The highest number that the leader knows to be in use.
        above: u64,
    },
}

/// The answer to a command that was performed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// Of a transaction.
    Transaction(TransactionReply),
    /// Of a grant or renewal.
    Lease(Lease),
    /// Whether a lease ended by this.
    Ended(bool),
    /// A new node's number.
    Node(u64),
}

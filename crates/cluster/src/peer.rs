//! Messages between nodes: who is asked, what about, and how it can fail. The bytes of a message are those of the service
//! that it is for; this module does not look into them.

pub mod client;
pub mod directory;
pub mod server;
pub mod switchboard;
pub mod tls;
pub mod wire;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Bytes of a message, at most.
pub const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// A node's number in the cluster: given by the cluster when the node joins, from 1, and never given again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(pub u64);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// What a message is about. The numbers are what is sent: they never change their meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum Service {
    /// Agreement on the log.
    Raft = 1,
    /// Reads and writes of the store, passed on to the leader.
    Store = 2,
    /// Joining, certificates, membership.
    Membership = 3,
    /// The table of sessions.
    Sessions = 4,
    /// What nodes think of endpoints' health.
    Opinions = 5,
    /// Checks and stages of a new configuration.
    Release = 6,
    /// Questions to a node's admin interface that were asked at another.
    Admin = 7,
    /// What nodes ask of limits that they share.
    Limits = 8,
    /// What members of database groups ask each other past the store.
    Databases = 9,
}

/// Why a message got no answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CallError {
    /// It was not sent, and that is certain: nobody listens there, say. What it asks for has not been done. A node that is
    /// silent is not unreachable but [`CallError::Lost`], even if no connection came about.
    #[error("node {to} cannot be reached: {reason}")]
    Unreachable {
        /// The node.
        to: NodeId,
        /// Why.
        reason: String,
    },
    /// It may have been sent, and what it asks for may have been done.
    #[error("node {to} did not answer: {reason}")]
    Lost {
        /// The node.
        to: NodeId,
        /// Why.
        reason: String,
    },
    /// The other side does not do what it is asked for.
    #[error("node {to} refuses: {reason}")]
    Refused {
        /// The node.
        to: NodeId,
        /// Why.
        reason: String,
    },
}

/// Carries messages to other nodes. A call may be dropped while it waits, which means what [`CallError::Lost`] means.
#[async_trait]
pub trait Transport: Send + Sync + fmt::Debug {
    /// Sends a message and waits for its answer, for `limit` at most.
    ///
    /// # Errors
    /// If no answer came.
    async fn call(&self, to: NodeId, service: Service, message: Bytes, limit: Duration) -> Result<Bytes, CallError>;

    /// How long a node's answers about the log take at most, as learned from those that came; `None` while nothing is known.
    fn round_trip(&self, _to: NodeId) -> Option<Duration> {
        None
    }
}

impl Service {
    /// The service with this number.
    pub fn from_number(number: u8) -> Option<Self> {
        let first = [Self::Raft, Self::Store, Self::Membership, Self::Sessions];
        let further = [Self::Opinions, Self::Release, Self::Admin, Self::Limits, Self::Databases];
        first.into_iter().chain(further).find(|service| *service as u8 == number)
    }
}

/// Answers messages of one service.
#[async_trait]
pub trait Handler: Send + Sync {
    /// Answers a message of `from`, whose identity has been checked.
    ///
    /// # Errors
    /// Why it does not, for whoever reads the sender's log.
    async fn handle(&self, from: NodeId, message: Bytes) -> Result<Bytes, String>;
}

#[cfg(test)]
mod tests;

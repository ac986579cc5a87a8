//! Why something was not done to a server.

use std::io;
use std::time::Duration;

use thiserror::Error;
use tokio_postgres::error::SqlState;

/// Why something was not done.
#[derive(Debug, Error)]
pub enum Error {
    /// A file or a process.
    #[error("{what}")]
    System {
        /// What was tried.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// A program of PostgreSQL's ended with an error.
    #[error("{program} failed: {said}")]
    Program {
        /// Which one.
        program: String,
        /// The end of what it said.
        said: String,
    },
    /// The server's answer.
    #[error("the server refused {what}")]
    Query {
        /// What was asked.
        what: &'static str,
        /// What it said.
        source: tokio_postgres::Error,
    },
    /// What Redis answers.
    #[error("Redis refused {what}: {said}")]
    Refused {
        /// What was asked.
        what: String,
        /// What it said.
        said: String,
    },
    /// It took too long.
    #[error("{what} took longer than {limit:?}")]
    Late {
        /// What was waited for.
        what: String,
        /// How long.
        limit: Duration,
    },
    /// A server that runs already lacks something.
    #[error(
        "the running server cannot be adopted with {0}: set wal_level = replica, max_wal_senders and max_replication_slots of \
         at least 4, and start it anew"
    )]
    Unsuitable(String),
    /// A server that runs already is not what it would be once it was started anew.
    #[error("the running server cannot be adopted: {0}")]
    NotAdopted(String),
    /// It failed before.
    #[error("it failed and is tried again in {after:?}: {said}")]
    Again {
        /// When.
        after: Duration,
        /// Why it failed.
        said: String,
    },
    /// No such member.
    #[error("no member is called {0}; the group's members have to be the same in all nodes' configuration")]
    UnknownPeer(String),
}

impl Error {
    /// Whether another server could not be reached, which says nothing of the local one.
    pub(crate) fn is_of_the_way(&self) -> bool {
        matches!(self, Self::Program { said, .. } if said.contains("connection to server at"))
    }

    /// Whether a server said that it lets nobody in yet.
    pub(crate) fn is_of_a_start(&self) -> bool {
        matches!(self, Self::Query { source, .. } if source.code() == Some(&SqlState::CANNOT_CONNECT_NOW))
    }

    /// Whether the server, which runs, has not said anything: one that hangs takes as many connections as may wait for it, and then none.
    pub(crate) fn is_silence(&self) -> bool {
        let is_full = |source: &io::Error| source.kind() == io::ErrorKind::WouldBlock;
        match self {
            Self::Late { .. } => true,
            Self::System { source, .. } => is_full(source),
            Self::Query { source, .. } => {
                std::error::Error::source(source).and_then(|source| source.downcast_ref()).is_some_and(is_full)
            }
            _other => false,
        }
    }

    pub(crate) fn system(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::System { what, source }
    }
}

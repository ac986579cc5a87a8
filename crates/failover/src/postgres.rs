//! A local PostgreSQL server (13 or later), kept in the role that was decided.
//!
//! Its configuration stands in a directory of ours outside the data directory, since a rewind and a base backup replace
//! whatever stands inside. The agent speaks to it over a local socket; nothing of it needs a superuser over the network.

mod control;
mod files;
mod local;
mod process;
mod query;
mod server;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use mainstay_runtime::user::User;
use thiserror::Error;

pub use server::Instance;

/// The role that replicas stream with, and whose password [`Settings::password`] is.
pub const REPLICATION_ROLE: &str = "mainstay_replication";
/// The superuser, over the local socket only.
pub(crate) const SUPERUSER: &str = "postgres";

/// Where another member's server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its node's name.
    pub node: String,
    /// Where it listens.
    pub address: SocketAddr,
}

/// One server.
#[derive(Clone)]
pub struct Settings {
    /// The node's name, by which the server is known to the others' `synchronous_standby_names`.
    pub node: String,
    /// Where `postgres`, `initdb` and the others are.
    pub bin_dir: PathBuf,
    /// The data directory. It is made if it is not there.
    pub data_dir: PathBuf,
    /// Our files: configuration, passwords, the socket, what is kept before a rewind.
    pub state_dir: PathBuf,
    /// Who runs the server; `None`: whoever runs this process.
    pub user: Option<User>,
    /// Where it listens.
    pub listen: SocketAddr,
    /// The password of [`REPLICATION_ROLE`], the same for all members.
    pub password: String,
    /// The other members.
    pub peers: Vec<Peer>,
    /// Further lines of `postgresql.conf`.
    pub extra: String,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("Settings");
        shown.field("node", &self.node).field("data_dir", &self.data_dir).field("listen", &self.listen);
        shown.finish_non_exhaustive()
    }
}

impl Settings {
    pub(crate) fn peer(&self, node: &str) -> Result<&Peer, Error> {
        self.peers.iter().find(|peer| peer.node == node).ok_or_else(|| Error::UnknownPeer(node.to_owned()))
    }
}

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
    /// It took too long.
    #[error("{what} took longer than {limit:?}")]
    Late {
        /// What was waited for.
        what: String,
        /// How long.
        limit: Duration,
    },
    /// No such member.
    #[error("no member is called {0}; the group's members have to be the same in all nodes' configuration")]
    UnknownPeer(String),
}

impl Error {
    pub(crate) fn system(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::System { what, source }
    }
}

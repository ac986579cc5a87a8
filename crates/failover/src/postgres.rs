//! A local PostgreSQL server (13 or later), kept in the role that was decided.
//!
//! Its configuration stands in a directory of ours outside the data directory, since a rewind and a base backup replace
//! whatever stands inside. The agent speaks to it over a local socket; nothing of it needs a superuser over the network.

mod adopt;
mod control;
mod copies;
mod files;
mod local;
mod log;
mod lost;
mod probe;
mod process;
mod query;
mod receiver;
mod retry;
mod rewind;
mod server;
mod slots;
mod startup;
mod torn;

use std::net::SocketAddr;
use std::path::PathBuf;

use mainstay_runtime::user::User;

pub use server::Instance;

use crate::Error;

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
    /// Whether a row is written each second while it is primary, so that a failover tells how many of them are gone.
    pub probe_rows: bool,
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

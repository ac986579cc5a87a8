//! A local Redis server (7.0 or later), kept in the role that was decided.
//!
//! Its configuration stands outside the data directory and is written anew at each start, always as a replica: of the
//! primary, or of nobody, which is the port 0 that nobody can listen on. So no start, by whomever, makes a primary; only
//! `REPLICAOF NO ONE` does, and the first start of a group that is founded.
//!
//! How Redis is told to the planner: its **replication id** is the history's name ([`Report::system`]), which each promotion
//! changes; the second id and its offset are the name before and where it ended ([`Report::before`]); the offset is the
//! position. Redis itself decides by the same whether a replica continues or is copied whole, so that what the planner takes
//! for a beginning continues. An offset is exact after an orderly stop and after a crash, since the snapshot on the disk has
//! it, unless the data comes from an append-only file, which knows neither: then what was remembered last counts, and it is
//! copied whole.
//!
//! [`Report::system`]: mainstay_core::database::Report::system
//! [`Report::before`]: mainstay_core::database::Report::before

mod adopt;
mod count;
mod files;
mod info;
mod local;
mod process;
mod server;
mod snapshot;
mod wire;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use mainstay_runtime::user::User;

pub use crate::postgres::Peer;
pub use server::Instance;
#[cfg(feature = "fuzz")]
pub(crate) use wire::fuzz;

use crate::Error;

/// The user that replicas stream as, and whose password [`Settings::password`] is.
pub const REPLICATION_USER: &str = "mainstay_replication";
/// What that user may do.
pub(crate) const REPLICATION_RIGHTS: &str = "+psync +replconf +ping +info +exists +select";
/// The agent's own user. Its password never leaves the machine.
pub(crate) const AGENT: &str = "mainstay";
/// The program, as the system names its process.
pub(crate) const PROGRAM: &str = "redis-server";

/// One server.
#[derive(Clone)]
pub struct Settings {
    /// The node's name.
    pub node: String,
    /// Where `redis-server` is.
    pub bin_dir: PathBuf,
    /// The data directory. It is made if it is not there.
    pub data_dir: PathBuf,
    /// Our files: configuration, the agent's password, the socket, what is kept before a copy.
    pub state_dir: PathBuf,
    /// Who runs the server; `None`: whoever runs this process.
    pub user: Option<User>,
    /// Where it listens.
    pub listen: SocketAddr,
    /// The group's password, the same for all members: clients' (`requirepass`), and that of [`REPLICATION_USER`].
    pub password: String,
    /// The other members.
    pub peers: Vec<Peer>,
    /// The primary refuses writes while fewer replicas than this follow it; 0: never.
    pub min_replicas: u32,
    /// A replica that has said nothing for so long does not follow; whole seconds, at least 1.
    pub min_replicas_lag: Duration,
    /// Whether a replica that has lost its primary goes on answering reads.
    pub stale_reads: bool,
    /// Further lines of `redis.conf`.
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

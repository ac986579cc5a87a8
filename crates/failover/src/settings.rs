//! What a server of either engine is set up with.

use std::net::SocketAddr;
use std::path::PathBuf;

use mainstay_runtime::user::User;

use crate::Error;

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
pub struct Settings<Options> {
    /// The node's name, by which a PostgreSQL server is known to the others' `synchronous_standby_names`.
    pub node: String,
    /// Where the engine's programs are: `postgres`, `initdb` and the others, or `redis-server`.
    pub bin_dir: PathBuf,
    /// The data directory. It is made if it is not there.
    pub data_dir: PathBuf,
    /// Our files: configuration, passwords, the socket, what is kept before data is replaced.
    pub state_dir: PathBuf,
    /// Who runs the server; `None`: whoever runs this process.
    pub user: Option<User>,
    /// Where it listens.
    pub listen: SocketAddr,
    /// The password that replicas stream with, the same for all members; Redis' clients have it, too (`requirepass`).
    pub password: String,
    /// The other members.
    pub peers: Vec<Peer>,
    /// Further lines of the server's own configuration.
    pub extra: String,
    /// What only this engine has.
    pub options: Options,
}

impl<Options> std::fmt::Debug for Settings<Options> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("Settings");
        shown.field("node", &self.node).field("data_dir", &self.data_dir).field("listen", &self.listen);
        shown.finish_non_exhaustive()
    }
}

impl<Options> Settings<Options> {
    pub(crate) fn peer(&self, node: &str) -> Result<&Peer, Error> {
        self.peers.iter().find(|peer| peer.node == node).ok_or_else(|| Error::UnknownPeer(node.to_owned()))
    }
}

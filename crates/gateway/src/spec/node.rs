//! Settings of the process.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use mainstay_core::resolve;

/// Settings of the process. Changes of `workers` need a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// The node's name, in logs and headers.
    pub name: String,
    /// The part of the site that the node stands in.
    pub zone: Option<String>,
    /// Worker threads, each with its own listeners, pools and counters; at least 1.
    pub workers: usize,
    /// Where the access log goes.
    pub access_log: AccessLog,
    /// Requests that are remembered for `mainstay explain`, over all workers; 0 for none.
    pub explain: usize,
    /// How the process leaves.
    pub shutdown: Shutdown,
    /// How names of endpoints are looked up.
    pub resolver: Resolver,
    /// Bytes that stored responses may take, over all workers.
    pub cache_memory: u64,
    /// A folder for what outlives the process; `None`: nothing does.
    pub data_dir: Option<PathBuf>,
}

/// How names of endpoints are looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolver {
    /// Name servers; the system's if empty.
    pub servers: Vec<SocketAddr>,
    /// An answer holds at least this long, whatever its time to live says.
    pub min_ttl: Duration,
    /// And at most this long.
    pub max_ttl: Duration,
    /// A look-up without an answer after this long has failed.
    pub timeout: Duration,
}

impl Default for Resolver {
    fn default() -> Self {
        let resolve::Policy { min_ttl, max_ttl, .. } = resolve::Policy::default();
        Self { servers: Vec::new(), min_ttl, max_ttl, timeout: Duration::from_secs(5) }
    }
}

/// Where the line that each request leaves goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessLog {
    /// Nowhere.
    Off,
    /// Standard output.
    Stdout,
    /// Appended to a file, which SIGHUP reopens.
    File(PathBuf),
}

/// The phases of a shutdown (readiness fails first).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shutdown {
    /// How long connections are still accepted after readiness has failed.
    pub lead: Duration,
    /// When everything that is still open is closed, counted from the signal.
    pub deadline: Duration,
}

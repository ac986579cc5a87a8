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

use std::time::Duration;

pub use server::Instance;
#[cfg(feature = "fuzz")]
pub(crate) use wire::fuzz;

/// The user that replicas stream as, and whose password [`password`](crate::Settings::password) is.
pub const REPLICATION_USER: &str = "mainstay_replication";
/// What that user may do.
pub(crate) const REPLICATION_RIGHTS: &str = "+psync +replconf +ping +info +exists +select";
/// The agent's own user. Its password never leaves the machine.
pub(crate) const AGENT: &str = "mainstay";
/// The program, as the system names its process.
pub(crate) const PROGRAM: &str = "redis-server";

/// One server.
pub type Settings = crate::Settings<Options>;

/// What only Redis has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// The primary refuses writes while fewer replicas than this follow it; 0: never.
    pub min_replicas: u32,
    /// A replica that has said nothing for so long does not follow; whole seconds, at least 1.
    pub min_replicas_lag: Duration,
    /// Whether a replica that has lost its primary goes on answering reads.
    pub stale_reads: bool,
}

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

pub use server::Instance;

/// The role that replicas stream with, and whose password [`password`](crate::Settings::password) is.
pub const REPLICATION_ROLE: &str = "mainstay_replication";
/// The superuser, over the local socket only.
pub(crate) const SUPERUSER: &str = "postgres";

/// One server.
pub type Settings = crate::Settings<Options>;

/// What only PostgreSQL has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Whether a row is written each second while it is primary, so that a failover tells how many of them are gone.
    pub probe_rows: bool,
}

//! Certificates that an authority issues over ACME (RFC 8555): ordered, kept, renewed, and put where listeners serve them.
//!
//! [`driver`] orders when the planner of `core` says so, by [`client`], and asks the authority when that would be, by
//! [`suggestion`]. What must outlive a process is at a
//! [`place::Place`]: the node's own folder, or the store of its cluster, in which one node orders for all. [`shelf`] is how
//! each node gets what was ordered, by whomever.

mod client;
pub mod cluster;
pub mod desk;
pub mod driver;
mod http;
pub mod place;
mod record;
pub mod settings;
pub mod shelf;
mod suggestion;

pub use record::{Attempt, Record};

//! The `mainstay` binary as a library: command line, configuration, assembly of the node, admin interface.

pub mod address;
pub mod admin;
pub mod cache;
pub mod cell;
pub mod cli;
pub mod client;
pub mod cluster;
pub mod config;
pub mod demo;
pub mod doors;
pub mod drain;
pub mod explain;
pub mod failure;
pub mod guard;
pub mod limits;
pub mod logging;
pub mod output;
pub mod run;
pub mod sessions;
pub mod shared_config;
pub mod slo;
pub mod status;
pub mod steer;
pub mod timestamp;
pub mod upgrade;

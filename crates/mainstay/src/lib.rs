//! The `mainstay` binary as a library: command line, configuration, assembly of the node, admin interface.

pub mod cli;
pub mod config;

//! The embedded engine: clusters in one process, with links that are cut and nodes that are killed.

#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used)]

mod cluster;
mod faults;
mod leases;
mod members;
mod serving;
mod storage;

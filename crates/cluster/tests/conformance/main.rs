//! One suite for every engine: each sentence of `coordinator.rs` that can be seen from outside. What an engine must survive
//! besides has tests of its own.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

mod bench;
mod embedded;
mod etcd;
mod etcd_faults;
mod etcd_server;
mod leases;
mod limits;
mod memory;
mod reads;
mod transactions;
mod watches;

//! What nodes agree on.
//!
//! The [`coordinator`] is a small consistent store with leases and watches. Everything that must be true of exactly one
//! node at a time, or the same on all of them, rests on it. [`store`] is the state machine behind our own engines:
//! [`embedded`], which agrees with other nodes, and [`memory`], without disk and network; [`etcd`] keeps everything in an
//! etcd cluster instead. [`address`] puts addresses on interfaces and takes them off again; [`config`] is the configuration
//! that nodes share; [`peer`] carries messages between nodes, each of which has an [`identity`]. A node's [`session`] is its
//! lease; a [`role`] is what one node at a time has on it.
//! The [`guard`] is a process beside the node's that ends what the node may not do any more when the node cannot.
//! [`sessions`] are the clients': where each of them belongs.

pub mod address;
pub mod allotments;
pub mod assignment;
pub mod config;
pub mod coordinator;
pub mod drains;
pub mod election;
pub mod embedded;
pub mod etcd;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
pub mod guard;
pub mod identity;
pub mod keys;
pub mod membership;
pub mod memory;
pub mod opinions;
pub mod peer;
pub mod replica;
pub mod role;
pub mod session;
pub mod sessions;
pub mod store;
pub mod timings;

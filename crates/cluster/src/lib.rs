//! What nodes agree on.
//!
//! The [`coordinator`] is a small consistent store with leases and watches. Everything that must be true of exactly one
//! node at a time, or the same on all of them, rests on it. [`address`] puts addresses on interfaces and takes them off
//! again; [`peer`] carries messages between nodes.

pub mod address;
pub mod coordinator;
pub mod peer;

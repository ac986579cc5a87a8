//! What nodes agree on.
//!
//! The [`coordinator`] is a small consistent store with leases and watches. Everything that must be true of exactly one
//! node at a time, or the same on all of them, rests on it. [`peer`] carries messages between nodes.

pub mod coordinator;
pub mod peer;

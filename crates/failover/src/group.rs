//! A node's part in its groups of database servers: the member's driver beside each local server, and the planner, which one
//! node at a time is.

pub mod board;
mod extension;
pub mod failsafe;
mod fencing;
mod follow;
pub mod handover;
mod history;
pub mod keys;
mod mandate;
pub mod member;
mod memory;
pub mod planning;
pub mod promises;
mod signs;
pub mod stored;
pub mod view;
mod words;

pub use mandate::Warden;

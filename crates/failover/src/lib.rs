//! Groups of database servers: what a member's agent does to its local server. What it does and when is decided by
//! `mainstay_core::database`; this crate carries it out and says what there is.

mod error;
mod executor;
pub mod fence;
mod folder;
#[cfg(feature = "fuzz")]
pub mod fuzz;
pub mod group;
mod log;
pub mod postgres;
pub mod redis;
mod settings;
mod silence;

pub use error::Error;
pub use executor::{Discarded, Executor};
pub use settings::{Peer, Settings};

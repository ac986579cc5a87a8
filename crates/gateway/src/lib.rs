//! The data plane: listeners, HTTP/1.1, TCP, TLS, routes, choice of endpoints, attempts and retries.
//!
//! [`Gateway::start`] takes a checked [`spec::Spec`]; [`Gateway::apply`] swaps in another one without losing a connection.
//! What the gateway observes (health, counters) is read from [`state`].

mod gateway;
mod health;
pub mod spec;
pub mod state;

pub use gateway::{DrainError, Gateway, StartError};

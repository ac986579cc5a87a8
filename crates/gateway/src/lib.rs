//! The data plane: listeners, HTTP/1.1, TCP, TLS, routes, choice of endpoints, attempts and retries.
//!
//! [`Gateway::start`] takes a checked [`spec::Spec`]; [`Gateway::apply`] swaps in another one without losing a connection.
//! What the gateway observes (health, counters) is read from [`state`].

mod access_log;
pub mod admission;
mod assemble;
mod cache;
pub mod cells;
mod database;
mod discovery;
pub mod explain;
mod fallback;
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod gateway;
mod health;
mod http;
mod http1;
mod http2;
mod inherit;
mod mirror;
mod peer;
mod postgres;
mod proxy_protocol;
mod redis;
mod relay;
pub mod sessions;
pub mod spec;
mod splice;
pub mod state;
mod sticky;
mod stream;
mod tcp;
pub mod telemetry;
mod underway;
mod worker;

pub use cache::OBJECT_SHARE;
pub use gateway::{
    AccountError, Gateway, LeadError, Outside, PurgeError, Sampling, StartError, UnknownEndpoint, UnknownRoute,
    endpoint_number,
};
pub use inherit::{Inheritance, InheritedListener, Remembered};

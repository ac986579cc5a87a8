//! The handle on a running gateway.

use std::sync::Arc;

use crate::spec::Spec;
use crate::state::State;

/// A running gateway. Dropping it does not stop it; [`Gateway::shutdown`] does.
#[derive(Debug)]
pub struct Gateway {}

/// Why a spec could not be served. What was served before goes on.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener's address could not be bound.
    #[error("listener `{listener}`: cannot listen on {bind}: {hint}")]
    Bind {
        /// The listener's name.
        listener: String,
        /// Its address.
        bind: std::net::SocketAddr,
        /// What to do about it.
        hint: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Certificates or keys could not be loaded.
    #[error("{place}: {message}")]
    Tls {
        /// `listener NAME` or `service NAME`.
        place: String,
        /// Which file and why.
        message: String,
    },
    /// The spec contradicts itself.
    #[error("{0}")]
    Spec(String),
    /// The system refused a thread or a runtime.
    #[error("cannot start a worker")]
    Worker(#[source] std::io::Error),
}

/// Why an endpoint could not be drained.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DrainError {
    /// No such service; the known ones are named.
    #[error("no service `{0}`; there are: {1}")]
    NoService(String, String),
    /// No such endpoint; the known ones are named.
    #[error("service `{0}` has no endpoint `{1}`; it has: {2}")]
    NoEndpoint(String, String, String),
}

impl Gateway {
    /// Binds every listener, starts the workers and, on a thread of its own, the health checks.
    ///
    /// # Errors
    /// If an address, a certificate or a thread cannot be had; nothing is left running then.
    pub fn start(_spec: Spec) -> Result<Arc<Self>, StartError> {
        Err(StartError::Spec("not served yet".to_owned()))
    }

    /// Swaps in another spec whole, or keeps the present one. Blocks for as long as certificates take to load.
    ///
    /// # Errors
    /// As [`Gateway::start`].
    pub fn apply(&self, _spec: Spec) -> Result<(), StartError> {
        Err(StartError::Spec("not served yet".to_owned()))
    }

    /// The state that is served now.
    pub fn state(&self) -> Arc<State> {
        unreachable!("no gateway can exist yet")
    }

    /// Stops (or, with `drain` false, resumes) sending new requests to an endpoint. Survives reloads that keep it.
    ///
    /// # Errors
    /// If there is no such service or endpoint.
    pub fn drain(&self, _service: &str, _endpoint: &str, _drain: bool) -> Result<(), DrainError> {
        Ok(())
    }

    /// Whether every endpoint with a check has had its first verdict and no shutdown has begun.
    pub fn is_ready(&self) -> bool {
        false
    }

    /// Access-log lines that were dropped because the log could not keep up or could not be written.
    pub fn access_log_dropped(&self) -> u64 {
        0
    }

    /// Reopens the access log's file, after rotation.
    pub fn reopen_access_log(&self) {}

    /// Leaves in phases: readiness fails, connections are accepted for `lead` more, then drained until `deadline`; blocks
    /// until it is done. Answers how many connections were still open and had to be cut.
    pub fn shutdown(&self) -> usize {
        0
    }
}

//! Active checks of endpoints.

use mainstay_core::health;

/// Active checks of a service's endpoints.
#[derive(Clone, Debug, PartialEq)]
pub struct HealthCheck {
    /// When, and how many verdicts count.
    pub policy: health::Policy,
    /// What is asked.
    pub probe: Probe,
    /// The port, if it is not that of the endpoint; it is then asked without a PROXY header. A Unix socket has none and is asked itself.
    pub port: Option<u16>,
}

impl Default for HealthCheck {
    /// A connection, at the usual times.
    fn default() -> Self {
        Self { policy: health::Policy::default(), probe: Probe::Tcp, port: None }
    }
}

/// What a check asks. HTTP probes use TLS exactly when `tls` says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// A connection comes to be.
    Tcp,
    /// `GET path` answers a status in one of the ranges.
    Http {
        /// Path and query.
        path: String,
        /// `Host` header; if absent the endpoint's address, or [`LOCAL_NAME`] for a Unix socket.
        host: Option<String>,
        /// Inclusive ranges of accepted status codes.
        expect: Vec<(u16, u16)>,
        /// TLS: the service's own settings are used if it has any, else verification by the system's authorities.
        tls: bool,
    },
    /// grpc.health.v1.Health/Check answers SERVING. Uses TLS exactly when the service does.
    Grpc {
        /// Which service is asked about; empty for the server as a whole.
        service: String,
    },
}

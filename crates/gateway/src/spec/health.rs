//! Active checks of endpoints.

use mainstay_core::health;
use mainstay_probe::json;
use mainstay_probe::script::Script;

/// Active checks of a service's endpoints.
#[derive(Clone, Debug, PartialEq)]
pub struct HealthCheck {
    /// When, and how many verdicts count.
    pub policy: health::Policy,
    /// What is asked.
    pub probe: Probe,
    /// The port, if it is not that of the endpoint; it is then asked without a PROXY header. A Unix socket has none and is asked itself.
    pub port: Option<u16>,
    /// Share of its weight that an endpoint gets while it is degraded, above 0 to 1.
    pub degraded_share: f64,
}

impl HealthCheck {
    /// What [`Self::degraded_share`] is unless something else is asked for: enough to see it recover, little enough to matter.
    pub const DEGRADED_SHARE: f64 = 0.25;
}

impl Default for HealthCheck {
    /// A connection, at the usual times.
    fn default() -> Self {
        let degraded_share = Self::DEGRADED_SHARE;
        Self { policy: health::Policy::default(), probe: Probe::Tcp, port: None, degraded_share }
    }
}

/// What a check asks. HTTP probes use TLS exactly when `tls` says so.
#[derive(Clone, Debug, PartialEq)]
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
        /// What the body must say.
        json: Option<json::Rules>,
    },
    /// Several requests are answered as they should be. Uses TLS exactly when the service does.
    Script {
        /// The requests.
        script: Script,
        /// `Host` header, as for [`Self::Http`].
        host: Option<String>,
    },
    /// A program exits with 0.
    Command {
        /// The program and its arguments, as in [`mainstay_probe::Command`].
        argv: Vec<String>,
        /// Exit codes that mean degraded.
        degraded: Vec<u8>,
        /// Who runs it: a name, or `UID:GID`; the user of this process if absent.
        user: Option<String>,
    },
    /// grpc.health.v1.Health/Check answers SERVING. Uses TLS exactly when the service does.
    Grpc {
        /// Which service is asked about; empty for the server as a whole.
        service: String,
    },
}

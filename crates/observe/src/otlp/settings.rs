//! Where telemetry is sent, and how.

use std::path::PathBuf;
use std::time::Duration;

use crate::secret::Secret;

/// Where telemetry is sent, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where the collector is: `http://host:port`, for HTTP perhaps with a path, behind which `/v1/logs` and so on stand.
    pub endpoint: String,
    /// How it is spoken to.
    pub protocol: Protocol,
    /// Whom to trust at an `https` address, and who this node is there.
    pub tls: Tls,
    /// Headers (of gRPC: metadata) with every message, in lower case.
    pub headers: Vec<(String, Secret)>,
    /// What is sent.
    pub signals: Signals,
    /// How long the answer to a message is waited for.
    pub timeout: Duration,
    /// How long a message is tried again before it is given up.
    pub retry_for: Duration,
    /// How often metrics are sent.
    pub metrics_interval: Duration,
}

/// Files with certificates, as PEM. They are read when a connection is prepared, and again once a collector has refused or not
/// answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// The authorities that the collector's certificate must come from. Over HTTP the system's if it is absent; gRPC needs it.
    pub ca: Option<PathBuf>,
    /// The certificate that this node shows, and its private key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// How the collector is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Protobuf over HTTP.
    Http,
    /// gRPC.
    Grpc,
}

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signals {
    /// Requests, as logs.
    pub logs: bool,
    /// Requests, as traces.
    pub traces: bool,
    /// The node's metrics.
    pub metrics: bool,
}

//! What the gateway is asked to do: a configuration that has been checked. Relations between its parts (a route names an
//! existing service, names are unique) hold by construction of whoever builds it; the gateway refuses a spec that breaks
//! them rather than trusting it.

mod admission;
mod cache;
mod cell;
mod database;
mod endpoint;
mod fallback;
mod health;
mod isolation;
mod listener;
mod node;
mod route;
mod service;
mod sticky;
mod telemetry;

pub use admission::{Admission, Bulkhead, ByCriticality, Deadline, Queue, RateKey, RateLimit, Scope};
pub use cache::Cache;
pub use cell::{Cell, Cells};
pub use database::Database;
pub use endpoint::{Address, Endpoint, LOCAL_NAME, Source};
pub use fallback::{Answer, CONTENT_BYTES_MAX, Content, Fallback};
pub use health::{HealthCheck, Probe};
pub use isolation::{Missing, Quarantine, RequestKind, Sharding, Tenant, TenantKey};
pub use listener::{
    Acme, CertificateFiles, Challenge, ClientAuth, Http, Http2, Listener, ListenerTls, Protocol, ProxyProtocol,
};
pub use mainstay_core::database::Engine;
pub use mainstay_core::roles::{Access, Replica, Role, Roles};
pub use mainstay_probe::{json, script};
pub use node::{AccessLog, Node, Resolver, Shutdown};
pub use route::{HeaderOps, Mirror, Route};
pub use service::{
    Balance, Capacity, Connections, Guard, HashKey, HttpVersion, Liveness, ProxyVersion, Service, UpstreamTls,
    WhenEmpty, Zones,
};
pub use sticky::{SameSite, SessionEngine, SessionTable, Sticky};
pub use telemetry::{Events, Rotate, SECRET_HEADERS, SECRET_KEYS, Telemetry};

/// Everything that one node serves.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// The process.
    pub node: Node,
    /// Where connections come in.
    pub listeners: Vec<Listener>,
    /// Which service a request goes to.
    pub routes: Vec<Route>,
    /// Groups of endpoints.
    pub services: Vec<Service>,
    /// Copies of sets of services.
    pub cells: Vec<Cell>,
    /// Certificates that authorities issue.
    pub acme: Vec<Acme>,
    /// What is told of requests.
    pub telemetry: Telemetry,
}

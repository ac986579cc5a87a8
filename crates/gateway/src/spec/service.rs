//! Groups of endpoints, and how they are spoken to.

use std::path::PathBuf;
use std::time::Duration;

use mainstay_core::{balance, breaker, budget, guard, outlier, restart};

use super::{CertificateFiles, Endpoint, HealthCheck, Sharding, Source, Sticky, Tenant};

/// A group of endpoints that are interchangeable.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// Unique name.
    pub name: String,
    /// How requests spread.
    pub balance: Balance,
    /// The endpoints that are always there.
    pub endpoints: Vec<Endpoint>,
    /// Names whose answers say which further endpoints there are.
    pub sources: Vec<Source>,
    /// Active checks; `None` turns them off.
    pub health: Option<HealthCheck>,
    /// Passive ejection; `None` turns it off.
    pub outlier: Option<outlier::Policy>,
    /// How traffic comes back after an outage; `None` brings it back at once.
    pub restart: Option<restart::Policy>,
    /// When an endpoint is not asked, each by its own attempts; `None` turns it off.
    pub breaker: Option<breaker::Policy>,
    /// How long an endpoint that comes back takes to its full weight; `None` if it has that at once.
    pub slow_start: Option<Duration>,
    /// What is done when checks fail nearly everywhere at once; `None` if that is taken for so many single failures.
    pub guard: Option<Guard>,
    /// The preference of the node's own zone; `None` if zones play no part.
    pub zones: Option<Zones>,
    /// What the service must bear, and what its endpoints can.
    pub capacity: Option<Capacity>,
    /// How many retries TCP connections to it may cause, and each route to it that says nothing else.
    pub retry_budget: budget::Policy,
    /// What is spoken with endpoints, over TCP listeners excepted.
    pub protocol: HttpVersion,
    /// TLS towards endpoints.
    pub tls: Option<UpstreamTls>,
    /// What happens when no endpoint is eligible.
    pub when_empty: WhenEmpty,
    /// The PROXY header that each connection to an endpoint begins with, before TLS. It belongs to one client, so that such a
    /// connection is never used again.
    pub send_proxy: Option<ProxyVersion>,
    /// Connections to endpoints.
    pub connections: Connections,
    /// How requests name their tenants, unless their route says otherwise.
    pub tenant: Option<Tenant>,
    /// Which endpoints a tenant may use; all if `None`.
    pub shard: Option<Sharding>,
    /// Sessions stay with an endpoint; `None` turns that off.
    pub sticky: Option<Sticky>,
}

impl Service {
    /// A service without endpoints, with the defaults of everything else.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            balance: Balance { policy: balance::Policy::LeastRequest, key: HashKey::Source, bounded_percent: None },
            endpoints: Vec::new(),
            sources: Vec::new(),
            health: Some(HealthCheck::default()),
            outlier: Some(outlier::Policy::default()),
            breaker: None,
            restart: None,
            slow_start: None,
            guard: None,
            zones: None,
            capacity: None,
            retry_budget: budget::Policy::default(),
            protocol: HttpVersion::Http1,
            tls: None,
            when_empty: WhenEmpty::Refuse,
            send_proxy: None,
            connections: Connections::default(),
            tenant: None,
            shard: None,
            sticky: None,
        }
    }
}

/// The form of a PROXY header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyVersion {
    /// A line of text.
    V1,
    /// A binary block.
    V2,
}

/// Which HTTP is spoken with a service's endpoints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HttpVersion {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2, by ALPN over TLS and by prior knowledge without.
    Http2,
    /// What the endpoint chooses by ALPN; HTTP/1.1 without TLS.
    Auto,
}

/// How requests spread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Balance {
    /// By which rule.
    pub policy: balance::Policy,
    /// The key, for [`balance::Policy::Hash`].
    pub key: HashKey,
    /// With [`balance::Policy::Hash`], how loaded an endpoint may be, in percent of the mean; at least 100. `None` for no bound.
    pub bounded_percent: Option<u32>,
}

/// The cascade guard of a service.
#[derive(Clone, Debug, PartialEq)]
pub struct Guard {
    /// What counts as a cascade.
    pub policy: guard::Policy,
    /// How it is found out whether an endpoint whose check fails takes requests at all.
    pub liveness: Liveness,
}

/// A check that asks for nothing but life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Liveness {
    /// A connection comes to be.
    Tcp,
    /// `GET path` is answered with any status below 500.
    Http {
        /// Path and query.
        path: String,
    },
}

/// How endpoints of the own zone are preferred.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zones {
    /// The node's zone.
    pub own: String,
    /// With fewer eligible endpoints than this, zones are not heeded.
    pub min_endpoints: usize,
}

/// What a service must bear, in requests a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// The peak.
    pub peak_rps: u32,
    /// What each endpoint can serve that says nothing of its own.
    pub endpoint_rps: Option<u32>,
}

/// What consistent hashing takes as the key of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HashKey {
    /// The client's address.
    Source,
    /// A header's value.
    Header(String),
    /// A cookie's value.
    Cookie(String),
}

/// Connections to a service's endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connections {
    /// A connection (TLS included) must stand after this long.
    pub connect_timeout: Duration,
    /// Idle connections kept for each endpoint on each worker.
    pub max_idle: usize,
    /// An idle connection is closed after this long.
    pub idle_timeout: Duration,
    /// No connection is used again after this long.
    pub max_age: Duration,
}

impl Default for Connections {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(1),
            max_idle: 256,
            idle_timeout: Duration::from_secs(30),
            max_age: Duration::from_secs(600),
        }
    }
}

/// What happens when no endpoint is eligible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenEmpty {
    /// 503 with `Retry-After`.
    Refuse,
    /// Any endpoint that is not draining is tried: better a perhaps than a no.
    FailOpen,
}

/// TLS towards endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamTls {
    /// Whether the endpoint's certificate must verify; on unless turned off by hand.
    pub verify: bool,
    /// Authorities in PEM in place of the system's.
    pub ca: Option<PathBuf>,
    /// The name in SNI and verification; if absent the endpoint's host, or [`LOCAL_NAME`] for a Unix socket.
    pub server_name: Option<String>,
    /// The gateway's own certificate, for endpoints that ask for one.
    pub client: Option<CertificateFiles>,
}

//! What the gateway is asked to do: a configuration that has been checked. Relations between its parts (a route names an
//! existing service, names are unique) hold by construction of whoever builds it; the gateway refuses a spec that breaks
//! them rather than trusting it.

mod endpoint;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use mainstay_core::{balance, budget, health, outlier, resolve, retry, route};

pub use endpoint::{Address, Endpoint, LOCAL_NAME, Source};

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
}

/// Settings of the process. Changes of `workers` need a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// The node's name, in logs and headers.
    pub name: String,
    /// Worker threads, each with its own listeners, pools and counters; at least 1.
    pub workers: usize,
    /// Where the access log goes.
    pub access_log: AccessLog,
    /// Requests that are remembered for `mainstay explain`, over all workers; 0 for none.
    pub explain: usize,
    /// How the process leaves.
    pub shutdown: Shutdown,
    /// How names of endpoints are looked up.
    pub resolver: Resolver,
}

/// How names of endpoints are looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolver {
    /// Name servers; the system's if empty.
    pub servers: Vec<SocketAddr>,
    /// An answer holds at least this long, whatever its time to live says.
    pub min_ttl: Duration,
    /// And at most this long.
    pub max_ttl: Duration,
    /// A look-up without an answer after this long has failed.
    pub timeout: Duration,
}

impl Default for Resolver {
    fn default() -> Self {
        let resolve::Policy { min_ttl, max_ttl, .. } = resolve::Policy::default();
        Self { servers: Vec::new(), min_ttl, max_ttl, timeout: Duration::from_secs(5) }
    }
}

/// Where the line that each request leaves goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessLog {
    /// Nowhere.
    Off,
    /// Standard output.
    Stdout,
    /// Appended to a file, which SIGHUP reopens.
    File(PathBuf),
}

/// The phases of a shutdown (readiness fails first).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shutdown {
    /// How long connections are still accepted after readiness has failed.
    pub lead: Duration,
    /// When everything that is still open is closed, counted from the signal.
    pub deadline: Duration,
}

/// Where connections come in.
#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    /// Unique name.
    pub name: String,
    /// Address and port.
    pub bind: SocketAddr,
    /// A PROXY header, before TLS and everything else, on every connection; `None` where there is none on any.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// TLS towards clients.
    pub tls: Option<ListenerTls>,
    /// Connections open at once, over all workers; further ones wait in the kernel's queue.
    pub max_connections: usize,
    /// What is spoken on it.
    pub protocol: Protocol,
}

/// Whose PROXY headers (version 1 or 2) are taken. A connection without one is closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyProtocol {
    /// Peers that may connect at all.
    pub trusted: Vec<IpNet>,
    /// The header must be complete this long after the connection was accepted.
    pub timeout: Duration,
}

/// What a listener speaks.
#[derive(Clone, Debug, PartialEq)]
pub enum Protocol {
    /// HTTP, by routes.
    Http(Http),
    /// Bytes, all to one service.
    Tcp {
        /// The service's name.
        service: String,
        /// A connection on which nothing moves for this long is closed.
        idle_timeout: Duration,
    },
}

/// How a listener speaks HTTP.
#[derive(Clone, Debug, PartialEq)]
pub struct Http {
    /// Peers whose `X-Forwarded-*` and `Forwarded` are believed. Behind PROXY headers the peer is whom the header names.
    pub trusted_proxies: Vec<IpNet>,
    /// A request head must be complete this long after its first byte (408).
    pub head_timeout: Duration,
    /// A connection without a request for this long is closed.
    pub keep_alive_timeout: Duration,
    /// A body that does not move for this long fails (408, or the connection is closed).
    pub body_timeout: Duration,
    /// Bytes of a head: over it 431, or 414 if the request line alone is.
    pub max_head_bytes: usize,
    /// Headers in a head: over it 431.
    pub max_headers: usize,
    /// Answer every request with a redirect to `https` on this port.
    pub redirect_https: Option<u16>,
    /// Speak HTTP/2 with clients that begin it: by ALPN over TLS, by prior knowledge without. `None` turns it off.
    pub http2: Option<Http2>,
}

/// How a listener speaks HTTP/2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Http2 {
    /// Requests that a client may have open at once on one connection; at least 1.
    pub max_streams: u32,
}

impl Default for Http2 {
    fn default() -> Self {
        Self { max_streams: 100 }
    }
}

/// TLS towards clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerTls {
    /// Certificates, chosen by SNI; the first one answers clients that send none or an unknown one.
    pub certificates: Vec<CertificateFiles>,
    /// Whether clients show a certificate.
    pub client_auth: ClientAuth,
}

/// A certificate chain and its key, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The chain, leaf first.
    pub cert: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// Whether clients show a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// They are not asked.
    Off,
    /// They are asked; one that is shown must verify.
    Optional {
        /// The authorities, in PEM.
        ca: PathBuf,
    },
    /// Without one the handshake fails.
    Required {
        /// The authorities, in PEM.
        ca: PathBuf,
    },
}

/// Which requests go where, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// Unique name.
    pub name: String,
    /// The listeners that it serves, by name.
    pub listeners: Vec<String>,
    /// Which requests.
    pub matches: route::Match,
    /// The service's name.
    pub service: String,
    /// From the complete request head to the end of the response, all attempts together.
    pub timeout: Duration,
    /// From the choice of an endpoint to its response head; `None` if only `timeout` bounds it.
    pub attempt_timeout: Option<Duration>,
    /// A tunnel (WebSocket) on which nothing moves for this long is closed.
    pub tunnel_timeout: Duration,
    /// When to try again.
    pub retry: retry::Policy,
    /// Replaces the matched path prefix.
    pub rewrite_prefix: Option<String>,
    /// Changes to request headers.
    pub request_headers: HeaderOps,
    /// Changes to response headers.
    pub response_headers: HeaderOps,
    /// Copies for another service.
    pub mirror: Option<Mirror>,
}

/// A share of the requests goes to another service as well, whose answers are thrown away.
#[derive(Clone, Debug, PartialEq)]
pub struct Mirror {
    /// The service's name.
    pub service: String,
    /// The share, 0 to 1.
    pub share: f64,
    /// A copy is given up after this long.
    pub timeout: Duration,
    /// Copies under way at once, over all workers; further ones are dropped.
    pub max_in_flight: u32,
}

/// Changes to headers: removals first, then settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderOps {
    /// Names to remove, in lower case.
    pub remove: Vec<String>,
    /// Headers to set, in place of any with the name.
    pub set: Vec<(String, String)>,
}

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
    /// How many retries the service may cause.
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

/// What happens when no endpoint is eligible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenEmpty {
    /// 503 with `Retry-After`.
    Refuse,
    /// Any endpoint that is not draining is tried: better a perhaps than a no.
    FailOpen,
}

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

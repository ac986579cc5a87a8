//! Endpoints, where they are, and the names that they come from.

use std::net::SocketAddr;
use std::path::PathBuf;

/// One server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// `host:port` or `unix:PATH` as configured; its identity within the service.
    pub address: Address,
    /// Share of traffic relative to its siblings; at least 1.
    pub weight: u32,
    /// Gets no new request.
    pub drain: bool,
    /// Lower is served first: an endpoint gets traffic only while none of a lower number is eligible.
    pub priority: u16,
    /// The part of the site that it fails with.
    pub zone: Option<String>,
    /// It gets traffic only while another endpoint of its priority is out.
    pub spare: bool,
    /// Requests a second that it can serve, if that is not what the service says of all.
    pub rps: Option<u32>,
}

impl Endpoint {
    /// An endpoint like any other.
    pub const fn new(address: Address) -> Self {
        Self { address, weight: 1, drain: false, priority: 0, zone: None, spare: false, rps: None }
    }
}

/// A name whose answers say which endpoints there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// An endpoint for each SRV record, with its port, weight and priority.
    Srv {
        /// The name, such as `_http._tcp.shop.internal`.
        name: String,
    },
    /// An endpoint for each address of a host.
    Addresses {
        /// The host.
        host: String,
        /// The port of all of them.
        port: u16,
        /// The weight of each of them.
        weight: u32,
        /// Whether none of them gets a new request.
        drain: bool,
        /// The priority of all of them.
        priority: u16,
        /// The zone of all of them.
        zone: Option<String>,
        /// Whether they are spares.
        spare: bool,
        /// Requests a second that each of them can serve.
        rps: Option<u32>,
    },
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Srv { name } => f.write_str(name),
            Self::Addresses { host, port, .. } => write!(f, "{host}:{port}"),
        }
    }
}

/// Where an endpoint is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// An address.
    Socket(SocketAddr),
    /// One of the addresses of a host that has several.
    Member {
        /// The host, which TLS verifies.
        host: String,
        /// The address.
        address: SocketAddr,
    },
    /// A name, resolved when the spec is applied and again whenever its answer has had its time.
    Name {
        /// The host.
        host: String,
        /// The port.
        port: u16,
    },
    /// A Unix stream socket on this machine, by its absolute path.
    Unix(PathBuf),
}

/// What an endpoint behind a Unix socket is called where a host is needed: SNI, the name in its certificate, and the `Host`
/// of checks.
pub const LOCAL_NAME: &str = "localhost";

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Socket(address) | Self::Member { address, .. } => address.fmt(f),
            Self::Name { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

//! Where connections come in, and what is spoken there.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::Database;

/// Where connections come in.
#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    /// Unique name.
    pub name: String,
    /// Address and port.
    pub bind: SocketAddr,
    /// Whether the address may come and go while the listener stays.
    pub floating: bool,
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
    /// Bytes, to the servers of a database group that have the role for it.
    Database(Database),
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
    /// Names of certificates that an authority issues, after those.
    pub acme: Vec<String>,
    /// Whether clients show a certificate.
    pub client_auth: ClientAuth,
}

/// A certificate that an authority issues over ACME, as far as the gateway is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acme {
    /// Unique name.
    pub name: String,
    /// The host names that it is for, in lower case, at least one.
    pub domains: Vec<String>,
    /// How the authority finds out who answers for them.
    pub challenge: Challenge,
}

/// How an authority finds out who answers for a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// It asks over HTTP on port 80 (RFC 8555, section 8.3).
    Http01,
    /// It asks over TLS on port 443 (RFC 8737).
    TlsAlpn01,
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

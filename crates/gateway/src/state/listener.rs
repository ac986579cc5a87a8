//! A listener and its counters.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use super::{Counter, DatabaseCounters, Shards};
use crate::spec;

/// A listener and its counters.
#[derive(Debug)]
pub struct Listener {
    /// Its settings.
    pub spec: spec::Listener,
    /// Counters, one a worker; kept over reloads by name.
    pub shards: Arc<Shards<ListenerCounters>>,
    /// Connections that wait for a database's server now; kept over reloads by name.
    pub holding: Arc<AtomicUsize>,
}

/// Counters of a listener.
#[derive(Debug, Default)]
pub struct ListenerCounters {
    /// Connections accepted.
    pub accepted: Counter,
    /// Connections closed.
    pub closed: Counter,
    /// TLS handshakes that failed.
    pub tls_failures: Counter,
    /// Connections that were closed for want of a PROXY header.
    pub proxy_protocol: ProxyProtocolFailures,
    /// Requests refused before a route was known (malformed, too large, too slow).
    pub rejected: Counter,
    /// Where it leads to a database group.
    pub database: DatabaseCounters,
}

/// Counters of connections that were closed for want of a PROXY header, by reason.
#[derive(Debug, Default)]
pub struct ProxyProtocolFailures {
    /// The peer may send none.
    pub untrusted: Counter,
    /// None came in time.
    pub timeouts: Counter,
    /// What came was none, or broke off.
    pub malformed: Counter,
}

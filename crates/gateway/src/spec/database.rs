//! How clients are led to the servers of a database group.

use std::time::Duration;

use mainstay_core::database::Engine;
use mainstay_core::roles::Access;

use super::UpstreamTls;

/// How clients are led to the servers of a database group. Which server has which role is told by
/// [`crate::Gateway::lead`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Database {
    /// The group's name.
    pub group: String,
    /// What its servers speak: PostgreSQL's protocol, version 3, or Redis', versions 2 and 3.
    pub engine: Engine,
    /// What clients do.
    pub access: Access,
    /// How long a new connection waits while there is no server for it; zero turns that off.
    pub hold: Duration,
    /// How many connections wait at once, over all workers; further ones are refused.
    pub hold_max: usize,
    /// A client that has not said whom it wants this long after it connected is refused. PostgreSQL only: Redis' clients
    /// need not say anything.
    pub startup_timeout: Duration,
    /// A server that has not accepted a connection after this long is given up.
    pub connect_timeout: Duration,
    /// A connection on which nothing moves for this long is closed.
    pub idle_timeout: Duration,
    /// TLS towards servers. Without it, and without TLS at the listener, PostgreSQL's clients and servers agree on TLS between
    /// them, and it passes through.
    pub upstream_tls: Option<UpstreamTls>,
}

impl Database {
    /// How writers are led to a group's primary, unless something else is asked for.
    pub fn write(group: &str, engine: Engine) -> Self {
        Self {
            group: group.to_owned(),
            engine,
            access: Access::Write,
            hold: Duration::from_secs(5),
            hold_max: 1_000,
            startup_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(2),
            idle_timeout: Duration::from_secs(86_400),
            upstream_tls: None,
        }
    }

    /// How readers are led to a group's replicas, unless something else is asked for.
    pub fn read(group: &str, engine: Engine) -> Self {
        let access = Access::Read { lag_max: 16 * 1024 * 1024, fallback: true, cut: false };
        Self { access, ..Self::write(group, engine) }
    }
}

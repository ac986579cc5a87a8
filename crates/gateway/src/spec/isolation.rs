//! What keeps the failures of some from others: tenants and the endpoints that they may use.

use mainstay_core::{quarantine, shard};

/// How a request names its tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    /// Where the name stands.
    pub key: TenantKey,
    /// What becomes of a request that names none.
    pub missing: Missing,
}

/// Where the name of a tenant stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TenantKey {
    /// In a header, by its name in lower case.
    Header(String),
    /// In a cookie.
    Cookie(String),
    /// In a header, but as a secret: only a part of its hash is ever shown.
    ApiKey(String),
    /// In the path: its first segment (1), or a later one.
    Segment(usize),
    /// In the TLS handshake: the name that the client asked for.
    Sni,
}

/// What becomes of a request without a tenant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Missing {
    /// All of them together are one tenant more.
    #[default]
    Default,
    /// It is answered 400.
    Refuse,
}

/// Which endpoints of a service a tenant may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sharding {
    /// How they are dealt out.
    pub policy: shard::Policy,
    /// A tenant none of whose endpoints is eligible may use all others. That gives up the isolation just when it counts.
    pub spill: bool,
}

/// When requests that break their endpoints are kept from the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantine {
    /// After how many resets, and for how long.
    pub policy: quarantine::Policy,
    /// What answers a request of a kind that is held: 400 to 599.
    pub status: u16,
    /// What tells kinds of requests apart.
    pub kind: RequestKind,
}

/// What tells kinds of requests apart, besides method, host, path and tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestKind {
    /// The query.
    pub query: bool,
    /// Headers, by their names in lower case.
    pub headers: Vec<String>,
    /// So many bytes of the body; those of a request with a body are waited for. 0 for none.
    pub body: usize,
}

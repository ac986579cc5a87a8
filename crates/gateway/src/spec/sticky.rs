//! Sessions that stay with one endpoint, by a signed cookie or by a table.

use std::path::PathBuf;
use std::time::Duration;

/// How a session is bound to an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sticky {
    /// The cookie's name.
    pub cookie: String,
    /// The table that says where sessions belong; the cookie then holds nothing but an id. `None`: the cookie itself says it.
    pub table: Option<SessionTable>,
    /// A file with the keys that sign it, one a line: the first signs, all verify. Without one the process draws a key.
    pub key_file: Option<PathBuf>,
    /// How long a cookie holds after it was set; it is set anew when half of that is over. `None`: as long as the browser.
    pub max_age: Option<Duration>,
    /// Below which path it is sent.
    pub path: String,
    /// Whether it is sent with requests from other sites.
    pub same_site: SameSite,
    /// Whether scripts cannot read it.
    pub http_only: bool,
    /// Whether it is sent over TLS only; `None`: if it was set over TLS.
    pub secure: Option<bool>,
}

/// The table that sessions are kept in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionTable {
    /// Where it is.
    pub engine: SessionEngine,
    /// How long a session lives without being used.
    pub ttl: Duration,
}

/// Where a table of sessions is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SessionEngine {
    /// In each node, which tell each other.
    Embedded,
    /// In Redis.
    Redis,
}

/// Whether a cookie is sent with requests from other sites.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SameSite {
    /// Never.
    Strict,
    /// With links that are followed.
    Lax,
    /// Always, which browsers take over TLS only.
    None,
}

//! Sessions that stay with one endpoint, by a signed cookie.

use std::path::PathBuf;
use std::time::Duration;

/// How a session is bound to an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sticky {
    /// The cookie's name.
    pub cookie: String,
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

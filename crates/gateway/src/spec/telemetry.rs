//! What is told of requests: which leave a line, what stands in it, and whether they carry a trace.

use mainstay_core::sampling;

/// What is told of requests.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Telemetry {
    /// The lines that requests leave.
    pub events: Events,
    /// Whether requests carry a trace: what comes with one is continued, and one begins where none came.
    pub traces: bool,
}

/// The lines that requests leave.
#[derive(Clone, Debug, PartialEq)]
pub struct Events {
    /// Which requests leave one.
    pub policy: sampling::Policy,
    /// Lines in a second, over all workers, at most; `None`: as many as there are.
    pub max_per_second: Option<u32>,
    /// Request headers that are written, in lower case.
    pub headers: Vec<String>,
    /// Whether the query is written.
    pub query: bool,
    /// Keys whose values in a query are never written, in lower case.
    pub secret_keys: Vec<String>,
    /// When a file is put aside for a new one; `None`: never, others do that.
    pub rotate: Option<Rotate>,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            policy: sampling::Policy::default(),
            max_per_second: None,
            headers: Vec::new(),
            query: false,
            secret_keys: SECRET_KEYS.iter().map(|key| (*key).to_owned()).collect(),
            rotate: None,
        }
    }
}

/// When a file is put aside for a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotate {
    /// Once it has this many bytes.
    pub size: u64,
    /// Files that were put aside and are kept: `NAME.1` is the newest.
    pub keep: u32,
}

/// Keys of queries that name secrets, whatever the configuration says.
pub const SECRET_KEYS: &[&str] = &[
    "access_token",
    "api-key",
    "api_key",
    "apikey",
    "assertion",
    "auth",
    "client_secret",
    "code",
    "id_token",
    "jwt",
    "key",
    "passwd",
    "password",
    "pwd",
    "refresh_token",
    "secret",
    "session",
    "sid",
    "sig",
    "signature",
    "token",
    "x-amz-credential",
    "x-amz-security-token",
    "x-amz-signature",
];

/// Headers that are never written, whatever the configuration says.
pub const SECRET_HEADERS: &[&str] = &[
    "authorization",
    "cookie",
    "proxy-authorization",
    "set-cookie",
    "x-access-token",
    "x-amz-security-token",
    "x-api-key",
    "x-auth-token",
    "x-csrf-token",
    "x-forwarded-access-token",
    "x-xsrf-token",
];

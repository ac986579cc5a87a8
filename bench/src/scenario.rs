//! What is measured.

/// How a scenario is measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// Load for some seconds; the figure is requests per CPU-second of the proxy.
    Requests,
    /// Open connections that have made one request each; the figure is resident memory.
    Idle,
}

/// One row of the table.
pub(crate) struct Scenario {
    /// For `--only` and the JSON.
    pub name: &'static str,
    /// For people.
    pub what: &'static str,
    /// How it is measured.
    pub kind: Kind,
    /// Connections at once.
    pub connections: usize,
    /// Path at the origin, which decides the body's size.
    pub path: &'static str,
    /// A connection per request.
    pub close: bool,
    /// TLS between load and proxy.
    pub tls: bool,
    /// Every handshake is a full one: the client has no session to resume.
    pub full_handshake: bool,
    /// Also measure Mainstay without its access log.
    pub without_log: bool,
}

impl Scenario {
    /// Whether a proxy takes part.
    pub(crate) fn includes(&self, proxy: &str) -> bool {
        self.without_log || proxy != crate::proxy::WITHOUT_LOG
    }
}

const BASE: Scenario = Scenario {
    name: "",
    what: "",
    kind: Kind::Requests,
    connections: 64,
    path: "/1k",
    close: false,
    tls: false,
    full_handshake: false,
    without_log: false,
};

/// Every scenario, in the order of the table.
pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario { name: "keep-alive-64", what: "keep-alive, 64 connections, 1 KiB", without_log: true, ..BASE },
    Scenario { name: "keep-alive-256", what: "keep-alive, 256 connections, 1 KiB", connections: 256, ..BASE },
    Scenario { name: "large", what: "keep-alive, 64 connections, 100 KiB", path: "/100k", ..BASE },
    Scenario { name: "short", what: "a connection per request, 1 KiB", close: true, without_log: true, ..BASE },
    Scenario { name: "tls-keep-alive", what: "TLS keep-alive, 64 connections, 1 KiB", tls: true, ..BASE },
    Scenario {
        name: "tls-resumed",
        what: "TLS, a connection per request, sessions resumed",
        tls: true,
        close: true,
        ..BASE
    },
    Scenario {
        name: "tls-full",
        what: "TLS, a connection per request, full handshakes",
        tls: true,
        close: true,
        full_handshake: true,
        ..BASE
    },
    Scenario { name: "idle", what: "resident memory per idle connection", kind: Kind::Idle, ..BASE },
];

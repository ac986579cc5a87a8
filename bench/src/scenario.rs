//! What is measured.

use crate::proxy;

/// How a scenario is measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// Load for some seconds; the figure is requests per CPU-second of the proxy.
    Requests(Load),
    /// Requests at set times, whatever the answers take; the figure is the time to the answer.
    Latency,
    /// Open connections that have made one request each; the figure is resident memory.
    Idle,
}

/// What puts the load on a proxy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Load {
    /// `wrk`, with connections that are kept.
    KeepAlive,
    /// `wrk`, with a connection per request; over TLS it resumes its sessions.
    Short,
    /// Our own generator, with a connection and a full handshake per request.
    FullHandshakes,
    /// `h2load`, with so many streams at once on each connection.
    Http2 { streams: usize },
}

/// What Mainstay should reach.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Target {
    /// At least so many times the base's figure.
    RatioMin(f64),
    /// At most so many times the base's figure.
    RatioMax(f64),
    /// At most so many KiB.
    KibMax(f64),
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
    /// TLS between load and proxy.
    pub tls: bool,
    /// The proxy that the others are related to.
    pub base: &'static str,
    /// The proxy that should reach the target.
    pub judged: &'static str,
    /// What that should reach.
    pub target: Target,
    /// Also measure Mainstay without its access log.
    pub without_log: bool,
    /// Also measure Caddy and Envoy, in a few rounds.
    pub others: bool,
}

impl Scenario {
    /// In how many of the rounds a proxy takes part.
    pub(crate) fn rounds(&self, proxy: &str, rounds: usize) -> usize {
        match proxy {
            // What the patterns and telemetry cost is a matter between two of ours.
            _ if [proxy::PATTERNS, proxy::TELEMETRY].contains(&self.judged) => {
                if [self.base, self.judged].contains(&proxy) { rounds } else { 0 }
            }
            proxy::PATTERNS | proxy::TELEMETRY => 0,
            proxy::WITHOUT_LOG if self.without_log => rounds,
            "caddy" | "envoy" if self.others => rounds.div_ceil(3),
            proxy::WITHOUT_LOG | "caddy" | "envoy" => 0,
            _ => rounds,
        }
    }
}

const BASE: Scenario = Scenario {
    name: "",
    what: "",
    kind: Kind::Requests(Load::KeepAlive),
    connections: 64,
    path: "/1k",
    tls: false,
    base: proxy::BASE,
    judged: proxy::OURS,
    target: Target::RatioMin(1.0),
    without_log: false,
    others: false,
};

/// HTTP/2 with 64 requests under way.
const HTTP2: Scenario = Scenario {
    kind: Kind::Requests(Load::Http2 { streams: 8 }),
    connections: 8,
    target: Target::RatioMin(0.9),
    others: true,
    ..BASE
};

/// Every scenario, in the order of the table.
pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "keep-alive-64",
        what: "keep-alive, 64 connections, 1 KiB",
        target: Target::RatioMin(1.2),
        without_log: true,
        others: true,
        ..BASE
    },
    Scenario {
        name: "patterns",
        what: "keep-alive, 64 connections, 1 KiB: all patterns on against all off",
        base: proxy::OURS,
        judged: proxy::PATTERNS,
        target: Target::RatioMin(0.95),
        ..BASE
    },
    Scenario {
        name: "telemetry",
        what: "keep-alive, 64 connections, 1 KiB: all telemetry on against none",
        base: proxy::WITHOUT_LOG,
        judged: proxy::TELEMETRY,
        target: Target::RatioMin(0.95),
        ..BASE
    },
    Scenario {
        name: "keep-alive-256",
        what: "keep-alive, 256 connections, 1 KiB",
        connections: 256,
        target: Target::RatioMin(1.2),
        ..BASE
    },
    Scenario {
        name: "short",
        what: "a connection per request, 1 KiB",
        kind: Kind::Requests(Load::Short),
        target: Target::RatioMin(1.1),
        without_log: true,
        others: true,
        ..BASE
    },
    Scenario {
        name: "tls-keep-alive",
        what: "TLS keep-alive, 64 connections, 1 KiB",
        tls: true,
        target: Target::RatioMin(1.3),
        others: true,
        ..BASE
    },
    Scenario {
        name: "tls-resumed",
        what: "TLS, a connection per request, sessions resumed",
        kind: Kind::Requests(Load::Short),
        tls: true,
        target: Target::RatioMin(1.7),
        ..BASE
    },
    Scenario {
        name: "tls-full",
        what: "TLS, a connection per request, full handshakes",
        kind: Kind::Requests(Load::FullHandshakes),
        tls: true,
        target: Target::RatioMin(1.7),
        ..BASE
    },
    Scenario {
        name: "h2-tls",
        what: "HTTP/2 over TLS, 8 connections of 8 streams, 1 KiB",
        tls: true,
        without_log: true,
        ..HTTP2
    },
    Scenario { name: "h2-clear", what: "HTTP/2 without TLS, 8 connections of 8 streams, 1 KiB", ..HTTP2 },
    Scenario { name: "large", what: "keep-alive, 64 connections, 100 KiB", path: "/100k", ..BASE },
    Scenario { name: "huge", what: "keep-alive, 16 connections, 10 MiB", path: "/10m", connections: 16, ..BASE },
    Scenario {
        name: "latency",
        what: "time to the answer at half of HAProxy's peak rate, keep-alive, 64 connections, 1 KiB",
        kind: Kind::Latency,
        target: Target::RatioMax(1.0),
        ..BASE
    },
    Scenario {
        name: "idle",
        what: "resident memory per idle connection, 10,000 connections",
        kind: Kind::Idle,
        connections: 10_000,
        target: Target::KibMax(1.1),
        others: true,
        ..BASE
    },
];

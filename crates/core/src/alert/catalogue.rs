//! The built-in alerts: names, severities and times. The thresholds are those of the sources that name them.

use super::{Millis, Severity};

/// A built-in alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its name, which is the label `alertname`.
    pub name: &'static str,
    /// How much it matters, unless the condition says otherwise.
    pub severity: Severity,
    /// How long it must be so before it fires, in milliseconds.
    pub hold: Millis,
    /// How long it goes on after it was last so, in milliseconds.
    pub keep: Millis,
    /// What it means, in a sentence.
    pub meaning: &'static str,
    /// Its page, below `docs/alerts/`, without `.md`.
    pub page: &'static str,
    /// The view of the dashboard that shows it; `{service}` stands for that label.
    pub view: &'static str,
}

/// Where an alert's trouble is seen.
const SERVICE: &str = "#/services/{service}";
const CLUSTER: &str = "#/cluster";
const OVERVIEW: &str = "#/overview";
const OBJECTIVES: &str = "#/objectives";
const ALERTS: &str = "#/alerts";

/// A line of the table: what it is called and how much it matters; what must be so and for how long it must be or have been;
/// where it is seen and explained.
const fn alert(
    (name, severity): (&'static str, Severity),
    meaning: &'static str,
    (hold, keep): (Millis, Millis),
    (view, page): (&'static str, &'static str),
) -> Rule {
    Rule { name, severity, hold, keep, meaning, page, view }
}

const SECOND: Millis = 1000;
const MINUTE: Millis = 60 * SECOND;

use Severity::{P1, P2, P3, P4};

/// All of them.
pub const CATALOGUE: &[Rule] = &[
    alert(
        ("ServiceDown", P1),
        "no endpoint of a service gets traffic",
        (10 * SECOND, 10 * SECOND),
        (SERVICE, "service-down"),
    ),
    alert(
        ("ServiceDegraded", P2),
        "half of a service's endpoints or more get no traffic",
        (2 * MINUTE, 30 * SECOND),
        (SERVICE, "service-degraded"),
    ),
    alert(
        ("ErrorRateHigh", P2),
        "more than 5 % of a route's requests fail",
        (30 * SECOND, MINUTE),
        (SERVICE, "error-rate-high"),
    ),
    alert(
        ("ResponseTimeHigh", P2),
        "half of a route's requests take longer than 500 ms",
        (2 * MINUTE, MINUTE),
        (SERVICE, "response-time-high"),
    ),
    alert(
        ("EndpointDown", P4),
        "an endpoint's health checks fail",
        (30 * SECOND, 10 * SECOND),
        (SERVICE, "endpoint-down"),
    ),
    alert(
        ("EndpointEjected", P4),
        "an endpoint gets no requests because too many of them failed",
        (30 * SECOND, 30 * SECOND),
        (SERVICE, "endpoint-ejected"),
    ),
    alert(
        ("EndpointCpuHigh", P3),
        "an endpoint says that its processors are busier than 85 %",
        (5 * MINUTE, MINUTE),
        (SERVICE, "endpoint-cpu-high"),
    ),
    alert(
        ("EndpointMemoryHigh", P3),
        "an endpoint says that more than 90 % of its memory is in use",
        (2 * MINUTE, MINUTE),
        (SERVICE, "endpoint-memory-high"),
    ),
    alert(
        ("ZoneLost", P2),
        "no endpoint of a service in a zone gets traffic, those in others do",
        (10 * SECOND, 30 * SECOND),
        (SERVICE, "zone-lost"),
    ),
    alert(("CpuHigh", P3), "a node's processors are busier than 85 %", (5 * MINUTE, MINUTE), (CLUSTER, "cpu-high")),
    alert(
        ("MemoryHigh", P3),
        "more than 90 % of a node's memory is in use",
        (2 * MINUTE, MINUTE),
        (CLUSTER, "memory-high"),
    ),
    alert(
        ("ConnectionsHigh", P3),
        "a listener has more than 150 % of the connections that it usually has",
        (2 * MINUTE, MINUTE),
        (OVERVIEW, "connections-high"),
    ),
    alert(
        ("QuorumLost", P1),
        "the cluster cannot decide anything: no failover, no change",
        (10 * SECOND, 5 * SECOND),
        (CLUSTER, "quorum-lost"),
    ),
    alert(("NodeAway", P2), "a node of the cluster is not there", (15 * SECOND, 10 * SECOND), (CLUSTER, "node-away")),
    alert(
        ("ConfigRefused", P3),
        "a new configuration was refused; the one before is served",
        (0, 0),
        (CLUSTER, "config-refused"),
    ),
    alert(
        ("ConfigRolledBack", P3),
        "a released configuration was taken back because requests fared worse with it",
        (0, 0),
        (CLUSTER, "config-rolled-back"),
    ),
    alert(
        ("CertificateExpiring", P3),
        "a certificate in use ends within 30 days (P3), 14 days (P2) or 3 days (P1)",
        (0, 0),
        (OVERVIEW, "certificate-expiring"),
    ),
    alert(
        ("AlertDeliveryFailing", P2),
        "a receiver of alerts has not taken messages three times in a row",
        (0, 0),
        (ALERTS, "alert-delivery-failing"),
    ),
    alert(
        ("AccessLogDropped", P3),
        "lines of the access log were dropped because they could not be written",
        (0, 5 * MINUTE),
        (OVERVIEW, "access-log-dropped"),
    ),
    alert(
        ("Defect", P3),
        "a part of a node ended by a panic, which is a defect of the program",
        (0, 10 * MINUTE),
        (OVERVIEW, "defect"),
    ),
    alert(
        ("BudgetBurning", P2),
        "an objective's error budget is used up too fast",
        (0, 0),
        (OBJECTIVES, "budget-burning"),
    ),
    alert(
        ("ProbeFailed", P2),
        "a synthetic probe fails on more than half of its nodes; on fewer, it is P4",
        (45 * SECOND, 0),
        (OVERVIEW, "probe-failed"),
    ),
    alert(("Watchdog", P4), "always there, so that its absence is noticed", (0, 0), (ALERTS, "watchdog")),
];

/// The built-in alert of this name.
pub fn rule(name: &str) -> Option<&'static Rule> {
    CATALOGUE.iter().find(|rule| rule.name == name)
}

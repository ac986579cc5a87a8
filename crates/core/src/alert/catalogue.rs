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

const fn rule_of(name: &'static str, severity: Severity, hold: Millis, keep: Millis) -> Rule {
    Rule { name, severity, hold, keep, meaning: "", page: "", view: "" }
}

impl Rule {
    const fn about(self, page: &'static str, view: &'static str, meaning: &'static str) -> Self {
        Self { page, view, meaning, ..self }
    }
}

const SECOND: Millis = 1000;
const MINUTE: Millis = 60 * SECOND;

use Severity::{P1, P2, P3, P4};

/// All of them.
pub const CATALOGUE: &[Rule] = &[
    rule_of("ServiceDown", P1, 10 * SECOND, 10 * SECOND).about(
        "service-down",
        "#/services/{service}",
        "no endpoint of a service gets traffic",
    ),
    rule_of("ServiceDegraded", P2, 2 * MINUTE, 30 * SECOND).about(
        "service-degraded",
        "#/services/{service}",
        "half of a service's endpoints or more get no traffic",
    ),
    rule_of("ErrorRateHigh", P2, 30 * SECOND, MINUTE).about(
        "error-rate-high",
        "#/services/{service}",
        "more than 5 % of a route's requests fail",
    ),
    rule_of("ResponseTimeHigh", P2, 2 * MINUTE, MINUTE).about(
        "response-time-high",
        "#/services/{service}",
        "half of a route's requests take longer than 500 ms",
    ),
    rule_of("EndpointDown", P4, 30 * SECOND, 10 * SECOND).about(
        "endpoint-down",
        "#/services/{service}",
        "an endpoint's health checks fail",
    ),
    rule_of("EndpointEjected", P4, 30 * SECOND, 30 * SECOND).about(
        "endpoint-ejected",
        "#/services/{service}",
        "an endpoint gets no requests because too many of them failed",
    ),
    rule_of("EndpointCpuHigh", P3, 5 * MINUTE, MINUTE).about(
        "endpoint-cpu-high",
        "#/services/{service}",
        "an endpoint says that its processors are busier than 85 %",
    ),
    rule_of("EndpointMemoryHigh", P3, 2 * MINUTE, MINUTE).about(
        "endpoint-memory-high",
        "#/services/{service}",
        "an endpoint says that more than 90 % of its memory is in use",
    ),
    rule_of("ZoneLost", P2, 10 * SECOND, 30 * SECOND).about(
        "zone-lost",
        "#/services/{service}",
        "no endpoint of a service in a zone gets traffic, those in others do",
    ),
    rule_of("CpuHigh", P3, 5 * MINUTE, MINUTE).about(
        "cpu-high",
        "#/cluster",
        "a node's processors are busier than 85 %",
    ),
    rule_of("MemoryHigh", P3, 2 * MINUTE, MINUTE).about(
        "memory-high",
        "#/cluster",
        "more than 90 % of a node's memory is in use",
    ),
    rule_of("ConnectionsHigh", P3, 2 * MINUTE, MINUTE).about(
        "connections-high",
        "#/overview",
        "a listener has more than 150 % of the connections that it usually has",
    ),
    rule_of("QuorumLost", P1, 10 * SECOND, 5 * SECOND).about(
        "quorum-lost",
        "#/cluster",
        "the cluster cannot decide anything: no failover, no change",
    ),
    rule_of("NodeAway", P2, 15 * SECOND, 10 * SECOND).about(
        "node-away",
        "#/cluster",
        "a node of the cluster is not there",
    ),
    rule_of("ConfigRefused", P3, 0, 0).about(
        "config-refused",
        "#/cluster",
        "a new configuration was refused; the one before is served",
    ),
    rule_of("ConfigRolledBack", P3, 0, 0).about(
        "config-rolled-back",
        "#/cluster",
        "a released configuration was taken back because requests fared worse with it",
    ),
    rule_of("CertificateExpiring", P3, 0, 0).about(
        "certificate-expiring",
        "#/overview",
        "a certificate in use ends within 30 days (P3), 14 days (P2) or 3 days (P1)",
    ),
    rule_of("AlertDeliveryFailing", P2, 0, 0).about(
        "alert-delivery-failing",
        "#/alerts",
        "a receiver of alerts has not taken messages three times in a row",
    ),
    rule_of("AccessLogDropped", P3, 0, 5 * MINUTE).about(
        "access-log-dropped",
        "#/overview",
        "lines of the access log were dropped because they could not be written",
    ),
    rule_of("BudgetBurning", P2, 0, 0).about(
        "budget-burning",
        "#/objectives",
        "an objective's error budget is used up too fast",
    ),
    rule_of("Watchdog", P4, 0, 0).about("watchdog", "#/alerts", "always there, so that its absence is noticed"),
];

/// The built-in alert of this name.
pub fn rule(name: &str) -> Option<&'static Rule> {
    CATALOGUE.iter().find(|rule| rule.name == name)
}

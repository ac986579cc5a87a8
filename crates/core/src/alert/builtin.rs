//! From what a node sees to what is wrong with it, by the thresholds that the sources give.

use serde::{Deserialize, Serialize};

use super::catalogue;
use super::labels::Labels;
use super::{Condition, Severity};
use crate::vantage::Verdict;

/// Percent of failed requests above which a route is in trouble.
const ERROR_PERCENT_MAX: f64 = 5.0;
/// Requests a second below which rates say nothing.
const RATE_MIN: f64 = 0.5;
/// Milliseconds above which a route is too slow, for the median.
const RESPONSE_MS_MAX: f64 = 500.0;
/// Percent of the processors' time.
const CPU_PERCENT_MAX: f64 = 85.0;
/// Percent of memory.
const MEMORY_PERCENT_MAX: f64 = 90.0;
/// Connections compared with what is usual.
const CONNECTIONS_SHARE_MAX: f64 = 1.5;
/// Fewer connections are never too many.
const CONNECTIONS_MIN: f64 = 100.0;
/// Days before the end of a certificate, and how much it matters then.
const CERTIFICATE_DAYS: [(f64, Severity); 3] = [(30.0, Severity::P3), (14.0, Severity::P2), (3.0, Severity::P1)];

/// What a node sees of itself and its surroundings.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observation {
    /// The node.
    pub node: NodeSeen,
    /// Its services.
    pub services: Vec<ServiceSeen>,
    /// Its routes.
    pub routes: Vec<RouteSeen>,
    /// Its listeners.
    pub listeners: Vec<ListenerSeen>,
    /// Certificates in use.
    pub certificates: Vec<CertificateSeen>,
    /// Receivers of alerts.
    pub agents: Vec<AgentSeen>,
    /// Synthetic probes.
    pub probes: Vec<ProbeSeen>,
}

/// A node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeSeen {
    /// Its name.
    pub name: String,
    /// Percent of the processors' time in use.
    pub cpu_percent: Option<f64>,
    /// Percent of the memory in use.
    pub memory_percent: Option<f64>,
    /// Why its last configuration was refused.
    pub config_refused: Option<String>,
    /// Which version of the cluster's configuration was taken back, and why.
    pub rolled_back: Option<String>,
    /// Whether lines of the access log were dropped since the last observation.
    pub log_dropped: bool,
    /// Where a part of the node ended by a panic since the last observation.
    pub defect: Option<String>,
    /// Why the cluster cannot decide anything, if it is in one and cannot.
    pub quorum_lost: Option<String>,
    /// Members of its cluster that are not there.
    pub away: Vec<String>,
}

/// A service.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServiceSeen {
    /// Its name.
    pub name: String,
    /// Its endpoints.
    pub endpoints: Vec<EndpointSeen>,
}

/// An endpoint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EndpointSeen {
    /// Its address as configured.
    pub name: String,
    /// The part of the site that it fails with; empty if none is configured.
    pub zone: String,
    /// Gets traffic.
    pub eligible: bool,
    /// Its checks fail.
    pub down: bool,
    /// Ejected by passive checks.
    pub ejected: bool,
    /// Gets no new requests by wish.
    pub draining: bool,
    /// Stands in for others.
    pub spare: bool,
    /// Why it is not well.
    pub reason: String,
    /// Percent of its processors in use, as it says itself.
    #[serde(default)]
    pub cpu_percent: Option<f64>,
    /// Percent of its memory in use, likewise.
    #[serde(default)]
    pub memory_percent: Option<f64>,
}

/// A route.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RouteSeen {
    /// Its name.
    pub name: String,
    /// The service it leads to.
    pub service: String,
    /// Requests a second.
    pub rate: f64,
    /// Percent of them that failed.
    pub error_percent: Option<f64>,
    /// Their median duration in milliseconds.
    pub median_ms: Option<f64>,
}

/// A listener.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ListenerSeen {
    /// Its name.
    pub name: String,
    /// Open connections.
    pub connections: f64,
    /// How many it usually has, once that is known.
    pub usual: Option<f64>,
}

/// A certificate in use.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CertificateSeen {
    /// What it is used for, such as `listener public`.
    pub usage: String,
    /// Whom it is for.
    pub subject: String,
    /// Days until it ends, negative afterwards.
    pub days_left: f64,
    /// What else is to be said of it, such as why it was not renewed; may be empty.
    pub note: String,
}

/// A receiver of alerts that cannot be reached.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AgentSeen {
    /// Its name.
    pub name: String,
    /// Failures since something arrived.
    pub failures: u32,
    /// The last error.
    pub error: String,
}

/// A synthetic probe.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProbeSeen {
    /// Its name.
    pub name: String,
    /// What its nodes say together.
    pub verdict: Verdict,
    /// The nodes where it fails, with the step and the reason.
    pub failing: Vec<(String, String)>,
}

/// What is wrong.
pub fn conditions(seen: &Observation) -> Vec<Condition> {
    let mut found = Vec::new();
    for service in &seen.services {
        of_service(service, &mut found);
    }
    for route in &seen.routes {
        of_route(route, &mut found);
    }
    of_node(seen, &mut found);
    for listener in &seen.listeners {
        let usual = listener.usual.unwrap_or(f64::INFINITY);
        if listener.connections > CONNECTIONS_MIN && listener.connections > usual * CONNECTIONS_SHARE_MAX {
            let labels = Labels::new().with("listener", &listener.name).with("node", &seen.node.name);
            let (now, usual) = (listener.connections, usual);
            found.push(condition("ConnectionsHigh", labels, &format!("{now:.0} connections, usually {usual:.0}")));
        }
    }
    for certificate in &seen.certificates {
        of_certificate(certificate, &seen.node.name, &mut found);
    }
    for probe in &seen.probes {
        of_probe(probe, &mut found);
    }
    for agent in &seen.agents {
        let summary = format!("receiver {} took no message {} times: {}", agent.name, agent.failures, agent.error);
        found.push(condition("AlertDeliveryFailing", Labels::new().with("receiver", &agent.name), &summary));
    }
    found
}

fn condition(name: &str, labels: Labels, summary: &str) -> Condition {
    let severity = catalogue::rule(name).map_or(Severity::P3, |rule| rule.severity);
    graded(name, severity, labels, summary)
}

fn graded(name: &str, severity: Severity, labels: Labels, summary: &str) -> Condition {
    let (hold, keep) = catalogue::rule(name).map_or((0, 0), |rule| (rule.hold, rule.keep));
    Condition { hold, keep, ..Condition::new(name, severity, labels, summary) }
}

fn of_service(service: &ServiceSeen, found: &mut Vec<Condition>) {
    let labels = || Labels::new().with("service", &service.name);
    // Endpoints that are drained on purpose are missed by nobody.
    let meant: Vec<&EndpointSeen> = service.endpoints.iter().filter(|it| !it.draining).collect();
    let eligible = service.endpoints.iter().filter(|it| it.eligible).count();
    if eligible == 0 {
        let why = meant.iter().map(|it| it.reason.as_str()).find(|reason| !reason.is_empty()).unwrap_or("no endpoints");
        let summary = format!("{}: none of {} endpoints gets traffic ({why})", service.name, service.endpoints.len());
        found.push(condition("ServiceDown", labels(), &summary));
    }
    let able = meant.iter().filter(|it| !it.down && !it.ejected).count();
    if eligible > 0 && able * 2 <= meant.len() && able < meant.len() {
        let summary = format!("{}: {able} of {} endpoints are well", service.name, meant.len());
        found.push(condition("ServiceDegraded", labels(), &summary));
    }
    for endpoint in &meant {
        let labels = || labels().with("endpoint", &endpoint.name).with("zone", &endpoint.zone);
        let summary = format!("{}/{}: {}", service.name, endpoint.name, endpoint.reason);
        if endpoint.down {
            found.push(condition("EndpointDown", labels(), &summary));
        } else if endpoint.ejected {
            found.push(condition("EndpointEjected", labels(), &summary));
        }
        let high = [
            ("EndpointCpuHigh", "processors", endpoint.cpu_percent, CPU_PERCENT_MAX),
            ("EndpointMemoryHigh", "memory", endpoint.memory_percent, MEMORY_PERCENT_MAX),
        ];
        for (name, what, percent, max) in high {
            if let Some(percent) = percent.filter(|percent| *percent > max) {
                let summary = format!("{}/{}: {percent:.0} % of its {what} in use", service.name, endpoint.name);
                found.push(condition(name, labels(), &summary));
            }
        }
    }
    let mut zones: Vec<&str> = meant.iter().map(|it| it.zone.as_str()).filter(|zone| !zone.is_empty()).collect();
    zones.sort_unstable();
    zones.dedup();
    for zone in zones.iter().filter(|_| zones.len() > 1 && eligible > 0) {
        let inside: Vec<_> = meant.iter().filter(|it| it.zone == **zone && !it.spare).collect();
        if !inside.is_empty() && inside.iter().all(|it| it.down || it.ejected) {
            let summary = format!("{}: none of {} endpoints in zone {zone} is well", service.name, inside.len());
            found.push(condition("ZoneLost", labels().with("zone", zone), &summary));
        }
    }
}

fn of_probe(probe: &ProbeSeen, found: &mut Vec<Condition>) {
    let labels = || Labels::new().with("probe", &probe.name);
    match probe.verdict {
        // All nodes say the same, so that it is one alert.
        Verdict::Down => {
            let (node, why) = probe.failing.first().cloned().unwrap_or_default();
            let summary = format!("probe {}: {why} (from {node})", probe.name);
            found.push(condition("ProbeFailed", labels(), &summary));
        }
        Verdict::Degraded => found.extend(probe.failing.iter().map(|(node, why)| {
            let summary = format!("probe {}: {why}; only from {node}", probe.name);
            graded("ProbeFailed", Severity::P4, labels().with("node", node), &summary)
        })),
        Verdict::Up | Verdict::Unknown => {}
    }
}

fn of_route(route: &RouteSeen, found: &mut Vec<Condition>) {
    if route.rate < RATE_MIN {
        return;
    }
    let labels = || Labels::new().with("route", &route.name).with("service", &route.service);
    if let Some(percent) = route.error_percent.filter(|percent| *percent > ERROR_PERCENT_MAX) {
        let summary = format!("route {}: {percent:.1} % of {:.1} requests a second fail", route.name, route.rate);
        found.push(condition("ErrorRateHigh", labels(), &summary));
    }
    if let Some(median) = route.median_ms.filter(|median| *median > RESPONSE_MS_MAX) {
        let summary = format!("route {}: half of the requests take longer than {median:.0} ms", route.name);
        found.push(condition("ResponseTimeHigh", labels(), &summary));
    }
}

fn of_node(seen: &Observation, found: &mut Vec<Condition>) {
    let node = &seen.node;
    let labels = || Labels::new().with("node", &node.name);
    if let Some(percent) = node.cpu_percent.filter(|percent| *percent > CPU_PERCENT_MAX) {
        found.push(condition("CpuHigh", labels(), &format!("{}: processors {percent:.0} % busy", node.name)));
    }
    if let Some(percent) = node.memory_percent.filter(|percent| *percent > MEMORY_PERCENT_MAX) {
        found.push(condition("MemoryHigh", labels(), &format!("{}: {percent:.0} % of memory in use", node.name)));
    }
    if let Some(why) = &node.config_refused {
        found.push(condition("ConfigRefused", labels(), &format!("{}: {why}", node.name)));
    }
    if let Some(why) = &node.rolled_back {
        found.push(condition("ConfigRolledBack", Labels::new(), why));
    }
    if node.log_dropped {
        found.push(condition("AccessLogDropped", labels(), &format!("{}: lines were dropped", node.name)));
    }
    if let Some(place) = &node.defect {
        found.push(condition("Defect", labels(), &format!("{}: a part ended by a panic at {place}", node.name)));
    }
    // All nodes that are cut off say the same, so that receivers can tell that it is one thing.
    if let Some(why) = &node.quorum_lost {
        found.push(condition("QuorumLost", Labels::new(), why));
    }
    for away in &node.away {
        let summary = format!("node {away} is not there");
        found.push(condition("NodeAway", Labels::new().with("node", away), &summary));
    }
}

fn of_certificate(certificate: &CertificateSeen, node: &str, found: &mut Vec<Condition>) {
    let labels = || {
        let labels = Labels::new().with("certificate", &certificate.subject).with("usage", &certificate.usage);
        labels.with("node", node)
    };
    let left = certificate.days_left;
    let summary = match left < 0.0 {
        true => format!("{} ({}) ended {:.1} days ago", certificate.subject, certificate.usage, -left),
        false => format!("{} ({}) ends in {left:.1} days", certificate.subject, certificate.usage),
    };
    let summary = if certificate.note.is_empty() { summary } else { format!("{summary}: {}", certificate.note) };
    for (_days, severity) in CERTIFICATE_DAYS.into_iter().filter(|(days, _severity)| left <= *days) {
        found.push(graded("CertificateExpiring", severity, labels(), &summary));
    }
}

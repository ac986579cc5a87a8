//! What the node sees of itself and its surroundings, as alerts are decided from it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use mainstay_core::alert::{
    self, AgentSeen, CertificateSeen, EndpointSeen, ListenerSeen, NodeSeen, Observation, ProbeSeen, RouteSeen,
    ServiceSeen,
};
use mainstay_observe::alerts::driver::Look;
use mainstay_observe::alerts::machine::{Processors, memory_percent};

use crate::admin::document::{ReloadOutcome, Status};
use crate::admin::{Node, objectives};

/// A node that does not get ready by then is judged all the same.
const PATIENCE: Duration = Duration::from_secs(30);
/// How busy the processors are is averaged over so many seconds.
const BUSY_SECONDS: f64 = 30.0;
/// What is usual is averaged over so many seconds.
const USUAL_SECONDS: f64 = 3600.0;
/// And known after so many.
const USUAL_AFTER: f64 = 900.0;

/// A certificate that was never issued is told of after so many failed orders in a row.
const FAILURES_TOLD: u32 = 3;
/// A certificate that renews itself should have been by then.
const RENEWED_DAYS: f64 = 3.0;

/// What has to be remembered from one look to the next.
#[derive(Debug, Default)]
pub(super) struct Memory {
    since: Option<Instant>,
    processors: Option<Processors>,
    busy: Option<f64>,
    dropped: u64,
    defects: u64,
    listeners: BTreeMap<String, Usual>,
}

/// How many connections a listener usually has: an exponentially weighted mean.
#[derive(Clone, Copy, Debug, Default)]
struct Usual {
    mean: f64,
    seconds: f64,
}

impl Usual {
    fn add(&mut self, connections: f64) -> Option<f64> {
        // In the beginning the mean of all that was seen, so that it does not start at a chance value.
        self.seconds += 1.0;
        self.mean += (connections - self.mean) / self.seconds.min(USUAL_SECONDS);
        (self.seconds >= USUAL_AFTER).then_some(self.mean)
    }
}

/// Looks around.
pub(super) fn look(node: &Node, memory: &mut Memory, agents: Vec<AgentSeen>) -> Look {
    if node.is_leaving() {
        return Look::Gone;
    }
    let since = *memory.since.get_or_insert_with(Instant::now);
    if !node.not_ready().is_empty() && since.elapsed() < PATIENCE {
        return Look::Wait;
    }
    let status = node.status();
    let seen = Observation {
        node: of_node(node, &status, memory),
        services: services(&status),
        routes: routes(&status),
        listeners: listeners(&status, memory),
        certificates: certificates(node),
        agents,
        probes: probes(node),
    };
    let mut found = alert::conditions(&seen);
    found.extend(objectives::conditions(node));
    Look::Seen(found)
}

fn of_node(node: &Node, status: &Status, memory: &mut Memory) -> NodeSeen {
    let now = Processors::read();
    let percent = now.zip(memory.processors).and_then(|(now, before)| now.percent_since(before));
    memory.processors = now;
    if let Some(percent) = percent {
        let busy = memory.busy.unwrap_or(percent);
        memory.busy = Some(busy + (percent - busy) / BUSY_SECONDS);
    }
    let dropped = node.gateway().access_log_dropped();
    let log_dropped = dropped > memory.dropped;
    memory.dropped = dropped;
    let defects = status.attention.defects.as_ref().filter(|defects| defects.count > memory.defects);
    let defect = defects.map(|defects| defects.last.clone());
    memory.defects = status.attention.defects.as_ref().map_or(0, |defects| defects.count);
    let reload = &status.configuration.last_reload;
    let refused = || reload.problems.first().cloned().unwrap_or_default();
    let cluster = status.cluster.as_ref();
    let release = node.shared().facts().release.filter(|_release| cluster.is_some());
    let rolled_back = release.filter(|(_version, stage)| *stage == "rolled-back");
    NodeSeen {
        name: node.name().to_owned(),
        cpu_percent: memory.busy,
        memory_percent: memory_percent(),
        config_refused: (reload.outcome == ReloadOutcome::Refused).then(refused),
        rolled_back: rolled_back
            .map(|(version, _stage)| format!("version {version} of the configuration was taken back")),
        log_dropped,
        defect,
        quorum_lost: cluster
            .filter(|cluster| cluster.quorum == Some(false))
            .map(|cluster| cluster.quorum_reason.clone().unwrap_or_default()),
        away: cluster.map_or_else(Vec::new, |cluster| {
            let away = cluster.members.iter().filter(|member| member.state == "down");
            away.map(|member| member.name.clone()).collect()
        }),
    }
}

fn services(status: &Status) -> Vec<ServiceSeen> {
    let endpoint = |it: &crate::admin::document::EndpointStatus| EndpointSeen {
        name: it.name.clone(),
        zone: it.zone.clone().unwrap_or_default(),
        eligible: it.eligible,
        down: it.health == "down",
        ejected: it.ejected,
        draining: it.draining,
        spare: it.spare,
        reason: it.reason.clone(),
        cpu_percent: it.load.and_then(|load| load.cpu_percent),
        memory_percent: it.load.and_then(|load| load.memory_percent),
    };
    let service = |it: &crate::admin::document::ServiceStatus| ServiceSeen {
        name: it.name.clone(),
        endpoints: it.endpoints.iter().map(endpoint).collect(),
    };
    status.services.iter().map(service).collect()
}

fn routes(status: &Status) -> Vec<RouteSeen> {
    let route = |it: &crate::admin::document::RouteStatus| RouteSeen {
        name: it.name.clone(),
        service: it.service.clone(),
        rate: it.activity.rate,
        error_percent: it.activity.error_percent,
        median_ms: it.activity.p50_ms,
    };
    status.routes.iter().map(route).collect()
}

fn probes(node: &Node) -> Vec<ProbeSeen> {
    let standings = node.probes().standings();
    let seen =
        standings.into_iter().map(|of| ProbeSeen { name: of.probe.name, verdict: of.verdict, failing: of.failing });
    seen.collect()
}

fn listeners(status: &Status, memory: &mut Memory) -> Vec<ListenerSeen> {
    memory.listeners.retain(|name, _usual| status.listeners.iter().any(|it| it.name == *name));
    let listener = |it: &crate::admin::document::ListenerStatus| {
        let connections = it.connections as f64;
        let usual = memory.listeners.entry(it.name.clone()).or_default().add(connections);
        ListenerSeen { name: it.name.clone(), connections, usual }
    };
    status.listeners.iter().map(listener).collect()
}

fn certificates(node: &Node) -> Vec<CertificateSeen> {
    let seen = |it: &crate::admin::certificates::CertificateStatus| {
        let (usage, subject) = (it.usage.clone(), it.subject.clone());
        // One that was never issued is as good as one that has ended.
        let failing = it.acme.as_ref().filter(|acme| acme.failures >= FAILURES_TOLD);
        let days_left = it.days_left.or(failing.map(|_acme| 0.0))?;
        let note = failing.and_then(|acme| acme.last_error.clone());
        Some(CertificateSeen { usage, subject, days_left, note: note.unwrap_or_default() })
    };
    // Those of the cluster's nodes live for a few weeks and renew themselves in time.
    let renewed = |it: &crate::admin::certificates::CertificateStatus| {
        it.usage == "cluster node" && it.days_left.is_some_and(|days| days > RENEWED_DAYS)
    };
    // And those of an authority with a third of their time left: there is news only if that has failed for a while.
    let is_early = |it: &crate::admin::certificates::CertificateStatus| it.acme.is_some() && it.is_early();
    let mut all: Vec<CertificateSeen> =
        node.certificates().iter().filter(|it| !renewed(it) && !is_early(it)).filter_map(seen).collect();
    // Those that probes meet elsewhere; where a probe asks for more days, it fails by itself.
    for of in node.probes().standings() {
        let steps = of.last.iter().flat_map(|(last, _at)| &last.steps);
        all.extend(steps.filter_map(|step| {
            let (usage, subject) = (format!("probe {}", of.probe.name), step.name.clone());
            Some(CertificateSeen { usage, subject, days_left: step.certificate_days?, note: String::new() })
        }));
    }
    all
}

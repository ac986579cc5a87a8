//! `/api/v1/probes`: synthetic probes, how they stand, and what comes of one now.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State as Shared};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use mainstay_admin::endpoint::{self, Endpoint};
use mainstay_admin::role::{OPERATOR, VIEWER};
use mainstay_core::timestamp::rfc3339;
use mainstay_observe::probes::board::{Board, Standing};
use mainstay_observe::probes::{Outcome, Probe, StepOutcome};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Node;
use super::api::error;
use crate::config::Config;

/// A run that is asked for is waited for a little longer than it can take.
const LATE: Duration = Duration::from_secs(5);

/// All probes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ProbesAnswer {
    /// The node that answers.
    pub node: String,
    /// In the order of the configuration.
    pub items: Vec<ProbeStatus>,
    /// There is never more.
    pub next: Option<String>,
}

/// A probe and how it stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ProbeStatus {
    /// Its name.
    pub name: String,
    /// What its nodes say together: `unknown`, `up`, `degraded` (not from all nodes), `down` (from most).
    pub state: String,
    /// Since when.
    pub since_at: Option<String>,
    /// Where it fails, and why.
    pub failing: Vec<FailingStatus>,
    /// Nodes that have made it.
    pub nodes: u64,
    /// Nodes that are there to make it.
    pub nodes_expected: u64,
    /// Seconds between two runs of a node.
    pub interval_seconds: f64,
    /// What came of it on this node last.
    pub last: Option<RunStatus>,
    /// Runs of this node that passed.
    pub passed: u64,
    /// And that failed.
    pub failed: u64,
}

/// A node where a probe fails.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FailingStatus {
    /// The node.
    pub node: String,
    /// The step and the reason.
    pub reason: String,
}

/// One run of a probe.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RunStatus {
    /// The node that made it.
    pub node: String,
    /// When it ended; `None` if just now.
    pub at: Option<String>,
    /// Whether every step passed.
    pub passed: bool,
    /// How long it took.
    pub duration_ms: f64,
    /// Its steps, up to the first that failed.
    pub steps: Vec<StepStatus>,
}

/// A step of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = ProbeStepStatus)]
pub struct StepStatus {
    /// Its name.
    pub name: String,
    /// How long it took.
    pub duration_ms: f64,
    /// Why it failed.
    pub failed: Option<String>,
    /// Days until the certificate that it met ends.
    pub certificate_days: Option<f64>,
}

/// What is to be known of the probes of a configuration.
pub(super) fn board(config: &Config) -> Arc<Board> {
    Arc::new(Board::new(&config.spec.node.name, &config.probes, config.cluster.is_some()))
}

impl Node {
    /// Its synthetic probes.
    pub fn probes(&self) -> &Arc<Board> {
        &self.probes
    }
}

fn millis(length: Duration) -> f64 {
    (length.as_secs_f64() * 1e5).round() / 100.0
}

fn step(step: &StepOutcome) -> StepStatus {
    StepStatus {
        name: step.name.clone(),
        duration_ms: millis(step.took),
        failed: step.failed.clone(),
        certificate_days: step.certificate_days.map(|days| (days * 100.0).round() / 100.0),
    }
}

fn outcome(node: &str, outcome: &Outcome, at: Option<u64>) -> RunStatus {
    RunStatus {
        node: node.to_owned(),
        at: at.map(rfc3339),
        passed: outcome.passed(),
        duration_ms: millis(outcome.took),
        steps: outcome.steps.iter().map(step).collect(),
    }
}

fn standing(node: &str, of: &Standing) -> ProbeStatus {
    let failing = |(node, reason): &(String, String)| FailingStatus { node: node.clone(), reason: reason.clone() };
    ProbeStatus {
        name: of.probe.name.clone(),
        state: of.verdict.word().as_str().to_owned(),
        since_at: of.since.map(rfc3339),
        failing: of.failing.iter().map(failing).collect(),
        nodes: of.fresh as u64,
        nodes_expected: of.expected as u64,
        interval_seconds: of.probe.interval.as_secs_f64(),
        last: of.last.as_ref().map(|(last, at)| outcome(node, last, Some(*at))),
        passed: of.passed,
        failed: of.failed,
    }
}

/// How all probes stand.
pub fn all(node: &Node) -> Vec<ProbeStatus> {
    node.probes().standings().iter().map(|of| standing(node.name(), of)).collect()
}

pub(super) fn endpoints() -> Vec<Endpoint<Arc<Node>>> {
    vec![
        endpoint::get("/api/v1/probes", VIEWER, "Synthetic probes, and what their nodes say of them together")
            .command("mainstay probe list")
            .answers::<ProbesAnswer>()
            .by(list),
        endpoint::post("/api/v1/probes/{name}/run", OPERATOR, "Runs a probe now on this node; it counts for nothing")
            .command("mainstay probe run NAME")
            .answers::<RunStatus>()
            .by(run),
    ]
}

async fn list(Shared(node): Shared<Arc<Node>>) -> Response {
    Json(ProbesAnswer { node: node.name().to_owned(), items: all(&node), next: None }).into_response()
}

async fn run(Shared(node): Shared<Arc<Node>>, Path(name): Path<String>) -> Response {
    let probes = node.probes().probes();
    let Some(probe) = probes.iter().find(|probe| probe.name == name) else { return unknown(&probes, &name) };
    let asked = match node.probes().ask(&name) {
        Ok(asked) => asked,
        Err(reason) => return error(StatusCode::SERVICE_UNAVAILABLE, reason, Some("ask again soon".to_owned())),
    };
    match tokio::time::timeout(probe.timeout + LATE, asked).await {
        Ok(Ok(found)) => Json(outcome(node.name(), &found, None)).into_response(),
        Ok(Err(_dropped)) => error(
            StatusCode::SERVICE_UNAVAILABLE,
            "the node leaves, the probe is gone, or its journey ended by a panic: see the log".to_owned(),
            None,
        ),
        Err(_elapsed) => error(StatusCode::SERVICE_UNAVAILABLE, "the run did not end in time".to_owned(), None),
    }
}

fn unknown(probes: &[Probe], name: &str) -> Response {
    let names: Vec<&str> = probes.iter().take(20).map(|probe| probe.name.as_str()).collect();
    let hint = if names.is_empty() {
        "the configuration has none".to_owned()
    } else {
        format!("there are {}", names.join(", "))
    };
    let what = format!("there is no probe `{}`", name.chars().take(100).collect::<String>());
    error(StatusCode::NOT_FOUND, what, Some(hint))
}

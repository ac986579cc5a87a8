//! `/api/v1/incidents`: what broke, what was done about it, and when it was well again.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use axum::extract::{Path, Query, State as Shared};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use mainstay_admin::endpoint::{self, Endpoint};
use mainstay_admin::role::VIEWER;
use mainstay_core::incident::{self, Entry, Incident, Level, Part, Severity};
use mainstay_core::transition::{Record, Subject};
use mainstay_runtime::clock::Boottime;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Node;
use super::api::error;
use crate::timestamp::rfc3339;

/// Incidents in one answer, unless the question says, and at most.
const LIMIT: usize = 100;
const LIMIT_MAX: usize = 1_000;

pub(super) fn endpoints() -> Vec<Endpoint<Arc<Node>>> {
    vec![
        endpoint::get("/api/v1/incidents", VIEWER, "What broke and what was done about it, the latest first")
            .command("mainstay incidents")
            .paged()
            .query("service", "Only what is about this service")
            .number("since", "Only what began after so many seconds since 1970")
            .answers::<IncidentsAnswer>()
            .by(list),
        endpoint::get("/api/v1/incidents/{id}", VIEWER, "One incident with its timeline, the oldest first")
            .command("mainstay incidents ID")
            .answers::<IncidentAnswer>()
            .by(one),
    ]
}

/// What is asked for.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IncidentsQuery {
    /// At most so many.
    pub limit: Option<usize>,
    /// The `next` of the answer before.
    pub cursor: Option<String>,
    /// Only of this service.
    pub service: Option<String>,
    /// Only later ones, in seconds since 1970.
    pub since: Option<u64>,
}

/// Some incidents.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct IncidentsAnswer {
    /// The latest first, without their timelines.
    pub items: Vec<IncidentAnswer>,
    /// Where older ones go on; absent if there are none that are kept.
    pub next: Option<String>,
}

/// An incident.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct IncidentAnswer {
    /// What it can be asked for by; the same after a restart.
    pub id: String,
    /// A line for people.
    pub title: String,
    /// Why it began, or why it became as bad as it got.
    pub cause: String,
    /// When it began, by the node's clock.
    pub began_at: String,
    /// When it was well again; absent while it is not.
    pub ended_at: Option<String>,
    /// How long it took or takes.
    pub duration_seconds: f64,
    /// Whether somebody wanted it so.
    pub planned: bool,
    /// The services that it is about.
    pub services: Vec<String>,
    /// The nodes that saw it.
    pub nodes: Vec<String>,
    /// How bad it got: `down`, `degraded` or `note`.
    pub level: String,
    /// For how long users were not served.
    pub unavailable_seconds: f64,
    /// What was done.
    pub actions: Vec<String>,
    /// The timeline, if one incident was asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entries: Vec<EntryAnswer>,
    /// Events of the timeline that found no room.
    #[serde(default)]
    pub left_out: u64,
}

/// An event of an incident.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EntryAnswer {
    /// What part it plays: `fault`, `action`, `recovery` or `note`.
    pub part: String,
    /// Its number in the journal of the process that saw it.
    pub seq: u64,
    /// When, by the node's clock.
    pub time: String,
    /// The node that saw it.
    pub node: String,
    /// Whose state changed.
    #[schema(value_type = Object)]
    pub subject: Subject,
    /// What about it.
    pub change: String,
    /// What it was.
    pub from: String,
    /// What it is now.
    pub to: String,
    /// Why; empty if that is not known.
    pub cause: String,
    /// Whether somebody wanted it so.
    pub planned: bool,
    /// All that in one sentence.
    pub text: String,
    /// `bad`, `good`, or `note` for what is neither.
    pub level: String,
}

impl EntryAnswer {
    fn of(entry: &Entry) -> Self {
        let Record { sequence, at_unix_ms, node, transition, .. } = &entry.record;
        let part = match entry.part {
            Part::Fault => "fault",
            Part::Action => "action",
            Part::Recovery => "recovery",
            Part::Note => "note",
        };
        let level = match incident::level(transition) {
            Level::Bad => "bad",
            Level::Good => "good",
            Level::Note => "note",
        };
        let cause = transition.cause.to_string();
        let sentence = incident::text(transition);
        let text = if cause.is_empty() { sentence } else { format!("{sentence}: {cause}") };
        Self {
            part: part.to_owned(),
            seq: *sequence,
            time: time(*at_unix_ms),
            node: node.clone(),
            subject: transition.subject.clone(),
            change: transition.change.aspect.to_string(),
            from: transition.change.from.to_string(),
            to: transition.change.to.to_string(),
            cause,
            planned: transition.planned,
            text,
            level: level.to_owned(),
        }
    }
}

fn time(unix_ms: u64) -> String {
    rfc3339(UNIX_EPOCH + Duration::from_millis(unix_ms))
}

impl IncidentAnswer {
    fn of(incident: &Incident, node: &str, now_ns: u64) -> Self {
        let level = match incident.severity {
            Severity::Down => "down",
            Severity::Degraded => "degraded",
            Severity::Note => "note",
        };
        Self {
            id: incident.id.clone(),
            title: incident.title(),
            cause: incident.cause.clone(),
            began_at: time(incident.began_unix_ms),
            ended_at: incident.ended_unix_ms.map(time),
            duration_seconds: incident.lasted_until(now_ns).as_secs_f64(),
            planned: incident.planned,
            services: incident.subject.service().map(str::to_owned).into_iter().collect(),
            nodes: vec![node.to_owned()],
            level: level.to_owned(),
            unavailable_seconds: incident.down_until(now_ns).as_secs_f64(),
            actions: incident.actions.clone(),
            entries: Vec::new(),
            left_out: incident.left_out,
        }
    }
}

async fn list(Shared(node): Shared<Arc<Node>>, Query(query): Query<IncidentsQuery>) -> Response {
    let limit = query.limit.unwrap_or(LIMIT).clamp(1, LIMIT_MAX);
    let now = Boottime::system().now().as_nanos();
    let wanted = |incident: &&&Incident| {
        let of_service = query.service.as_deref().is_none_or(|service| incident.subject.service() == Some(service));
        of_service && query.since.is_none_or(|since| incident.began_unix_ms >= since.saturating_mul(1000))
    };
    let (items, more) = node.ledger().incidents(|all| {
        let skipped = match &query.cursor {
            Some(last) => all.iter().position(|incident| incident.id == *last).map_or(all.len(), |at| at + 1),
            None => 0,
        };
        let mut found = all.iter().skip(skipped).filter(wanted);
        let items: Vec<IncidentAnswer> =
            found.by_ref().take(limit).map(|incident| IncidentAnswer::of(incident, &node.name, now)).collect();
        (items, found.next().is_some())
    });
    let next = items.last().map(|last| last.id.clone()).filter(|_id| more);
    Json(IncidentsAnswer { items, next }).into_response()
}

async fn one(Shared(node): Shared<Arc<Node>>, Path(id): Path<String>) -> Response {
    let Some(incident) = node.ledger().incident(&id) else {
        let hint = "`mainstay incidents` lists those that are remembered".to_owned();
        return error(StatusCode::NOT_FOUND, format!("no incident `{id}`"), Some(hint));
    };
    let mut answer = IncidentAnswer::of(&incident, &node.name, Boottime::system().now().as_nanos());
    answer.entries = incident.entries.iter().map(EntryAnswer::of).collect();
    Json(answer).into_response()
}

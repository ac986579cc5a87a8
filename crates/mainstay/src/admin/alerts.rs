//! `/api/v1/alerts`, `/api/v1/silences` and `/api/v1/receivers`: what is wrong, who was told, and what is asked about that.

mod document;

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State as Shared};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use mainstay_admin::caller::Caller;
use mainstay_admin::endpoint::{self, Endpoint};
use mainstay_admin::precondition::{Changed, Condition, Tag};
use mainstay_admin::role::{OPERATOR, VIEWER};
use mainstay_core::alert::{
    Acknowledgement, Comparison, Fingerprint, Instance, Matcher, Phase, Silence, SilenceState, rule,
};
use mainstay_core::timestamp::rfc3339;
use mainstay_observe::alerts::clock;
use mainstay_observe::alerts::desk::{Desk, Refusal, View};
use mainstay_observe::alerts::message::Links;

pub use document::{
    AcknowledgeRequest, AcknowledgedStatus, AlertStatus, AlertsAnswer, MatcherStatus, NotificationStatus,
    ReceiverStatus, ReceiversAnswer, SilenceRequest, SilenceStatus, SilencesAnswer,
};

use super::Node;
use super::api::{error, read, read_or_default};

impl Node {
    /// What is wrong, who was told of it, and what is asked about that.
    pub fn alerts(&self) -> &Arc<Desk> {
        &self.alerts
    }
}

pub(super) fn endpoints() -> Vec<Endpoint<Arc<Node>>> {
    vec![
        endpoint::get("/api/v1/alerts", VIEWER, "What is wrong, and who was told of it")
            .command("mainstay alerts")
            .words("state", &["pending", "firing", "resolved"], "only those")
            .answers::<AlertsAnswer>()
            .by(list),
        endpoint::post(
            "/api/v1/alerts/{id}/acknowledge",
            OPERATOR,
            "Takes care of an alert, which is not repeated then",
        )
        .command("mainstay alerts acknowledge ID")
        .takes::<AcknowledgeRequest>()
        .may_be_empty()
        .answers::<AlertStatus>()
        .by(acknowledge),
        endpoint::get("/api/v1/silences", VIEWER, "Which alerts nobody wants to hear of")
            .command("mainstay silence list")
            .answers::<SilencesAnswer>()
            .by(silences),
        endpoint::post("/api/v1/silences", OPERATOR, "Silences alerts for a while")
            .command("mainstay silence add MATCHER --for 2h --comment WHY")
            .takes::<SilenceRequest>()
            .answers::<SilenceStatus>()
            .by(silence),
        endpoint::delete("/api/v1/silences/{id}", OPERATOR, "Ends a silence")
            .command("mainstay silence remove ID")
            .answers::<SilenceStatus>()
            .conditional()
            .by(end_silence),
        endpoint::get("/api/v1/receivers", VIEWER, "Who is told of alerts, and whether that works")
            .command("mainstay alerts receivers")
            .answers::<ReceiversAnswer>()
            .by(receivers),
    ]
}

async fn list(Shared(node): Shared<Arc<Node>>, RawQuery(query): RawQuery) -> Response {
    let query = query.unwrap_or_default();
    let wanted = query.split('&').find_map(|part| part.strip_prefix("state="));
    if wanted.is_some_and(|state| !["pending", "firing", "resolved"].contains(&state)) {
        let hint = Some("write state=pending, firing or resolved".to_owned());
        return error(StatusCode::BAD_REQUEST, "there is no such state".to_owned(), hint);
    }
    let mut answer = alerts(&node);
    answer.items.retain(|item| wanted.is_none_or(|wanted| item.state == wanted));
    Json(answer).into_response()
}

/// The alerts as they stand.
pub fn alerts(node: &Node) -> AlertsAnswer {
    let view = node.alerts().view();
    let mut items: Vec<AlertStatus> = view.state.alerts.iter().map(|(id, it)| status(node, &view, *id, it)).collect();
    let rank = |item: &AlertStatus| ["firing", "pending", "resolved"].iter().position(|it| *it == item.state);
    items.sort_by(|a, b| (rank(a), &a.severity, &a.since_at).cmp(&(rank(b), &b.severity, &b.since_at)));
    AlertsAnswer { evaluator: view.evaluator.clone(), items, next: None }
}

fn status(node: &Node, view: &View, id: Fingerprint, alert: &Instance) -> AlertStatus {
    let links = Links::of(&node.alerts().settings());
    let (state, resolved_at) = match alert.phase {
        Phase::Pending => ("pending", None),
        Phase::Firing { .. } => ("firing", None),
        Phase::Ended { ended, .. } => ("resolved", Some(rfc3339(ended))),
    };
    let muted = view.muted.get(&id).cloned().unwrap_or_default();
    AlertStatus {
        id: id.to_string(),
        name: alert.name().to_owned(),
        severity: alert.severity.word().to_owned(),
        state: state.to_owned(),
        since_at: rfc3339(alert.fired().unwrap_or(alert.since)),
        resolved_at,
        summary: alert.summary.clone(),
        meaning: rule(alert.name()).map_or("", |rule| rule.meaning).to_owned(),
        labels: alert.labels.clone(),
        silenced_by: muted.silenced_by,
        inhibited_by: muted.inhibited_by.map(|id| id.to_string()),
        acknowledged: alert.acknowledged.as_ref().map(|by| AcknowledgedStatus {
            by: by.by.clone(),
            at: rfc3339(by.at),
            note: by.note.clone(),
        }),
        runbook: links.runbook(alert.name()),
        view: links.view(&alert.labels),
        notifications: notifications(node, view, id, alert),
    }
}

fn notifications(node: &Node, view: &View, id: Fingerprint, alert: &Instance) -> Vec<NotificationStatus> {
    let outcomes = node.alerts().outcomes();
    let settings = node.alerts().settings();
    let concerned = settings.destinations.iter().map(|it| &it.receiver);
    let concerned = concerned.filter(|it| it.takes(alert.severity, &alert.labels));
    let told = |receiver: &mainstay_core::alert::Receiver| {
        let mut groups = view.state.groups.values().filter(|group| group.receiver == receiver.name);
        let labels = alert.labels.only(&receiver.group_by);
        let group = groups.find(|group| group.labels == labels);
        let arrived = group.filter(|group| group.told.get(&id).is_some_and(|told| Some(told.since) == alert.fired()));
        let failed = group.is_some_and(|group| group.failures > 0);
        let error = outcomes.get(&receiver.name).and_then(|outcome| outcome.last_error.clone());
        let outcome = match (arrived, failed) {
            (_, true) => "failed",
            (Some(_group), false) => "delivered",
            (None, false) => "waiting",
        };
        NotificationStatus {
            receiver: receiver.name.clone(),
            at: arrived.and_then(|group| group.sent).map(rfc3339),
            outcome: outcome.to_owned(),
            detail: if failed { error.unwrap_or_default() } else { String::new() },
        }
    };
    concerned.map(told).collect()
}

async fn acknowledge(
    Shared(node): Shared<Arc<Node>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    sent: Body,
) -> Response {
    let request: AcknowledgeRequest = match read_or_default(sent, r#"send {"note": "TEXT"}"#).await {
        Ok(request) => request,
        Err(refusal) => return *refusal,
    };
    let Some(id) = Fingerprint::parse(&id) else {
        return refused(&Refusal::NotThere("alert"));
    };
    let text = |text: &str, or: &str| {
        let text = if text.trim().is_empty() { or } else { text };
        text[..text.floor_char_boundary(Silence::TEXT_BYTES_MAX)].to_owned()
    };
    let by = text(&caller.author(&request.by), "operator");
    let by = Acknowledgement { by, at: clock::now(), note: text(&request.note, "") };
    if let Err(why) = node.alerts().acknowledge(id, by.clone()).await {
        return refused(&why);
    }
    let view = node.alerts().view();
    match view.state.alerts.get(&id) {
        // The evaluator takes it up within a second; who asks sees it at once.
        Some(alert) => {
            let alert = Instance { acknowledged: Some(by), ..alert.clone() };
            Json(status(&node, &view, id, &alert)).into_response()
        }
        None => refused(&Refusal::NotThere("alert")),
    }
}

pub(super) fn refused(why: &Refusal) -> Response {
    let (status, hint) = match why {
        Refusal::NotThere(_) => {
            (StatusCode::NOT_FOUND, Some("`mainstay alerts` and `mainstay silence list` show them"))
        }
        Refusal::Changed => return Changed { present: None }.response(),
        Refusal::Over(_) => (StatusCode::CONFLICT, None),
        Refusal::Wrong(_) => (StatusCode::BAD_REQUEST, None),
        Refusal::Store(_) => (StatusCode::SERVICE_UNAVAILABLE, Some("`mainstay cluster status` says more")),
    };
    error(status, why.to_string(), hint.map(str::to_owned))
}

async fn silences(Shared(node): Shared<Arc<Node>>) -> Response {
    let now = clock::now();
    let mut items: Vec<_> = node.alerts().silences().into_values().collect();
    items.sort_by_key(|silence| (silence.state(now) == SilenceState::Expired, silence.ends));
    Json(SilencesAnswer { items: items.iter().map(silence_status).collect(), next: None }).into_response()
}

/// A silence as it is shown.
pub(super) fn silence_status(silence: &Silence) -> SilenceStatus {
    let state = match silence.state(clock::now()) {
        SilenceState::Pending => "pending",
        SilenceState::Active => "active",
        SilenceState::Expired => "expired",
    };
    let matcher = |it: &Matcher| MatcherStatus {
        name: it.name.clone(),
        value: it.value.clone(),
        is_regex: it.comparison.is_pattern(),
        is_equal: it.comparison.is_equal(),
    };
    SilenceStatus {
        id: silence.id.clone(),
        matchers: silence.matchers.iter().map(matcher).collect(),
        starts_at: rfc3339(silence.starts),
        ends_at: rfc3339(silence.ends),
        created_by: silence.author.clone(),
        comment: silence.comment.clone(),
        state: state.to_owned(),
        etag: Tag::of(silence).text(),
    }
}

/// The silence that somebody changes, if they name its version.
pub(super) fn seen(node: &Node, id: &str, condition: &Condition) -> Result<Option<Silence>, Box<Response>> {
    if *condition == Condition::None {
        return Ok(None);
    }
    let found = node.alerts().silences().remove(id).ok_or_else(|| Box::new(refused(&Refusal::NotThere("silence"))))?;
    condition.check(Some(&Tag::of(&found))).map_err(|changed| Box::new(changed.response()))?;
    Ok(Some(found))
}

/// A matcher from its parts as they are sent.
pub(super) fn matcher(name: &str, value: &str, is_regex: bool, is_equal: bool) -> Result<Matcher, Refusal> {
    let comparison = match (is_regex, is_equal) {
        (false, true) => Comparison::Is,
        (false, false) => Comparison::IsNot,
        (true, true) => Comparison::Matches,
        (true, false) => Comparison::MatchesNot,
    };
    Matcher::new(name, comparison, value).map_err(|why| Refusal::Wrong(why.to_string()))
}

/// A name for a silence. It has the form of a UUID, as Alertmanager's have.
pub(super) fn new_id() -> String {
    let part = || uuid_part();
    let (a, b) = (part(), part());
    format!(
        "{:08x}-{:04x}-4{:03x}-a{:03x}-{:012x}",
        a >> 32,
        a >> 16 & 0xffff,
        a & 0xfff,
        b >> 52,
        b & 0xffff_ffff_ffff
    )
}

// Names need not be secret, only different: the hasher's keys come from the system's source of randomness.
fn uuid_part() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::hash::RandomState::new().build_hasher().finish() ^ mainstay_core::random::mix(clock::now())
}

async fn silence(Shared(node): Shared<Arc<Node>>, Extension(caller): Extension<Caller>, sent: Body) -> Response {
    let example = r#"send {"matchers": [{"name": "service", "value": "shop"}], "seconds": 7200, "comment": "WHY"}"#;
    let request: SilenceRequest = match read(sent, example).await {
        Ok(request) => request,
        Err(refusal) => return *refusal,
    };
    let matchers: Result<Vec<_>, _> =
        request.matchers.iter().map(|it| matcher(&it.name, &it.value, it.is_regex, it.is_equal)).collect();
    let now = clock::now();
    let made = match matchers {
        Ok(matchers) => Silence {
            id: new_id(),
            matchers,
            starts: now,
            ends: now.saturating_add(request.seconds.saturating_mul(1000)),
            updated: now,
            author: caller.author(&request.created_by),
            comment: request.comment,
        },
        Err(why) => return refused(&why),
    };
    match node.alerts().silence(now, made.clone(), None).await {
        Ok(()) => Json(silence_status(&made)).into_response(),
        Err(why) => refused(&why),
    }
}

async fn end_silence(Shared(node): Shared<Arc<Node>>, Path(id): Path<String>, condition: Condition) -> Response {
    let seen = match seen(&node, &id, &condition) {
        Ok(seen) => seen,
        Err(refusal) => return *refusal,
    };
    match node.alerts().end_silence(clock::now(), &id, seen.as_ref()).await {
        Ok(silence) => Json(silence_status(&silence)).into_response(),
        Err(why) => refused(&why),
    }
}

async fn receivers(Shared(node): Shared<Arc<Node>>) -> Response {
    let outcomes = node.alerts().outcomes();
    let receiver = |it: &mainstay_observe::alerts::settings::Destination| {
        let outcome = outcomes.get(&it.receiver.name).cloned().unwrap_or_default();
        ReceiverStatus {
            name: it.receiver.name.clone(),
            kind: it.way.word().to_owned(),
            waiting: outcome.waiting as u64,
            delivered: outcome.delivered,
            failed: outcome.failed,
            last_error: outcome.last_error,
        }
    };
    let items = node.alerts().settings().destinations.iter().map(receiver).collect();
    Json(ReceiversAnswer { items, next: None }).into_response()
}

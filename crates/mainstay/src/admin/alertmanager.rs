//! `/api/v2`: the part of Alertmanager's interface that `amtool` and dashboards ask for (its OpenAPI document, version 2).

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State as Shared};
use axum::response::{IntoResponse, Json, Response};
use mainstay_admin::caller::Caller;
use mainstay_admin::endpoint::{self, Endpoint};
use mainstay_admin::precondition::{Condition, Tag};
use mainstay_admin::role::{OPERATOR, VIEWER};
use mainstay_core::alert::{Fingerprint, Instance, Matcher, Phase, Silence};
use mainstay_core::timestamp::{self, rfc3339};
use mainstay_observe::alerts::clock;
use mainstay_observe::alerts::desk::{Refusal, View};
use mainstay_observe::alerts::message::Links;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::Node;
use super::alerts::{matcher, new_id, refused, seen, silence_status};
use super::api::read;

/// A silence as `amtool` sends it.
#[derive(Clone, Debug, Deserialize, ToSchema)]
pub struct PostableSilence {
    /// The one that it replaces.
    #[serde(default)]
    id: Option<String>,
    /// It is to be about alerts of which all of these are true.
    matchers: Vec<PostableMatcher>,
    /// From when.
    #[serde(rename = "startsAt")]
    starts_at: String,
    /// Until when.
    #[serde(rename = "endsAt")]
    ends_at: String,
    /// Who wants it.
    #[serde(rename = "createdBy")]
    created_by: String,
    /// Why.
    comment: String,
}

/// A condition on a label.
#[derive(Clone, Debug, Deserialize, ToSchema)]
pub struct PostableMatcher {
    /// The label's name.
    name: String,
    /// The value, or a pattern.
    value: String,
    /// Whether it is a pattern.
    #[serde(default, rename = "isRegex")]
    is_regex: bool,
    /// Whether it must match, rather than must not.
    #[serde(default, rename = "isEqual")]
    is_equal: Option<bool>,
}

pub(super) fn endpoints() -> Vec<Endpoint<Arc<Node>>> {
    let filtered =
        |draft: endpoint::Draft| draft.query("filter", "a matcher, such as service=\"shop\"; may be repeated");
    vec![
        filtered(endpoint::get("/api/v2/alerts", VIEWER, "Alerts that fire, as Alertmanager answers them"))
            .query("active", "whether those that nothing holds back are wanted")
            .query("silenced", "whether those that are silenced are wanted")
            .query("inhibited", "whether those that follow from others are wanted")
            .query("unprocessed", "has no effect")
            .query("receiver", "only those that this receiver is told of")
            .by(alerts),
        filtered(endpoint::get("/api/v2/alerts/groups", VIEWER, "The same as receivers are told of them")).by(groups),
        filtered(endpoint::get("/api/v2/silences", VIEWER, "All silences, as Alertmanager answers them")).by(silences),
        endpoint::post("/api/v2/silences", OPERATOR, "Makes or changes a silence, as Alertmanager does")
            .command("mainstay silence add MATCHER --for 2h --comment WHY")
            .takes::<PostableSilence>()
            .conditional()
            .by(post_silence),
        endpoint::get("/api/v2/silence/{id}", VIEWER, "A silence, as Alertmanager answers it").tagged().by(silence),
        endpoint::delete("/api/v2/silence/{id}", OPERATOR, "Ends a silence, as Alertmanager does")
            .command("mainstay silence remove ID")
            .conditional()
            .by(end_silence),
        endpoint::get("/api/v2/receivers", VIEWER, "Names of receivers, as Alertmanager answers them").by(receivers),
        endpoint::get("/api/v2/status", VIEWER, "What answers here, as Alertmanager says it").by(status),
    ]
}

/// The parts of a query, decoded.
fn parts(query: Option<&str>) -> Vec<(String, String)> {
    let decoded = |text: &str| {
        let mut bytes = Vec::with_capacity(text.len());
        let mut rest = text.bytes();
        while let Some(byte) = rest.next() {
            let hex = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
            match byte {
                b'+' => bytes.push(b' '),
                b'%' => match (hex(rest.next()), hex(rest.next())) {
                    (Some(high), Some(low)) => bytes.push(u8::try_from(high * 16 + low).unwrap_or(b'?')),
                    _ => bytes.push(b'?'),
                },
                other => bytes.push(other),
            }
        }
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let part = |part: &str| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        (decoded(name), decoded(value))
    };
    query.unwrap_or_default().split('&').filter(|it| !it.is_empty()).take(64).map(part).collect()
}

/// What is asked for of alerts.
struct Wanted {
    matchers: Vec<Matcher>,
    active: bool,
    silenced: bool,
    inhibited: bool,
    receiver: Option<String>,
}

impl Wanted {
    fn read(query: Option<&str>) -> Result<Self, Refusal> {
        let parts = parts(query);
        let flag = |name: &str| !parts.iter().any(|(key, value)| key == name && value == "false");
        let texts = parts.iter().filter(|(key, value)| key == "filter" && !value.is_empty()).map(|(_key, value)| value);
        let matchers: Result<Vec<_>, _> = texts.map(|text| Matcher::parse(text)).collect();
        let receiver = parts.iter().find(|(key, value)| key == "receiver" && !value.is_empty());
        Ok(Self {
            matchers: matchers.map_err(|why| Refusal::Wrong(why.to_string()))?,
            active: flag("active"),
            silenced: flag("silenced"),
            inhibited: flag("inhibited"),
            receiver: receiver.map(|(_key, value)| value.clone()),
        })
    }

    fn takes(&self, view: &View, id: Fingerprint, alert: &Instance) -> bool {
        let muted = view.muted.get(&id).cloned().unwrap_or_default();
        let state = match (muted.silenced_by, muted.inhibited_by) {
            (None, None) => self.active,
            (silenced, inhibited) => (silenced.is_none() || self.silenced) && (inhibited.is_none() || self.inhibited),
        };
        alert.is_firing() && state && self.matchers.iter().all(|matcher| matcher.matches(&alert.labels))
    }
}

fn receivers_of(node: &Node, alert: &Instance) -> Vec<String> {
    let settings = node.alerts().settings();
    let all = settings.destinations.iter().map(|it| &it.receiver);
    all.filter(|it| it.takes(alert.severity, &alert.labels)).map(|it| it.name.clone()).collect()
}

fn alert(node: &Node, view: &View, id: Fingerprint, alert: &Instance) -> Value {
    let links = Links::of(&node.alerts().settings());
    let muted = view.muted.get(&id).cloned().unwrap_or_default();
    let ends = match alert.phase {
        Phase::Ended { ended, .. } => ended,
        // One that fires is said to go on for a while, as Prometheus says it.
        Phase::Pending | Phase::Firing { .. } => view.at.saturating_add(300_000),
    };
    json!({
        "fingerprint": id.to_string(),
        "labels": alert.labels,
        "annotations": {
            "summary": alert.summary,
            "runbook_url": links.runbook(alert.name()),
            "dashboard_url": links.view(&alert.labels),
        },
        "generatorURL": links.view(&alert.labels),
        "startsAt": rfc3339(alert.fired().unwrap_or(alert.since)),
        "endsAt": rfc3339(ends),
        "updatedAt": rfc3339(alert.seen),
        "receivers": receivers_of(node, alert).iter().map(|name| json!({"name": name})).collect::<Vec<_>>(),
        "status": {
            "state": if muted.is_muted() { "suppressed" } else { "active" },
            "silencedBy": muted.silenced_by.iter().collect::<Vec<_>>(),
            "inhibitedBy": muted.inhibited_by.iter().map(ToString::to_string).collect::<Vec<_>>(),
        },
    })
}

async fn alerts(Shared(node): Shared<Arc<Node>>, RawQuery(query): RawQuery) -> Response {
    let wanted = match Wanted::read(query.as_deref()) {
        Ok(wanted) => wanted,
        Err(why) => return refused(&why),
    };
    let view = node.alerts().view();
    let found = view.state.alerts.iter().filter(|(id, it)| wanted.takes(&view, **id, it));
    let found = found
        .filter(|(_id, it)| wanted.receiver.as_ref().is_none_or(|receiver| receivers_of(&node, it).contains(receiver)));
    Json(found.map(|(id, it)| alert(&node, &view, *id, it)).collect::<Vec<_>>()).into_response()
}

async fn groups(Shared(node): Shared<Arc<Node>>, RawQuery(query): RawQuery) -> Response {
    let wanted = match Wanted::read(query.as_deref()) {
        Ok(wanted) => wanted,
        Err(why) => return refused(&why),
    };
    let view = node.alerts().view();
    let settings = node.alerts().settings();
    let mut found = std::collections::BTreeMap::new();
    for (id, it) in view.state.alerts.iter().filter(|(id, it)| wanted.takes(&view, **id, it)) {
        for receiver in settings.destinations.iter().map(|destination| &destination.receiver) {
            if receiver.takes(it.severity, &it.labels) {
                let key = (receiver.name.clone(), it.labels.only(&receiver.group_by));
                found.entry(key).or_insert_with(Vec::new).push(alert(&node, &view, *id, it));
            }
        }
    }
    let group =
        |((receiver, labels), alerts)| json!({"receiver": {"name": receiver}, "labels": labels, "alerts": alerts});
    Json(found.into_iter().map(group).collect::<Vec<_>>()).into_response()
}

fn shown(silence: &Silence) -> Value {
    let status = silence_status(silence);
    let matcher = |it: &super::alerts::MatcherStatus| json!({"name": it.name, "value": it.value, "isRegex": it.is_regex, "isEqual": it.is_equal});
    json!({
        "id": status.id,
        "status": {"state": status.state},
        "updatedAt": rfc3339(silence.updated),
        "startsAt": status.starts_at,
        "endsAt": status.ends_at,
        "createdBy": status.created_by,
        "comment": status.comment,
        "matchers": status.matchers.iter().map(matcher).collect::<Vec<_>>(),
    })
}

async fn silences(Shared(node): Shared<Arc<Node>>, RawQuery(query): RawQuery) -> Response {
    let wanted = match Wanted::read(query.as_deref()) {
        Ok(wanted) => wanted,
        Err(why) => return refused(&why),
    };
    // As Alertmanager does it: a filter is about the labels of which the silence's matchers speak.
    let is_about = |silence: &Silence| {
        let mut labels = mainstay_core::alert::Labels::new();
        silence.matchers.iter().for_each(|matcher| labels.set(&matcher.name, &matcher.value));
        wanted.matchers.iter().all(|matcher| matcher.matches(&labels))
    };
    let all = node.alerts().silences();
    Json(all.values().filter(|silence| is_about(silence)).map(shown).collect::<Vec<_>>()).into_response()
}

async fn post_silence(
    Shared(node): Shared<Arc<Node>>,
    Extension(caller): Extension<Caller>,
    condition: Condition,
    sent: Body,
) -> Response {
    let sent: PostableSilence = match read(sent, "see Alertmanager's interface, version 2").await {
        Ok(sent) => sent,
        Err(refusal) => return *refusal,
    };
    let now = clock::now();
    let made = || {
        let matchers = sent.matchers.iter();
        let matchers = matchers.map(|it| matcher(&it.name, &it.value, it.is_regex, it.is_equal.unwrap_or(true)));
        let time = |text: &str| timestamp::parse(text).ok_or_else(|| Refusal::Wrong(format!("`{text}` is not a time")));
        Ok(Silence {
            id: sent.id.clone().filter(|id| !id.is_empty()).unwrap_or_else(new_id),
            matchers: matchers.collect::<Result<_, Refusal>>()?,
            starts: time(&sent.starts_at)?.max(now),
            ends: time(&sent.ends_at)?,
            updated: now,
            author: caller.author(&sent.created_by),
            comment: sent.comment.clone(),
        })
    };
    let made: Silence = match made() {
        Ok(made) => made,
        Err(why) => return refused(&why),
    };
    if sent.id.as_ref().is_some_and(|id| !id.is_empty() && !node.alerts().silences().contains_key(id)) {
        return refused(&Refusal::NotThere("silence"));
    }
    let seen = match seen(&node, &made.id, &condition) {
        Ok(seen) => seen,
        Err(refusal) => return *refusal,
    };
    match node.alerts().silence(now, made.clone(), seen.as_ref()).await {
        Ok(()) => Json(json!({"silenceID": made.id})).into_response(),
        Err(why) => refused(&why),
    }
}

async fn silence(Shared(node): Shared<Arc<Node>>, Path(id): Path<String>) -> Response {
    match node.alerts().silences().get(&id) {
        Some(silence) => Tag::of(silence).on(Json(shown(silence))),
        None => refused(&Refusal::NotThere("silence")),
    }
}

async fn end_silence(Shared(node): Shared<Arc<Node>>, Path(id): Path<String>, condition: Condition) -> Response {
    let seen = match seen(&node, &id, &condition) {
        Ok(seen) => seen,
        Err(refusal) => return *refusal,
    };
    match node.alerts().end_silence(clock::now(), &id, seen.as_ref()).await {
        Ok(_over) => Json(json!({})).into_response(),
        Err(why) => refused(&why),
    }
}

async fn receivers(Shared(node): Shared<Arc<Node>>) -> Response {
    let settings = node.alerts().settings();
    let name = |it: &mainstay_observe::alerts::settings::Destination| json!({"name": it.receiver.name});
    Json(settings.destinations.iter().map(name).collect::<Vec<_>>()).into_response()
}

async fn status(Shared(node): Shared<Arc<Node>>) -> Response {
    let status = node.status();
    Json(json!({
        "cluster": {"name": status.node.name, "status": "ready", "peers": []},
        "config": {"original": ""},
        "uptime": status.node.started_at,
        "versionInfo": {
            "version": status.node.version,
            "revision": "mainstay",
            "branch": "",
            "buildDate": "",
            "buildUser": "",
            "goVersion": "",
        },
    }))
    .into_response()
}

//! `/api/v1/nodes`: the nodes of the cluster, and what each of them answers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::{self, Bytes};
use axum::extract::{Path, Request, State as Shared};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use mainstay_admin::caller::Caller;
use mainstay_admin::endpoint::{self, BODY_BYTES_MAX, Draft, Endpoint};
use mainstay_admin::problem::{self, Problem};
use mainstay_admin::role::{OPERATOR, VIEWER};
use mainstay_cluster::coordinator::{Consistency, Range};
use mainstay_cluster::keys;
use mainstay_cluster::peer::{CallError, NodeId, Service, Transport};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::api::error;
use super::passed::{self, Head, Question};
use super::{Node, cluster, table};
use crate::cluster::Parts;

/// Another node answers a question within this time: less than commands wait for the node that they ask.
const LOOK_LIMIT: Duration = Duration::from_secs(4);
/// And carries a change out within this.
const CHANGE_LIMIT: Duration = Duration::from_secs(20);
/// So much earlier the other node gives up, so that it can say why.
const HEAD_START: Duration = Duration::from_millis(300);
/// What nodes have registered is at hand; only etcd is asked over the network, and may be gone.
const PATIENCE: Duration = Duration::from_secs(1);
/// Registrations in one answer, at most.
const NODES_MAX: usize = 256;
/// Says which node has answered.
const NODE: HeaderName = HeaderName::from_static("x-mainstay-node");
/// Members that any endpoint keeps out of the audit trail: it is not known here which endpoint it is.
pub(super) const SECRETS: &[&str] = &["password", "text"];

/// A node of the cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NodeEntry {
    /// Its name.
    pub name: String,
    /// Where other nodes reach it; absent without a cluster.
    pub address: Option<String>,
    /// `leader`, `voter`, `waiting` (to vote) or `learner`; absent with etcd or without a cluster.
    pub role: Option<String>,
    /// `here` for the node that answers; else `up`, `down` or `unknown`, as that one sees it.
    pub state: String,
    /// How long ago it last answered the node that was asked; 0 for that one itself, absent if it never did.
    pub answered_seconds: Option<f64>,
    /// Why it is down, or cannot be asked.
    pub reason: Option<String>,
    /// The program's version, as the node registered it; absent while it has no session.
    pub version: Option<String>,
    /// Whether it gets traffic, as it registered.
    pub ready: Option<bool>,
    /// Its zone, as it registered.
    pub zone: Option<String>,
}

/// What nodes write into their registrations.
#[derive(Debug, Default, Deserialize)]
struct Registration {
    version: Option<String>,
    zone: Option<String>,
    address: Option<String>,
    ready: Option<bool>,
}

pub(super) fn endpoints() -> Vec<Endpoint<Arc<Node>>> {
    let path = "/api/v1/nodes/{name}/{*rest}";
    let change = |draft: Draft| draft.conditional().secrets(SECRETS).command("mainstay ... --node NAME").by(ask);
    vec![
        endpoint::get("/api/v1/nodes", VIEWER, "The nodes of the cluster, or this one alone")
            .command("mainstay cluster nodes")
            .answers_list::<NodeEntry>()
            .by(list),
        endpoint::get(path, VIEWER, "What /api/v1/REST answers at another node of the cluster")
            .command("mainstay ... --node NAME")
            .by(ask),
        change(endpoint::post(path, OPERATOR, "POST /api/v1/REST at another node of the cluster")),
        change(endpoint::put(path, OPERATOR, "PUT /api/v1/REST at another node of the cluster")),
        change(endpoint::delete(path, OPERATOR, "DELETE /api/v1/REST at another node of the cluster")),
    ]
}

async fn list(Shared(node): Shared<Arc<Node>>) -> Response {
    Json(entries(&node).await).into_response()
}

/// The nodes as this one knows them, by name.
pub(super) async fn entries(node: &Node) -> Vec<NodeEntry> {
    let mut found: BTreeMap<String, NodeEntry> = BTreeMap::new();
    found.insert(node.name().to_owned(), here(node));
    let Some(handle) = node.cluster() else { return found.into_values().collect() };
    let parts = handle.parts().ok();
    let contacts = parts.as_ref().and_then(|it| it.membership.as_ref()).map(|(_, transport)| transport.contacts());
    for member in cluster::report(node.name(), handle).members {
        let contact = contacts.as_ref().and_then(|contacts| contacts.get(&NodeId(member.id)));
        let answered = contact.and_then(|contact| contact.answered).map(|at| tenths(at.elapsed()));
        let entry = NodeEntry {
            address: Some(member.address),
            role: Some(member.role),
            answered_seconds: if member.state == "here" { Some(0.0) } else { answered },
            reason: member.reason,
            state: member.state,
            version: None,
            ready: None,
            zone: None,
            name: member.name.clone(),
        };
        found.insert(member.name, entry);
    }
    if let Some(parts) = &parts {
        add_registrations(&mut found, parts).await;
    }
    let own = here(node);
    if let Some(entry) = found.get_mut(node.name()) {
        entry.version = own.version;
        entry.ready = own.ready;
    }
    found.into_values().collect()
}

fn here(node: &Node) -> NodeEntry {
    NodeEntry {
        name: node.name().to_owned(),
        address: None,
        role: None,
        state: "here".to_owned(),
        answered_seconds: Some(0.0),
        reason: None,
        version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        ready: Some(node.not_ready().is_empty()),
        zone: None,
    }
}

async fn add_registrations(found: &mut BTreeMap<String, NodeEntry>, parts: &Parts) {
    let read = parts.coordinator.range(Range::prefix(keys::NODES), None, NODES_MAX, Consistency::Local);
    let Ok(Ok(listing)) = tokio::time::timeout(PATIENCE, read).await else { return };
    for entry in listing.entries {
        let Some(name) = entry.key.strip_prefix(keys::NODES) else { continue };
        let said: Registration = serde_json::from_slice(&entry.value).unwrap_or_default();
        // Those that keep the agreement know who belongs; with etcd whoever has a session is there.
        if parts.membership.is_some() && !found.contains_key(name) {
            continue;
        }
        let known = found.entry(name.to_owned()).or_insert_with(|| NodeEntry {
            name: name.to_owned(),
            address: None,
            role: None,
            state: "up".to_owned(),
            answered_seconds: None,
            reason: Some(NO_CONNECTIONS.to_owned()),
            version: None,
            ready: None,
            zone: None,
        });
        known.address = known.address.take().or(said.address);
        (known.version, known.ready, known.zone) = (said.version, said.ready, said.zone);
    }
}

/// With one decimal: more would only flicker.
fn tenths(length: Duration) -> f64 {
    (length.as_secs_f64() * 10.0).round() / 10.0
}

const NO_CONNECTIONS: &str = "with `cluster.etcd` nodes have no connections to each other over which to ask";

/// Why another node cannot be asked.
pub(super) fn others(node: &Node) -> Result<Parts, Box<Response>> {
    let refuse = |status, why: &str, hint: &str| Box::new(error(status, why.to_owned(), Some(hint.to_owned())));
    let Some(handle) = node.cluster() else {
        return Err(refuse(StatusCode::NOT_FOUND, "this node takes part in no cluster", "ask the other node itself"));
    };
    let parts = handle.parts().map_err(|why| {
        let why = format!("{} takes no part in its cluster: {why}", node.name());
        refuse(StatusCode::SERVICE_UNAVAILABLE, &why, "`mainstay cluster status` shows more")
    })?;
    if parts.membership.is_none() {
        return Err(refuse(StatusCode::NOT_IMPLEMENTED, NO_CONNECTIONS, "ask the other node itself"));
    }
    Ok(parts)
}

async fn ask(
    Shared(node): Shared<Arc<Node>>,
    Extension(caller): Extension<Caller>,
    Path((name, _decoded)): Path<(String, String)>,
    request: Request,
) -> Response {
    let (head, sent) = request.into_parts();
    let uri = &head.uri;
    // As it came, not as it was decoded: the part of the path after the name.
    let rest = uri.path().splitn(6, '/').nth(5).unwrap_or_default();
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let path = format!("/api/v1/{rest}{query}");
    if path.len() > passed::PATH_BYTES_MAX {
        return error(StatusCode::URI_TOO_LONG, "the address is too long to be passed on".to_owned(), None);
    }
    let changes = !head.method.is_safe();
    let limit = if changes { CHANGE_LIMIT } else { LOOK_LIMIT };
    let body = match body::to_bytes(sent, BODY_BYTES_MAX).await {
        Ok(body) => body,
        Err(why) => return error(StatusCode::PAYLOAD_TOO_LARGE, why.to_string(), None),
    };
    let question = Question {
        method: head.method.to_string(),
        path,
        headers: passed::headers_of(&head.headers, &passed::REQUEST_HEADERS),
        caller: caller.name,
        role: caller.role,
        services: caller.services,
        limit_ms: u64::try_from((limit - HEAD_START).as_millis()).unwrap_or_default(),
    };
    let answered = if name == node.name() {
        let router = table::router(Arc::clone(&node));
        passed::answer(router, question, body, &name)
            .await
            .map_err(|why| error(StatusCode::GATEWAY_TIMEOUT, format!("node {name}: {why}"), None))
    } else {
        match others(&node) {
            Ok(parts) => {
                pass_on(&parts, &name, &question, &body, limit).await.map_err(|why| respond_why(&name, changes, why))
            }
            Err(refusal) => Err(*refusal),
        }
    };
    match answered {
        Ok((head, body)) => respond(&name, &head, body),
        Err(refusal) => refusal,
    }
}

/// Why a node gave no answer.
#[derive(Debug)]
pub(super) enum NoAnswer {
    /// There is no such node.
    Unknown,
    /// It was not reached, did not answer or refused.
    Call(CallError),
    /// Its answer is none.
    Damaged(String),
}

/// Asks another node.
pub(super) async fn pass_on(
    parts: &Parts,
    name: &str,
    question: &Question,
    body: &[u8],
    limit: Duration,
) -> Result<(Head, Bytes), NoAnswer> {
    let Some((membership, transport)) = &parts.membership else { return Err(NoAnswer::Unknown) };
    let member = membership.member(name).map_err(|_no_node| NoAnswer::Unknown)?;
    let message = passed::join(question, body).map_err(NoAnswer::Damaged)?;
    let answer = transport.call(member.node, Service::Admin, message, limit).await.map_err(NoAnswer::Call)?;
    passed::split(&answer).map_err(NoAnswer::Damaged)
}

fn respond_why(name: &str, changes: bool, why: NoAnswer) -> Response {
    let short: String = name.chars().take(64).collect();
    let (status, detail, hint) = match why {
        NoAnswer::Unknown => {
            let what = format!("the cluster has no node `{short}`");
            (StatusCode::NOT_FOUND, what, "`mainstay cluster nodes` lists them")
        }
        NoAnswer::Call(CallError::Unreachable { reason, .. }) => {
            let what = format!("node {short} cannot be reached: {reason}");
            (StatusCode::BAD_GATEWAY, what, "nothing was done there; `mainstay cluster nodes` shows who is up")
        }
        NoAnswer::Call(CallError::Lost { reason, .. }) => {
            let hint =
                if changes { "it may have been done: look before you ask again" } else { "ask again, or another node" };
            (StatusCode::GATEWAY_TIMEOUT, format!("node {short} did not answer: {reason}"), hint)
        }
        NoAnswer::Call(CallError::Refused { reason, .. }) => {
            (StatusCode::BAD_GATEWAY, format!("node {short} refuses: {reason}"), "do the nodes run different versions?")
        }
        NoAnswer::Damaged(why) => {
            let what = format!("node {short} gave no answer that can be read: {why}");
            (StatusCode::BAD_GATEWAY, what, "do the nodes run different versions?")
        }
    };
    Problem::new(status, detail).hint(Some(hint.to_owned())).at(name).into_response()
}

fn respond(name: &str, head: &Head, body: Bytes) -> Response {
    let status = StatusCode::from_u16(head.status).unwrap_or(StatusCode::BAD_GATEWAY);
    let is_problem = head.headers.iter().any(|(name, value)| name == "content-type" && value == problem::CONTENT_TYPE);
    let mut response = match serde_json::from_slice::<Problem>(&body) {
        Ok(problem) if is_problem => (status, Json(problem.at(name))).into_response(),
        Ok(_) | Err(_) => (status, body).into_response(),
    };
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_TYPE);
    for (name, value) in &head.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_str(value)) {
            headers.insert(name, value);
        }
    }
    if let Ok(name) = HeaderValue::from_str(name) {
        headers.insert(NODE, name);
    }
    response
}

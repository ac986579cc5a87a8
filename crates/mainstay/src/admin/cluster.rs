//! `/api/v1/cluster`: who belongs to the cluster, tokens for new nodes, and nodes that go.

pub mod roles;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use axum::body::Body;
use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use mainstay_admin::endpoint::{self, Endpoint};
use mainstay_admin::role::{ADMIN, VIEWER};
use mainstay_cluster::embedded::{Member, Part};
use mainstay_cluster::identity::Grant;
use mainstay_cluster::membership::{Membership, MembershipError};
use mainstay_cluster::peer::client::TlsTransport;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Node;
use super::api::{error, read};
use crate::cluster::{Handle, Quorum};

/// The shortest and the longest life of a token, in seconds.
const TOKEN_SECONDS: std::ops::RangeInclusive<u64> = 60..=7 * 86_400;
/// Nodes say hello once a second; one that has not answered for so long cannot be reached.
const FRESH: Duration = Duration::from_secs(4);

/// The cluster as one node sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClusterStatus {
    /// What holds the agreement: `memory`, `embedded` or `etcd`.
    pub engine: String,
    /// The node that was asked.
    pub node: String,
    /// Its number.
    pub id: u64,
    /// The cluster's name, in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// Why this node takes no part, if it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// Whether changes can be made; none if that is not known yet.
    pub quorum: Option<bool>,
    /// Since how many seconds that is so.
    pub quorum_seconds: u64,
    /// Why there is no quorum.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quorum_reason: Option<String>,
    /// The name of the node that leads, as far as this one knows.
    pub leader: Option<String>,
    /// Which leader it is, counted from the first.
    pub term: u64,
    /// The number of the last change.
    pub revision: u64,
    /// When this node's certificate expires, in seconds from now. It is renewed before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_seconds_left: Option<u64>,
    /// Who belongs.
    pub members: Vec<MemberStatus>,
}

/// A node of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MemberStatus {
    /// Its number, which no other node ever gets.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// Where others reach it.
    pub address: String,
    /// `leader`, `voter`, `waiting` (to vote) or `learner`.
    pub role: String,
    /// `here` for the node that was asked; else `up`, `down` or `unknown`, as that one sees it.
    pub state: String,
    /// Why it is down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Entries of the log that it lacks, if the node that was asked leads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag: Option<u64>,
}

/// What `POST /api/v1/cluster/token` takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ClusterTokenRequest)]
pub struct TokenRequest {
    /// How long it can be used, in seconds.
    #[schema(minimum = 60, maximum = 604_800)]
    pub seconds: u64,
    /// Whether the node may vote.
    pub voter: bool,
    /// The name that the node must have.
    #[serde(default)]
    pub name: Option<String>,
    /// The node whose place it takes.
    #[serde(default)]
    pub replace: Option<String>,
}

/// What it answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = ClusterTokenAnswer)]
pub struct TokenAnswer {
    /// The token, a secret.
    pub token: String,
    /// How long it can be used, in seconds.
    pub seconds: u64,
    /// Where the new node will ask.
    pub addresses: Vec<String>,
}

/// What `POST /api/v1/cluster/remove` takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ClusterRemoveRequest)]
pub struct RemoveRequest {
    /// The node's name.
    pub name: String,
    /// Whether two voters may be left.
    #[serde(default)]
    pub two: bool,
}

/// What it answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = ClusterRemoveAnswer)]
pub struct RemoveAnswer {
    /// The node's name.
    pub name: String,
    /// Its number.
    pub id: u64,
    /// Who votes now.
    pub voters: Vec<String>,
}

/// The cluster as the node sees it.
pub(crate) fn report(node: &str, handle: &Handle) -> ClusterStatus {
    let seconds = |since: Instant| since.elapsed().as_secs();
    let (quorum, quorum_seconds, quorum_reason) = match handle.quorum() {
        Quorum::Unknown => (None, 0, None),
        Quorum::There { since } => (Some(true), seconds(since), None),
        Quorum::Lost { since, reason } => (Some(false), seconds(since), Some(reason)),
    };
    let mut status = ClusterStatus {
        engine: handle.engine().to_owned(),
        node: node.to_owned(),
        id: 0,
        cluster: None,
        failure: None,
        quorum,
        quorum_seconds,
        quorum_reason,
        leader: None,
        term: 0,
        revision: 0,
        certificate_seconds_left: None,
        members: Vec::new(),
    };
    match handle.parts() {
        Ok(parts) => {
            status.id = parts.id.0;
            if let Some((membership, transport)) = &parts.membership {
                add_members(&mut status, membership, transport);
            }
        }
        Err(reason) => status.failure = Some(reason),
    }
    status
}

fn add_members(status: &mut ClusterStatus, membership: &Membership, transport: &TlsTransport) {
    let engine = membership.engine.status();
    let contacts = transport.contacts();
    let left = membership.tls.present().validity.until.duration_since(SystemTime::now()).unwrap_or_default();
    status.cluster = Some(membership.identity.cluster.to_string());
    status.certificate_seconds_left = Some(left.as_secs());
    status.failure = engine.failure;
    status.leader = engine.members.iter().find(|it| Some(it.node) == engine.leader).map(|it| it.name.clone());
    status.term = engine.term;
    status.revision = engine.revision;
    let leads = engine.part == Part::Leader;
    let member = |member: Member| {
        let contact = contacts.get(&member.node);
        let is_fresh = contact.and_then(|contact| contact.answered).is_some_and(|at| at.elapsed() < FRESH);
        let failed = contact.and_then(|contact| contact.failed.clone());
        let state = match (member.node == membership.identity.node, is_fresh, &failed) {
            (true, _, _) => "here",
            (false, true, None) => "up",
            (false, _, Some(_)) => "down",
            (false, false, None) => "unknown",
        };
        MemberStatus {
            id: member.node.0,
            role: match (Some(member.node) == engine.leader, member.voter, member.waiting) {
                (true, _, _) => "leader",
                (false, true, _) => "voter",
                (false, false, true) => "waiting",
                (false, false, false) => "learner",
            }
            .to_owned(),
            address: membership.directory.address(member.node).unwrap_or(member.address),
            name: member.name,
            reason: failed.filter(|_reason| state == "down"),
            state: state.to_owned(),
            lag: member.lag.filter(|_lag| leads && state != "here"),
        }
    };
    status.members = engine.members.into_iter().map(member).collect();
}

pub(super) fn endpoints() -> Vec<Endpoint<Arc<Node>>> {
    vec![
        endpoint::get("/api/v1/cluster", VIEWER, "Who belongs to the cluster")
            .command("mainstay cluster status")
            .answers::<roles::ClusterAnswer>()
            .by(status),
        endpoint::post("/api/v1/cluster/token", ADMIN, "Makes a token with which a node may join")
            .command("mainstay cluster token")
            .takes::<TokenRequest>()
            .answers::<TokenAnswer>()
            .by(token),
        endpoint::post("/api/v1/cluster/remove", ADMIN, "Sends a node away")
            .command("mainstay cluster remove NODE")
            .takes::<RemoveRequest>()
            .answers::<RemoveAnswer>()
            .by(remove),
    ]
}

async fn status(Shared(node): Shared<Arc<Node>>) -> Response {
    match node.cluster() {
        Some(handle) => Json(roles::with_roles(report(&node.name, handle), handle).await).into_response(),
        None => no_cluster(),
    }
}

async fn token(Shared(node): Shared<Arc<Node>>, sent: Body) -> Response {
    let example = r#"send {"seconds": 3600, "voter": true}"#;
    let request: TokenRequest = match read(sent, example).await {
        Ok(request) => request,
        Err(refusal) => return *refusal,
    };
    let membership = match membership(&node) {
        Ok(membership) => membership,
        Err(refusal) => return *refusal,
    };
    if !TOKEN_SECONDS.contains(&request.seconds) {
        let why = format!("a token lives {} to {} seconds", TOKEN_SECONDS.start(), TOKEN_SECONDS.end());
        return error(StatusCode::BAD_REQUEST, why, None);
    }
    let replaces = match request.replace.as_deref().map(|name| membership.member(name)).transpose() {
        Ok(member) => member.map(|member| member.node),
        Err(why) => return refuse(&why),
    };
    let grant = Grant { voter: request.voter, name: request.name, replaces };
    match membership.issue(grant, Duration::from_secs(request.seconds)).await {
        Ok(token) => Json(TokenAnswer { token: token.text(), seconds: request.seconds, addresses: token.addresses })
            .into_response(),
        Err(why) => refuse(&why),
    }
}

async fn remove(Shared(node): Shared<Arc<Node>>, sent: Body) -> Response {
    let request: RemoveRequest = match read(sent, r#"send {"name": "lb3"}"#).await {
        Ok(request) => request,
        Err(refusal) => return *refusal,
    };
    let membership = match membership(&node) {
        Ok(membership) => membership,
        Err(refusal) => return *refusal,
    };
    let member = match membership.member(&request.name) {
        Ok(member) => member,
        Err(why) => return refuse(&why),
    };
    let members = membership.engine.status().members;
    match membership.remove(&member, request.two).await {
        Ok(changed) => {
            let name = |id| members.iter().find(|member| member.node == id).map(|member| member.name.clone());
            let voters = changed.voters.into_iter().filter_map(name).collect();
            tracing::warn!(name = member.name, id = %member.node, "cluster: a node was removed");
            Json(RemoveAnswer { name: member.name, id: member.node.0, voters }).into_response()
        }
        Err(why) => refuse(&why),
    }
}

fn membership(node: &Node) -> Result<Membership, Box<Response>> {
    let handle = node.cluster().ok_or_else(|| Box::new(no_cluster()))?;
    let not_open = |why: String| {
        let why = format!("this node takes no part in its cluster: {why}");
        Box::new(error(StatusCode::SERVICE_UNAVAILABLE, why, Some("ask another node of the cluster".to_owned())))
    };
    let parts = handle.parts().map_err(not_open)?;
    let other_engine = || {
        let why = format!("with the engine `{}` nodes neither join nor leave", handle.engine());
        Box::new(error(
            StatusCode::CONFLICT,
            why,
            Some("with etcd a node takes part by its configuration alone".to_owned()),
        ))
    };
    parts.membership.map(|(membership, _transport)| membership).ok_or_else(other_engine)
}

fn no_cluster() -> Response {
    let hint = "write a table [cluster] into its configuration, then `mainstay init` or `mainstay join`";
    error(StatusCode::NOT_FOUND, "this node belongs to no cluster".to_owned(), Some(hint.to_owned()))
}

fn refuse(why: &MembershipError) -> Response {
    let (status, hint) = match why {
        MembershipError::NoNode(_) => (StatusCode::NOT_FOUND, "`mainstay cluster status` lists them"),
        MembershipError::Taken(_) => {
            (StatusCode::CONFLICT, "choose another name, or let the new node replace it: --replace")
        }
        MembershipError::CannotSign => (StatusCode::CONFLICT, "`mainstay cluster status` shows who votes"),
        MembershipError::Change(_) => {
            (StatusCode::CONFLICT, "`mainstay cluster status` shows who votes and who is down")
        }
        MembershipError::Store(_) => {
            (StatusCode::SERVICE_UNAVAILABLE, "is a majority of the voters up? see `mainstay cluster status`")
        }
        MembershipError::Identity(_) => (StatusCode::INTERNAL_SERVER_ERROR, "look at the node's folder and log"),
    };
    error(status, why.to_string(), Some(hint.to_owned()))
}

//! `/api/v1/addresses`: who holds which floating address, and planned moves.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use mainstay_admin::endpoint::{self, Endpoint};
use mainstay_admin::precondition::{Changed, Condition, Tag};
use mainstay_admin::role::{OPERATOR, VIEWER};
use mainstay_cluster::address::view::{self, MoveDrain, View};
use mainstay_cluster::assignment::Request;
use mainstay_cluster::coordinator::{Compare, Consistency, Operation, Transaction};
use mainstay_cluster::keys;
use mainstay_runtime::clock::Boottime;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{Object, OneOf, Schema, SchemaFormat, Type};

use super::Node;
use super::api::{error, read};
use super::metrics::ClusterFacts;
use crate::cluster::Handle;

/// A floating address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AddressStatus {
    /// The address.
    #[schema(value_type = String)]
    pub ip: IpAddr,
    /// The interface that it is put on; none if its listeners open and close.
    pub interface: Option<String>,
    /// The node that holds it, as far as this node knows.
    pub holder: Option<String>,
    /// The holder's fencing token.
    pub token: Option<u64>,
    /// Where it belongs, as far as this node knows.
    pub belongs: Option<String>,
    /// Whether this node holds it.
    pub here: bool,
    /// How often this node has taken it since it started.
    #[serde(default)]
    pub taken: u64,
    /// Nodes that can hold it.
    pub candidates: Vec<String>,
    /// Why this node cannot hold it.
    pub problem: Option<String>,
    /// The version of where it belongs.
    #[serde(default)]
    pub etag: String,
}

/// What `POST /api/v1/addresses` takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = AddressMoveRequest)]
#[serde(deny_unknown_fields)]
pub struct MoveRequest {
    /// The address.
    #[schema(schema_with = address_form)]
    pub ip: IpAddr,
    /// The node that it goes to.
    pub node: String,
    /// How long connections of the present holder are waited for, in place of its configured `drain`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 600)]
    pub drain_seconds: Option<u64>,
}

/// Seconds that a move waits for connections, at most.
pub const DRAIN_SECONDS_MAX: u64 = 600;

/// An address of either kind.
fn address_form() -> RefOr<Schema> {
    let of =
        |format: &str| Object::builder().schema_type(Type::String).format(Some(SchemaFormat::Custom(format.into())));
    OneOf::builder().item(of("ipv4")).item(of("ipv6")).into()
}

/// What it answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = AddressMoveAnswer)]
pub struct MoveAnswer {
    /// The address.
    #[schema(value_type = String)]
    pub ip: IpAddr,
    /// The node that held it when it was asked for.
    pub from: Option<String>,
    /// The node that it goes to.
    pub to: String,
}

/// The addresses of a node; none if it has none.
pub(super) fn status(node: &Node) -> Vec<AddressStatus> {
    let Some(cluster) = node.cluster() else { return Vec::new() };
    let view = cluster.addresses().view().unwrap_or_default();
    let status = |state: mainstay_cluster::address::driver::State| {
        let ip = state.floating.address.ip;
        let holder = view.holders.get(&ip);
        AddressStatus {
            ip,
            interface: state.floating.interface,
            holder: holder.map(|holder| holder.node.clone()),
            token: holder.map(|holder| holder.token),
            etag: tag(ip, state.belongs.as_deref()).text(),
            belongs: state.belongs,
            here: state.held.is_some(),
            taken: state.taken,
            candidates: candidates(&view, ip),
            problem: state.problem,
        }
    };
    cluster.addresses().states().into_iter().map(status).collect()
}

/// What the metrics say of the cluster.
pub(super) fn facts(node: &Node, cluster: &Handle) -> ClusterFacts {
    let board = cluster.addresses();
    let left = board.lease_until().map(|until| until.since(Boottime::system().now()));
    ClusterFacts {
        status: super::cluster::report(&node.name, cluster),
        addresses: status(node),
        plan: board.view().map(|view| view.plan.number),
        lease_seconds: left.unwrap_or_default().as_secs_f64(),
    }
}

fn candidates(view: &View, ip: IpAddr) -> Vec<String> {
    view.able(ip).map(str::to_owned).collect()
}

pub(super) fn endpoints() -> Vec<Endpoint<Arc<Node>>> {
    let path = "/api/v1/addresses";
    vec![
        endpoint::get(path, VIEWER, "Who holds which floating address")
            .command("mainstay address list")
            .answers_list::<AddressStatus>()
            .by(list),
        endpoint::post(path, OPERATOR, "Moves a floating address to another node")
            .command("mainstay address move ADDRESS NODE")
            .takes::<MoveRequest>()
            .answers::<MoveAnswer>()
            .conditional()
            .by(transfer),
    ]
}

async fn list(Shared(node): Shared<Arc<Node>>) -> Response {
    Json(status(&node)).into_response()
}

async fn transfer(Shared(node): Shared<Arc<Node>>, condition: Condition, sent: Body) -> Response {
    let request: MoveRequest = match read(sent, r#"send {"ip": "10.0.1.100", "node": "NAME"}"#).await {
        Ok(request) => request,
        Err(refusal) => return *refusal,
    };
    if request.drain_seconds.is_some_and(|seconds| seconds > DRAIN_SECONDS_MAX) {
        let hint = format!("a move waits {DRAIN_SECONDS_MAX} s at most");
        return error(StatusCode::BAD_REQUEST, "`drain_seconds` is out of bounds".to_owned(), Some(hint));
    }
    match ask(&node, &request, &condition).await {
        Ok(answer) => tag(answer.ip, Some(&answer.to)).on(Json(answer)),
        Err(Refused::Changed(changed)) => changed.response(),
        Err(Refused::Not(status, why, hint)) => error(status, why, hint),
    }
}

/// The version of where an address belongs.
fn tag(ip: IpAddr, belongs: Option<&str>) -> Tag {
    Tag::of(&(ip, belongs))
}

/// Why an address is not moved.
enum Refused {
    Changed(Changed),
    Not(StatusCode, String, Option<String>),
}

/// Writes the wish down; the nodes carry it out.
async fn ask(node: &Node, request: &MoveRequest, condition: &Condition) -> Result<MoveAnswer, Refused> {
    let MoveRequest { ip, node: to, drain_seconds } = request;
    let unavailable = |why: String| Refused::Not(StatusCode::SERVICE_UNAVAILABLE, why, None);
    let Some(cluster) = node.cluster() else {
        let hint = "write [cluster] and [[address]] in the configuration, see docs/addresses.md".to_owned();
        return Err(Refused::Not(StatusCode::NOT_FOUND, "this node is in no cluster".to_owned(), Some(hint)));
    };
    let coordinator = cluster.parts().map_err(unavailable)?.coordinator;
    let view = view::read(coordinator.as_ref(), Consistency::Linearizable).await;
    let view = view.map_err(|why| unavailable(why.to_string()))?;
    let able = candidates(&view, *ip);
    if able.is_empty() {
        let why = format!("no node that is there can hold {ip}");
        let hint = "`mainstay address list` shows the addresses".to_owned();
        return Err(Refused::Not(StatusCode::NOT_FOUND, why, Some(hint)));
    }
    condition.check(Some(&tag(*ip, view.plan.owner(*ip)))).map_err(Refused::Changed)?;
    if !able.contains(to) {
        let why = format!("node `{to}` is not there, or cannot hold {ip}");
        return Err(Refused::Not(StatusCode::CONFLICT, why, Some(format!("these can: {}", able.join(", ")))));
    }
    let holder = view.holders.get(ip);
    if holder.is_none_or(|holder| holder.node != *to) {
        let from = holder.map_or(0, |holder| holder.token);
        let wish = Request { to: to.clone(), from };
        let drain = drain_seconds.map(|seconds| MoveDrain { from, drain: Duration::from_secs(seconds) });
        let drain = match drain {
            Some(drain) => Operation::put(keys::move_drain(ip), drain.to_bytes(), None),
            None => Operation::delete(keys::move_drain(ip)),
        };
        let operations = [Operation::put(keys::requested_move(ip), wish.to_bytes(), None), drain];
        // Whoever names a version wants nobody to have come in between, with a plan or with a wish.
        let compare = match condition {
            Condition::None => Vec::new(),
            Condition::Anything | Condition::OneOf(_) => vec![
                Compare::modified(keys::ADDRESS_PLAN, view.plan_revision),
                Compare::absent(keys::requested_move(ip)),
            ],
        };
        let written = coordinator.transact(Transaction::when(compare, operations)).await;
        if !written.map_err(|why| unavailable(why.to_string()))?.succeeded {
            return Err(Refused::Changed(Changed { present: None }));
        }
    }
    Ok(MoveAnswer { ip: *ip, from: holder.map(|holder| holder.node.clone()), to: to.clone() })
}

//! What operators want of endpoints: `/api/v1/drain`, on this node or on all nodes of its cluster; `/api/v1/weight`, `/api/v1/eject`
//! and `/api/v1/reset`, on this node.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::response::{Json, Response};
use mainstay_admin::endpoint::{self, Endpoint};
use mainstay_admin::precondition::{Condition, Tag};
use mainstay_admin::role::OPERATOR;
use mainstay_gateway::UnknownEndpoint;
use mainstay_gateway::state;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::admin::Node;
use crate::admin::api::{error, read};

/// What `POST /api/v1/drain` takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DrainRequest {
    /// The service's name.
    pub service: String,
    /// The endpoint's address as configured.
    pub endpoint: String,
    /// `false` ends the drain.
    pub drain: bool,
    /// For this node alone, although it belongs to a cluster.
    #[serde(default)]
    pub local: bool,
}

/// What `POST /api/v1/weight` takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WeightRequest {
    /// The service's name.
    pub service: String,
    /// The endpoint's address as configured.
    pub endpoint: String,
    /// Its share of traffic relative to the others; none: the configured one.
    #[schema(minimum = 1, maximum = 1000)]
    pub weight: Option<u32>,
}

/// What `POST /api/v1/eject` takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EjectRequest {
    /// The service's name.
    pub service: String,
    /// The endpoint's address as configured.
    pub endpoint: String,
    /// For how long it gets nothing.
    #[schema(minimum = 1, maximum = 86400)]
    pub seconds: u64,
}

/// What `POST /api/v1/reset` takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResetRequest {
    /// The service's name.
    pub service: String,
    /// The endpoint's address as configured.
    pub endpoint: String,
}

/// How the endpoint stands afterwards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EndpointAnswer {
    /// The service's name.
    pub service: String,
    /// The endpoint's address as configured.
    pub endpoint: String,
    /// Whether it gets no new requests now. Still true after an undo if the configuration says `drain = true`.
    pub draining: bool,
    /// Requests that are still under way at it.
    pub in_flight: u64,
    /// Endpoints of the service that get traffic.
    pub eligible: u64,
    /// Its share of traffic relative to the others.
    pub weight: u32,
    /// Whether it gets nothing for a while. An order to eject or to reset is carried out a moment after the answer.
    pub ejected: bool,
    /// The version of what operators said of it: its weight and drains.
    #[serde(default)]
    pub etag: String,
}

pub(super) fn endpoints() -> Vec<Endpoint<Arc<Node>>> {
    let drains =
        endpoint::post("/api/v1/drain", OPERATOR, "Stops sending new requests to one endpoint, or begins again")
            .command("mainstay drain SERVICE/ENDPOINT")
            .takes::<DrainRequest>()
            .service_in_body("service")
            .answers::<EndpointAnswer>()
            .conditional();
    let weights = endpoint::post("/api/v1/weight", OPERATOR, "Gives one endpoint another share of traffic")
        .command("mainstay weight SERVICE/ENDPOINT N")
        .takes::<WeightRequest>()
        .service_in_body("service")
        .answers::<EndpointAnswer>()
        .conditional();
    let ejections = endpoint::post("/api/v1/eject", OPERATOR, "Sends one endpoint nothing for a while")
        .command("mainstay eject SERVICE/ENDPOINT --for TIME")
        .takes::<EjectRequest>()
        .service_in_body("service")
        .answers::<EndpointAnswer>();
    let resets = endpoint::post("/api/v1/reset", OPERATOR, "Forgets what is held against one endpoint")
        .command("mainstay reset SERVICE/ENDPOINT")
        .takes::<ResetRequest>()
        .service_in_body("service")
        .answers::<EndpointAnswer>();
    vec![drains.by(drain), weights.by(weigh), ejections.by(eject), resets.by(reset)]
}

async fn drain(Shared(node): Shared<Arc<Node>>, condition: Condition, sent: Body) -> Response {
    let hint = r#"send {"service": "NAME", "endpoint": "HOST:PORT", "drain": true}"#;
    let request: DrainRequest = match read(sent, hint).await {
        Ok(request) => request,
        Err(refusal) => return *refusal,
    };
    if let Some(refusal) = is_other(&node, &request.service, &request.endpoint, &condition) {
        return refusal;
    }
    let is_for_all = !request.local && node.cluster().is_some();
    // A drain for all is a key that all nodes follow, this one too; what was drained here alone is undone with it.
    let done = match is_for_all && request.drain {
        true => node.gateway.find(&request.service, &request.endpoint).map(|_found| ()),
        false => node.gateway.drain(&request.service, &request.endpoint, request.drain),
    };
    if let (Ok(()), true) = (&done, is_for_all)
        && let Err(answer) = super::shared::drain(&node, &request).await
    {
        return answer;
    }
    answer(&node, &request.service, &request.endpoint, done)
}

async fn weigh(Shared(node): Shared<Arc<Node>>, condition: Condition, sent: Body) -> Response {
    let hint = r#"send {"service": "NAME", "endpoint": "HOST:PORT", "weight": 10}, or null for the configured weight"#;
    let request: WeightRequest = match read(sent, hint).await {
        Ok(request) => request,
        Err(refusal) => return *refusal,
    };
    if request.weight.is_some_and(|weight| !(1..=1_000).contains(&weight)) {
        let hint = Some("a weight is from 1 to 1000; to send it nothing, drain it".to_owned());
        return error(StatusCode::BAD_REQUEST, "`weight` is out of bounds".to_owned(), hint);
    }
    if let Some(refusal) = is_other(&node, &request.service, &request.endpoint, &condition) {
        return refusal;
    }
    let done = node.gateway.weigh(&request.service, &request.endpoint, request.weight);
    answer(&node, &request.service, &request.endpoint, done)
}

async fn eject(Shared(node): Shared<Arc<Node>>, sent: Body) -> Response {
    let hint = r#"send {"service": "NAME", "endpoint": "HOST:PORT", "seconds": 60}"#;
    let request: EjectRequest = match read(sent, hint).await {
        Ok(request) => request,
        Err(refusal) => return *refusal,
    };
    if !(1..=86_400).contains(&request.seconds) {
        let hint = Some("an ejection lasts from a second to a day; for longer, drain it".to_owned());
        return error(StatusCode::BAD_REQUEST, "`seconds` is out of bounds".to_owned(), hint);
    }
    let done = node.gateway.eject(&request.service, &request.endpoint, Duration::from_secs(request.seconds));
    answer(&node, &request.service, &request.endpoint, done)
}

async fn reset(Shared(node): Shared<Arc<Node>>, sent: Body) -> Response {
    let request: ResetRequest = match read(sent, r#"send {"service": "NAME", "endpoint": "HOST:PORT"}"#).await {
        Ok(request) => request,
        Err(refusal) => return *refusal,
    };
    let done = node.gateway.reset(&request.service, &request.endpoint);
    answer(&node, &request.service, &request.endpoint, done)
}

/// What is answered if somebody has changed the endpoint since it was of the version that is asked for. Who asks for an unknown
/// endpoint is told so by what is done next. Requests are carried out one after another, on one thread, up to where they wait.
fn is_other(node: &Node, service: &str, endpoint: &str, condition: &Condition) -> Option<Response> {
    let found = node.gateway.find(service, endpoint).ok()?;
    condition.check(Some(&tag(&found))).err().map(|changed| changed.response())
}

/// The version of what operators said of an endpoint at this node.
pub(super) fn tag(endpoint: &state::Endpoint) -> Tag {
    let weight = Tag::number(endpoint.weight_override().map_or(0, u64::from));
    let said = |drained: &AtomicBool, word| if drained.load(Ordering::Acquire) { word } else { "" };
    weight.and(said(&endpoint.drained, "-drained")).and(said(&endpoint.drained_for_all, "-drained-for-all"))
}

/// How the endpoint stands after what was done.
fn answer(node: &Node, service: &str, endpoint: &str, done: Result<(), UnknownEndpoint>) -> Response {
    match done {
        Ok(()) => match standing(node, service, endpoint) {
            Some((answer, tag)) => tag.on(Json(answer)),
            // A reload took the endpoint away in this very moment, and with it all its traffic.
            None => error(StatusCode::CONFLICT, "the configuration changed meanwhile".to_owned(), None),
        },
        Err(why @ (UnknownEndpoint::NoService(..) | UnknownEndpoint::NoEndpoint(..))) => {
            error(StatusCode::NOT_FOUND, why.to_string(), None)
        }
    }
}

fn standing(node: &Node, service: &str, endpoint: &str) -> Option<(EndpointAnswer, Tag)> {
    let state = node.gateway.state();
    let service = state.services.iter().find(|it| it.spec.name == service)?;
    let endpoint = service.endpoints.iter().find(|it| it.name == endpoint)?;
    let tag = tag(endpoint);
    let answer = EndpointAnswer {
        service: service.spec.name.clone(),
        endpoint: endpoint.name.clone(),
        draining: endpoint.is_draining(),
        in_flight: u64::from(endpoint.in_flight.load(Ordering::Relaxed)),
        eligible: service.eligible().iter().filter(|eligible| **eligible).count() as u64,
        weight: endpoint.weight(),
        ejected: endpoint.ejected.load(Ordering::Acquire),
        etag: tag.text(),
    };
    Some((answer, tag))
}

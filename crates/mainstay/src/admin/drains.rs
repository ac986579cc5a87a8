//! `/api/v1/drain`: endpoints that get no new requests, on this node or on all nodes of its cluster.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::body::Body;
use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use mainstay_admin::endpoint::{self, Endpoint};
use mainstay_admin::role::OPERATOR;
use mainstay_gateway::DrainError;
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

/// What it answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DrainAnswer {
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
}

pub(super) fn endpoints() -> Vec<Endpoint<Arc<Node>>> {
    let drains =
        endpoint::post("/api/v1/drain", OPERATOR, "Stops sending new requests to one endpoint, or begins again")
            .command("mainstay drain SERVICE/ENDPOINT")
            .takes::<DrainRequest>()
            .service_in_body("service")
            .answers::<DrainAnswer>();
    vec![drains.by(drain)]
}

async fn drain(Shared(node): Shared<Arc<Node>>, sent: Body) -> Response {
    let hint = r#"send {"service": "NAME", "endpoint": "HOST:PORT", "drain": true}"#;
    let request: DrainRequest = match read(sent, hint).await {
        Ok(request) => request,
        Err(refusal) => return *refusal,
    };
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
    match done {
        Ok(()) => match drained(&node, &request) {
            Some(answer) => Json(answer).into_response(),
            // A reload took the endpoint away in this very moment, and with it all its traffic.
            None => error(StatusCode::CONFLICT, "the configuration changed meanwhile".to_owned(), None),
        },
        Err(why @ (DrainError::NoService(..) | DrainError::NoEndpoint(..))) => {
            error(StatusCode::NOT_FOUND, why.to_string(), None)
        }
    }
}

fn drained(node: &Node, request: &DrainRequest) -> Option<DrainAnswer> {
    let state = node.gateway.state();
    let service = state.services.iter().find(|service| service.spec.name == request.service)?;
    let endpoint = service.endpoints.iter().find(|endpoint| endpoint.name == request.endpoint)?;
    Some(DrainAnswer {
        service: request.service.clone(),
        endpoint: request.endpoint.clone(),
        draining: endpoint.is_draining(),
        in_flight: u64::from(endpoint.in_flight.load(Ordering::Relaxed)),
        eligible: service.eligible().iter().filter(|eligible| **eligible).count() as u64,
    })
}

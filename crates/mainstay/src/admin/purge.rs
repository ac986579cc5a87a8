//! `POST /api/v1/cache/purge`: forgets stored responses.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use mainstay_admin::endpoint::{self, Endpoint};
use mainstay_admin::role::OPERATOR;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::admin::Node;
use crate::admin::api::{error, read};

/// What `POST /api/v1/cache/purge` takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PurgeRequest {
    /// The route's name; every route if it is absent.
    #[serde(default)]
    pub route: Option<String>,
    /// What the paths begin with.
    pub path: String,
}

/// What it answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PurgeAnswer {
    /// Responses that were forgotten.
    pub purged: u64,
}

pub(super) fn endpoints() -> Vec<Endpoint<Arc<Node>>> {
    let purges = endpoint::post("/api/v1/cache/purge", OPERATOR, "Forgets stored responses")
        .command("mainstay cache purge")
        .takes::<PurgeRequest>()
        .answers::<PurgeAnswer>();
    vec![purges.by(purge)]
}

async fn purge(Shared(node): Shared<Arc<Node>>, sent: Body) -> Response {
    let request: PurgeRequest = match read(sent, r#"send {"route": "NAME", "path": "/"}"#).await {
        Ok(request) => request,
        Err(refusal) => return *refusal,
    };
    match node.gateway.purge(request.route.as_deref(), &request.path) {
        Ok(purged) => Json(PurgeAnswer { purged: purged as u64 }).into_response(),
        Err(why) => error(StatusCode::NOT_FOUND, why.to_string(), None),
    }
}

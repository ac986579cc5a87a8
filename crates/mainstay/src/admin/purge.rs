//! `POST /api/cache/purge`: forgets stored responses.

use std::sync::Arc;

use axum::body::{self, Body};
use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use serde::{Deserialize, Serialize};

use crate::admin::Node;
use crate::admin::api::{BODY_BYTES_MAX, error};

/// What `POST /api/cache/purge` takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PurgeRequest {
    /// The route's name; every route if it is absent.
    #[serde(default)]
    pub route: Option<String>,
    /// What the paths begin with.
    pub path: String,
}

/// What it answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PurgeAnswer {
    /// Responses that were forgotten.
    pub purged: u64,
}

/// Takes what is asked over the unix socket.
pub(super) async fn purge(Shared(node): Shared<Arc<Node>>, sent: Body) -> Response {
    let bytes = match body::to_bytes(sent, BODY_BYTES_MAX).await {
        Ok(bytes) => bytes,
        Err(why) => return error(StatusCode::BAD_REQUEST, why.to_string(), None),
    };
    let request: PurgeRequest = match serde_json::from_slice(&bytes) {
        Ok(request) => request,
        Err(why) => {
            let hint = r#"send {"route": "NAME", "path": "/"}"#;
            return error(StatusCode::BAD_REQUEST, why.to_string(), Some(hint.to_owned()));
        }
    };
    match node.gateway.purge(request.route.as_deref(), &request.path) {
        Ok(purged) => Json(PurgeAnswer { purged: purged as u64 }).into_response(),
        Err(why) => error(StatusCode::NOT_FOUND, why.to_string(), None),
    }
}

/// Over TCP nothing is changed.
pub(super) async fn purge_refused() -> Response {
    let hint = "use `mainstay cache purge` on the node, as the user that runs it, or `curl --unix-socket`";
    error(StatusCode::FORBIDDEN, "changes are only taken over the admin socket".to_owned(), Some(hint.to_owned()))
}

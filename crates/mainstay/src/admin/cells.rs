//! `/api/cells`: how full cells are, and accounts that are moved.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{self, Body};
use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use mainstay_gateway::AccountError;
use serde::{Deserialize, Serialize};

use super::Node;
use super::api::{BODY_BYTES_MAX, error};

/// The longest that requests under way are waited for.
const DRAIN_SECONDS_MAX: u64 = 3600;

/// A cell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CellStatus {
    /// Its name.
    pub name: String,
    /// Accounts in it, or on their way to it.
    pub accounts: u64,
    /// How many it takes.
    pub capacity: u64,
    /// It takes no new ones.
    pub closed: bool,
}

/// What `POST /api/cells` takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MoveRequest {
    /// The account's name.
    pub account: String,
    /// The cell that it goes to.
    pub cell: String,
    /// How long its requests under way are waited for, in seconds.
    pub drain_seconds: u64,
}

/// What it answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MoveAnswer {
    /// The account's name.
    pub account: String,
    /// The cell that it goes to.
    pub cell: String,
    /// Whether it is there: otherwise requests of it are under way in the old cell.
    pub moved: bool,
}

/// The cells of a node; none if it has none.
pub(super) fn status(node: &Node) -> Vec<CellStatus> {
    let state = node.gateway.state();
    let counts = state.cells.as_ref().map(|cells| cells.counts()).unwrap_or_default();
    let status = |it: mainstay_gateway::cells::CellCount| CellStatus {
        name: it.name,
        accounts: it.accounts as u64,
        capacity: it.capacity as u64,
        closed: it.closed,
    };
    counts.into_iter().map(status).collect()
}

pub(super) async fn list(Shared(node): Shared<Arc<Node>>) -> Response {
    Json(status(&node)).into_response()
}

pub(super) async fn transfer(Shared(node): Shared<Arc<Node>>, sent: Body) -> Response {
    let bytes = match body::to_bytes(sent, BODY_BYTES_MAX).await {
        Ok(bytes) => bytes,
        Err(why) => return error(StatusCode::BAD_REQUEST, why.to_string(), None),
    };
    let request: MoveRequest = match serde_json::from_slice(&bytes) {
        Ok(request) => request,
        Err(why) => {
            let hint = r#"send {"account": "NAME", "cell": "NAME", "drain_seconds": 10}"#;
            return error(StatusCode::BAD_REQUEST, why.to_string(), Some(hint.to_owned()));
        }
    };
    let limit = Duration::from_secs(request.drain_seconds.min(DRAIN_SECONDS_MAX));
    match node.gateway.move_account(&request.account, &request.cell, limit) {
        Ok(moved) => Json(MoveAnswer { account: request.account, cell: request.cell, moved }).into_response(),
        Err(why) => {
            let status = match why {
                AccountError::NoCells | AccountError::NoCell(..) => StatusCode::NOT_FOUND,
                AccountError::Full(_) | AccountError::Pinned(_) | AccountError::There(..) => StatusCode::CONFLICT,
                AccountError::BadName => StatusCode::BAD_REQUEST,
            };
            error(status, why.to_string(), None)
        }
    }
}

pub(super) async fn transfer_refused() -> Response {
    let hint = "use `mainstay cell move ACCOUNT CELL` on the node, as the user that runs it, or `curl --unix-socket`";
    error(StatusCode::FORBIDDEN, "changes are only taken over the admin socket".to_owned(), Some(hint.to_owned()))
}

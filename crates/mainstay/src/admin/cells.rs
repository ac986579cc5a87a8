//! `/api/v1/cells`: how full cells are, and accounts that are moved.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use mainstay_admin::endpoint::{self, Endpoint};
use mainstay_admin::role::{OPERATOR, VIEWER};
use mainstay_gateway::AccountError;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Node;
use super::api::{error, read};

/// The longest that requests under way are waited for.
const DRAIN_SECONDS_MAX: u64 = 3600;

/// A cell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
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

/// What `POST /api/v1/cells` takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
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

pub(super) fn endpoints() -> Vec<Endpoint<Arc<Node>>> {
    let path = "/api/v1/cells";
    vec![
        endpoint::get(path, VIEWER, "How full each cell is")
            .command("mainstay cell list")
            .answers_list::<CellStatus>()
            .by(list),
        endpoint::post(path, OPERATOR, "Moves an account to another cell")
            .command("mainstay cell move ACCOUNT CELL")
            .takes::<MoveRequest>()
            .answers::<MoveAnswer>()
            .by(transfer),
    ]
}

async fn list(Shared(node): Shared<Arc<Node>>) -> Response {
    Json(status(&node)).into_response()
}

async fn transfer(Shared(node): Shared<Arc<Node>>, sent: Body) -> Response {
    let hint = r#"send {"account": "NAME", "cell": "NAME", "drain_seconds": 10}"#;
    let request: MoveRequest = match read(sent, hint).await {
        Ok(request) => request,
        Err(refusal) => return *refusal,
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

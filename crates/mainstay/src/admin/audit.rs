//! `/api/v1/audit`: what was changed at this node, by whom.

use std::sync::Arc;

use axum::extract::{Query, State as Shared};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use mainstay_admin::audit::{Line, Verified};
use mainstay_admin::endpoint::{self, Endpoint};
use mainstay_admin::role::VIEWER;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::admin::Node;
use crate::admin::api::error;

/// Lines of one answer.
const LIMIT: usize = 100;
const LIMIT_MAX: usize = 1_000;

/// A part of the trail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditPage {
    /// The newest first.
    pub items: Vec<Line>,
    /// The `cursor` for what is older; none if this is all.
    pub next: Option<String>,
    /// Whether the trail outlives the process: without `data_dir` it does not.
    pub kept: bool,
}

#[derive(Debug, Deserialize)]
struct Asked {
    limit: Option<usize>,
    cursor: Option<u64>,
}

pub(super) fn endpoints() -> Vec<Endpoint<Arc<Node>>> {
    vec![
        endpoint::get("/api/v1/audit", VIEWER, "What was changed at this node, the newest first")
            .command("mainstay audit-log list")
            .paged_by_number()
            .answers::<AuditPage>()
            .by(list),
        endpoint::get("/api/v1/audit/verify", VIEWER, "Whether the audit trail is whole")
            .command("mainstay audit-log verify")
            .answers::<Verified>()
            .by(verify),
    ]
}

async fn list(
    Shared(node): Shared<Arc<Node>>,
    asked: Result<Query<Asked>, axum::extract::rejection::QueryRejection>,
) -> Response {
    let asked = match asked {
        Ok(Query(asked)) => asked,
        Err(why) => return error(StatusCode::BAD_REQUEST, why.body_text(), None),
    };
    let limit = asked.limit.unwrap_or(LIMIT).clamp(1, LIMIT_MAX);
    let before = asked.cursor.unwrap_or(u64::MAX);
    match node.access().trail(|trail| Ok((trail.newest(before, limit)?, trail.is_kept()))) {
        Ok((items, kept)) => {
            let oldest = items.last().map_or(1, |line| line.seq);
            let next = (items.len() == limit && oldest > 1).then(|| oldest.to_string());
            Json(AuditPage { items, next, kept }).into_response()
        }
        Err(why) => unreadable(&why),
    }
}

async fn verify(Shared(node): Shared<Arc<Node>>) -> Response {
    match node.access().trail(|trail| trail.verify()) {
        Ok(verified) => Json(verified).into_response(),
        Err(why) => unreadable(&why),
    }
}

fn unreadable(why: &std::io::Error) -> Response {
    let hint = Some("look at the folder `audit` of the node's data_dir".to_owned());
    error(StatusCode::SERVICE_UNAVAILABLE, format!("the audit trail cannot be read: {why}"), hint)
}

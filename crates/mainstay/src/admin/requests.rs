//! `GET /api/v1/requests`: which of the recent requests are of interest.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Query, State as Shared};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use mainstay_admin::endpoint::{self, Endpoint};
use mainstay_admin::role::VIEWER;
use mainstay_gateway::explain::{ExplainError, Explanation, Search};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Node;
use super::api::error;
use crate::timestamp::rfc3339;

/// Requests that one answer holds unless the question says, and at most.
const LIMIT: usize = 100;
const LIMIT_MAX: usize = 1000;

pub(super) fn endpoints() -> Vec<Endpoint<Arc<Node>>> {
    vec![
        endpoint::get("/api/v1/requests", VIEWER, "Recent requests of this node, the newest first")
            .paged_by_number()
            .query("route", "Those that this route took")
            .query("service", "Those for this service")
            .query("endpoint", "Those for which this endpoint was asked")
            .matching("status", "^([0-9]xx|[0-9]{1,3})$", "A status such as 503, or a class such as 5xx")
            .number("min_ms", "Those that took at least so many milliseconds")
            .words("errors", &["true", "false"], "true: those that went wrong")
            .query("text", "What id, host or path contain")
            .answers::<RequestsFound>()
            .by(requests),
    ]
}

/// What is asked for.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    limit: Option<usize>,
    cursor: Option<u64>,
    route: Option<String>,
    service: Option<String>,
    endpoint: Option<String>,
    status: Option<String>,
    min_ms: Option<u64>,
    errors: Option<bool>,
    text: Option<String>,
}

/// Requests, the newest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RequestsFound {
    /// The requests.
    pub items: Vec<RequestFound>,
    /// Where older ones follow, if there may be any.
    pub next: Option<String>,
}

/// One request in short; `/api/v1/requests/ID` tells the rest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RequestFound {
    /// Its id, as in `x-request-id`.
    pub id: String,
    /// When it began.
    pub time: String,
    /// The node that served it.
    pub node: String,
    /// Absent if the head was refused.
    pub method: Option<String>,
    /// Without port.
    pub host: Option<String>,
    /// Without query.
    pub path: Option<String>,
    /// The status that the client got; 0 if none.
    pub status: u16,
    /// The gateway's own reason, as in `x-mainstay-error`.
    pub error: Option<String>,
    /// From its first byte to its end.
    pub duration_ms: f64,
    /// The route that took it.
    pub route: Option<String>,
    /// The service that the route leads to.
    pub service: Option<String>,
    /// The endpoint that was asked last.
    pub endpoint: Option<String>,
    /// How many attempts it had.
    pub attempts: usize,
    /// The trace that it carried.
    pub trace_id: Option<String>,
    /// How many requests this one stands for; 1, since none is left out here.
    pub sample_rate: u32,
}

async fn requests(Shared(node): Shared<Arc<Node>>, Query(asked): Query<Asked>) -> Response {
    let status = match asked.status.as_deref().map(statuses) {
        None => None,
        Some(Some(range)) => Some(range),
        Some(None) => {
            let hint = Some("write status=503 or status=5xx".to_owned());
            return error(StatusCode::BAD_REQUEST, "this is no status".to_owned(), hint);
        }
    };
    let limit = asked.limit.unwrap_or(LIMIT).clamp(1, LIMIT_MAX);
    let wanted = Search {
        route: asked.route,
        service: asked.service,
        endpoint: asked.endpoint,
        status,
        min_duration: Duration::from_millis(asked.min_ms.unwrap_or(0)),
        errors: asked.errors.unwrap_or(false),
        text: asked.text.filter(|text| !text.is_empty()),
        before: asked.cursor,
        limit,
    };
    match node.gateway.search(&wanted).await {
        Ok(found) => {
            let last = found.last().filter(|_last| found.len() == limit);
            let next = last.map(|last| last.began.as_nanos().to_string());
            Json(RequestsFound { items: found.iter().map(|it| short(it, &node.name)).collect(), next }).into_response()
        }
        Err(why @ ExplainError::Off) => {
            let hint = Some("set `explain` under [node]".to_owned());
            error(StatusCode::NOT_FOUND, why.to_string(), hint)
        }
        Err(why) => error(StatusCode::SERVICE_UNAVAILABLE, why.to_string(), None),
    }
}

/// The lowest and the highest status that `text` means.
fn statuses(text: &str) -> Option<(u16, u16)> {
    let class = text.strip_suffix("xx").and_then(|class| class.parse::<u16>().ok()).filter(|class| *class <= 9);
    match class {
        Some(class) => Some((class * 100, class * 100 + 99)),
        None => text.parse().ok().filter(|status| *status <= 999).map(|status| (status, status)),
    }
}

fn short(it: &Explanation, node: &str) -> RequestFound {
    let asked = it.asked.as_ref();
    let target = it.target.as_ref();
    let attempts = || it.choices.iter().filter_map(|choice| choice.attempt.as_ref());
    let error = if it.client_gone { Some("client-gone") } else { it.error };
    RequestFound {
        id: it.id.clone(),
        time: rfc3339(it.started_at),
        node: node.to_owned(),
        method: asked.map(|asked| asked.method.clone()),
        host: asked.map(|asked| asked.host.clone()),
        path: asked.map(|asked| asked.path.clone()),
        status: it.status,
        error: error.map(str::to_owned),
        duration_ms: it.duration.as_secs_f64() * 1000.0,
        route: target.map(|target| target.route.clone()),
        service: target.map(|target| target.service.clone()),
        endpoint: attempts().next_back().map(|attempt| attempt.endpoint.clone()),
        attempts: attempts().count(),
        trace_id: it.trace_id.clone(),
        sample_rate: 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_alone_or_by_class() {
        for (text, expected) in [
            ("503", Some((503, 503))),
            ("5xx", Some((500, 599))),
            ("0", Some((0, 0))),
            ("xx", None),
            ("55xx", None),
            ("five", None),
        ] {
            assert_eq!(statuses(text), expected, "{text}");
        }
    }
}

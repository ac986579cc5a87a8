//! What every part of the admin interface answers with, and the endpoints that belong to none of them.

use std::sync::Arc;

use axum::body::{self, Body};
use axum::extract::{Path, State as Shared};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Json, Redirect, Response};
use mainstay_admin::dashboard;
use mainstay_admin::endpoint::{self, Endpoint};
pub use mainstay_admin::problem::Problem;
use mainstay_admin::role::{ANYONE, VIEWER};
use mainstay_gateway::explain::ExplainError;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::admin::document::Status;
use crate::admin::explanation::Requests;
use crate::admin::{Node, explanation, metrics, pages, table};

/// Of a plain refusal that is put into another form.
const PLAIN_BYTES_MAX: usize = 64 * 1024;
const PLAIN_CHARS_MAX: usize = 1_024;

pub(super) fn endpoints() -> Vec<Endpoint<Arc<Node>>> {
    vec![
        endpoint::get("/", ANYONE, "This list; a browser is led to the dashboard")
            .answers_text("text/plain; charset=utf-8")
            .by(index),
        endpoint::get("/health", ANYONE, "200 while the process lives").by(health),
        endpoint::get("/ready", ANYONE, "200 if the node should get traffic, else 503 and why")
            .or_status(503)
            .by(ready),
        endpoint::get("/metrics", VIEWER, "Metrics as OpenMetrics text")
            .answers_text("application/openmetrics-text")
            .or_as("text/plain")
            .by(scrape),
        endpoint::get("/api/v1/openapi.json", ANYONE, "This interface, described").by(describe),
        endpoint::get("/api/v1/status", VIEWER, "Everything that the node does, as JSON")
            .command("mainstay status")
            .answers::<Status>()
            .by(status),
        endpoint::get("/api/v1/requests/{*id}", VIEWER, "What became of a recent request and why")
            .command("mainstay explain ID")
            .answers::<Requests>()
            .by(explain),
    ]
}

/// An error, with what to do.
pub(super) fn error(status: StatusCode, error: String, hint: Option<String>) -> Response {
    Problem::new(status, error).hint(hint).into_response()
}

/// What was refused before it came to an endpoint (a query or a path that cannot be read) is told as a plain text: here it
/// becomes the form that all errors have.
pub(super) async fn as_problem(response: Response) -> Response {
    let is_plain =
        response.headers().get(header::CONTENT_TYPE).is_some_and(|it| it.as_bytes().starts_with(b"text/plain"));
    let status = response.status();
    if !(is_plain && (status.is_client_error() || status.is_server_error())) {
        return response;
    }
    let (_head, said) = response.into_parts();
    let bytes = body::to_bytes(said, PLAIN_BYTES_MAX).await.unwrap_or_default();
    let text: String = String::from_utf8_lossy(&bytes).chars().take(PLAIN_CHARS_MAX).collect();
    let hint = "`GET /api/v1/openapi.json` says what is taken".to_owned();
    error(status, text, Some(hint))
}

/// Reads a request's JSON, or says what to send.
pub(super) async fn read<T: DeserializeOwned>(sent: Body, example: &str) -> Result<T, Box<Response>> {
    read_up_to(sent, example, endpoint::BODY_BYTES_MAX).await
}

/// As [`read`], for what may be larger or smaller.
pub(super) async fn read_up_to<T: DeserializeOwned>(
    sent: Body,
    example: &str,
    bytes_max: usize,
) -> Result<T, Box<Response>> {
    let refuse = |why: String| Box::new(error(StatusCode::BAD_REQUEST, why, Some(example.to_owned())));
    let bytes = body::to_bytes(sent, bytes_max).await.map_err(|why| refuse(why.to_string()))?;
    decode(&bytes).map_err(refuse)
}

/// As [`read`], where nothing is as good as an empty object.
pub(super) async fn read_or_default<T: DeserializeOwned + Default>(
    sent: Body,
    example: &str,
) -> Result<T, Box<Response>> {
    let refuse = |why: String| Box::new(error(StatusCode::BAD_REQUEST, why, Some(example.to_owned())));
    let bytes = body::to_bytes(sent, endpoint::BODY_BYTES_MAX).await.map_err(|why| refuse(why.to_string()))?;
    if bytes.is_empty() { Ok(T::default()) } else { decode(&bytes).map_err(refuse) }
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    // The members of a list would be taken for those of an object, in the order in which the sources have them.
    if bytes.iter().find(|byte| !byte.is_ascii_whitespace()).is_some_and(|first| *first != b'{') {
        return Err("the body is no JSON object".to_owned());
    }
    serde_json::from_slice(bytes).or_else(|why| {
        let mut value: serde_json::Value = serde_json::from_slice(bytes).map_err(|why| why.to_string())?;
        as_whole(&mut value);
        serde_json::from_value(value).map_err(|_still_wrong| why.to_string())
    })
}

/// 60.0 is the same number as 60, as JSON Schema sees it and as some languages write it.
fn as_whole(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Number(number) => {
            let float = number.as_f64().filter(|it| number.is_f64() && it.fract() == 0.0);
            if let Some(whole) = float.and_then(|it| format!("{it:.0}").parse::<u64>().ok()) {
                *value = whole.into();
            }
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(as_whole),
        serde_json::Value::Object(members) => members.values_mut().for_each(as_whole),
        serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::String(_) => {}
    }
}

async fn index(headers: HeaderMap) -> Response {
    if dashboard::wants_page(&headers) {
        return Redirect::temporary(pages::start()).into_response();
    }
    let mut text = "mainstay admin interface\n\n".to_owned();
    for endpoint in table::endpoints() {
        let about = endpoint.about;
        let command = about.command.map(|command| format!(" (`{command}`)")).unwrap_or_default();
        text.push_str(&format!("{:6} {}  {}{command}; {}\n", about.method, about.path, about.summary, about.least));
    }
    text.into_response()
}

async fn describe() -> Response {
    Json(table::document()).into_response()
}

async fn health(Shared(node): Shared<Arc<Node>>) -> Response {
    let uptime = node.started.elapsed().as_secs();
    Json(json!({"status": "ok", "node": node.name, "version": env!("CARGO_PKG_VERSION"), "uptime_seconds": uptime}))
        .into_response()
}

async fn ready(Shared(node): Shared<Arc<Node>>) -> Response {
    let reasons = node.not_ready();
    if reasons.is_empty() {
        return Json(json!({"status": "ready", "reasons": []})).into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, Json(json!({"status": "not ready", "reasons": reasons}))).into_response()
}

async fn scrape(Shared(node): Shared<Arc<Node>>, headers: HeaderMap) -> Response {
    let format = metrics::Format::wanted(headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()));
    match metrics::render(node.gateway.state(), node.facts(), format) {
        Ok(text) => ([(header::CONTENT_TYPE, format.content_type())], text).into_response(),
        Err(why) => error(StatusCode::INTERNAL_SERVER_ERROR, why.to_string(), None),
    }
}

async fn status(Shared(node): Shared<Arc<Node>>) -> Response {
    Json(node.status()).into_response()
}

async fn explain(Shared(node): Shared<Arc<Node>>, Path(id): Path<String>) -> Response {
    match node.gateway.explain(&id).await {
        Ok(found) => Json(explanation::document(&found)).into_response(),
        Err(why) => {
            let (status, hint) = match why {
                ExplainError::Off => (StatusCode::NOT_FOUND, "set `explain` under [node], such as explain = 1024"),
                ExplainError::Unknown(_) => (
                    StatusCode::NOT_FOUND,
                    "is it the `x-request-id` of a response by this node? an older one is in the access log; raise \
                     `explain` under [node] to keep more",
                ),
                ExplainError::Silent => {
                    (StatusCode::SERVICE_UNAVAILABLE, "ask again; `mainstay status` shows the load")
                }
            };
            error(status, why.to_string(), Some(hint.to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Debug, PartialEq, serde::Deserialize)]
    struct Asked {
        seconds: u64,
        name: Option<String>,
    }

    #[test]
    fn a_body_is_an_object_whose_whole_numbers_may_have_a_point() {
        let asked = |text: &str| decode::<Asked>(text.as_bytes());
        let whole = Ok(Asked { seconds: 60, name: None });
        assert_eq!((asked(r#"{"seconds": 60}"#), asked(r#" {"seconds": 6e1, "name": null}"#)), (whole.clone(), whole));
        for wrong in
            [r#"[60, null]"#, r#"{"seconds": 60.5}"#, r#"{"seconds": -1.0}"#, r#"{"seconds": 1e30}"#, "", "null"]
        {
            assert!(asked(wrong).is_err(), "{wrong}");
        }
    }
}

//! The endpoints of the admin interface.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Request, State as Shared};
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use axum::{Router, body};
use mainstay_gateway::DrainError;
use mainstay_gateway::explain::ExplainError;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::admin::guard::{self, Origin};
use crate::admin::{Node, addresses, cells, cluster, explanation, metrics, purge, shared_config, upgrade};

/// Bytes of a request's body, at most.
pub(super) const BODY_BYTES_MAX: usize = 64 * 1024;

/// How a request reached the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// Over TCP, where anybody on the machine may ask.
    Tcp(SocketAddr),
    /// Over the unix socket, which only its owner and root may open.
    Unix,
}

/// What `POST /api/drain` takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

/// An error as the interface answers it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorAnswer {
    /// What went wrong.
    pub error: String,
    /// What to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// The endpoints, as seen through `door`.
pub fn router(node: Arc<Node>, door: Door) -> Router {
    let moves = match door {
        Door::Unix => post(cells::transfer).get(cells::list),
        Door::Tcp(_) => post(cells::transfer_refused).get(cells::list),
    };
    let floats = match door {
        Door::Unix => post(addresses::transfer).get(addresses::list),
        Door::Tcp(_) => post(addresses::transfer_refused).get(addresses::list),
    };
    let (drains, upgrades, purges) = match door {
        Door::Unix => (post(drain), post(upgrade::upgrade), post(purge::purge)),
        Door::Tcp(_) => (post(drain_refused), post(upgrade::upgrade_refused), post(purge::purge_refused)),
    };
    let (tokens, removals) = match door {
        Door::Unix => (post(cluster::token), post(cluster::remove)),
        Door::Tcp(_) => (post(cluster::refused), post(cluster::refused)),
    };
    Router::new()
        .route("/api/cluster", get(cluster::status))
        .route("/api/cluster/token", tokens)
        .route("/api/cluster/remove", removals)
        .route("/", get(index))
        .route("/health", get(health))
        .route("/ready", get(ready))
        .route("/metrics", get(scrape))
        .route("/api/status", get(status))
        .route("/api/drain", drains)
        .route("/api/cells", moves)
        .route("/api/addresses", floats)
        .route("/api/requests/{*id}", get(explain))
        .route("/api/upgrade", upgrades)
        .route("/api/cache/purge", purges)
        .merge(shared_config::routes(door))
        .fallback(not_found)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn(move |request: Request, next: Next| admit(door, request, next)))
        .with_state(node)
}

async fn admit(door: Door, request: Request, next: Next) -> Response {
    if let Door::Tcp(bind) = door {
        let text = |name: &HeaderName| request.headers().get(name).and_then(|value| value.to_str().ok());
        let said = |name: &HeaderName| request.headers().contains_key(name).then(|| text(name).unwrap_or("?"));
        let origin = Origin {
            host: text(&header::HOST),
            origin: said(&header::ORIGIN),
            fetch_site: said(&HeaderName::from_static("sec-fetch-site")),
        };
        if let Some(why) = guard::refusal(bind, origin) {
            return error(StatusCode::FORBIDDEN, why, None);
        }
    }
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, header::HeaderValue::from_static("nosniff"));
    response
}

async fn index() -> &'static str {
    "mainstay admin interface\n\n\
     GET  /health      200 while the process lives\n\
     GET  /ready       200 if the node should get traffic, else 503 and why\n\
     GET  /metrics     OpenMetrics\n\
     GET  /api/status  everything as JSON (`mainstay status` prints it)\n\
     GET  /api/requests/ID  what became of a recent request and why (`mainstay explain ID` prints it)\n\
     GET  /api/cells   how full each cell is (`mainstay cell list` prints it)\n\
     POST /api/cells   over the unix socket only (`mainstay cell move ACCOUNT CELL`)\n\
     GET  /api/addresses  who holds which floating address (`mainstay address list` prints it)\n\
     POST /api/addresses  over the unix socket only (`mainstay address move ADDRESS NODE`)\n\
     GET  /api/cluster who belongs to the cluster (`mainstay cluster status` prints it)\n\
     POST /api/cluster/token, /api/cluster/remove over the unix socket only (`mainstay cluster`)\n\
     POST /api/drain   over the unix socket only (`mainstay drain SERVICE/ENDPOINT`)\n\
     POST /api/cache/purge over the unix socket only (`mainstay cache purge`)\n\
     GET  /api/config  what a cluster's nodes serve (`mainstay config status`); /api/config/versions lists versions\n\
     POST /api/config  over the unix socket only (`mainstay config apply FILE`)\n\
     POST /api/upgrade over the unix socket only (`mainstay upgrade`)\n"
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

async fn drain(Shared(node): Shared<Arc<Node>>, sent: Body) -> Response {
    let bytes = match body::to_bytes(sent, BODY_BYTES_MAX).await {
        Ok(bytes) => bytes,
        Err(why) => return error(StatusCode::BAD_REQUEST, why.to_string(), None),
    };
    let request: DrainRequest = match serde_json::from_slice(&bytes) {
        Ok(request) => request,
        Err(why) => {
            let hint = r#"send {"service": "NAME", "endpoint": "HOST:PORT", "drain": true}"#;
            return error(StatusCode::BAD_REQUEST, why.to_string(), Some(hint.to_owned()));
        }
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
        in_flight: u64::from(endpoint.in_flight.load(std::sync::atomic::Ordering::Relaxed)),
        eligible: service.eligible().iter().filter(|eligible| **eligible).count() as u64,
    })
}

async fn drain_refused() -> Response {
    let hint = "use `mainstay drain SERVICE/ENDPOINT` on the node, as the user that runs it, or `curl --unix-socket`";
    error(StatusCode::FORBIDDEN, "changes are only taken over the admin socket".to_owned(), Some(hint.to_owned()))
}

async fn not_found(uri: Uri) -> Response {
    error(StatusCode::NOT_FOUND, format!("nothing at {}", uri.path()), Some("GET / lists what there is".to_owned()))
}

async fn wrong_method(method: Method, uri: Uri) -> Response {
    error(StatusCode::METHOD_NOT_ALLOWED, format!("{} does not take {method}", uri.path()), None)
}

pub(super) fn error(status: StatusCode, error: String, hint: Option<String>) -> Response {
    (status, Json(ErrorAnswer { error, hint })).into_response()
}

//! The table of all endpoints. Each part of the interface contributes its entries; routes, what each caller may do, and the
//! OpenAPI document are made from them, so that there is no route without an entry.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::MethodRouter;
use mainstay_admin::endpoint::{self, About, Endpoint};
use mainstay_admin::openapi;
use mainstay_admin::role::Role;
use serde_json::Value;

use crate::admin::api::{self, error};
use crate::admin::guard::{self, Origin};
use crate::admin::{
    Node, addresses, cells, cluster, drains, events, history, objectives, pages, purge, shared_config, upgrade,
};

/// How a request reached the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// Over TCP, where anybody on the machine may ask.
    Tcp(SocketAddr),
    /// Over the unix socket, which only its owner and root may open.
    Unix,
}

/// All endpoints.
pub(super) fn endpoints() -> Vec<Endpoint<Arc<Node>>> {
    [
        api::endpoints(),
        pages::endpoints(),
        drains::endpoints(),
        cells::endpoints(),
        events::endpoints(),
        history::endpoints(),
        objectives::endpoints(),
        addresses::endpoints(),
        cluster::endpoints(),
        shared_config::endpoints(),
        purge::endpoints(),
        upgrade::endpoints(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The table as an OpenAPI document.
pub(super) fn document() -> Value {
    openapi::describe(endpoints().iter().map(|endpoint| &endpoint.about), env!("CARGO_PKG_VERSION"))
}

/// The routes, as seen through `door`.
pub fn router(node: Arc<Node>, door: Door) -> Router {
    let guard = |about: Arc<About>, handler: MethodRouter<Arc<Node>>| {
        handler.layer(middleware::from_fn(move |request: Request, next: Next| {
            let about = about.clone();
            async move {
                match refusal(&about, door) {
                    Some(refusal) => refusal,
                    None => next.run(request).await,
                }
            }
        }))
    };
    endpoint::router(endpoints(), guard)
        .fallback(not_found)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn(move |request: Request, next: Next| admit(door, request, next)))
        .with_state(node)
}

/// Why an endpoint is not for whoever came in through `door`.
fn refusal(about: &About, door: Door) -> Option<Response> {
    let role = match door {
        Door::Unix => Role::Admin,
        Door::Tcp(_) => Role::Viewer,
    };
    if about.least.admits(Some(role)) {
        return None;
    }
    let what = if about.changes { "changes are only taken" } else { "what may hold secrets is only shown" };
    let how = about.command.map_or("ask".to_owned(), |command| format!("use `{command}`"));
    let hint = format!("{how} on the node, as the user that runs it, or `curl --unix-socket`");
    Some(error(StatusCode::FORBIDDEN, format!("{what} over the admin socket"), Some(hint)))
}

async fn admit(door: Door, request: Request, next: Next) -> Response {
    if let Door::Tcp(bind) = door {
        let text = |name: &HeaderName| request.headers().get(name).and_then(|value| value.to_str().ok());
        let said = |name: &HeaderName| request.headers().contains_key(name).then(|| text(name).unwrap_or("?"));
        let origin = Origin {
            host: text(&header::HOST),
            origin: said(&header::ORIGIN),
            fetch_site: said(&HeaderName::from_static("sec-fetch-site")),
            opens_page: request.method() == Method::GET
                && pages::is_page(request.uri().path())
                && text(&HeaderName::from_static("sec-fetch-mode")) == Some("navigate")
                && text(&HeaderName::from_static("sec-fetch-dest")) == Some("document"),
        };
        if let Some(why) = guard::refusal(bind, origin) {
            return error(StatusCode::FORBIDDEN, why, None);
        }
    }
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    // Only the dashboard's files, which are the same for everybody, say something else.
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

async fn not_found(uri: Uri) -> Response {
    error(StatusCode::NOT_FOUND, format!("nothing at {}", uri.path()), Some("GET / lists what there is".to_owned()))
}

async fn wrong_method(method: Method, uri: Uri) -> Response {
    error(StatusCode::METHOD_NOT_ALLOWED, format!("{} does not take {method}", uri.path()), None)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    #[test]
    fn every_entry_is_whole_and_there_is_one_for_each_method_of_a_path() {
        let mut seen = BTreeSet::new();
        for Endpoint { about, .. } in &endpoints() {
            let name = format!("{} {}", about.method, about.path);
            assert!(seen.insert(name.clone()), "{name} is there twice");
            assert!(!about.summary.is_empty() && !about.summary.ends_with('.'), "{name}: {}", about.summary);
            let is_versioned = about.path.starts_with("/api/v1/");
            assert!(is_versioned || !about.path.starts_with("/api/"), "{name}");
            assert!(!about.changes || about.least >= mainstay_admin::role::OPERATOR, "{name}: who may change it?");
        }
    }

    /// Whatever is routed past the table is neither authorised nor described.
    #[test]
    fn there_is_no_route_outside_the_table() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut folders = vec![folder];
        let mut looked_at = 0;
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).expect("a folder of the sources") {
                let path = entry.expect("readable").path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|it| it == "rs") && !path.ends_with("admin/table.rs") {
                    let text = std::fs::read_to_string(&path).expect("readable");
                    for word in ["Router::new", "axum::routing", "MethodRouter"] {
                        assert!(!text.contains(word), "{} has `{word}`: write an entry", path.display());
                    }
                    looked_at += 1;
                }
            }
        }
        assert!(looked_at > 50, "only {looked_at} files: is it the right folder?");
    }

    #[test]
    fn the_document_names_every_endpoint_and_each_schema_once() {
        let endpoints = endpoints();
        let clashes = openapi::clashes(endpoints.iter().map(|endpoint| &endpoint.about));
        assert_eq!(clashes, Vec::<String>::new(), "rename one: #[schema(as = ...)]");
        let document = document();
        let mut identifiers = BTreeSet::new();
        for Endpoint { about, .. } in &endpoints {
            let path = about.path.replace("{*", "{");
            let operation = &document["paths"][&path][about.method.as_str().to_ascii_lowercase()];
            assert_eq!(operation["summary"], about.summary, "{path}");
            assert!(identifiers.insert(operation["operationId"].to_string()), "{path}: {}", operation["operationId"]);
        }
        let text = document.to_string();
        for part in text.split("#/components/schemas/").skip(1) {
            let name = part.split('"').next().expect("a name");
            assert!(document["components"]["schemas"][name].is_object(), "`{name}` is referred to, but not there");
        }
    }
}

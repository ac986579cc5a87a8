//! The table of all endpoints. Each part of the interface contributes its entries; routes, what each caller may do, and the
//! OpenAPI document are made from them, so that there is no route without an entry.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::{Method, StatusCode, Uri};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::MethodRouter;
use mainstay_admin::endpoint::{self, About, Endpoint};
use mainstay_admin::openapi;
use serde_json::Value;

use crate::admin::api::{self, error};
use crate::admin::{
    Node, acme, addresses, alertmanager, alerts, audit, cells, certificates, cluster, databases, drains, events, gate,
    history, identities, incidents, ledger, login, nodes, objectives, overview, pages, probes, purge, requests,
    shared_config, telemetry, upgrade,
};

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
        probes::endpoints(),
        addresses::endpoints(),
        databases::endpoints(),
        alerts::endpoints(),
        alertmanager::endpoints(),
        certificates::endpoints(),
        acme::endpoints(),
        cluster::endpoints(),
        shared_config::endpoints(),
        purge::endpoints(),
        requests::endpoints(),
        incidents::endpoints(),
        ledger::endpoints(),
        upgrade::endpoints(),
        login::endpoints(),
        identities::endpoints(),
        audit::endpoints(),
        nodes::endpoints(),
        telemetry::endpoints(),
        overview::endpoints(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The table as an OpenAPI document.
pub(super) fn document() -> Value {
    openapi::describe(endpoints().iter().map(|endpoint| &endpoint.about), env!("CARGO_PKG_VERSION"))
}

/// The routes.
pub fn router(node: Arc<Node>) -> Router {
    let guard = |about: Arc<About>, handler: MethodRouter<Arc<Node>>| {
        let node = node.clone();
        handler.layer(middleware::from_fn(move |request: Request, next: Next| {
            gate::pass(node.clone(), about.clone(), request, next)
        }))
    };
    endpoint::router(endpoints(), guard)
        .fallback(not_found)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn_with_state(node.clone(), gate::admit))
        .with_state(node)
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
            // Version 2 is not ours, but Alertmanager's.
            let is_versioned = about.path.starts_with("/api/v1/") || about.path.starts_with("/api/v2/");
            assert!(is_versioned || !about.path.starts_with("/api/"), "{name}");
            let is_login = about.path == "/api/v1/session";
            let least = mainstay_admin::role::OPERATOR;
            assert!(!about.changes || is_login || about.least >= least, "{name}: who may change it?");
        }
    }

    /// The trail of the node that is asked has the whole body, whatever it is for.
    #[test]
    fn what_is_asked_of_another_node_has_no_secret_in_the_trail() {
        let endpoints = endpoints();
        for Endpoint { about, .. } in &endpoints {
            for secret in about.secrets {
                assert!(nodes::SECRETS.contains(secret), "`{secret}` of {} is not in nodes::SECRETS", about.path);
            }
        }
        let passed = endpoints.iter().filter(|it| it.about.is_for_nodes()).count();
        assert!(passed > 30 && passed < endpoints.len(), "{passed} of {}", endpoints.len());
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
                    // Tests serve what they like.
                    let text = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or_default();
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

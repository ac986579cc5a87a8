//! `/api/v1/session/oidc`: logins by an OpenID Connect provider. The browser goes to the provider and comes back; then it gets a
//! session as with a password. Where it goes next is not for the request to say.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::Extension;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State as Shared};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use mainstay_admin::audit::Entry;
use mainstay_admin::caller::Caller;
use mainstay_admin::endpoint::{self, Endpoint};
use mainstay_admin::oidc::{Answer, CALLBACK, Failure, Identity, pending};
use mainstay_admin::role::ANYONE;
use serde_json::json;

use super::with_cookie;
use crate::admin::Node;
use crate::admin::access::By;
use crate::admin::gate::Peer;
use crate::admin::pages;

/// Where a login begins.
pub(super) const BEGIN: &str = "/api/v1/session/oidc";

pub(super) fn endpoints() -> Vec<Endpoint<Arc<Node>>> {
    const HTML: &str = "text/html; charset=utf-8";
    vec![
        endpoint::get(BEGIN, ANYONE, "Leads to the provider of [access.oidc] to log in")
            .answers_text(HTML)
            .fails_with_page()
            .by(begin),
        endpoint::get(CALLBACK, ANYONE, "Where that provider leads back to: opens a session")
            .query("code", "What the provider gives the token for")
            .query("state", "What belongs to the login that was begun")
            .query("iss", "The provider (RFC 9207)")
            .query("error", "Why there is no code")
            .answers_text(HTML)
            .fails_with_page()
            .by(finish),
    ]
}

async fn begin(
    Shared(node): Shared<Arc<Node>>,
    Extension(peer): Extension<Peer>,
    Extension(caller): Extension<Caller>,
) -> Response {
    let Some((provider, _secret)) = node.access().oidc() else { return none() };
    if let Some(wait) = peer.address().and_then(|address| node.access().wait(address)) {
        return too_often(wait.as_secs() + 1);
    }
    match provider.begin(peer.address()).await {
        Ok(begun) => with_state(Redirect::to(&begun.url).into_response(), Some(&begun.cookie), peer),
        Err(why) => failed(&node, peer, &caller, &why),
    }
}

async fn finish(
    Shared(node): Shared<Arc<Node>>,
    Extension(peer): Extension<Peer>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    answer: Result<Query<Answer>, QueryRejection>,
) -> Response {
    let Some((provider, secret)) = node.access().oidc() else { return none() };
    if let Some(wait) = peer.address().and_then(|address| node.access().wait(address)) {
        return too_often(wait.as_secs() + 1);
    }
    let found = match answer {
        Ok(Query(answer)) => {
            let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
            let cookie = cookies.filter_map(pending::cookie_of).next();
            provider.finish(cookie, answer, secret.read()).await
        }
        Err(_why) => Err(Failure::Invalid("this is no answer of a provider".to_owned())),
    };
    let response = match found {
        Ok(identity) => open(&node, peer, &caller, identity),
        Err(why) => failed(&node, peer, &caller, &why),
    };
    with_state(response, None, peer)
}

/// Writes the login down, and opens the session.
fn open(node: &Node, peer: Peer, caller: &Caller, identity: Identity) -> Response {
    let Identity { user, subject, role, services } = identity;
    let entry = Entry {
        user: format!("oidc {user}"),
        role: role.to_string(),
        body: json!({"subject": subject, "services": services}).to_string(),
        outcome: "done".to_owned(),
        status: StatusCode::OK.as_u16(),
        ..blank(node, caller)
    };
    // What cannot be written down is not done.
    if let Err(error) = node.access().note(entry) {
        tracing::error!(%error, "the audit trail cannot be written");
        let hint = "look at the folder `audit` of the node's data_dir";
        return page(StatusCode::SERVICE_UNAVAILABLE, "The login cannot be written into the audit trail", hint);
    }
    match node.access().admit(user, role, services) {
        Some(opened) => with_cookie(welcome(), Some(&opened.cookie), peer),
        None => page(StatusCode::INTERNAL_SERVER_ERROR, "There is no session", "the system has no randomness"),
    }
}

/// Says that nobody has logged in, and writes it down.
fn failed(node: &Node, peer: Peer, caller: &Caller, why: &Failure) -> Response {
    let origin = node.access().oidc().map(|(provider, _secret)| provider.settings().external_url.clone());
    let again = format!("begin again at {}", origin.unwrap_or_default());
    let (status, title, hint) = match why {
        Failure::Unreachable(_) => {
            let hint = "users with a password can log in; the node's log says more";
            (StatusCode::BAD_GATEWAY, "The provider cannot be asked", hint.to_owned())
        }
        Failure::Busy => (StatusCode::SERVICE_UNAVAILABLE, "Too many logins are under way", again),
        Failure::Refused(_) => (StatusCode::FORBIDDEN, "The provider has refused the login", again),
        Failure::Invalid(_) => (StatusCode::BAD_REQUEST, "The login has failed", again),
        Failure::NoRole { .. } => {
            let hint = "an admin of the provider has to add you to a group that [access.oidc] gives a role";
            (StatusCode::FORBIDDEN, "You may do nothing here", hint.to_owned())
        }
    };
    tracing::warn!(from = caller.from, %why, "admin interface: a login by OpenID Connect failed");
    if let (Failure::Invalid(_) | Failure::Refused(_), Some(address)) = (why, peer.address()) {
        node.access().failed(address);
    }
    let (by, user, body) = match why {
        Failure::NoRole { user, subject } => {
            (By::Known, format!("oidc {user}"), json!({"subject": subject}).to_string())
        }
        _nobody => (By::Anybody, "anybody".to_owned(), why.to_string()),
    };
    let outcome = if status.is_server_error() { "failed" } else { "refused" }.to_owned();
    node.access().note_refusal(by, Entry { user, body, outcome, status: status.as_u16(), ..blank(node, caller) });
    // What may name machines inside is for the log.
    let detail = match why {
        Failure::Unreachable(_) => String::new(),
        told => format!("{told}; "),
    };
    page(status, title, &format!("{detail}{hint}"))
}

fn blank(node: &Node, caller: &Caller) -> Entry {
    Entry {
        time: crate::timestamp::rfc3339(std::time::SystemTime::now()),
        node: node.name().to_owned(),
        from: caller.from.clone(),
        action: format!("GET {CALLBACK}"),
        ..Entry::default()
    }
}

fn none() -> Response {
    page(StatusCode::NOT_FOUND, "This node asks no provider", "write [access.oidc] into the configuration")
}

fn too_often(seconds: u64) -> Response {
    let mut response = page(StatusCode::TOO_MANY_REQUESTS, "Too many failures", &format!("wait {seconds} s"));
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    response
}

/// Leads on by a page rather than by a redirection: the request that a redirection makes would count as one of the
/// provider's site, and the browser would keep the session's cookie back.
fn welcome() -> Response {
    let start = pages::start();
    html(
        StatusCode::OK,
        &format!("<meta http-equiv=\"refresh\" content=\"0;url={start}\">"),
        &format!("<p>You are logged in: <a href=\"{start}\">go on</a>.</p>"),
    )
}

fn page(status: StatusCode, title: &str, detail: &str) -> Response {
    let mut body = String::new();
    let (title, detail) = (pages::escaped(title), pages::escaped(detail));
    let _written = write!(
        body,
        "<h1 class=\"bad\">{title}</h1>\n<p>{detail}.</p>\n<p><a href=\"{}\">Back to the login</a></p>",
        pages::start()
    );
    html(status, "", &body)
}

fn html(status: StatusCode, head: &str, body: &str) -> Response {
    let text = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">{head}<title>Mainstay: login</title>\
         <link rel=\"icon\" href=\"data:,\"><link rel=\"stylesheet\" href=\"/status.css\"></head><body>\n{body}\n</body></html>\n"
    );
    (status, [(header::CONTENT_TYPE, "text/html; charset=utf-8")], text).into_response()
}

fn with_state(mut response: Response, cookie: Option<&str>, peer: Peer) -> Response {
    if let Ok(value) = HeaderValue::from_str(&pending::set_cookie(cookie, peer.is_encrypted())) {
        response.headers_mut().append(header::SET_COOKIE, value);
    }
    response
}

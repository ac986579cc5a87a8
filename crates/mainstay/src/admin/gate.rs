//! What stands before every endpoint: who asks, whether they may, and the audit trail of what they change.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::SystemTime;

use axum::body::{self, Body, Bytes};
use axum::extract::{Request, State as Shared};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use mainstay_admin::audit::Entry;
use mainstay_admin::caller::{Caller, Means, Refused};
use mainstay_admin::endpoint::About;
use mainstay_admin::freshness::Known;
use mainstay_admin::role::Role;
use mainstay_admin::{secret, session};

use crate::admin::Node;
use crate::admin::access::{Access, By, Visitor};
use crate::admin::api::{self, Problem, error};
use crate::admin::guard::{self, Origin};
use crate::admin::pages;
use crate::timestamp::rfc3339;

/// What a change of a session has to bring along.
const CSRF: HeaderName = HeaderName::from_static("x-mainstay-csrf");
/// For everything that is not a page.
const CSP: &str = "default-src 'none'; frame-ancestors 'none'";
/// For pages: only what this node serves.
const CSP_PAGE: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; \
                        connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";
/// Characters of a request's body that the audit trail shows.
const SHOWN_MAX: usize = 1_024;

/// Through which socket, and from where, a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Over TCP.
    Tcp {
        /// Where the interface listens.
        bind: SocketAddr,
        /// The client.
        client: SocketAddr,
        /// Whether the connection is encrypted.
        is_encrypted: bool,
    },
    /// Over the unix socket, which only its owner and root may open.
    Socket {
        /// The process's user, if the system has said so.
        user: Option<u32>,
    },
    /// Through another node of the cluster, which says who asks: the [`Caller`] is beside it.
    Node,
}

impl Peer {
    /// The client's address, over TCP.
    pub fn address(self) -> Option<IpAddr> {
        match self {
            Self::Tcp { client, .. } => Some(client.ip()),
            Self::Socket { .. } | Self::Node => None,
        }
    }

    /// Whether the connection is encrypted.
    pub fn is_encrypted(self) -> bool {
        matches!(self, Self::Tcp { is_encrypted: true, .. })
    }
}

/// Looks at where a request comes from, finds out who asks, and adds what every answer carries.
pub(super) async fn admit(Shared(node): Shared<Arc<Node>>, mut request: Request, next: Next) -> Response {
    let Some(peer) = request.extensions().get::<Peer>().copied() else {
        return error(StatusCode::INTERNAL_SERVER_ERROR, "the connection is unknown".to_owned(), None);
    };
    let known = Known::of(&request);
    let mut response = match identify(node.access(), peer, &request) {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(refusal) => {
            let from = peer.address().map_or_else(String::new, |address| address.to_string());
            let nobody = caller("anybody".to_owned(), None, Means::Nothing, from);
            note_refusal(&node, &nobody, &format!("{} {}", request.method(), request.uri().path()), refusal.status());
            *refusal
        }
    };
    response = known.answer(api::as_problem(response).await).await;
    let is_page =
        response.headers().get(header::CONTENT_TYPE).is_some_and(|it| it.as_bytes().starts_with(b"text/html"));
    let headers = response.headers_mut();
    let mut unless_said = |name: HeaderName, value: &'static str| {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    };
    unless_said(header::CACHE_CONTROL, "no-store");
    unless_said(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    unless_said(header::X_FRAME_OPTIONS, "DENY");
    unless_said(header::REFERRER_POLICY, "no-referrer");
    unless_said(header::CONTENT_SECURITY_POLICY, if is_page { CSP_PAGE } else { CSP });
    response
}

fn identify(access: &Access, peer: Peer, request: &Request) -> Result<Caller, Box<Response>> {
    let refuse = |status, why: String, hint: &str| Box::new(error(status, why, Some(hint.to_owned())));
    let (bind, client, is_encrypted) = match peer {
        Peer::Socket { user } => {
            let name = user.map_or("admin socket".to_owned(), |user| format!("uid {user}"));
            return Ok(caller(name, Some(Role::Admin), Means::Socket, "admin socket".to_owned()));
        }
        Peer::Node => {
            let found = request.extensions().get::<Caller>().filter(|caller| caller.means == Means::Node).cloned();
            let what = || "another node did not say who asks".to_owned();
            return found.ok_or_else(|| Box::new(error(StatusCode::INTERNAL_SERVER_ERROR, what(), None)));
        }
        Peer::Tcp { bind, client, is_encrypted } => (bind, client, is_encrypted),
    };
    let headers = request.headers();
    let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let said = |name: &HeaderName| headers.contains_key(name).then(|| text(name).unwrap_or("?"));
    let origin = Origin {
        host: text(&header::HOST),
        origin: said(&header::ORIGIN),
        fetch_site: said(&HeaderName::from_static("sec-fetch-site")),
        opens_page: request.method() == Method::GET
            && pages::is_page(request.uri().path())
            && text(&HeaderName::from_static("sec-fetch-mode")) == Some("navigate")
            && text(&HeaderName::from_static("sec-fetch-dest")) == Some("document"),
    };
    let rules = guard::Rules { bind, is_encrypted, has_access: access.is_on(), looks: request.method().is_safe() };
    if let Some(why) = guard::refusal(rules, origin) {
        return Err(Box::new(error(StatusCode::FORBIDDEN, why, None)));
    }
    // Addresses are logged by whatever is on the way, so that a token there is not a secret any more.
    if request.uri().query().is_some_and(|query| query.contains(secret::TOKEN_PREFIX)) {
        let hint = "send it as `Authorization: Bearer`, and revoke this one";
        return Err(refuse(StatusCode::BAD_REQUEST, "a token does not belong into an address".to_owned(), hint));
    }
    let from = client.ip().to_string();
    if !access.is_on() {
        return Ok(caller("anybody".to_owned(), Some(Role::Viewer), Means::Nothing, from));
    }
    if let Some(shown) = said(&header::AUTHORIZATION) {
        return by_token(access, client.ip(), shown, from);
    }
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let found = cookies.filter_map(session::cookie_of).next().and_then(|cookie| access.session(cookie));
    let Some(session) = found else {
        return Ok(caller("anybody".to_owned(), None, Means::Nothing, from));
    };
    let Visitor { name, role, services, csrf } = session;
    Ok(Caller { services, ..caller(name, Some(role), Means::Session { csrf }, from) })
}

fn caller(name: String, role: Option<Role>, means: Means, from: String) -> Caller {
    Caller { name, role, services: None, means, from }
}

fn by_token(access: &Access, client: IpAddr, shown: &str, from: String) -> Result<Caller, Box<Response>> {
    if let Some(wait) = access.wait(client) {
        return Err(Box::new(too_often(wait)));
    }
    let directory = access.directory();
    let bearer = shown.split_once(' ').filter(|(scheme, _token)| scheme.eq_ignore_ascii_case("bearer"));
    let Some((id, token)) = bearer.and_then(|(_, token)| directory.token(token.trim(), super::access::unix_seconds()))
    else {
        access.failed(client);
        tracing::warn!(client = %client, "admin interface: a token was refused");
        return Err(Box::new(unknown("the token is unknown, expired or revoked")));
    };
    access.used(id);
    let name = format!("token {} ({id})", token.name);
    Ok(Caller { services: token.services.clone(), ..caller(name, Some(token.role), Means::Token, from) })
}

/// The answer to who has failed too often.
pub(super) fn too_often(wait: std::time::Duration) -> Response {
    let seconds = wait.as_secs() + 1;
    let why = format!("too many failures: wait {seconds} s");
    let mut response = error(StatusCode::TOO_MANY_REQUESTS, why, None);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    response
}

/// The answer to who has to show who they are.
pub(super) fn unknown(why: &str) -> Response {
    unknown_with(why, None)
}

/// As [`unknown`], with the ways in which they can.
pub(super) fn unknown_with(why: &str, ways: Option<serde_json::Value>) -> Response {
    let hint = "send `Authorization: Bearer TOKEN` (`mainstay access token create`), or log in".to_owned();
    let mut response = Problem::new(StatusCode::UNAUTHORIZED, why).hint(Some(hint)).login(ways).into_response();
    response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"mainstay\""));
    response
}

/// Lets a request through to its endpoint if its caller may, and writes down what it changes.
pub(super) async fn pass(node: Arc<Node>, about: Arc<About>, request: Request, next: Next) -> Response {
    let Some(caller) = request.extensions().get::<Caller>().cloned() else {
        return error(StatusCode::INTERNAL_SERVER_ERROR, "the caller is unknown".to_owned(), None);
    };
    if caller.means == Means::Node && !about.is_for_nodes() {
        let what = format!("{} {} is not answered through another node", about.method, request.uri().path());
        return error(StatusCode::BAD_REQUEST, what, Some(format!("ask {} itself", node.name())));
    }
    if !about.changes {
        return match caller.may(&about, request.uri().path(), b"") {
            Ok(()) => next.run(request).await,
            Err(why) => {
                let response = refused(&about, &caller, why);
                // Who has shown nothing is only told to.
                if response.status() == StatusCode::FORBIDDEN {
                    let action = format!("{} {}", about.method, request.uri().path());
                    note_refusal(&node, &caller, &action, response.status());
                }
                response
            }
        };
    }
    change(node, &about, &caller, request, next).await
}

async fn change(node: Arc<Node>, about: &About, caller: &Caller, request: Request, next: Next) -> Response {
    let (head, sent) = request.into_parts();
    let bytes = match body::to_bytes(sent, about.body_bytes_max).await {
        Ok(bytes) => bytes,
        Err(why) => return error(StatusCode::PAYLOAD_TOO_LARGE, why.to_string(), None),
    };
    if let Means::Session { csrf } = &caller.means
        && !has_word(&head.headers, csrf)
    {
        let action = format!("{} {}", about.method, head.uri.path());
        note_refusal(&node, caller, &action, StatusCode::FORBIDDEN);
        let why = format!("changes of a session need the header {CSRF}");
        return error(StatusCode::FORBIDDEN, why, Some("GET /api/v1/session says what it has to be".to_owned()));
    }
    let path = head.uri.path().to_owned();
    if head.headers.contains_key(header::IF_MATCH) && !about.takes_condition {
        // Whoever sends it relies on it.
        let hint = Some("send it without `If-Match`".to_owned());
        return error(StatusCode::BAD_REQUEST, "what this changes has no versions".to_owned(), hint);
    }
    if let Err(why) = caller.may(about, &path, &bytes) {
        let response = refused(about, caller, why);
        let entry = entry(&node, about, caller, (&path, &bytes), response.status());
        if response.status() == StatusCode::FORBIDDEN {
            node.access().note_refusal(by(caller), entry);
        }
        return response;
    }
    // What cannot be written down is not done.
    if let Err(why) = node.access().trail(|_opened| Ok(())) {
        let hint = Some("look at the folder `audit` of the node's data_dir".to_owned());
        return error(StatusCode::SERVICE_UNAVAILABLE, format!("the audit trail cannot be opened: {why}"), hint);
    }
    let response = next.run(Request::from_parts(head, Body::from(bytes.clone()))).await;
    // Anybody may fail to log in; that must not push what was changed out of the trail.
    if response.status() == StatusCode::UNAUTHORIZED || response.status() == StatusCode::TOO_MANY_REQUESTS {
        let target = claimed(node.access(), &bytes);
        let refused = blank(&node, caller, &format!("{} {path}", about.method), response.status());
        node.access().note_refusal(By::Anybody, Entry { target, ..refused });
        return response;
    }
    match note(&node, about, caller, (&path, &bytes), response.status()) {
        Ok(()) => response,
        Err(why) => {
            let what = format!("it was done (status {}), but could not be audited: {why}", response.status());
            error(StatusCode::INTERNAL_SERVER_ERROR, what, None).into_response()
        }
    }
}

fn has_word(headers: &HeaderMap, csrf: &str) -> bool {
    headers.get(CSRF).and_then(|value| value.to_str().ok()).is_some_and(|word| secret::same(word, csrf))
}

fn refused(about: &About, caller: &Caller, why: Refused) -> Response {
    let command = about.command.map_or("ask".to_owned(), |command| format!("use `{command}`"));
    let on_the_node = format!("{command} on the node, as the user that runs it, or `curl --unix-socket`");
    let (detail, hint) = match why {
        Refused::Unknown => return unknown("this needs a token or a session"),
        Refused::Role if caller.means == Means::Nothing => {
            let what = if about.changes { "changes are only taken" } else { "what may hold secrets is only shown" };
            (format!("{what} over the admin socket, or with [access] in the configuration"), on_the_node)
        }
        Refused::Role => (format!("this needs the role {}", about.least), "ask an admin".to_owned()),
        Refused::Service => {
            let named = caller.services.as_deref().unwrap_or_default().join(", ");
            (format!("this is not about a service that you may change: {named}"), "ask an admin".to_owned())
        }
    };
    error(StatusCode::FORBIDDEN, detail, Some(hint))
}

/// The user for whom somebody has tried to log in, if there is one: what people type there may be their password.
fn claimed(access: &Access, bytes: &[u8]) -> String {
    let value: serde_json::Value = serde_json::from_slice(bytes).unwrap_or_default();
    let name = value.get("user").and_then(serde_json::Value::as_str);
    let known = name.filter(|name| access.directory().users().contains_key(*name));
    known.unwrap_or("an unknown user").to_owned()
}

fn by(caller: &Caller) -> By {
    match caller.means {
        Means::Nothing => By::Anybody,
        Means::Socket | Means::Token | Means::Session { .. } | Means::Node => By::Known,
    }
}

/// Writes down that somebody who may not has asked for something.
fn note_refusal(node: &Node, caller: &Caller, action: &str, status: StatusCode) {
    node.access().note_refusal(by(caller), blank(node, caller, action, status));
}

fn blank(node: &Node, caller: &Caller, action: &str, status: StatusCode) -> Entry {
    Entry {
        time: rfc3339(SystemTime::now()),
        node: node.name().to_owned(),
        user: caller.name.clone(),
        role: caller.role.map(|role| role.to_string()).unwrap_or_default(),
        from: caller.from.clone(),
        action: action.chars().take(SHOWN_MAX).collect(),
        outcome: outcome(status).to_owned(),
        status: status.as_u16(),
        ..Entry::default()
    }
}

fn entry(node: &Node, about: &About, caller: &Caller, (path, bytes): (&str, &Bytes), status: StatusCode) -> Entry {
    let (body, body_sha256) = summary(about, bytes);
    let blank = blank(node, caller, &format!("{} {path}", about.method), status);
    Entry { target: target(bytes), body, body_sha256, ..blank }
}

fn note(
    node: &Node,
    about: &About,
    caller: &Caller,
    (path, bytes): (&str, &Bytes),
    status: StatusCode,
) -> std::io::Result<()> {
    let noted = node.access().note(entry(node, about, caller, (path, bytes), status));
    if let Err(error) = &noted {
        tracing::error!(%error, who = caller.name, what = path, "the audit trail cannot be written");
    }
    noted
}

/// What a body is about, as far as it says so in one of the usual members.
fn target(bytes: &[u8]) -> String {
    let value: serde_json::Value = serde_json::from_slice(bytes).unwrap_or_default();
    let named = |member: &str| value.get(member).and_then(serde_json::Value::as_str);
    match (named("service"), named("endpoint")) {
        (Some(service), Some(endpoint)) => format!("{service}/{endpoint}"),
        (Some(only), None) | (None, Some(only)) => only.to_owned(),
        (None, None) => {
            ["name", "account", "ip", "route", "user", "component"].into_iter().find_map(named).unwrap_or("").to_owned()
        }
    }
}

fn outcome(status: StatusCode) -> &'static str {
    match status.as_u16() {
        200..=399 => "done",
        400..=499 => "refused",
        _failed => "failed",
    }
}

/// What a body says without its secrets, and its digest without them: that of a password could be guessed from.
fn summary(about: &About, bytes: &[u8]) -> (String, String) {
    if bytes.is_empty() {
        return Default::default();
    }
    let hidden = match serde_json::from_slice::<serde_json::Value>(bytes) {
        Ok(mut value) => {
            for (member, value) in value.as_object_mut().into_iter().flatten() {
                if about.secrets.contains(&member.as_str()) {
                    *value = "[hidden]".into();
                }
            }
            value.to_string()
        }
        Err(_no_json) => format!("{} bytes that are no JSON", bytes.len()),
    };
    let digest = secret::digest(hidden.as_bytes());
    (hidden.chars().take(SHOWN_MAX).collect(), digest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstay_admin::endpoint;
    use mainstay_admin::role::ADMIN;

    #[test]
    fn secrets_are_left_out_of_the_trail() {
        let about = endpoint::post("/x", ADMIN, "x").secrets(&["password"]).by::<_, _, ()>(async || "").about;
        let (body, digest) = summary(&about, br#"{"name": "jane", "password": "hunter2hunter2"}"#);
        assert_eq!(body, r#"{"name":"jane","password":"[hidden]"}"#);
        let (_, other) = summary(&about, br#"{"name": "jane", "password": "something else"}"#);
        assert_eq!(digest, other, "the digest says nothing of the password");
        assert_eq!(summary(&about, b"password=hunter2").0, "16 bytes that are no JSON");
        assert_eq!(summary(&about, b"").0, "");
    }
}

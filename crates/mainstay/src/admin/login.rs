//! `/api/v1/session`: who asks, and the sessions of the dashboard.

mod oidc;

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State as Shared;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use mainstay_admin::caller::{Caller, Means};
use mainstay_admin::endpoint::{self, Endpoint};
use mainstay_admin::role::{ANYONE, Role};
use mainstay_admin::session;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use crate::admin::Node;
use crate::admin::access::NotNow;
use crate::admin::api::{error, read};
use crate::admin::gate::{self, Peer};

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Whoami {
    /// As the audit trail calls them.
    pub user: String,
    /// What they may do; none before they have logged in.
    pub role: Option<Role>,
    /// How they have shown who they are: `socket`, `loopback`, `token`, `session` or `none`.
    pub via: String,
    /// The services that they may change; none: all.
    pub services: Option<Vec<String>>,
    /// What changes of a session have to bring along as `x-mainstay-csrf`.
    pub csrf: Option<String>,
}

/// What `POST /api/v1/session` takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LoginRequest {
    /// The user's name.
    pub user: String,
    /// Their password.
    pub password: String,
}

pub(super) fn endpoints() -> Vec<Endpoint<Arc<Node>>> {
    let path = "/api/v1/session";
    let own = vec![
        endpoint::get(path, ANYONE, "Who asks, and what they may do").answers::<Whoami>().by(who),
        endpoint::post(path, ANYONE, "Opens a session for a user with a password")
            .takes::<LoginRequest>()
            .secrets(&["password"])
            .answers::<Whoami>()
            .by(log_in),
        endpoint::delete(path, ANYONE, "Ends the session that asks").answers::<Whoami>().by(log_out),
    ];
    own.into_iter().chain(oidc::endpoints()).collect()
}

async fn who(Shared(node): Shared<Arc<Node>>, Extension(caller): Extension<Caller>) -> Response {
    if caller.role.is_none() {
        let provider = node.access().oidc().map(|(provider, _secret)| &provider.settings().name);
        let oidc = provider.map(|name| json!({"name": name, "url": oidc::BEGIN}));
        return gate::unknown_with(
            "nobody has logged in",
            Some(json!({"password": true, "token": false, "oidc": oidc})),
        );
    }
    Json(describe(caller)).into_response()
}

fn describe(caller: Caller) -> Whoami {
    let (via, csrf) = match caller.means {
        Means::Socket => ("socket", None),
        Means::Nothing => ("loopback", None),
        Means::Token => ("token", None),
        Means::Session { csrf } => ("session", Some(csrf)),
        Means::Node => ("node", None),
    };
    Whoami { user: caller.name, role: caller.role, via: via.to_owned(), services: caller.services, csrf }
}

async fn log_in(
    Shared(node): Shared<Arc<Node>>,
    Extension(peer): Extension<Peer>,
    Extension(caller): Extension<Caller>,
    sent: Body,
) -> Response {
    let request: LoginRequest = match read(sent, r#"send {"user": "NAME", "password": "..."}"#).await {
        Ok(request) => request,
        Err(refusal) => return *refusal,
    };
    let access = node.access();
    if !access.is_on() {
        let hint = Some("write [access] into the configuration, see docs/security.md".to_owned());
        return error(StatusCode::CONFLICT, "this node has no users".to_owned(), hint);
    }
    let LoginRequest { user: name, password } = request;
    let opened = match access.log_in(peer.address(), name.clone(), password).await {
        Ok(Some(opened)) => opened,
        Ok(None) => {
            tracing::warn!(from = caller.from, "admin interface: a login failed");
            return gate::unknown("there is no such user, or the password is another one");
        }
        Err(NotNow::Wait(wait)) => return gate::too_often(wait),
        Err(NotNow::Busy(why)) => return error(StatusCode::SERVICE_UNAVAILABLE, why, None),
    };
    let directory = access.directory();
    let user = directory.users().get(&name);
    let who = Whoami {
        user: format!("user {name}"),
        role: user.map(|user| user.role),
        via: "session".to_owned(),
        services: user.and_then(|user| user.services.clone()),
        csrf: Some(opened.csrf),
    };
    with_cookie(Json(who).into_response(), Some(&opened.cookie), peer)
}

async fn log_out(Shared(node): Shared<Arc<Node>>, Extension(peer): Extension<Peer>, headers: HeaderMap) -> Response {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    cookies.filter_map(session::cookie_of).for_each(|cookie| node.access().log_out(cookie));
    let nobody = Whoami { user: "anybody".to_owned(), role: None, via: "none".to_owned(), services: None, csrf: None };
    with_cookie(Json(nobody).into_response(), None, peer)
}

fn with_cookie(mut response: Response, cookie: Option<&str>, peer: Peer) -> Response {
    if let Ok(value) = HeaderValue::from_str(&session::set_cookie(cookie, peer.is_encrypted())) {
        response.headers_mut().append(header::SET_COOKIE, value);
    }
    response
}

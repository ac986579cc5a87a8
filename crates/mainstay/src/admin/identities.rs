//! `/api/v1/access`: users and tokens.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State as Shared};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use mainstay_admin::caller::Caller;
use mainstay_admin::directory::{self, Directory, DirectoryError, Grant};
use mainstay_admin::endpoint::{self, Endpoint};
use mainstay_admin::password;
use mainstay_admin::precondition::Condition;
use mainstay_admin::role::{ADMIN, Role};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::admin::Node;
use crate::admin::access::{ChangeError, unix_seconds};
use crate::admin::api::{error, read};
use crate::admin::hashing;
use crate::timestamp::rfc3339;

/// The longest life of a token, in seconds.
const LIFE_MAX: u64 = 10 * 366 * 86_400;

/// What `POST /api/v1/access/tokens` takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// What it is for.
    #[schema(pattern = "^[A-Za-z0-9._@-]{1,64}$")]
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// The services that it may change; all if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_items = 1, max_items = 32)]
    pub services: Option<Vec<String>>,
    /// How long it can be used; for ever if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 316_224_000)]
    pub seconds: Option<u64>,
}

/// A new token, the only time that it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MadeToken {
    /// Its id, with which it is revoked.
    pub id: String,
    /// The token, a secret.
    pub token: String,
    /// Until when it can be used.
    pub expires_at: Option<String>,
}

/// A token as it is listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenStatus {
    /// Its id.
    pub id: String,
    /// What it is for.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// The services that it may change; none: all.
    pub services: Option<Vec<String>>,
    /// Since when it is there.
    pub created_at: String,
    /// Who made it.
    pub created_by: String,
    /// Until when it can be used.
    pub expires_at: Option<String>,
    /// Whether that is over.
    pub expired: bool,
    /// When it was last used at the node that answers, since that started.
    pub last_used_at: Option<String>,
    /// Its version, for `If-Match`.
    #[serde(default)]
    pub etag: String,
}

/// What `POST /api/v1/access/users` takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewUser {
    /// The name.
    #[schema(pattern = "^[A-Za-z0-9._@-]{1,64}$")]
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// The services that they may change; all if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_items = 1, max_items = 32)]
    pub services: Option<Vec<String>>,
    /// Their password.
    #[schema(min_length = 12, max_length = 256)]
    pub password: String,
}

/// What `PUT /api/v1/access/users/{name}/password` takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPassword {
    /// The password from now on.
    #[schema(min_length = 12, max_length = 256)]
    pub password: String,
}

/// A user as listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UserStatus {
    /// The name.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// The services that they may change; none: all.
    pub services: Option<Vec<String>>,
    /// Since when they are there.
    pub created_at: String,
    /// Its version, for `If-Match`.
    #[serde(default)]
    pub etag: String,
}

/// That something is done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = AccessChanged)]
pub struct Done {
    /// To whom or what.
    pub name: String,
}

pub(super) fn endpoints() -> Vec<Endpoint<Arc<Node>>> {
    let (tokens, users) = ("/api/v1/access/tokens", "/api/v1/access/users");
    let (token, user) = ("/api/v1/access/tokens/{id}", "/api/v1/access/users/{name}");
    let password = "/api/v1/access/users/{name}/password";
    vec![
        endpoint::get(tokens, ADMIN, "The tokens, without themselves")
            .command("mainstay access token list")
            .answers_list::<TokenStatus>()
            .tagged()
            .by(list_tokens),
        endpoint::get(token, ADMIN, "A token, without itself").answers::<TokenStatus>().tagged().by(show_token),
        endpoint::post(tokens, ADMIN, "Makes a token, which is shown once")
            .command("mainstay access token create NAME --role ROLE")
            .takes::<NewToken>()
            .answers::<MadeToken>()
            .conditional()
            .by(make_token),
        endpoint::delete(token, ADMIN, "Revokes a token")
            .command("mainstay access token revoke ID")
            .answers::<Done>()
            .conditional()
            .by(revoke),
        endpoint::get(users, ADMIN, "The users")
            .command("mainstay access user list")
            .answers_list::<UserStatus>()
            .tagged()
            .by(list_users),
        endpoint::get(user, ADMIN, "A user").answers::<UserStatus>().tagged().by(show_user),
        endpoint::post(users, ADMIN, "Adds a user")
            .command("mainstay access user add NAME --role ROLE")
            .takes::<NewUser>()
            .secrets(&["password"])
            .answers::<Done>()
            .conditional()
            .by(add_user),
        endpoint::delete(user, ADMIN, "Removes a user and ends their sessions")
            .command("mainstay access user remove NAME")
            .answers::<Done>()
            .conditional()
            .by(remove_user),
        endpoint::put(password, ADMIN, "Gives a user another password and ends their sessions")
            .command("mainstay access user password NAME")
            .takes::<NewPassword>()
            .secrets(&["password"])
            .answers::<Done>()
            .conditional()
            .by(set_password),
    ]
}

fn token_status(node: &Node, id: &str, token: &directory::Token) -> TokenStatus {
    TokenStatus {
        id: id.to_owned(),
        name: token.name.clone(),
        role: token.role,
        services: token.services.clone(),
        created_at: shown(token.created_unix_s),
        created_by: token.by.clone(),
        expires_at: token.expires_unix_s.map(shown),
        expired: token.expires_unix_s.is_some_and(|end| end <= unix_seconds()),
        last_used_at: node.access().last_used(id).map(shown),
        etag: token.tag().text(),
    }
}

fn user_status(name: &str, user: &directory::User) -> UserStatus {
    UserStatus {
        name: name.to_owned(),
        role: user.role,
        services: user.services.clone(),
        created_at: shown(user.created_unix_s),
        etag: user.tag().text(),
    }
}

async fn list_tokens(Shared(node): Shared<Arc<Node>>) -> Response {
    let directory = node.access().directory();
    let tokens: Vec<_> = directory.tokens().iter().map(|(id, token)| token_status(&node, id, token)).collect();
    directory.tokens_tag().on(Json(tokens))
}

async fn show_token(Shared(node): Shared<Arc<Node>>, Path(id): Path<String>) -> Response {
    match node.access().directory().tokens().get(&id) {
        Some(token) => token.tag().on(Json(token_status(&node, &id, token))),
        None => answer::<Done>(Err(DirectoryError::Unknown("token", id).into())),
    }
}

async fn make_token(
    Shared(node): Shared<Arc<Node>>,
    Extension(caller): Extension<Caller>,
    condition: Condition,
    sent: Body,
) -> Response {
    let request: NewToken = match read(sent, r#"send {"name": "ci", "role": "operator", "seconds": 86400}"#).await {
        Ok(request) => request,
        Err(refusal) => return *refusal,
    };
    if request.seconds.is_some_and(|seconds| !(1..=LIFE_MAX).contains(&seconds)) {
        return error(StatusCode::BAD_REQUEST, format!("a token lives 1 to {LIFE_MAX} seconds, or for ever"), None);
    }
    let now = unix_seconds();
    let expires = request.seconds.map(|seconds| now + seconds);
    let NewToken { name, role, services, .. } = request;
    let grant = Grant { name, role, services };
    let make = |it: &mut Directory| {
        condition.check(Some(&it.tokens_tag()))?;
        it.add_token(grant.clone(), expires, &caller.name, now)
    };
    let made = node.access().change(&node, make).await;
    answer(made.map(|(id, token)| MadeToken { id, token, expires_at: expires.map(shown) }))
}

async fn revoke(Shared(node): Shared<Arc<Node>>, Path(id): Path<String>, condition: Condition) -> Response {
    let revoke = |directory: &mut Directory| {
        directory.check_token(&id, &condition)?;
        directory.remove_token(&id)
    };
    let revoked = node.access().change(&node, revoke).await;
    answer(revoked.map(|token| Done { name: token.name }))
}

async fn list_users(Shared(node): Shared<Arc<Node>>) -> Response {
    let directory = node.access().directory();
    let users: Vec<_> = directory.users().iter().map(|(name, user)| user_status(name, user)).collect();
    directory.users_tag().on(Json(users))
}

async fn show_user(Shared(node): Shared<Arc<Node>>, Path(name): Path<String>) -> Response {
    match node.access().directory().users().get(&name) {
        Some(user) => user.tag().on(Json(user_status(&name, user))),
        None => answer::<Done>(Err(DirectoryError::Unknown("user", name).into())),
    }
}

async fn add_user(Shared(node): Shared<Arc<Node>>, condition: Condition, sent: Body) -> Response {
    let request: NewUser = match read(sent, r#"send {"name": "jane", "role": "operator", "password": "..."}"#).await {
        Ok(request) => request,
        Err(refusal) => return *refusal,
    };
    let NewUser { name, role, services, password } = request;
    let grant = Grant { name: name.clone(), role, services };
    let now = unix_seconds();
    let hashed = match hash(password).await {
        Ok(hashed) => hashed,
        Err(why) => return answer::<Done>(Err(why)),
    };
    let add = |it: &mut Directory| {
        condition.check(Some(&it.users_tag()))?;
        it.add_user(grant.clone(), hashed.clone(), now)
    };
    let added = node.access().change(&node, add).await;
    answer(added.map(|()| Done { name }))
}

async fn remove_user(Shared(node): Shared<Arc<Node>>, Path(name): Path<String>, condition: Condition) -> Response {
    let remove = |directory: &mut Directory| {
        directory.check_user(&name, &condition)?;
        directory.remove_user(&name)
    };
    let removed = node.access().change(&node, remove).await;
    answer(removed.map(|()| Done { name }))
}

async fn set_password(
    Shared(node): Shared<Arc<Node>>,
    Path(name): Path<String>,
    condition: Condition,
    sent: Body,
) -> Response {
    let request: NewPassword = match read(sent, r#"send {"password": "..."}"#).await {
        Ok(request) => request,
        Err(refusal) => return *refusal,
    };
    let hashed = match hash(request.password).await {
        Ok(hashed) => hashed,
        Err(why) => return answer::<Done>(Err(why)),
    };
    let set = |directory: &mut Directory| {
        directory.check_user(&name, &condition)?;
        directory.set_password(&name, hashed.clone())
    };
    let set = node.access().change(&node, set).await;
    answer(set.map(|()| Done { name }))
}

async fn hash(password: String) -> Result<String, ChangeError> {
    let hashed = hashing::elsewhere(move || password::hash(&password)).await;
    Ok(hashed.map_err(|why| ChangeError::Kept(why.to_string()))?.map_err(DirectoryError::from)?)
}

fn answer<T: Serialize>(done: Result<T, ChangeError>) -> Response {
    let why = match done {
        Ok(done) => return Json(done).into_response(),
        Err(why) => why,
    };
    let (status, hint) = match &why {
        ChangeError::Off => (StatusCode::CONFLICT, Some("see docs/security.md")),
        ChangeError::Kept(_) => (StatusCode::SERVICE_UNAVAILABLE, Some("`mainstay cluster status` shows the store")),
        ChangeError::Asked(DirectoryError::Unknown(..)) => {
            (StatusCode::NOT_FOUND, Some("`mainstay access` lists them"))
        }
        ChangeError::Asked(DirectoryError::Changed(changed)) => return changed.response(),
        ChangeError::Asked(DirectoryError::Taken(_) | DirectoryError::Full(..)) => (StatusCode::CONFLICT, None),
        ChangeError::Asked(DirectoryError::Random(_)) => (StatusCode::INTERNAL_SERVER_ERROR, None),
        ChangeError::Asked(_) => (StatusCode::BAD_REQUEST, None),
    };
    error(status, why.to_string(), hint.map(str::to_owned))
}

fn shown(unix_seconds: u64) -> String {
    rfc3339(UNIX_EPOCH + Duration::from_secs(unix_seconds))
}

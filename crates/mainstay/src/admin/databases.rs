//! `/api/v1/databases`: groups of database servers, and planned changes of them.

mod act;
mod describe;
pub mod document;
mod failovers;
#[cfg(test)]
mod tests;
mod words;

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State as Shared};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use mainstay_admin::caller::Caller;
use mainstay_admin::endpoint::{self, Endpoint};
use mainstay_admin::role::{OPERATOR, VIEWER};

use super::Node;
use super::api::{error, read};
use crate::cluster::Handle;
use crate::config::database::Database;
use act::{Action, Refused};
use describe::Known;
use document::{ChangeAnswer, ChangeRequest, DatabaseStatus};

pub(super) use failovers::failover_told;
pub use words::{amount, cost};

/// What is to be sent with a change.
const EXAMPLE: &str =
    r#"send {"node": "NAME"}, or {} for the best member; "dry_run": true only says what would be done"#;

/// The groups of a node; none if it has none.
pub(super) fn all(node: &Node) -> Vec<DatabaseStatus> {
    let Some(cluster) = node.cluster() else { return Vec::new() };
    let told = cluster.groups().told();
    let views = cluster.databases().views();
    let guard = cluster.groups().guard();
    let status = |database: &Database| {
        let known = Known { me: node.name(), view: views.get(&database.name), told: &told, guard };
        describe::status(database, &known)
    };
    cluster.groups().configured().iter().map(status).collect()
}

pub(super) fn endpoints() -> Vec<Endpoint<Arc<Node>>> {
    let change = |path: &'static str, summary: &'static str, command: &'static str| {
        endpoint::post(path, OPERATOR, summary).takes::<ChangeRequest>().answers::<ChangeAnswer>().command(command)
    };
    vec![
        endpoint::get("/api/v1/databases", VIEWER, "Groups of database servers: who is primary, who follows")
            .command("mainstay database status")
            .answers_list::<DatabaseStatus>()
            .by(list),
        change(
            "/api/v1/databases/{name}/switchover",
            "Makes another member primary in order; nothing is lost",
            "mainstay database switchover NAME",
        )
        .by(switchover),
        change(
            "/api/v1/databases/{name}/failover",
            "Makes another member primary at once, whatever is lost by that",
            "mainstay database failover NAME",
        )
        .by(failover),
        change(
            "/api/v1/databases/{name}/reinit",
            "Deletes a replica's data and copies them anew",
            "mainstay database reinit NAME NODE",
        )
        .by(reinit),
        change(
            "/api/v1/databases/{name}/pause",
            "Changes nothing over by itself until it is resumed",
            "mainstay database pause NAME",
        )
        .by(pause),
        change("/api/v1/databases/{name}/resume", "Ends a pause", "mainstay database resume NAME").by(resume),
    ]
}

async fn list(Shared(node): Shared<Arc<Node>>) -> Response {
    Json(all(&node)).into_response()
}

macro_rules! handlers {
    ($($name:ident: $action:expr;)+) => {
        $(async fn $name(
            Shared(node): Shared<Arc<Node>>,
            Extension(caller): Extension<Caller>,
            Path(name): Path<String>,
            sent: Body,
        ) -> Response {
            change(&node, &caller, &name, $action, sent).await
        })+
    };
}

handlers! {
    switchover: Action::Switchover;
    failover: Action::Failover;
    reinit: Action::Reinit;
    pause: Action::Pause;
    resume: Action::Resume;
}

async fn change(node: &Node, caller: &Caller, name: &str, action: Action, sent: Body) -> Response {
    let asked: ChangeRequest = match read(sent, EXAMPLE).await {
        Ok(asked) => asked,
        Err(refusal) => return *refusal,
    };
    match decide(node, &caller.name, name, action, &asked).await {
        Ok(answer) => Json(answer).into_response(),
        Err(Refused { status, why, hint }) => error(status, why, hint),
    }
}

async fn decide(
    node: &Node,
    by: &str,
    name: &str,
    action: Action,
    asked: &ChangeRequest,
) -> Result<ChangeAnswer, Refused> {
    let cluster = node.cluster().ok_or_else(|| unknown(None, name))?;
    let database = cluster.groups().database(name).ok_or_else(|| unknown(Some(cluster), name))?;
    let view = cluster.databases().view(name);
    let told = cluster.groups().told();
    let known = Known { me: node.name(), view: view.as_ref(), told: &told, guard: cluster.groups().guard() };
    let answer = act::forecast(action, database, &known, asked)?;
    if asked.dry_run {
        return Ok(answer);
    }
    let unavailable = |why| Refused { status: StatusCode::SERVICE_UNAVAILABLE, why, hint: None };
    let coordinator = cluster.parts().map_err(unavailable)?.coordinator;
    act::carry_out(coordinator.as_ref(), action, database, asked, by).await?;
    Ok(ChangeAnswer { done: true, ..answer })
}

fn unknown(cluster: Option<&Arc<Handle>>, name: &str) -> Refused {
    let groups = cluster.map(|cluster| cluster.groups().configured()).unwrap_or_default();
    let names: Vec<&str> = groups.iter().map(|database| database.name.as_str()).collect();
    let hint = if names.is_empty() {
        "write [cluster] and [[database]] in the configuration, see docs/databases.md".to_owned()
    } else {
        format!("there are {}", names.join(", "))
    };
    let why = format!("there is no group `{}`", name.chars().take(100).collect::<String>());
    Refused { status: StatusCode::NOT_FOUND, why, hint: Some(hint) }
}

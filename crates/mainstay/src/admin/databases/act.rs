//! What operators change of a group: said first, with what it risks, then written where the planner takes it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::http::StatusCode;
use mainstay_cluster::coordinator::{Compare, Coordinator, Operation, Transaction};
use mainstay_core::database::{self, Request};
use mainstay_failover::group::keys;
use serde_json::json;

use super::describe::{Known, observation, status};
use super::document::{ChangeAnswer, ChangeRequest, DatabaseStatus, GroupMember};
use super::words;
use crate::config::database::{Database, durability_word};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Switchover,
    Failover,
    Reinit,
    Pause,
    Resume,
}

/// Why it is not done.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) status: StatusCode,
    pub(super) why: String,
    pub(super) hint: Option<String>,
}

fn conflict(why: String, hint: String) -> Refused {
    Refused { status: StatusCode::CONFLICT, why, hint: Some(hint) }
}

/// What would be done, and what it risks.
pub(super) fn forecast(
    action: Action,
    database: &Database,
    known: &Known<'_>,
    asked: &ChangeRequest,
) -> Result<ChangeAnswer, Refused> {
    let Some(view) = known.view.filter(|view| view.is_current) else {
        return Err(Refused {
            status: StatusCode::SERVICE_UNAVAILABLE,
            why: format!("this node does not know how {} stands now", database.name),
            hint: Some("it needs a lease: `mainstay cluster status` says whether there is a quorum".to_owned()),
        });
    };
    let status = status(database, known);
    let answer = |text: String, risks: Vec<String>, to: Option<String>| ChangeAnswer {
        database: database.name.clone(),
        text,
        risks,
        to,
        term: view.plan.term,
        done: false,
    };
    match action {
        Action::Switchover | Action::Failover => {
            let request = request(action, asked);
            let admitted =
                database::admit(&database.policy(known.guard), &observation(view, None), &view.plan, &request);
            let to = admitted.map_err(|refusal| {
                let (why, hint) = words::refusal(database, refusal, asked.node.as_deref());
                conflict(why, hint)
            })?;
            let (text, risks) = if action == Action::Switchover {
                switchover(database, &status, to.as_deref())
            } else {
                failover(&status, to.as_deref(), view.plan.licence.is_loose())
            };
            Ok(answer(text, risks, to))
        }
        Action::Reinit => {
            let (text, risks) = reinit(database, &status, asked.node.as_deref())?;
            Ok(answer(text, risks, None))
        }
        Action::Pause => {
            let text = format!(
                "{} is left as it is until `mainstay database resume {0}`: its primary runs on without a lease, and servers that \
                 are stopped stay stopped.",
                database.name
            );
            let risks = [
                "while it is paused a primary that fails is NOT replaced",
                "a primary that is away when it is resumed has to be heard, or ended by `stonith`, before another one takes over \
                 by itself; with `durability = \"async\"` else only `failover --to` makes one",
            ];
            Ok(answer(text, risks.map(str::to_owned).to_vec(), None))
        }
        Action::Resume => Ok(answer(
            format!("{} is changed over by itself again when its primary fails", database.name),
            Vec::new(),
            None,
        )),
    }
}

fn request(action: Action, asked: &ChangeRequest) -> Request {
    let to = asked.node.clone();
    if action == Action::Switchover { Request::Switchover { to } } else { Request::Failover { to } }
}

fn primary(status: &DatabaseStatus) -> Option<&GroupMember> {
    status.members.iter().find(|member| Some(&member.node) == status.primary.as_ref())
}

fn switchover(database: &Database, status: &DatabaseStatus, to: Option<&str>) -> (String, Vec<String>) {
    let from = status.primary.as_deref().unwrap_or("the primary");
    let to = to.unwrap_or("the best replica");
    let text = format!(
        "{from} stops taking writes and is shut down in order; {to} takes over once it has everything, and {from} follows it. No \
         acknowledged write is lost. Sessions of {from} end."
    );
    let limit = database.times.yield_within;
    (
        text,
        vec![format!(
            "if {from} is not down in order within {limit:?}, it becomes a failover, which promises what `{}` does",
            durability_word(database.durability)
        )],
    )
}

/// `is_loose`: the old primary may run without a lease.
fn failover(status: &DatabaseStatus, to: Option<&str>, is_loose: bool) -> (String, Vec<String>) {
    let from = primary(status);
    let name = from.map_or("the old primary", |from| from.node.as_str());
    match to.and_then(|to| status.members.iter().find(|member| member.node == to)) {
        Some(to) => {
            let text = format!("{name} is stopped at once, and {} becomes primary WHATEVER IT LACKS.", to.node);
            let mut risks = vec![words::loss(from, to)];
            if is_loose && from.is_none_or(|from| from.state == "away") {
                risks.push(format!(
                    "TWO PRIMARIES if the server of {name} still runs: the group was paused, so that it runs without a lease. Make \
                     certain that its machine is off"
                ));
            }
            if to.state == "away" || to.state == "silent" {
                risks.push(format!("{} is {}: nobody takes writes until it answers", to.node, to.state));
            }
            if to.priority == 0 {
                risks.push(format!("{} has the priority 0: it is not meant to become primary", to.node));
            }
            (text, risks)
        }
        None => {
            let text = format!("{name} is stopped at once, and the replica that has the most takes over.");
            let risk = if status.acks > 0 {
                "no acknowledged write is lost; nobody takes writes until enough members have said what they have"
                    .to_owned()
            } else {
                format!(
                    "what {name} has acknowledged and no replica has received is lost; `mainstay database switchover` loses nothing"
                )
            };
            (text, vec![risk])
        }
    }
}

fn reinit(database: &Database, status: &DatabaseStatus, node: Option<&str>) -> Result<(String, Vec<String>), Refused> {
    let show = format!("`mainstay database status {}` shows the members", database.name);
    let Some(member) = node.and_then(|node| status.members.iter().find(|member| member.node == node)) else {
        return Err(conflict(format!("{} is no member", node.unwrap_or("that")), show));
    };
    let Some(primary) = primary(status).filter(|primary| primary.state == "running") else {
        let why = "there is no primary to copy from, and this copy may be the best that is left".to_owned();
        return Err(conflict(why, show));
    };
    if member.node == primary.node || member.role == "primary" {
        let hint = format!("`mainstay database switchover {}` makes another member primary first", database.name);
        return Err(conflict(format!("{} is the primary", member.node), hint));
    }
    let text = format!(
        "The data of {} is deleted, and copied anew from {}. What it alone had is gone.",
        member.node, primary.node
    );
    let others = |it: &&GroupMember| it.acknowledges && it.state == "streaming" && it.node != member.node;
    let in_step = status.members.iter().filter(others).count() as u64;
    let mut risks = vec![format!("until the copy is whole there is one replica less; the copy loads {}", primary.node)];
    if in_step < status.acks {
        risks.push(format!("COMMITS WAIT until then: {in_step} of {} needed replicas are left", status.acks));
    }
    Ok((text, risks))
}

/// Writes it down for the planner, or the member.
pub(super) async fn carry_out(
    coordinator: &dyn Coordinator,
    action: Action,
    database: &Database,
    asked: &ChangeRequest,
    by: &str,
) -> Result<(), Refused> {
    let unavailable = |why: String| Refused { status: StatusCode::SERVICE_UNAVAILABLE, why, hint: None };
    let group = database.name.as_str();
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_millis();
    let mark = json!({ "since": u64::try_from(since).unwrap_or(u64::MAX), "by": by }).to_string();
    let reinit = asked.node.as_deref().map(|node| keys::reinit(group, node)).unwrap_or_default();
    let (key, operation) = match action {
        Action::Switchover | Action::Failover => {
            let value =
                serde_json::to_string(&request(action, asked)).map_err(|error| unavailable(error.to_string()))?;
            let key = keys::request(group);
            (Some(key.clone()), Operation::put(key, value, None))
        }
        Action::Reinit => (Some(reinit.clone()), Operation::put(reinit, mark, None)),
        Action::Pause => (None, Operation::put(keys::paused(group), mark, None)),
        Action::Resume => (None, Operation::delete(keys::paused(group))),
    };
    // What is asked for while another request waits would take its place unseen.
    let transaction = Transaction::when(key.map(Compare::absent), [operation]);
    let reply = coordinator.transact(transaction).await.map_err(|why| unavailable(why.to_string()))?;
    if reply.succeeded {
        return Ok(());
    }
    let hint = format!("`mainstay database status {group}` shows what is under way");
    Err(conflict("another request waits to be carried out".to_owned(), hint))
}

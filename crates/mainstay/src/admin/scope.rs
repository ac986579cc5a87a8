//! Answers for the whole cluster: what is counted is added up over its nodes, and it is said which nodes are in the sum.

use std::sync::Arc;
use std::time::Duration;

use mainstay_admin::role::Role;
use mainstay_runtime::task::{self, Kind};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use utoipa::ToSchema;

use super::nodes::{self, NoAnswer};
use super::passed::Question;
use super::{Node, cluster};
use crate::cluster::Parts;

/// A node that has not answered by then is left out: a page waits for all of them.
const LIMIT: Duration = Duration::from_secs(2);
/// Nodes that are asked, at most.
const NODES_MAX: usize = 64;

/// Whose numbers are meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Those of the node that answers.
    #[default]
    Node,
    /// Those of all nodes of its cluster together.
    Cluster,
}

/// Whose numbers are in a sum.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Coverage {
    /// The nodes that are in it, by name.
    pub nodes: Vec<String>,
    /// Those that are not.
    pub missing: Vec<MissingNode>,
}

/// A node that is not in a sum.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MissingNode {
    /// Its name.
    pub name: String,
    /// Why not.
    pub reason: String,
}

impl Scope {
    /// As queries name them.
    pub const WORDS: &[&str] = &["node", "cluster"];
}

impl Coverage {
    fn without(name: &str, reason: impl Into<String>) -> MissingNode {
        MissingNode { name: name.to_owned(), reason: reason.into() }
    }
}

/// What the other nodes of the cluster answer to GET of this path, by name, and whose answers are missing. Those that are known
/// to be down are not waited for. It is for the thread of the admin interface.
pub(super) async fn ask_others<T>(node: &Node, path: &str) -> (Vec<(String, T)>, Coverage)
where
    T: DeserializeOwned + Send + 'static,
{
    let mut coverage = Coverage { nodes: vec![node.name().to_owned()], missing: Vec::new() };
    let Some(handle) = node.cluster() else { return (Vec::new(), coverage) };
    let parts = match handle.parts() {
        Ok(parts) if parts.membership.is_some() => Arc::new(parts),
        Ok(_etcd) => {
            let others = nodes::entries(node).await.into_iter().filter(|it| it.state != "here");
            coverage.missing.extend(others.map(|it| Coverage::without(&it.name, it.reason.unwrap_or_default())));
            return (Vec::new(), coverage);
        }
        Err(why) => {
            coverage.missing.push(Coverage::without("*", format!("this node takes no part in its cluster: {why}")));
            return (Vec::new(), coverage);
        }
    };
    let mut asked = Vec::new();
    for member in cluster::report(node.name(), handle).members {
        match member.state.as_str() {
            "here" => {}
            "down" => coverage.missing.push(Coverage::without(&member.name, member.reason.unwrap_or_default())),
            _up_or_unknown if asked.len() == NODES_MAX => {
                coverage.missing.push(Coverage::without(&member.name, format!("only {NODES_MAX} nodes are asked")));
            }
            _up_or_unknown => {
                let (tell, told) = oneshot::channel();
                let question =
                    ask_one(Arc::clone(&parts), node.name().to_owned(), member.name.clone(), path.to_owned());
                task::spawn_local(Kind::Admin, async move {
                    let _nobody_waits = tell.send(question.await);
                });
                asked.push((member.name, told));
            }
        }
    }
    let mut answers = Vec::new();
    for (name, told) in asked {
        let answer = told.await.unwrap_or_else(|_dropped| Err("the question was dropped".to_owned()));
        match answer.and_then(|bytes| serde_json::from_slice(&bytes).map_err(|error| format!("its answer: {error}"))) {
            Ok(answer) => {
                coverage.nodes.push(name.clone());
                answers.push((name, answer));
            }
            Err(reason) => coverage.missing.push(Coverage::without(&name, reason)),
        }
    }
    coverage.nodes.sort();
    coverage.missing.sort_by(|a, b| a.name.cmp(&b.name));
    (answers, coverage)
}

/// Asks one node; an answer of 404 is one: it has nothing of what is asked for.
async fn ask_one(parts: Arc<Parts>, from: String, name: String, path: String) -> Result<axum::body::Bytes, String> {
    let question = Question {
        method: "GET".to_owned(),
        path,
        headers: Vec::new(),
        caller: format!("node {from}"),
        role: Some(Role::Viewer),
        services: None,
        limit_ms: u64::try_from(LIMIT.as_millis()).unwrap_or_default(),
    };
    match nodes::pass_on(&parts, &name, &question, b"", LIMIT).await {
        Ok((head, body)) if head.status == 200 => Ok(body),
        Ok((head, _body)) if head.status == 404 => Ok(axum::body::Bytes::from_static(b"null")),
        Ok((head, _body)) => Err(format!("it answers {}", head.status)),
        Err(NoAnswer::Unknown) => Err("it has left".to_owned()),
        Err(NoAnswer::Call(error)) => Err(error.to_string()),
        Err(NoAnswer::Damaged(why)) => Err(why),
    }
}

//! Members of groups ask each other directly whether a primary may go on without a lease, over the connections that nodes keep
//! with certificates of the cluster's.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use mainstay_cluster::membership::Membership;
use mainstay_cluster::peer::{Handler, NodeId, Service, Transport};
use mainstay_core::database::failsafe::Question;
use mainstay_failover::group::failsafe::{Ask, Asked, Failsafe};
use mainstay_failover::group::promises::Vows;

use crate::cluster::Context;
use crate::config::database::{Database, Server};

/// The file beside the server's other ones in which a promise stands.
const FILE: &str = "promise";

/// What this node's members promise and ask for, by group: of those that are to go on without the store.
pub(super) fn prepare(context: &Context, configured: &[Database]) -> BTreeMap<String, Failsafe> {
    let Some(membership) = context.membership.clone() else { return BTreeMap::new() };
    let way = Way { transport: Arc::clone(&context.transport), membership: membership.clone() };
    let of = |server: &Server| {
        let file = server.state_dir.join(FILE);
        let vows = Arc::new(Vows::open(Some(file), context.timings.guard, context.session.clock().clone()));
        Failsafe { vows, ask: Arc::new(way.clone()) as Arc<dyn Ask> }
    };
    let members = configured.iter().filter(|database| database.failsafe);
    let members = members.filter_map(|database| Some((database.name.clone(), of(database.server.as_ref()?))));
    let members: BTreeMap<String, Failsafe> = members.collect();
    let vows = members.iter().map(|(name, failsafe)| (name.clone(), Arc::clone(&failsafe.vows))).collect();
    context.handlers.attach(Service::Databases, Arc::new(Answerer { vows, membership }));
    members
}

/// Answers primaries that ask this node.
struct Answerer {
    vows: BTreeMap<String, Arc<Vows>>,
    membership: Membership,
}

#[async_trait]
impl Handler for Answerer {
    async fn handle(&self, from: NodeId, message: Bytes) -> Result<Bytes, String> {
        let question: Question = serde_json::from_slice(&message).map_err(|error| error.to_string())?;
        let asks = self.membership.member(&question.primary).map_err(|error| error.to_string())?;
        if asks.node != from {
            return Err(format!("node {from} asks in the name of {}", question.primary));
        }
        let vows = self.vows.get(&question.group);
        let vows = vows.ok_or_else(|| format!("this node has no server of {} with `failsafe`", question.group))?;
        serde_json::to_vec(&vows.answer(&question)).map(Bytes::from).map_err(|error| error.to_string())
    }
}

/// The way to other nodes.
#[derive(Clone)]
struct Way {
    transport: Arc<dyn Transport>,
    membership: Membership,
}

impl Ask for Way {
    fn ask(&self, node: &str, question: Question, limit: Duration) -> Asked {
        let (transport, member) = (Arc::clone(&self.transport), self.membership.member(node));
        Box::pin(async move {
            let message = serde_json::to_vec(&question).ok()?;
            let answer = transport.call(member.ok()?.node, Service::Databases, message.into(), limit).await;
            let answer =
                answer.map_err(|error| tracing::debug!(%error, "databases: a member does not answer the primary"));
            serde_json::from_slice(&answer.ok()?).ok()
        })
    }
}

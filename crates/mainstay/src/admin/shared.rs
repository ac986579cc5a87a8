//! What nodes share, as `/api/v1/status` tells it: the tables of sessions.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::Response;
use mainstay_cluster::drains::Drained;
use mainstay_core::opinion::Effect;
use mainstay_gateway::spec::SessionEngine;
use mainstay_gateway::state::{Endpoint, State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Node;
use super::api::error;
use super::drains::DrainRequest;

/// How long the cluster may take over a drain.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);

/// A table of sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SessionsStatus {
    /// `embedded` or `redis`.
    pub table: String,
    /// Whether it answers; the embedded one always does.
    pub is_here: bool,
    /// Sessions in it, if it is the embedded one.
    pub sessions: Option<u64>,
    /// Sessions that have made room for others.
    pub evicted: u64,
    /// Sessions that others knew of before their clients did; for Redis: answers.
    pub acknowledged: u64,
    /// Sessions whose clients were told first.
    pub unacknowledged: u64,
    /// Sessions that another node has told of.
    pub received: u64,
    /// Sessions that were missing here and came by a comparison.
    pub repaired: u64,
    /// What other nodes told and was not taken.
    pub refused: u64,
    /// Comparisons with other nodes.
    pub comparisons: u64,
    /// Messages that got no answer; for Redis: commands.
    pub failures: u64,
    /// Commands that were not sent because Redis had just failed.
    pub skipped: u64,
    /// Connections that were opened to Redis.
    pub connections: u64,
}

/// What nodes make of each other's verdicts on endpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OpinionsStatus {
    /// Nodes that are heard, this one included.
    pub live: u64,
    /// This node alone sees every endpoint down: its verdicts are set aside.
    pub is_cut_off: bool,
    /// There is no agreement on anything new.
    pub is_frozen: bool,
    /// Endpoints that most nodes find down.
    pub down: u64,
    /// Writes of this node's verdicts.
    pub written: u64,
    /// Verdicts of others that came by the coordinator.
    pub received: u64,
    /// Verdicts of others that only asking has brought.
    pub repaired: u64,
}

/// What nodes make of each other's verdicts, in a cluster.
pub fn opinions(node: &Node) -> Option<OpinionsStatus> {
    node.cluster()?;
    let counts = node.opinions();
    Some(OpinionsStatus {
        live: counts.live.load(Ordering::Relaxed),
        is_cut_off: counts.is_cut_off.load(Ordering::Relaxed),
        is_frozen: counts.is_frozen.load(Ordering::Relaxed),
        down: counts.down.load(Ordering::Relaxed),
        written: counts.written.load(Ordering::Relaxed),
        received: counts.received.load(Ordering::Relaxed),
        repaired: counts.repaired.load(Ordering::Relaxed),
    })
}

/// The tables that services use.
pub fn sessions(node: &Node) -> Vec<SessionsStatus> {
    let state = node.gateway().state();
    let mut all = Vec::new();
    if uses(&state, SessionEngine::Embedded) {
        let store = node.sessions().embedded();
        let (counts, (sessions, evicted)) = (&store.counts, store.size());
        all.push(SessionsStatus {
            table: "embedded".to_owned(),
            is_here: true,
            sessions: Some(sessions as u64),
            evicted,
            acknowledged: counts.acknowledged.load(Ordering::Relaxed),
            unacknowledged: counts.unacknowledged.load(Ordering::Relaxed),
            received: counts.received.load(Ordering::Relaxed),
            repaired: counts.repaired.load(Ordering::Relaxed),
            refused: counts.refused.load(Ordering::Relaxed),
            comparisons: counts.comparisons.load(Ordering::Relaxed),
            failures: counts.failures.load(Ordering::Relaxed),
            ..SessionsStatus::default()
        });
    }
    if let Some(redis) = node.sessions().redis().filter(|_redis| uses(&state, SessionEngine::Redis)) {
        let counts = redis.counts();
        all.push(SessionsStatus {
            table: "redis".to_owned(),
            is_here: redis.is_here(),
            acknowledged: counts.answers.load(Ordering::Relaxed),
            failures: counts.failures.load(Ordering::Relaxed),
            skipped: counts.skipped.load(Ordering::Relaxed),
            connections: counts.connections.load(Ordering::Relaxed),
            ..SessionsStatus::default()
        });
    }
    all
}

/// Why an endpoint is as it is: what this node found, and what the others make of it.
pub fn reason(endpoint: &Endpoint) -> String {
    let own = endpoint.reason.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let others = match endpoint.effect() {
        Effect::Own => return own,
        Effect::Down => "down by the verdict of most nodes",
        Effect::SetAside => "most nodes can reach it: this node's own verdict is set aside",
    };
    if own.is_empty() { others.to_owned() } else { format!("{own}; {others}") }
}

/// Drains an endpoint for all nodes, or no longer, and waits until this one has heard of it.
pub(super) async fn drain(node: &Node, request: &DrainRequest) -> Result<(), Response> {
    let Some(cluster) = node.cluster() else { return Ok(()) };
    let drained = Drained { service: request.service.clone(), endpoint: request.endpoint.clone() };
    let set = async {
        let coordinator = cluster.parts().map_err(mainstay_cluster::coordinator::Error::Unavailable)?.coordinator;
        drained.set(coordinator.as_ref(), request.drain).await
    };
    let outcome = match tokio::time::timeout(DRAIN_LIMIT, set).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_elapsed) => Err(format!("no answer within {} s", DRAIN_LIMIT.as_secs())),
    };
    outcome.map_err(|reason| {
        let hint = "drains for all nodes need a quorum; `mainstay drain --local` drains on this node alone".to_owned();
        error(StatusCode::SERVICE_UNAVAILABLE, format!("the cluster does not take the drain: {reason}"), Some(hint))
    })?;
    for _look in 0..100 {
        let found = node.gateway().find(&request.service, &request.endpoint);
        let is_heard = found.is_ok_and(|it| it.drained_for_all.load(Ordering::Acquire) == request.drain);
        if is_heard {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

fn uses(state: &State, engine: SessionEngine) -> bool {
    let tables = state.services.iter().filter_map(|service| service.spec.sticky.as_ref()?.table);
    tables.into_iter().any(|table| table.engine == engine)
}

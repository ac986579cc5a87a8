//! What nodes share, as `/api/status` tells it: the tables of sessions.

use std::sync::atomic::Ordering;

use mainstay_gateway::spec::SessionEngine;
use mainstay_gateway::state::State;
use serde::{Deserialize, Serialize};

use super::Node;

/// A table of sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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

fn uses(state: &State, engine: SessionEngine) -> bool {
    let tables = state.services.iter().filter_map(|service| service.spec.sticky.as_ref()?.table);
    tables.into_iter().any(|table| table.engine == engine)
}

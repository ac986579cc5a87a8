//! Changes of the primary, as they are told.

use std::time::{Duration, UNIX_EPOCH};

use mainstay_failover::group::board::Failover;

use super::document::{FailoverStatus, LossStatus, PartStatus};
use super::words;
use crate::timestamp::rfc3339;

/// A change of the primary, with its phases and what it cost.
pub(in crate::admin) fn failover_told(failover: &Failover) -> FailoverStatus {
    let parts = failover.phases().into_iter().map(|(name, ms)| PartStatus { name: name.to_owned(), ms });
    FailoverStatus {
        at: rfc3339(UNIX_EPOCH + Duration::from_millis(failover.at_unix_ms)),
        from: failover.from.clone(),
        to: failover.to.clone(),
        term: failover.term,
        planned: failover.planned,
        cause: failover.cause.clone(),
        rto_ms: failover.took_ms(),
        parts: parts.collect(),
        routed_by: failover.routed.as_ref().map(|routed| routed.node.clone()),
        risk: failover.risk.map(words::risk),
        loss: loss(failover),
    }
}

fn loss(failover: &Failover) -> LossStatus {
    let known = failover.loss.clone().unwrap_or_default();
    LossStatus {
        measured: failover.loss.is_some(),
        text: words::cost(failover),
        bytes: known.bytes,
        at_most_bytes: failover.at_most.filter(|_| failover.loss.is_none()),
        commits: known.commits,
        span_ms: known.span_ms,
        keys: known.keys,
        probe_rows: known.probe_rows,
        kept: known.kept,
    }
}

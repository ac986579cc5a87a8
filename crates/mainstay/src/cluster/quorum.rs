//! Asks once a second whether the cluster can still decide anything, so that `mainstay status` and the log can say so.

use std::time::{Duration, Instant};

use mainstay_cluster::coordinator::{Consistency, Range};

use super::Context;
use super::handle::Quorum;

/// A key that nobody writes.
const PROBE: &str = "quorum";
const INTERVAL: Duration = Duration::from_secs(1);
/// A busy disk or a change of leader may take so long without anything being wrong.
const PATIENCE: Duration = Duration::from_secs(3);

pub(super) async fn run(context: Context) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = context.left() => return,
            _tick = ticks.tick() => {}
        }
        let asked = context.coordinator.range(Range::key(PROBE), None, 1, Consistency::Linearizable);
        let answer = match tokio::time::timeout(PATIENCE, asked).await {
            Ok(Ok(_listing)) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_elapsed) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
        };
        note(&context, answer);
    }
}

fn note(context: &Context, answer: Result<(), String>) {
    let before = context.handle.quorum();
    let since = Instant::now();
    let quorum = match (before, answer) {
        (kept @ Quorum::There { .. }, Ok(())) => kept,
        (Quorum::Unknown | Quorum::Lost { .. }, Ok(())) => {
            tracing::info!("cluster: there is a quorum");
            Quorum::There { since }
        }
        (Quorum::Lost { since, .. }, Err(reason)) => Quorum::Lost { since, reason },
        (Quorum::Unknown | Quorum::There { .. }, Err(reason)) => {
            tracing::warn!(reason, "cluster: no quorum; what is served stays as it is, and no change is accepted");
            Quorum::Lost { since, reason }
        }
    };
    context.handle.note_quorum(quorum);
}

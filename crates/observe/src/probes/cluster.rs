//! Nodes of a cluster tell each other what came of their probes: each writes a key on its session when that changes, and every
//! ten seconds while it does not. Whose key is there is expected to have a view.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mainstay_cluster::coordinator::{Change, Consistency, Coordinator, Entry, Error, Range};
use mainstay_cluster::session::Kept;

use super::board::{Board, Report};

const PREFIX: &str = "probes/seen/";
/// Between two writes, at least.
const PACE: Duration = Duration::from_millis(500);
/// After the watch of the store broke.
const PAUSE: Duration = Duration::from_secs(1);

/// Where a node says what came of its probes: on its session.
pub fn seen_key(node: &str) -> String {
    format!("{PREFIX}{node}")
}

/// Exchanges views for ever. `kept` is the registration under [`seen_key`], and `is_lost` says whether the cluster is out of
/// reach.
pub async fn exchange(board: &Board, coordinator: Arc<dyn Coordinator>, kept: Kept, is_lost: impl Fn() -> bool) {
    let tell = async {
        let mut reports = board.reports();
        loop {
            // The sender lives as long as the board.
            let _changed = reports.changed().await;
            let report = reports.borrow_and_update().clone();
            if let Ok(bytes) = serde_json::to_vec(&report) {
                kept.set(Bytes::from(bytes));
            }
            tokio::time::sleep(PACE).await;
        }
    };
    let hear = async {
        loop {
            if let Err(error) = follow(board, coordinator.as_ref()).await {
                tracing::debug!(%error, "what other nodes say of probes cannot be followed");
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    let look = async {
        let mut was_lost = false;
        loop {
            let lost = is_lost();
            if lost != was_lost {
                was_lost = lost;
                board.set_cut_off(lost);
            }
            tokio::time::sleep(PACE).await;
        }
    };
    tokio::select! {
        () = tell => {}
        () = hear => {}
        () = look => {}
    }
}

async fn follow(board: &Board, coordinator: &dyn Coordinator) -> Result<(), Error> {
    let listing = coordinator.range(Range::prefix(PREFIX), None, 0, Consistency::Linearizable).await?;
    let mut watch = coordinator.watch(Range::prefix(PREFIX), listing.revision + 1).await?;
    // What another version has written and this one cannot read says nothing.
    let read = |entry: &Entry| serde_json::from_slice::<Report>(&entry.value).unwrap_or_default();
    let node = |key: &str| key.strip_prefix(PREFIX).unwrap_or_default().to_owned();
    let mut all: BTreeMap<String, Report> =
        listing.entries.iter().map(|entry| (node(&entry.key), read(entry))).collect();
    board.hear(all.clone(), board.now());
    loop {
        for change in watch.next().await?.changes {
            match change {
                Change::Put(entry) => all.insert(node(&entry.key), read(&entry)),
                Change::Delete { key } => all.remove(&node(&key)),
            };
        }
        board.hear(all.clone(), board.now());
    }
}

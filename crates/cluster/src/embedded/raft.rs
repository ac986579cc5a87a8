//! What this engine gives openraft to work with.

use std::io::Cursor;

use openraft::{Config, SnapshotPolicy};
use serde::{Deserialize, Serialize};

use crate::coordinator::Error;
use crate::store::{Command, Reply};
use crate::timings::Timings;

/// Bytes of a snapshot that are sent at a time.
const CHUNK_BYTES: u64 = 1 << 20;
/// How long a node may take to store one of them, or to install the whole.
const INSTALL_MS: u64 = 10_000;

openraft::declare_raft_types!(
    /// The types of this log.
    pub(super) Types:
        D = Command,
        R = Applied,
        NodeId = u64,
        Node = Peer,
        Entry = openraft::Entry<Types>,
        SnapshotData = Cursor<Vec<u8>>,
        AsyncRuntime = openraft::TokioRuntime,
);

pub(super) type Entry = openraft::Entry<Types>;
pub(super) type Raft = openraft::Raft<Types>;

/// What became of an entry; `None` for one that is no command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Applied(pub(super) Option<Result<Reply, Error>>);

/// A member of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// The node's name.
    pub name: String,
    /// Where other nodes reach it, as host and port.
    pub address: String,
    /// Whether it is to vote as soon as it can; the others only follow.
    pub voter: bool,
}

/// openraft's settings. Its own timers for heartbeats and elections are off: `duty` has better ones.
pub(super) fn config(timings: &Timings, snapshot_entries: u64) -> Config {
    let millis = |duration: std::time::Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    // For so long after a heartbeat a node does not vote for another leader.
    let lease = millis(timings.heartbeat * 2);
    Config {
        cluster_name: "mainstay".to_owned(),
        // How long one message to append is waited for. Longer than a round trip over a slow link, and short enough that
        // one lost message does not make a follower give its leader up.
        heartbeat_interval: millis((timings.election_min.saturating_sub(timings.heartbeat)).min(timings.rpc)).max(1),
        election_timeout_min: (lease / 2).max(1),
        election_timeout_max: lease.max(2),
        install_snapshot_timeout: INSTALL_MS,
        max_payload_entries: 256,
        replication_lag_threshold: snapshot_entries.saturating_add(snapshot_entries / 4),
        snapshot_policy: SnapshotPolicy::LogsSinceLast(snapshot_entries),
        snapshot_max_chunk_size: CHUNK_BYTES,
        // For nodes that lag a little.
        max_in_snapshot_log_to_keep: snapshot_entries / 8,
        purge_batch_size: 64,
        enable_tick: true,
        enable_heartbeat: false,
        enable_elect: false,
        ..Config::default()
    }
}

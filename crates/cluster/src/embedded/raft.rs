//! What this engine gives openraft to work with.

use std::future::Future;
use std::io::Cursor;
use std::time::Duration;

use openraft::{AsyncRuntime, Config, OptionalSend, SnapshotPolicy, TokioRuntime};
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
        AsyncRuntime = Runtime,
);

pub(super) type Entry = openraft::Entry<Types>;
pub(super) type Raft = openraft::Raft<Types>;

/// tokio, as openraft uses it, but for its patience with others. openraft waits for a vote no longer than
/// `election_timeout_min`, which has to be shorter than the leader's lease and so is less than many a slow link takes; nobody
/// could ever be elected over it. Each message has a limit of its own in `network`, and openraft's is made longer than that.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Runtime;

/// What openraft gives less time than this is a message; for what it waits for otherwise, it takes more.
const MESSAGE: Duration = Duration::from_secs(1);
/// Longer than any such message's own limit.
const MESSAGE_MAX: Duration = Duration::from_secs(15);

impl AsyncRuntime for Runtime {
    type JoinError = <TokioRuntime as AsyncRuntime>::JoinError;
    type JoinHandle<T: OptionalSend + 'static> = <TokioRuntime as AsyncRuntime>::JoinHandle<T>;
    type Sleep = <TokioRuntime as AsyncRuntime>::Sleep;
    type Instant = <TokioRuntime as AsyncRuntime>::Instant;
    type TimeoutError = <TokioRuntime as AsyncRuntime>::TimeoutError;
    type Timeout<R, T: Future<Output = R> + OptionalSend> = <TokioRuntime as AsyncRuntime>::Timeout<R, T>;
    type ThreadLocalRng = <TokioRuntime as AsyncRuntime>::ThreadLocalRng;
    type OneshotSender<T: OptionalSend> = <TokioRuntime as AsyncRuntime>::OneshotSender<T>;
    type OneshotReceiverError = <TokioRuntime as AsyncRuntime>::OneshotReceiverError;
    type OneshotReceiver<T: OptionalSend> = <TokioRuntime as AsyncRuntime>::OneshotReceiver<T>;

    fn spawn<T>(future: T) -> Self::JoinHandle<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        TokioRuntime::spawn(future)
    }

    fn sleep(duration: Duration) -> Self::Sleep {
        TokioRuntime::sleep(duration)
    }

    fn sleep_until(deadline: Self::Instant) -> Self::Sleep {
        TokioRuntime::sleep_until(deadline)
    }

    fn timeout<R, F: Future<Output = R> + OptionalSend>(duration: Duration, future: F) -> Self::Timeout<R, F> {
        TokioRuntime::timeout(if duration < MESSAGE { MESSAGE_MAX } else { duration }, future)
    }

    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(deadline: Self::Instant, future: F) -> Self::Timeout<R, F> {
        TokioRuntime::timeout_at(deadline, future)
    }

    fn is_panic(join_error: &Self::JoinError) -> bool {
        TokioRuntime::is_panic(join_error)
    }

    fn thread_rng() -> Self::ThreadLocalRng {
        TokioRuntime::thread_rng()
    }

    fn oneshot<T>() -> (Self::OneshotSender<T>, Self::OneshotReceiver<T>)
    where
        T: OptionalSend,
    {
        TokioRuntime::oneshot()
    }
}

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
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
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

//! A watch that outlives connections and members.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use etcd_client::{WatchOptions, WatchResponse, WatchStream};
use mainstay_core::random::Rng;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tracing::debug;

use super::Inner;
use super::convert::{revision, signed};
use super::fault::Fault;
use super::members::Sort;
use crate::coordinator::{Batch, Error, Range, Revision, Watch};

/// How long nothing may be heard before the member is asked for a sign of life, and then again until it is given up.
const QUIET: Duration = Duration::from_secs(1);
/// How long no member may be reachable before the watch ends.
const PATIENCE: Duration = Duration::from_secs(30);
/// The first and the longest pause before a watch is opened again.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// Bytes of one message, at most. etcd sends what a thousand revisions changed at once.
const MESSAGE_BYTES_MAX: usize = 256 << 20;

/// Follows a range.
pub(super) struct Follower {
    etcd: Arc<Inner>,
    range: Range,
    /// The first revision that has not been taken from `ready`, or handed out.
    next: Revision,
    ready: VecDeque<Batch>,
    live: Option<Live>,
    over: Option<Error>,
    retry: Retry,
}

/// An open stream.
struct Live {
    member: usize,
    stream: WatchStream,
    /// When something was last heard, or asked for.
    since: Instant,
    /// Whether a sign of life was asked for since.
    asked: bool,
}

struct Retry {
    failing_since: Option<Instant>,
    pause: Duration,
    at: Instant,
    rng: Rng,
}

impl Follower {
    /// Opens a watch.
    pub(super) async fn open(etcd: Arc<Inner>, range: Range, from: Revision, seed: u64) -> Result<Self, Error> {
        let retry = Retry { failing_since: None, pause: PAUSE.0, at: Instant::now(), rng: Rng::seeded(seed) };
        let next = from.max(1);
        let mut follower = Self { etcd, range, next, ready: VecDeque::new(), live: None, over: None, retry };
        let mut last = None;
        for _member in follower.etcd.members.all() {
            match follower.connect().await {
                Ok(live) => {
                    follower.live = Some(live);
                    return Ok(follower);
                }
                Err(error @ Error::Unavailable(_)) => last = Some(error),
                Err(error) => return Err(error),
            }
        }
        Err(last.unwrap_or_else(|| Error::Unavailable("no member of etcd is configured".to_owned())))
    }

    /// Opens the stream at the current member; leaves that member if it cannot.
    async fn connect(&self) -> Result<Live, Error> {
        let members = &self.etcd.members;
        let (member, patience) = (members.current(), members.patience());
        let opened = async {
            let client = members.connected(member, Sort::Repeatable, patience).await?;
            // etcd keeps the last change of a key whose revision is compacted, but older releases not a deletion. So it is
            // asked for one revision more than needed: if that is compacted it says so.
            let mut options = WatchOptions::new().with_start_revision(signed(self.next.saturating_sub(1).max(1)));
            if let Range::Prefix(_) = self.range {
                options = options.with_prefix();
            }
            let mut watcher = client.watch_client().max_decoding_message_size(MESSAGE_BYTES_MAX);
            let watching = watcher.watch(self.etcd.space.key(self.range.start()), Some(options));
            match timeout(patience, watching).await {
                Ok(stream) => Ok(stream?),
                Err(_elapsed) => Err(Fault::NotDone(format!("no watch within {patience:?}"))),
            }
        };
        match opened.await {
            Ok(stream) => Ok(Live { member, stream, since: Instant::now(), asked: false }),
            Err(Fault::NotDone(reason) | Fault::Lost(reason)) => {
                members.leave(member);
                Err(Error::Unavailable(reason))
            }
            Err(Fault::Final(error)) => Err(error),
            Err(fault) => Err(Error::Unavailable(format!("etcd refuses the watch: {fault:?}"))),
        }
    }

    /// Waits until it is time to open the stream again, and tries to.
    async fn reconnect(&mut self) {
        sleep_until(self.retry.at).await;
        let error = match self.connect().await {
            Ok(live) => {
                self.live = Some(live);
                return;
            }
            Err(error) => error,
        };
        let since = *self.retry.failing_since.get_or_insert_with(Instant::now);
        if !matches!(error, Error::Unavailable(_)) || since.elapsed() > PATIENCE {
            self.over = Some(error);
            return;
        }
        self.pause();
    }

    fn pause(&mut self) {
        let retry = &mut self.retry;
        retry.at = Instant::now() + retry.pause.mul_f64(0.5 + retry.rng.unit() / 2.0);
        retry.pause = (retry.pause * 2).min(PAUSE.1);
    }

    /// The stream has ended or says nothing: another one takes its place.
    fn lose(&mut self, reason: &str) {
        if let Some(live) = self.live.take() {
            debug!(member = live.member, reason, "a watch is opened again");
            self.etcd.members.leave(live.member);
            self.pause();
        }
    }

    fn take(&mut self, answer: &WatchResponse) {
        if answer.compact_revision() > 0 {
            // The revision after the compacted one is the oldest of which nothing is missing.
            let oldest = revision(answer.compact_revision()) + 1;
            self.over = Some(Error::Compacted { asked: self.next, oldest });
            return;
        }
        if answer.canceled() {
            if answer.cancel_reason().contains("permission denied") {
                self.over = Some(Error::Invalid(answer.cancel_reason().to_owned()));
            } else {
                self.lose(answer.cancel_reason());
            }
            return;
        }
        let first = self.next;
        for (at, change) in answer.events().iter().filter_map(|event| self.etcd.space.change(event)) {
            if at < first {
                continue;
            }
            match self.ready.back_mut() {
                Some(batch) if batch.revision == at => batch.changes.push(change),
                _ => self.ready.push_back(Batch { revision: at, changes: vec![change] }),
            }
            self.next = at + 1;
        }
        self.retry.failing_since = None;
        self.retry.pause = PAUSE.0;
    }
}

#[async_trait]
impl Watch for Follower {
    async fn next(&mut self) -> Result<Batch, Error> {
        loop {
            if let Some(batch) = self.ready.pop_front() {
                return Ok(batch);
            }
            if let Some(error) = &self.over {
                return Err(error.clone());
            }
            let Some(live) = &mut self.live else {
                self.reconnect().await;
                continue;
            };
            match timeout_at(live.since + QUIET, live.stream.message()).await {
                Ok(Ok(Some(answer))) => {
                    live.since = Instant::now();
                    live.asked = false;
                    self.take(&answer);
                }
                Ok(Ok(None)) => self.lose("the stream ended"),
                Ok(Err(error)) => self.lose(&error.to_string()),
                Err(_elapsed) if live.asked => self.lose("no sign of life"),
                Err(_elapsed) => {
                    live.since = Instant::now();
                    live.asked = true;
                    if let Err(error) = live.stream.request_progress().await {
                        self.lose(&error.to_string());
                    }
                }
            }
        }
    }
}

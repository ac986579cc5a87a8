//! The link to one other node: a queue of what it is to be told, and the comparisons with it.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use mainstay_core::backoff;
use mainstay_core::random::Rng;
use mainstay_core::session::Merged;
use mainstay_runtime::task::{AbortOnDrop, Kind, spawn_local};
use tokio::sync::{Notify, mpsc, watch};

use super::{Pace, Parcel};
use crate::peer::{NodeId, Service, Transport};
use crate::sessions::wire::{self, Question, RECORDS_MAX, Reply};
use crate::sessions::{Store, now};

/// What waits to be told, at most. More is left to the next comparison.
const QUEUE_MAX: usize = 16_384;
/// How long a node that does not answer is left alone.
const PAUSE: backoff::Policy = backoff::Policy { base: Duration::from_millis(500), cap: Duration::from_secs(5) };
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// Answers that one comparison fetches, at most: more than a table has parts.
const PAGES_MAX: usize = 1024;

/// A link. Dropping it ends it.
pub(super) struct Link {
    queue: mpsc::Sender<Rc<Parcel>>,
    ends: Rc<Ends>,
    _tasks: [AbortOnDrop; 2],
}

struct Ends {
    to: NodeId,
    store: Arc<Store>,
    transport: Arc<dyn Transport>,
    pace: Pace,
    /// It answered when it was asked last.
    is_here: Cell<bool>,
    /// Comparisons tried, whether they came to anything or not.
    compared: Cell<u64>,
    has_compared: Notify,
    /// How many times a node has stopped answering, whichever it was.
    departures: watch::Sender<u64>,
}

impl Link {
    pub(super) fn open(
        to: NodeId,
        store: &Arc<Store>,
        transport: &Arc<dyn Transport>,
        pace: Pace,
        departures: &watch::Sender<u64>,
    ) -> Self {
        let (queue, queued) = mpsc::channel(QUEUE_MAX);
        let ends = Rc::new(Ends {
            to,
            store: Arc::clone(store),
            transport: Arc::clone(transport),
            pace,
            is_here: Cell::new(true),
            compared: Cell::new(0),
            has_compared: Notify::new(),
            departures: departures.clone(),
        });
        let tell = spawn_local(Kind::Control, Rc::clone(&ends).tell(queued));
        let compare = spawn_local(Kind::Control, Rc::clone(&ends).keep_comparing());
        Self { queue, ends, _tasks: [tell.abort_on_drop(), compare.abort_on_drop()] }
    }

    /// Queues a parcel; `false` if there is no room.
    pub(super) fn send(&self, parcel: &Rc<Parcel>) -> bool {
        self.queue.try_send(Rc::clone(parcel)).is_ok()
    }

    pub(super) fn is_here(&self) -> bool {
        self.ends.is_here.get()
    }

    pub(super) fn is_compared(&self) -> bool {
        self.ends.compared.get() > 0
    }

    pub(super) async fn compared(&self) {
        self.ends.has_compared.notified().await;
    }
}

impl Ends {
    /// Tells the other side what is queued: one message at a time, with all that has gathered meanwhile.
    async fn tell(self: Rc<Self>, mut queued: mpsc::Receiver<Rc<Parcel>>) {
        let mut parcels = Vec::new();
        while queued.recv_many(&mut parcels, RECORDS_MAX).await > 0 {
            let records = parcels.iter().map(|parcel| parcel.record.clone()).collect();
            match self.ask(&Question::Tell { records }).await {
                Ok(Reply::Told { refused }) => {
                    for (place, parcel) in (0u32..).zip(parcels.drain(..)) {
                        if refused.contains(&place) { parcel.lost(&self.store) } else { parcel.arrived(&self.store) }
                    }
                }
                Ok(Reply::Differ { .. } | Reply::Page { .. }) | Err(()) => {
                    parcels.drain(..).for_each(|parcel| parcel.lost(&self.store));
                }
            }
        }
    }

    /// Compares now and then, and soon after a node has stopped answering: if it is the other side, to see when it is back; if
    /// it is a third one, because its last sessions may have reached only one of the two.
    async fn keep_comparing(self: Rc<Self>) {
        let mut rng = Rng::seeded(now() ^ (self.to.0 << 32) ^ u64::from(std::process::id()));
        let mut failures = 0;
        let mut departures = self.departures.subscribe();
        loop {
            departures.mark_unchanged();
            let is_done = self.compare().await.is_ok();
            self.compared.set(self.compared.get() + 1);
            self.has_compared.notify_one();
            let pause = if is_done {
                failures = 0;
                self.store.counts.comparisons.fetch_add(1, Ordering::Relaxed);
                self.pace.compare.mul_f64(0.75 + rng.unit() / 2.0)
            } else {
                failures = u32::saturating_add(failures, 1);
                backoff::delay(&PAUSE, failures, &mut rng).max(PAUSE_MIN)
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                // The first pause after one has gone is short; where there is no answer anyhow it is not cut short.
                _departure = departures.changed(), if is_done => {
                    tokio::time::sleep(PAUSE_MIN + PAUSE.base.mul_f64(rng.unit())).await;
                }
            }
        }
    }

    /// Fetches what the other side has and this one has not.
    async fn compare(&self) -> Result<(), ()> {
        let digests = self.store.digest(now()).to_vec();
        let Reply::Differ { buckets } = self.ask(&Question::Compare { digests }).await? else { return Err(()) };
        if buckets.is_empty() {
            return Ok(());
        }
        let mut part = 0;
        for _page in 0..PAGES_MAX {
            let question = Question::Fetch { buckets: buckets.clone(), part };
            let Reply::Page { records, next } = self.ask(&question).await? else { return Err(()) };
            for record in records {
                let (key, session) = record.read();
                if self.store.merge(now(), key, &session) == Merged::News {
                    self.store.counts.repaired.fetch_add(1, Ordering::Relaxed);
                }
            }
            match next {
                Some(next) if next > part => part = next,
                Some(_) | None => return Ok(()),
            }
        }
        Ok(())
    }

    /// Asks, and notes whether there was an answer.
    async fn ask(&self, question: &Question) -> Result<Reply, ()> {
        let answer = match wire::encode(question) {
            Ok(message) => {
                let answer = self.transport.call(self.to, Service::Sessions, message, self.pace.call).await;
                answer.map_err(|error| error.to_string()).and_then(|bytes| wire::decode::<Reply>(&bytes))
            }
            Err(error) => Err(error),
        };
        let is_here = answer.is_ok();
        if self.is_here.replace(is_here) != is_here {
            match &answer {
                Ok(_reply) => tracing::info!(node = %self.to, "sessions: a node answers again"),
                Err(error) => {
                    self.departures.send_modify(|count| *count = count.wrapping_add(1));
                    tracing::warn!(node = %self.to, error, "sessions: a node does not answer; nobody waits for it");
                }
            }
        }
        answer.map_err(|_logged| {
            self.store.counts.failures.fetch_add(1, Ordering::Relaxed);
        })
    }
}

//! Keeping the tables of all nodes alike: what is bound here is told to the others, and what they have is compared with what
//! is here. Each other node has a link of its own, so that one that does not answer holds up nobody else.

mod link;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use mainstay_core::session::Merged;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};

use super::wire::{self, Question, RECORDS_MAX, Record, Reply};
use super::{Change, Store, now};
use crate::peer::{Handler, NodeId, Transport};
use link::Link;

/// How often what is done. The defaults suit everybody; tests are in more of a hurry.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Between two comparisons with a node, give or take a quarter.
    pub compare: Duration,
    /// Between two batches of last uses.
    pub tell_used: Duration,
    /// How long look-ups wait at the start for what the others have.
    pub fill: Duration,
    /// How long an answer of another node is waited for.
    pub call: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            compare: Duration::from_secs(30),
            tell_used: Duration::from_secs(1),
            fill: Duration::from_secs(3),
            call: Duration::from_secs(1),
        }
    }
}

/// Between two clearings of what has ended.
const SWEEP: Duration = Duration::from_secs(10);

/// A session on its way to others, and who waits for it to arrive.
struct Parcel {
    record: Record,
    waiting: RefCell<Option<Waiting>>,
}

struct Waiting {
    safe: oneshot::Sender<bool>,
    /// Answers that are still needed.
    needed: usize,
    /// Answers that may still come.
    left: usize,
}

impl Parcel {
    fn arrived(&self, store: &Store) {
        self.count(store, true);
    }

    fn lost(&self, store: &Store) {
        self.count(store, false);
    }

    fn count(&self, store: &Store, arrived: bool) {
        let mut waiting = self.waiting.borrow_mut();
        let Some(counted) = waiting.as_mut() else { return };
        counted.needed -= usize::from(arrived);
        counted.left = counted.left.saturating_sub(1);
        let (is_safe, is_hopeless) = (counted.needed == 0, counted.left < counted.needed);
        if (is_safe || is_hopeless)
            && let Some(waiting) = waiting.take()
        {
            settle(store, waiting.safe, is_safe);
        }
    }

    /// Nobody waits any longer.
    fn expire(&self, store: &Store) {
        if let Some(waiting) = self.waiting.take() {
            settle(store, waiting.safe, false);
        }
    }
}

fn settle(store: &Store, safe: oneshot::Sender<bool>, is_safe: bool) {
    let counter = if is_safe { &store.counts.acknowledged } else { &store.counts.unacknowledged };
    counter.fetch_add(1, Ordering::Relaxed);
    // The client may have gone.
    let _gone = safe.send(is_safe);
}

/// Tells the other nodes of a table's changes and takes over theirs.
pub struct Replicator {
    store: Arc<Store>,
    transport: Arc<dyn Transport>,
    /// All nodes but this one.
    others: watch::Receiver<Vec<NodeId>>,
    pace: Pace,
    changes: mpsc::Receiver<Change>,
}

impl Replicator {
    /// For `store` on node `node`; `others` are the other members of the cluster, whether they can be reached or not. From now
    /// on look-ups of what is not there wait until the table is filled. `None` if the table has a replicator already.
    pub fn new(
        store: Arc<Store>,
        node: NodeId,
        transport: Arc<dyn Transport>,
        others: watch::Receiver<Vec<NodeId>>,
        pace: Pace,
    ) -> Option<Self> {
        let changes = store.connect(node.0)?;
        Some(Self { store, transport, others, pace, changes })
    }

    /// Runs until nobody says any more who the others are.
    pub async fn run(self) {
        let Self { store, transport, mut others, pace, mut changes } = self;
        let mut links = Links {
            store: Arc::clone(&store),
            transport,
            pace,
            departures: watch::Sender::new(0),
            links: BTreeMap::new(),
        };
        links.renew(&others.borrow_and_update());
        let mut waited_for: VecDeque<(Instant, Rc<Parcel>)> = VecDeque::new();
        let fill_until = Instant::now() + pace.fill;
        let (mut is_filled, mut tell_used_at, mut sweep_at) = (false, Instant::now(), Instant::now());
        loop {
            if !is_filled && (Instant::now() >= fill_until || links.are_compared()) {
                is_filled = true;
                store.filled(now());
                tracing::info!(sessions = store.size().0, "the table of sessions is as the others have it");
            }
            let expires = waited_for.front().map(|(at, _parcel)| *at);
            let wake = [Some(tell_used_at), Some(sweep_at), expires, (!is_filled).then_some(fill_until)];
            let wake = wake.into_iter().flatten().min().unwrap_or(sweep_at);
            tokio::select! {
                changed = others.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    links.renew(&others.borrow_and_update());
                }
                Some(change) = changes.recv() => waited_for.extend(links.tell(change)),
                () = links.compared(), if !is_filled => {}
                () = sleep_until(wake) => {}
            }
            let present = Instant::now();
            while let Some((_at, parcel)) = waited_for.pop_front_if(|(at, _parcel)| *at <= present) {
                parcel.expire(&store);
            }
            if present >= tell_used_at {
                tell_used_at = present + pace.tell_used;
                links.tell_used();
            }
            if present >= sweep_at {
                sweep_at = present + SWEEP;
                store.sweep(now());
            }
        }
    }
}

/// The links to all others.
struct Links {
    store: Arc<Store>,
    transport: Arc<dyn Transport>,
    pace: Pace,
    /// How many times a node has stopped answering.
    departures: watch::Sender<u64>,
    links: BTreeMap<NodeId, Link>,
}

impl Links {
    /// Drops the links to those who have left, and opens those to who has come.
    fn renew(&mut self, others: &[NodeId]) {
        self.links.retain(|to, _link| others.contains(to));
        for to in others {
            let open = || Link::open(*to, &self.store, &self.transport, self.pace, &self.departures);
            self.links.entry(*to).or_insert_with(open);
        }
    }

    /// Whether there are others and all of them have been compared with, or could not be.
    fn are_compared(&self) -> bool {
        !self.links.is_empty() && self.links.values().all(Link::is_compared)
    }

    /// Waits for the next one that has been compared with.
    async fn compared(&self) {
        match self.links.values().find(|link| !link.is_compared()) {
            Some(link) => link.compared().await,
            None => std::future::pending().await,
        }
    }

    /// Tells all others of a change. Answers the parcel and how long it is waited for, if it is.
    fn tell(&self, change: Change) -> Option<(Instant, Rc<Parcel>)> {
        let policy = self.store.policy();
        let needed = policy.ack.needed(self.links.len());
        let reachable = self.links.values().filter(|link| link.is_here()).count();
        let Change { key, session, safe } = change;
        let waiting = if needed == 0 || reachable < needed {
            settle(&self.store, safe, needed == 0);
            None
        } else {
            Some(Waiting { safe, needed, left: reachable })
        };
        let is_waited_for = waiting.is_some();
        let parcel = Rc::new(Parcel { record: Record::new(key, &session), waiting: RefCell::new(waiting) });
        for link in self.links.values().filter(|link| link.is_here()) {
            if !link.send(&parcel) {
                parcel.lost(&self.store);
            }
        }
        is_waited_for.then(|| (Instant::now() + policy.ack_timeout, parcel))
    }

    /// Tells all others when sessions were last used.
    fn tell_used(&self) {
        let used = self.store.take_used(now());
        for (key, session) in used {
            let parcel = Rc::new(Parcel { record: Record::new(key, &session), waiting: RefCell::default() });
            for link in self.links.values().filter(|link| link.is_here()) {
                // If there is no room the next comparison tells it.
                let _full = link.send(&parcel);
            }
        }
    }
}

/// Answers what other nodes ask of the table.
#[derive(Debug)]
pub struct Answerer(Arc<Store>);

impl Answerer {
    /// For `store`.
    pub const fn new(store: Arc<Store>) -> Self {
        Self(store)
    }

    fn answer(&self, question: Question) -> Result<Reply, String> {
        let (store, now) = (&self.0, now());
        match question {
            Question::Tell { records } if records.len() > RECORDS_MAX => {
                Err(format!("{} sessions in one message; at most {RECORDS_MAX} are taken", records.len()))
            }
            Question::Tell { records } => {
                let mut refused = Vec::new();
                for (place, record) in (0u32..).zip(records) {
                    let (key, session) = record.read();
                    match store.merge(now, key, &session) {
                        Merged::News => {
                            store.counts.received.fetch_add(1, Ordering::Relaxed);
                        }
                        Merged::Known => {}
                        Merged::Outlived | Merged::Refused => refused.push(place),
                    }
                }
                Ok(Reply::Told { refused })
            }
            Question::Compare { digests } => {
                let mine = store.digest(now);
                let differ =
                    (0u8..).zip(&mine).filter(|(bucket, digest)| digests.get(usize::from(*bucket)) != Some(digest));
                Ok(Reply::Differ { buckets: differ.map(|(bucket, _digest)| bucket).collect() })
            }
            Question::Fetch { buckets, part } => {
                let part = usize::try_from(part).unwrap_or(usize::MAX);
                let (sessions, next) = store.page(now, &wire::flags(&buckets), part, RECORDS_MAX / 2);
                let records = sessions.iter().map(|(key, session)| Record::new(*key, session)).collect();
                Ok(Reply::Page { records, next: next.and_then(|next| u32::try_from(next).ok()) })
            }
        }
    }
}

#[async_trait]
impl Handler for Answerer {
    async fn handle(&self, _from: NodeId, message: Bytes) -> Result<Bytes, String> {
        wire::encode(&self.answer(wire::decode(&message)?)?)
    }
}

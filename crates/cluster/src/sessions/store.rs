//! This node's table: in parts, so that workers seldom wait for each other, and never for long.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use mainstay_core::session::{BUCKETS, Key, Merged, Session, Table};
use tokio::sync::{mpsc, oneshot};

use super::Policy;

/// Parts with a lock each.
const PARTS: usize = 64;
/// Uses that wait to be told, in each part; more are told by the next comparison.
const USED_MAX: usize = 4096;
/// Changes that wait for the thread that tells them.
pub(super) const CHANGES_MAX: usize = 16_384;
/// Requests that wait for the table to be filled at the start; for others a session that is not there yet is none.
const WAITING_MAX: usize = 4096;

/// A session that was bound, for the others.
#[derive(Debug)]
pub struct Change {
    pub(super) key: Key,
    pub(super) session: Session,
    /// Told whether as many have it as must.
    pub(super) safe: oneshot::Sender<bool>,
}

/// What a look-up found.
#[derive(Debug)]
pub enum Found {
    /// The endpoint's name, or that there is no such session.
    Now(Option<Arc<str>>),
    /// The table is being filled: the answer comes when it is.
    Later(oneshot::Receiver<Option<Arc<str>>>),
}

/// What a table has counted.
#[derive(Debug, Default)]
pub struct Counts {
    /// Sessions that were told of in time.
    pub acknowledged: AtomicU64,
    /// Sessions whose answers went out without as many others knowing as must.
    pub unacknowledged: AtomicU64,
    /// Sessions taken over from others: by being told.
    pub received: AtomicU64,
    /// Sessions taken over from others: by a comparison.
    pub repaired: AtomicU64,
    /// What others told and was not taken: clocks that are too far ahead, or sizes out of bounds.
    pub refused: AtomicU64,
    /// Comparisons with another node that went to their end.
    pub comparisons: AtomicU64,
    /// Messages to other nodes that got no answer.
    pub failures: AtomicU64,
}

/// The table of this node. Used by workers, by the thread that tells others, and by what others tell.
#[derive(Debug)]
pub struct Store {
    parts: Box<[Mutex<Part>]>,
    policy: Mutex<Policy>,
    /// The way to the others, once there are any.
    way: OnceLock<Way>,
    filling: AtomicBool,
    waiting: Mutex<Vec<Waiting>>,
    /// What was counted.
    pub counts: Counts,
}

/// A look-up that waits until the table is filled.
type Waiting = (Key, oneshot::Sender<Option<Arc<str>>>);

#[derive(Debug)]
struct Part {
    table: Table,
    /// Sessions whose last use others do not know of.
    used: Vec<Key>,
}

#[derive(Debug)]
struct Way {
    node: u64,
    changes: mpsc::Sender<Change>,
}

impl Store {
    /// An empty table, that others know nothing of until [`super::replicate::Replicator`] runs.
    pub fn new(policy: Policy) -> Arc<Self> {
        let part = || Mutex::new(Part { table: Table::new(share(policy.max)), used: Vec::new() });
        Arc::new(Self {
            parts: (0..PARTS).map(|_part| part()).collect(),
            policy: Mutex::new(policy),
            way: OnceLock::new(),
            filling: AtomicBool::new(false),
            waiting: Mutex::default(),
            counts: Counts::default(),
        })
    }

    /// How it is kept.
    pub fn policy(&self) -> Policy {
        *lock(&self.policy)
    }

    /// Keeps it another way from now on.
    pub fn set_policy(&self, policy: Policy) {
        let before = std::mem::replace(&mut *lock(&self.policy), policy);
        if before.max != policy.max {
            self.parts.iter().for_each(|part| lock(part).table.resize(share(policy.max)));
        }
    }

    /// Where a session belongs. Looking it up is using it.
    pub fn find(&self, now: u64, key: Key) -> Found {
        let mut part = self.part(key);
        if let Some(session) = part.table.find(now, key) {
            let endpoint = Arc::clone(&session.endpoint);
            if part.table.touch(now, key) && part.used.len() < USED_MAX && self.way.get().is_some() {
                part.used.push(key);
            }
            return Found::Now(Some(endpoint));
        }
        drop(part);
        if !self.filling.load(Ordering::Acquire) {
            return Found::Now(None);
        }
        let mut waiting = lock(&self.waiting);
        // Looked at again under the lock, which the end of the filling takes too: nobody is left waiting.
        if waiting.len() >= WAITING_MAX || !self.filling.load(Ordering::Acquire) {
            return Found::Now(None);
        }
        let (tell, told) = oneshot::channel();
        waiting.push((key, tell));
        Found::Later(told)
    }

    /// Binds a session to an endpoint, and has the others told. The answer says whether as many know as must; `None` if
    /// there is nobody to tell.
    pub fn bind(&self, now: u64, key: Key, endpoint: &Arc<str>, ttl: u32) -> Option<oneshot::Receiver<bool>> {
        let way = self.way.get();
        let node = way.map_or(0, |way| way.node);
        let session = self.part(key).table.bind(now, node, key, endpoint, ttl);
        let way = way?;
        let (safe, told) = oneshot::channel();
        // Dropping the change drops its sender, which says that nobody was told.
        let _full = way.changes.try_send(Change { key, session, safe });
        Some(told)
    }

    /// Takes over what another node tells. Answers what came of it.
    pub fn merge(&self, now: u64, key: Key, session: &Session) -> Merged {
        let merged = self.part(key).table.merge(now, key, session);
        if merged == Merged::Refused {
            self.counts.refused.fetch_add(1, Ordering::Relaxed);
        }
        merged
    }

    /// What stands for the contents of each bucket.
    pub fn digest(&self, now: u64) -> [u64; BUCKETS] {
        let mut digests = [0; BUCKETS];
        self.parts.iter().for_each(|part| lock(part).table.digest(now, &mut digests));
        digests
    }

    /// The sessions of `buckets` in the parts from `part` on, until there are `at_least` or no more parts; and the part to go
    /// on with, if there are more.
    pub fn page(
        &self,
        now: u64,
        buckets: &[bool; BUCKETS],
        part: usize,
        at_least: usize,
    ) -> (Vec<(Key, Session)>, Option<usize>) {
        let mut sessions = Vec::new();
        for (index, part) in self.parts.iter().enumerate().skip(part) {
            if sessions.len() >= at_least {
                return (sessions, Some(index));
            }
            sessions.extend(lock(part).table.within(now, buckets).map(|(key, session)| (key, session.clone())));
        }
        (sessions, None)
    }

    /// Sessions whose last use is to be told, as they are now.
    pub(super) fn take_used(&self, now: u64) -> Vec<(Key, Session)> {
        let mut used = Vec::new();
        for part in &self.parts {
            let mut part = lock(part);
            let keys = std::mem::take(&mut part.used);
            used.extend(keys.into_iter().filter_map(|key| Some((key, part.table.find(now, key)?.clone()))));
        }
        used
    }

    /// Forgets what has ended.
    pub fn sweep(&self, now: u64) {
        for part in &self.parts {
            // In turns, so that no worker waits for long.
            while lock(part).table.sweep(now, 256) == 256 {}
        }
    }

    /// Sessions in it, and how many have made room for others.
    pub fn size(&self) -> (usize, u64) {
        self.parts
            .iter()
            .map(|part| lock(part))
            .fold((0, 0), |(len, evicted), part| (len + part.table.len(), evicted + part.table.evicted()))
    }

    /// There are others, whom there is no way to yet: look-ups wait from now on, as they do once there is. Without a way
    /// [`Self::give_up_others`] has to end it.
    pub fn expect_others(&self) {
        self.filling.store(true, Ordering::Release);
    }

    /// Look-ups wait no longer for others whom there is still no way to. With a way nothing changes.
    pub fn give_up_others(&self, now: u64) {
        if self.way.get().is_none() {
            self.filled(now);
        }
    }

    /// Opens the way to others, as node `node`, and has look-ups wait until [`Self::filled`]. Once only.
    pub(super) fn connect(&self, node: u64) -> Option<mpsc::Receiver<Change>> {
        let (changes, received) = mpsc::channel(CHANGES_MAX);
        self.way.set(Way { node, changes }).ok()?;
        self.filling.store(true, Ordering::Release);
        Some(received)
    }

    /// The table holds what the others had: answers who has waited for that.
    pub(super) fn filled(&self, now: u64) {
        let waiting = {
            let mut waiting = lock(&self.waiting);
            self.filling.store(false, Ordering::Release);
            std::mem::take(&mut *waiting)
        };
        for (key, tell) in waiting {
            let found = self.part(key).table.find(now, key).map(|session| Arc::clone(&session.endpoint));
            // Whoever asked may be gone.
            let _gone = tell.send(found);
        }
    }

    fn part(&self, key: Key) -> MutexGuard<'_, Part> {
        // `part` answers less than the number of parts, of which there is at least one.
        lock(&self.parts[key.part(self.parts.len())])
    }
}

const fn share(max: usize) -> usize {
    max.div_ceil(PARTS)
}

/// Whoever panicked under the lock left a table behind that is whole: each change of it is one call.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

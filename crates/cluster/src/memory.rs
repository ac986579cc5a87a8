//! The engine of one process: the store itself, nothing on disk. For tests, and for a single node that has nowhere to
//! write to. It ends leases by itself.

mod link;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use mainstay_core::time::Moment;
use mainstay_runtime::clock::Clock;
use tokio::sync::watch;

use crate::coordinator::{
    Batch, Consistency, Coordinator, Error, Lease, LeaseId, Listing, Range, Revision, Transaction, TransactionReply,
    Watch,
};
use crate::replica::{Follow, Replica};
use crate::store::{Command, Reply, Store};

pub use link::{Fault, Link};

/// The engine. All copies are the same one.
#[derive(Clone)]
pub struct Memory(Arc<Inner>);

struct Inner {
    replica: Arc<Replica>,
    /// When each lease ends. Held while the store is changed, so that no one sees a lease that is over.
    deadlines: Mutex<BTreeMap<LeaseId, Moment>>,
    /// Told when `deadlines` change.
    moved: watch::Sender<()>,
    time: Time,
}

enum Time {
    /// The process's clock, which watches sleep by.
    Real(Clock),
    /// One that the test moves; [`Memory::tick`] follows it.
    Given(Box<dyn Fn() -> Moment + Send + Sync>),
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Memory").field(&self.0.replica).finish()
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

impl Memory {
    /// An empty one on the process's clock.
    pub fn new() -> Self {
        Self::with(Store::default(), Time::Real(Clock::new()))
    }

    /// One with `store` to begin with, say one of other limits.
    pub fn holding(store: Store) -> Self {
        Self::with(store, Time::Real(Clock::new()))
    }

    /// An empty one on another clock. Leases end when something is asked for, or at the next [`Memory::tick`].
    pub fn with_clock(clock: impl Fn() -> Moment + Send + Sync + 'static) -> Self {
        Self::with(Store::default(), Time::Given(Box::new(clock)))
    }

    /// Ends the leases whose time is over, which watches are told.
    pub fn tick(&self) {
        self.change(|_replica, _deadlines, _now| ());
    }

    /// This engine as one node reaches it: over a link that can fail.
    pub fn link(&self) -> Link {
        Link::new(self.clone())
    }

    fn with(store: Store, time: Time) -> Self {
        let deadlines = Mutex::new(BTreeMap::new());
        let memory =
            Self(Arc::new(Inner { replica: Replica::new(store), deadlines, moved: watch::Sender::new(()), time }));
        let leases: Vec<_> =
            memory.0.replica.read(|store| store.leases().map(|(id, granted)| (id, granted.ttl)).collect());
        // Leases that came along with the store live on from now.
        memory.change(|_replica, deadlines, now| {
            deadlines.extend(leases.into_iter().map(|(id, ttl)| (id, now.after(ttl))));
        });
        memory
    }

    fn now(&self) -> Moment {
        match &self.0.time {
            Time::Real(clock) => clock.now(),
            Time::Given(clock) => clock(),
        }
    }

    /// Ends what is over, then does `what`.
    fn change<T>(&self, what: impl FnOnce(&Replica, &mut BTreeMap<LeaseId, Moment>, Moment) -> T) -> T {
        let mut deadlines = self.0.deadlines.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.now();
        let over: Vec<LeaseId> =
            deadlines.iter().filter(|(_lease, deadline)| **deadline <= now).map(|(lease, _deadline)| *lease).collect();
        for lease in over {
            deadlines.remove(&lease);
            // A lease that was revoked meanwhile is not there, and that is all the same.
            let _ended = self.0.replica.apply(Command::Revoke { lease }, 0);
        }
        what(&self.0.replica, &mut deadlines, now)
    }

    fn lease(&self, command: Command) -> Result<Lease, Error> {
        let answer = self.change(|replica, deadlines, now| {
            let Reply::Lease(lease) = replica.apply(command, 0)? else { return Err(unexpected()) };
            deadlines.insert(lease.id, now.after(lease.ttl));
            Ok(lease)
        });
        self.0.moved.send_replace(());
        answer
    }

    /// Waits until the next lease may be over.
    async fn next_end(&self) {
        let Time::Real(clock) = &self.0.time else { return std::future::pending().await };
        let next = {
            let deadlines = self.0.deadlines.lock().unwrap_or_else(PoisonError::into_inner);
            deadlines.values().min().copied().unwrap_or(Moment::NEVER)
        };
        clock.sleep_until(next).await;
    }
}

fn unexpected() -> Error {
    Error::Invalid("the store answered something else than it was asked".to_owned())
}

#[async_trait]
impl Coordinator for Memory {
    async fn range(
        &self,
        range: Range,
        at: Option<Revision>,
        limit: usize,
        _consistency: Consistency,
    ) -> Result<Listing, Error> {
        self.change(|replica, _deadlines, _now| replica.read(|store| store.range(&range, at, limit)))
    }

    async fn transact(&self, transaction: Transaction) -> Result<TransactionReply, Error> {
        self.change(|replica, _deadlines, _now| {
            match replica.apply(Command::Transact { request: None, transaction }, 0)? {
                Reply::Transaction(reply) => Ok(reply),
                Reply::Lease(_) | Reply::Ended(_) | Reply::Node(_) => Err(unexpected()),
            }
        })
    }

    async fn watch(&self, range: Range, from: Revision) -> Result<Box<dyn Watch>, Error> {
        let follow = self.0.replica.follow(range, from)?;
        Ok(Box::new(Sleeping { memory: self.clone(), moved: self.0.moved.subscribe(), follow }))
    }

    async fn grant(&self, ttl: Duration) -> Result<Lease, Error> {
        self.lease(Command::Grant { ttl })
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<Lease, Error> {
        self.lease(Command::KeepAlive { lease })
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), Error> {
        self.change(|replica, deadlines, _now| {
            deadlines.remove(&lease);
            replica.apply(Command::Revoke { lease }, 0).map(|_ended| ())
        })
    }
}

/// A watch that ends leases while it waits, so that it needs no task for that.
struct Sleeping {
    memory: Memory,
    moved: watch::Receiver<()>,
    follow: Follow,
}

#[async_trait]
impl Watch for Sleeping {
    async fn next(&mut self) -> Result<Batch, Error> {
        loop {
            self.moved.mark_unchanged();
            self.memory.tick();
            tokio::select! {
                biased;
                batch = self.follow.next() => return batch,
                () = self.memory.next_end() => {}
                // The sender is in `memory`, so that this ends only with a change.
                _told = self.moved.changed() => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use bytes::Bytes;
    use mainstay_runtime::thread::run_here;

    use super::*;
    use crate::coordinator::Change;

    fn run<T>(future: impl Future<Output = T>) -> T {
        run_here(async { tokio::time::timeout(Duration::from_secs(20), future).await.unwrap() }).unwrap()
    }

    #[test]
    fn a_lease_ends_by_the_given_clock_and_its_keys_go_at_once() {
        run(async {
            let millis = Arc::new(AtomicU64::new(0));
            let clock = Arc::clone(&millis);
            let memory = Memory::with_clock(move || Moment::from_millis(clock.load(Ordering::Relaxed)));
            let coordinator: &dyn Coordinator = &memory;
            let lease = coordinator.grant(Duration::from_secs(2)).await.unwrap();
            coordinator.put("a", Bytes::new(), Some(lease.id)).await.unwrap();
            let revision = coordinator.put("b", Bytes::new(), Some(lease.id)).await.unwrap();
            let mut watch = coordinator.watch(Range::prefix(""), revision + 1).await.unwrap();
            millis.store(1500, Ordering::Relaxed);
            coordinator.keep_alive(lease.id).await.unwrap();
            millis.store(3499, Ordering::Relaxed);
            assert!(coordinator.get("a").await.unwrap().is_some());
            millis.store(3500, Ordering::Relaxed);
            let (batch, ()) = tokio::join!(watch.next(), async {
                tokio::task::yield_now().await;
                memory.tick();
            });
            let gone = |key: &str| Change::Delete { key: key.to_owned() };
            assert_eq!(batch.unwrap(), Batch { revision: revision + 1, changes: vec![gone("a"), gone("b")] });
            assert_eq!(coordinator.keep_alive(lease.id).await, Err(Error::LeaseNotFound(lease.id)));
            assert_eq!(coordinator.revoke(lease.id).await, Ok(()));
        });
    }

    #[test]
    fn a_watch_on_the_real_clock_sees_leases_end_that_came_after_it() {
        run(async {
            let memory = Memory::new();
            let coordinator: &dyn Coordinator = &memory;
            let mut watch = coordinator.watch(Range::key("a"), 2).await.unwrap();
            let granted = async {
                tokio::task::yield_now().await;
                let lease = coordinator.grant(Duration::from_millis(150)).await.unwrap();
                coordinator.put("a", Bytes::new(), Some(lease.id)).await.unwrap();
            };
            let (batch, ()) = tokio::join!(watch.next(), granted);
            assert_eq!(batch.unwrap().changes, [Change::Delete { key: "a".to_owned() }]);
        });
    }
}

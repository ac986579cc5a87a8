//! A node's own copy of the store, which reads and watches on this node share.
//!
//! A watch has no queue: it keeps its place in the store's history and is told when there is more. One that is too slow
//! finds its place forgotten and says [`Error::Compacted`], and costs nobody else anything.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::watch;

use crate::coordinator::{Batch, Error, Range, Revision, Watch};
use crate::store::{Command, Reply, Store, check_range};

/// Watches on one node at a time, at most.
pub const WATCHES_MAX: usize = 4096;

/// The copy.
pub struct Replica {
    store: Mutex<Store>,
    /// Whether it goes on, told anew after each change.
    changed: watch::Sender<Result<(), Error>>,
    watches: AtomicUsize,
}

impl fmt::Debug for Replica {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replica").field("revision", &self.read(Store::revision)).finish_non_exhaustive()
    }
}

impl Replica {
    /// A copy that begins with `store`.
    pub fn new(store: Store) -> Arc<Self> {
        Arc::new(Self { store: Mutex::new(store), changed: watch::Sender::new(Ok(())), watches: AtomicUsize::new(0) })
    }

    /// Looks into the store. Nothing else is done with it meanwhile, so `look` must be quick.
    pub fn read<T>(&self, look: impl FnOnce(&Store) -> T) -> T {
        look(&self.lock())
    }

    /// Applies a command, and wakes watches if it changed a key.
    ///
    /// # Errors
    /// As [`Store::apply`].
    pub fn apply(&self, command: Command, term: u64) -> Result<Reply, Error> {
        let (answer, changed) = {
            let mut store = self.lock();
            let before = store.revision();
            let answer = store.apply(command, term);
            (answer, store.revision() != before)
        };
        if changed {
            self.tell();
        }
        answer
    }

    /// Puts another store in the place of this one: a later one, which came as a snapshot.
    pub fn replace(&self, store: Store) {
        *self.lock() = store;
        self.tell();
    }

    /// Ends all watches, present and future ones, with `why`.
    pub fn close(&self, why: Error) {
        self.changed.send_modify(|state| *state = Err(why));
    }

    /// Follows changes of `range` from revision `from` on.
    ///
    /// # Errors
    /// If there are too many watches already.
    pub fn follow(self: &Arc<Self>, range: Range, from: Revision) -> Result<Follow, Error> {
        check_range(&range)?;
        // The count is taken by what gives it back when it is dropped, also if it is one too many.
        let before = self.watches.fetch_add(1, Ordering::Relaxed);
        let told = self.changed.subscribe();
        let follow = Follow { replica: Arc::clone(self), told, range, from, over: None };
        if before >= WATCHES_MAX {
            return Err(Error::Unavailable(format!("there are {WATCHES_MAX} watches on this node already")));
        }
        Ok(follow)
    }

    fn tell(&self) {
        self.changed.send_modify(|_state| {});
    }

    fn lock(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A watch on this node's copy.
#[derive(Debug)]
pub struct Follow {
    replica: Arc<Replica>,
    told: watch::Receiver<Result<(), Error>>,
    range: Range,
    from: Revision,
    over: Option<Error>,
}

impl Follow {
    /// What there is by now.
    fn look(&mut self) -> Result<Option<Batch>, Error> {
        // Marked as seen before it is looked at, so that a change in between wakes again.
        self.told.borrow_and_update().clone()?;
        let store = self.replica.lock();
        let batch = store.next_batch(&self.range, self.from)?;
        self.from = batch.as_ref().map_or(store.revision(), |batch| batch.revision).saturating_add(1).max(self.from);
        Ok(batch)
    }
}

#[async_trait]
impl Watch for Follow {
    async fn next(&mut self) -> Result<Batch, Error> {
        loop {
            if let Some(error) = &self.over {
                return Err(error.clone());
            }
            match self.look() {
                Ok(Some(batch)) => return Ok(batch),
                Ok(None) => {
                    if self.told.changed().await.is_err() {
                        self.over = Some(Error::Unavailable("the engine has ended".to_owned()));
                    }
                }
                Err(error) => self.over = Some(error),
            }
        }
    }
}

impl Drop for Follow {
    fn drop(&mut self) {
        self.replica.watches.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mainstay_runtime::thread::run_here;

    use super::*;
    use crate::coordinator::{Change, Operation, Transaction};
    use crate::store::Limits;

    fn put(replica: &Replica, key: &str) {
        let transaction = Transaction::always([Operation::put(key, "v", None)]);
        replica.apply(Command::Transact { request: None, transaction }, 0).unwrap();
    }

    fn run<T>(future: impl Future<Output = T>) -> T {
        run_here(async { tokio::time::timeout(Duration::from_secs(20), future).await.unwrap() }).unwrap()
    }

    #[test]
    fn a_watch_tells_every_revision_once_and_waits_for_more() {
        run(async {
            let replica = Replica::new(Store::default());
            put(&replica, "a");
            put(&replica, "other");
            let mut follow = replica.follow(Range::prefix("a"), 0).unwrap();
            assert_eq!(follow.next().await.unwrap().revision, 1);
            let (batch, ()) = tokio::join!(follow.next(), async {
                tokio::task::yield_now().await;
                put(&replica, "other");
                tokio::task::yield_now().await;
                put(&replica, "ab");
            });
            let batch = batch.unwrap();
            assert_eq!(batch.revision, 4);
            assert!(matches!(&batch.changes[..], [Change::Put(entry)] if entry.key == "ab"));
        });
    }

    #[test]
    fn a_watch_that_is_too_slow_says_so_and_is_over() {
        run(async {
            let replica = Replica::new(Store::new(Limits { history_revisions: 3, ..Limits::default() }));
            let mut follow = replica.follow(Range::key("a"), 1).unwrap();
            (0..5).for_each(|_turn| put(&replica, "a"));
            let compacted = Err(Error::Compacted { asked: 1, oldest: 3 });
            assert_eq!(follow.next().await, compacted);
            assert_eq!(follow.next().await, compacted);
        });
    }

    #[test]
    fn what_a_watch_is_not_about_does_not_make_it_slow() {
        run(async {
            let replica = Replica::new(Store::new(Limits { history_revisions: 3, ..Limits::default() }));
            let mut follow = replica.follow(Range::key("a"), 1).unwrap();
            let (batch, ()) = tokio::join!(follow.next(), async {
                for _turn in 0..10 {
                    put(&replica, "other");
                    tokio::task::yield_now().await;
                }
                put(&replica, "a");
            });
            assert_eq!(batch.unwrap().revision, 11);
        });
    }

    #[test]
    fn closing_ends_watches() {
        run(async {
            let replica = Replica::new(Store::default());
            let mut follow = replica.follow(Range::key("a"), 1).unwrap();
            let why = Error::Storage("the disk is full".to_owned());
            let (answer, ()) = tokio::join!(follow.next(), async {
                tokio::task::yield_now().await;
                replica.close(why.clone());
            });
            assert_eq!(answer, Err(why));
        });
    }

    #[test]
    fn watches_are_bounded() {
        let replica = Replica::new(Store::default());
        let mut held: Vec<_> = (0..WATCHES_MAX).map(|_nth| replica.follow(Range::key("a"), 1).unwrap()).collect();
        assert!(matches!(replica.follow(Range::key("a"), 1), Err(Error::Unavailable(_))));
        held.pop();
        replica.follow(Range::key("a"), 1).unwrap();
    }
}

//! Registrations: keys that are there while the session is.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use mainstay_core::time::Moment;
use tokio::sync::{Notify, watch};

use crate::coordinator::{Compare, Coordinator, Entry, Error, LeaseId, Operation, Outcome, Revision, Transaction};

/// A registration; [`super::Session::keep`] makes it. Dropping it leaves the key until the lease ends.
#[derive(Debug)]
pub struct Kept {
    pub(super) shared: Arc<Shared>,
}

impl Kept {
    /// Writes another value.
    pub fn set(&self, value: Bytes) {
        let mut wish = self.shared.wish.lock().unwrap_or_else(PoisonError::into_inner);
        if wish.value != value {
            wish.value = value;
            wish.version += 1;
            self.shared.driver.notify_one();
        }
    }

    /// Waits until what was set last, or something later, stands in the store on this lease, as far as the store has confirmed
    /// it; for ever if the lease is over. It may be dropped.
    pub async fn stands_on(&self, lease: LeaseId) {
        let version = self.shared.wish().version;
        let mut stands = self.shared.stands.subscribe();
        let is_there = |stands: &Option<(i64, u64)>| stands.is_some_and(|(on, what)| on == lease.0 && what >= version);
        // The sender lives as long as this does.
        let _there = stands.wait_for(is_there).await;
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.shared.wish.lock().unwrap_or_else(PoisonError::into_inner).dropped = true;
        self.shared.driver.notify_one();
    }
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) key: String,
    wish: Mutex<Wish>,
    driver: Arc<Notify>,
    /// On which lease which version was confirmed last.
    stands: watch::Sender<Option<(i64, u64)>>,
}

#[derive(Clone, Debug)]
struct Wish {
    value: Bytes,
    /// Counts the values.
    version: u64,
    dropped: bool,
}

impl Shared {
    pub(super) fn new(key: String, value: Bytes, driver: Arc<Notify>) -> Self {
        Self {
            key,
            wish: Mutex::new(Wish { value, version: 1, dropped: false }),
            driver,
            stands: watch::Sender::new(None),
        }
    }

    pub(super) fn is_dropped(&self) -> bool {
        self.wish.lock().unwrap_or_else(PoisonError::into_inner).dropped
    }

    fn wish(&self) -> Wish {
        self.wish.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What the driver knows of a registration.
pub(super) struct Place {
    pub(super) id: u64,
    pub(super) shared: Arc<Shared>,
    /// On which lease which version was written last.
    written: Option<(i64, u64)>,
    under_way: Option<(i64, u64)>,
    /// The key's last revision, as far as it is known. A write that comes late finds another one, and changes nothing.
    known: Revision,
    next: Moment,
}

/// One write.
pub(super) struct Write {
    key: String,
    value: Bytes,
    lease: LeaseId,
    known: Revision,
}

impl Write {
    /// Answers the new revision, or what is there instead.
    pub(super) async fn perform(self, coordinator: &dyn Coordinator) -> Result<Result<Revision, Option<Entry>>, Error> {
        let put = Operation::put(&self.key, self.value, Some(self.lease));
        let transaction =
            Transaction::when([Compare::modified(&self.key, self.known)], [put]).or_else([Operation::get(&self.key)]);
        let reply = coordinator.transact(transaction).await?;
        if reply.succeeded {
            return Ok(Ok(reply.revision));
        }
        match reply.outcomes.into_iter().next() {
            Some(Outcome::Found { entries, .. }) => Ok(Err(entries.into_iter().next())),
            Some(Outcome::Put | Outcome::Deleted(_)) | None => {
                Err(Error::Invalid("the engine's answer does not say what stands under the key".to_owned()))
            }
        }
    }
}

impl Place {
    pub(super) const fn new(id: u64, shared: Arc<Shared>) -> Self {
        Self { id, shared, written: None, under_way: None, known: 0, next: Moment::ZERO }
    }

    /// What is to be written on `lease` now, if anything.
    pub(super) fn due(&mut self, now: Moment, lease: i64) -> Option<Write> {
        let wish = self.shared.wish();
        if self.under_way.is_some() || self.written == Some((lease, wish.version)) || now < self.next {
            return None;
        }
        self.under_way = Some((lease, wish.version));
        Some(Write { key: self.shared.key.clone(), value: wish.value, lease: LeaseId(lease), known: self.known })
    }

    /// How the write ended.
    pub(super) fn done(&mut self, written: Result<Result<Revision, Option<Entry>>, Error>, retry_at: Moment) {
        let done = self.under_way.take();
        match written {
            Ok(Ok(revision)) => {
                self.written = done;
                self.known = revision;
                self.shared.stands.send_replace(done);
            }
            Ok(Err(there)) => {
                let known = there.map_or(0, |entry| entry.modified);
                // The same as before: the engine contradicts itself, which is not to become a race.
                self.next = if known == self.known { retry_at } else { self.next };
                self.known = known;
            }
            Err(error) => {
                tracing::debug!(key = self.shared.key, %error, "a registration was not written");
                self.next = retry_at;
            }
        }
    }

    /// When it should be looked at again.
    pub(super) fn deadline(&self, lease: i64) -> Option<Moment> {
        let wish = self.shared.wish();
        (self.under_way.is_none() && self.written != Some((lease, wish.version))).then_some(self.next)
    }
}

//! The journal of a process: what changed, in the order in which it was seen. Whoever drives something records; the event
//! stream, the ledger, incidents and alerts follow.
//!
//! The one buffer is a ring of the last [`LENGTH`] records. A subscriber is a place in it: one that is slow costs nobody
//! memory, and learns how many records it has missed.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use mainstay_core::transition::{Record, Transition};
use tokio::sync::watch;

use crate::clock::Boottime;

/// Records that are kept.
pub const LENGTH: usize = 4_096;

/// The journal. All copies are the same one.
#[derive(Clone, Debug)]
pub struct Journal(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    node: String,
    clock: Boottime,
    ring: Mutex<VecDeque<Arc<Record>>>,
    /// The number of the last record; 0 before the first.
    latest: watch::Sender<u64>,
    missed: AtomicU64,
}

impl Journal {
    /// An empty one of this node.
    pub fn new(node: &str) -> Self {
        Self(Arc::new(Shared {
            node: node.to_owned(),
            clock: Boottime::system(),
            ring: Mutex::new(VecDeque::with_capacity(LENGTH)),
            latest: watch::Sender::new(0),
            missed: AtomicU64::new(0),
        }))
    }

    /// The node that it speaks for.
    pub fn node(&self) -> &str {
        &self.0.node
    }

    /// Adds a transition that was seen now. Nobody is waited for: the lock is held only while pointers move.
    pub fn record(&self, transition: Transition) {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut record = Record {
            sequence: 0,
            at_unix_ms: u64::try_from(at.as_millis()).unwrap_or(u64::MAX),
            boottime_ns: self.0.clock.now().as_nanos(),
            node: self.0.node.clone(),
            transition,
        };
        let oldest = {
            let mut ring = self.ring();
            let sequence = ring.back().map_or(0, |last| last.sequence) + 1;
            record.sequence = sequence;
            let oldest = if ring.len() >= LENGTH { ring.pop_front() } else { None };
            ring.push_back(Arc::new(record));
            // Under the lock, so that the numbers told only grow.
            self.0.latest.send_replace(sequence);
            oldest
        };
        // Freed only now, when nobody waits for the lock.
        drop(oldest);
    }

    /// The number of the last record; 0 before the first.
    pub fn latest(&self) -> u64 {
        *self.0.latest.borrow()
    }

    /// Records that subscribers were too slow for, all taken together.
    pub fn missed(&self) -> u64 {
        self.0.missed.load(Ordering::Relaxed)
    }

    /// Records later than number `after`, the oldest first, at most `limit`: of those that are kept.
    pub fn since(&self, after: u64, limit: usize) -> Vec<Arc<Record>> {
        let ring = self.ring();
        let first = ring.partition_point(|record| record.sequence <= after);
        ring.iter().skip(first).take(limit).cloned().collect()
    }

    /// Follows the journal from here on.
    pub fn subscribe(&self) -> Subscription {
        self.subscribe_after(self.latest())
    }

    /// Follows the journal from the record after number `after` on; those that are not kept any more count as missed.
    pub fn subscribe_after(&self, after: u64) -> Subscription {
        Subscription { journal: self.clone(), latest: self.0.latest.subscribe(), heard: after.min(self.latest()) }
    }

    fn ring(&self) -> MutexGuard<'_, VecDeque<Arc<Record>>> {
        // Whoever panicked under the lock left a ring of whole records behind.
        self.0.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Journal {
    /// Of a node without a name: for tests, and gateways of their own.
    fn default() -> Self {
        Self::new("")
    }
}

/// A place in a journal.
#[derive(Debug)]
pub struct Subscription {
    journal: Journal,
    latest: watch::Receiver<u64>,
    /// The number of the last record that was given out or missed.
    heard: u64,
}

/// What a subscriber hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The next record.
    Record(Arc<Record>),
    /// So many records were not kept for as long as it took to ask for them; the next one follows.
    Missed(u64),
}

impl Subscription {
    /// Waits for what comes next. Nothing is lost if the future is dropped before its end. Any runtime, any thread.
    pub async fn next(&mut self) -> Heard {
        loop {
            if let Some(heard) = self.try_next() {
                return heard;
            }
            if self.latest.changed().await.is_err() {
                // The subscription holds the journal, so that the sender lives.
                std::future::pending::<()>().await;
            }
        }
    }

    /// What comes next, if it has come.
    pub fn try_next(&mut self) -> Option<Heard> {
        let latest = *self.latest.borrow_and_update();
        if latest <= self.heard {
            return None;
        }
        let record = self.journal.since(self.heard, 1).pop()?;
        let missed = record.sequence - self.heard - 1;
        if missed > 0 {
            self.heard += missed;
            self.journal.0.missed.fetch_add(missed, Ordering::Relaxed);
            return Some(Heard::Missed(missed));
        }
        self.heard = record.sequence;
        Some(Heard::Record(record))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mainstay_core::transition::{Aspect, Subject, Word};

    use super::*;
    use crate::thread::run_here;

    fn transition(cause: &str) -> Transition {
        Transition::new(Subject::of_service("shop"), Aspect::Standing, Word::Up, Word::Down).because(cause)
    }

    #[test]
    fn what_is_recorded_is_numbered_stamped_and_heard_in_order() {
        run_here(async {
            let journal = Journal::new("a");
            journal.record(transition("before"));
            let mut subscription = journal.subscribe();
            assert_eq!(subscription.try_next(), None, "what was before is not heard");
            journal.record(transition("first"));
            journal.record(transition("second"));
            for (sequence, cause) in [(2, "first"), (3, "second")] {
                let Heard::Record(record) = subscription.next().await else { panic!("nothing was missed") };
                assert_eq!((record.sequence, record.transition.cause.as_str()), (sequence, cause));
                assert_eq!(record.node, "a");
                assert!(record.at_unix_ms > 1_500_000_000_000 && record.boottime_ns > 0);
            }
            let causes: Vec<String> =
                journal.since(1, 10).iter().map(|record| record.transition.cause.to_string()).collect();
            assert_eq!(causes, ["first", "second"]);
            assert_eq!(journal.since(0, 1).len(), 1);
            assert_eq!((journal.latest(), journal.missed()), (3, 0));
        })
        .unwrap();
    }

    #[test]
    fn who_is_slow_learns_what_was_missed() {
        let journal = Journal::new("a");
        let mut subscription = journal.subscribe();
        for _record in 0..LENGTH + 7 {
            journal.record(transition(""));
        }
        assert_eq!(subscription.try_next(), Some(Heard::Missed(7)));
        let mut heard = 0;
        while let Some(next) = subscription.try_next() {
            assert!(matches!(next, Heard::Record(_)));
            heard += 1;
        }
        assert_eq!((heard, journal.missed()), (LENGTH, 7));
        assert_eq!(journal.subscribe_after(u64::MAX).try_next(), None, "numbers of another process lead nowhere");
    }

    #[test]
    fn a_subscriber_on_another_thread_is_woken() {
        let journal = Journal::new("a");
        let mut subscription = journal.subscribe();
        let (waits, waiting) = std::sync::mpsc::channel();
        let heard = std::thread::spawn(move || {
            run_here(async move {
                waits.send(()).unwrap();
                tokio::time::timeout(Duration::from_secs(20), subscription.next()).await
            })
            .unwrap()
        });
        waiting.recv().unwrap();
        journal.record(transition("now"));
        assert!(matches!(heard.join().unwrap(), Ok(Heard::Record(_))));
    }
}

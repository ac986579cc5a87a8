//! What is known of requests that reset connections, shared by the workers.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mainstay_core::quarantine::{Policy, Quarantine, Verdict};
use mainstay_core::time::Moment;

/// How often what is over is looked for.
const SWEEP: Duration = Duration::from_secs(1);

/// A route's quarantine. While nothing is suspected, asking costs a look at one flag.
#[derive(Debug)]
pub struct Guard {
    known: Mutex<Known>,
    is_quiet: AtomicBool,
    /// Keys of this process, so that nobody can make up a request that passes for another.
    keys: RandomState,
    /// Times that a kind of request was held.
    pub holds: AtomicU64,
}

#[derive(Debug)]
struct Known {
    table: Quarantine,
    swept: Moment,
}

impl Guard {
    /// One that suspects nothing.
    pub fn new(policy: Policy) -> Self {
        Self {
            known: Mutex::new(Known { table: Quarantine::new(policy), swept: Moment::ZERO }),
            is_quiet: AtomicBool::new(true),
            keys: RandomState::new(),
            holds: AtomicU64::new(0),
        }
    }

    /// Whether nothing is suspected.
    pub(crate) fn is_quiet(&self) -> bool {
        self.is_quiet.load(Ordering::Acquire)
    }

    /// Begins a fingerprint.
    pub(crate) fn hasher(&self) -> impl Hasher + use<> {
        self.keys.build_hasher()
    }

    /// What is to be done with a request of this kind.
    pub(crate) fn ask(&self, now: Moment, fingerprint: u64) -> Verdict {
        let mut known = self.known();
        if now.since(known.swept) >= SWEEP {
            known.swept = now;
            known.table.sweep(now);
        }
        let verdict = known.table.ask(now, fingerprint);
        self.is_quiet.store(known.table.is_empty(), Ordering::Release);
        verdict
    }

    /// A request of this kind was reset by `endpoint`. Answers whether it is held from now on.
    pub(crate) fn reset(&self, now: Moment, fingerprint: u64, endpoint: u64) -> bool {
        let mut known = self.known();
        let held = known.table.reset(now, fingerprint, endpoint).is_some();
        self.is_quiet.store(false, Ordering::Release);
        drop(known);
        if held {
            self.holds.fetch_add(1, Ordering::Relaxed);
        }
        held
    }

    /// A request of this kind was answered.
    pub(crate) fn answered(&self, fingerprint: u64) {
        let mut known = self.known();
        known.table.answered(fingerprint);
        self.is_quiet.store(known.table.is_empty(), Ordering::Release);
    }

    /// Kinds of requests that are suspected or held, and those that are held at `now`.
    pub fn count(&self, now: Moment) -> (usize, usize) {
        let known = self.known();
        (known.table.len(), known.table.held(now))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Whoever panicked under the lock left a whole table behind.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

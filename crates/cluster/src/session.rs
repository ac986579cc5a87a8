//! A node's session: one lease, renewed, and everything that goes with it. Roles and registrations are made here; when the
//! lease is lost they are told, and they are campaigned for and written anew on the next one.

mod driver;
mod kept;
mod told;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use mainstay_core::backoff;
use mainstay_core::lease::{DRIFT_PPM, Policy, Term};
use mainstay_core::time::Moment;
use mainstay_runtime::clock::Boottime;
use mainstay_runtime::journal::Journal;
use mainstay_runtime::task::{Kind, Task, spawn_local};
use thiserror::Error;
use tokio::sync::{Notify, watch};

use crate::coordinator::{Coordinator, LeaseId};
use crate::role::{self, Holder, Role, Stops};
use crate::timings::Timings;

pub use kept::Kept;

/// Roles and registrations of a node, at most.
pub const ROLES_MAX: usize = 1024;

/// How a session is set up.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The node's name, which stands under the keys of its roles.
    pub node: String,
    /// The times.
    pub timings: Timings,
    /// The clock that leases are counted with.
    pub clock: Boottime,
    /// Spreads the retries of several nodes; any number.
    pub seed: u64,
    /// Where it is told that the session and roles on it come and go.
    pub journal: Journal,
}

/// Whether there is a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// There is none: nothing that depends on it may act.
    Without,
    /// There is one until the term's deadline, which each renewal moves on.
    Held(Term),
    /// The session has ended for good.
    Closed,
}

/// A node has as many roles and registrations as it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("this node has {ROLES_MAX} roles and registrations, which is the limit")]
pub struct TooMany;

/// What has happened in the session so far.
#[derive(Debug, Default)]
pub struct Counts {
    granted: AtomicU64,
    renewed: AtomicU64,
    failed: AtomicU64,
    lost: AtomicU64,
}

impl Counts {
    /// Leases that were granted.
    pub fn granted(&self) -> u64 {
        self.granted.load(Ordering::Relaxed)
    }

    /// Renewals that were confirmed.
    pub fn renewed(&self) -> u64 {
        self.renewed.load(Ordering::Relaxed)
    }

    /// Requests for leases and renewals that failed, or were not answered in time.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Leases that were lost, other than by leaving.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

/// The session. All copies are the same one; they may be used on any thread.
#[derive(Clone)]
pub struct Session {
    shared: Arc<Shared>,
}

struct Shared {
    node: String,
    ttl: Duration,
    journal: Journal,
    clock: Boottime,
    wishes: Mutex<Wishes>,
    /// Tells the driver to look at what is wished for.
    driver: Arc<Notify>,
    standing: watch::Sender<Standing>,
    counts: Counts,
}

/// What the driver is asked for.
#[derive(Default)]
struct Wishes {
    roles: Vec<Arc<role::Shared>>,
    kept: Vec<Arc<kept::Shared>>,
    /// Handles that are there, taken up by the driver or not.
    handles: usize,
    close: bool,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("node", &self.shared.node).field("standing", &self.standing()).finish()
    }
}

impl Session {
    /// Starts one on this thread. It lives until it is closed, or its task is dropped, after which it is silent: what holds
    /// something then stops at its deadline.
    pub fn start(coordinator: Arc<dyn Coordinator>, settings: Settings) -> (Self, Task) {
        let shared = Arc::new(Shared {
            node: settings.node,
            ttl: settings.timings.ttl,
            journal: settings.journal,
            clock: settings.clock,
            wishes: Mutex::default(),
            driver: Arc::default(),
            standing: watch::Sender::new(Standing::Without),
            counts: Counts::default(),
        });
        let driver = driver::Driver::new(coordinator, policy(&settings.timings), settings.seed, Arc::clone(&shared));
        (Self { shared }, spawn_local(Kind::Control, driver.run()))
    }

    /// The role that stands under `key`, not wanted yet.
    ///
    /// # Errors
    /// If there are too many.
    pub fn role(&self, key: String, stops: Stops) -> Result<Role, TooMany> {
        let value = Holder { node: self.shared.node.clone() }.to_bytes();
        let mut wishes = self.shared.wishes();
        wishes.take_place()?;
        let role = Arc::new(role::Shared::new(key, value, stops, Arc::clone(&self.shared.driver)));
        wishes.roles.push(Arc::clone(&role));
        self.shared.driver.notify_one();
        Ok(Role { shared: role })
    }

    /// Keeps `value` under `key` for as long as there is a lease. Nobody else may write the key: a node's own name is in it.
    ///
    /// # Errors
    /// If there are too many.
    pub fn keep(&self, key: String, value: Bytes) -> Result<Kept, TooMany> {
        let mut wishes = self.shared.wishes();
        wishes.take_place()?;
        let kept = Arc::new(kept::Shared::new(key, value, Arc::clone(&self.shared.driver)));
        wishes.kept.push(Arc::clone(&kept));
        self.shared.driver.notify_one();
        Ok(Kept { shared: kept })
    }

    /// Whether there is a lease, and until when.
    pub fn standing(&self) -> Standing {
        *self.shared.standing.borrow()
    }

    /// Tells of each change, renewals included.
    pub fn follow(&self) -> watch::Receiver<Standing> {
        self.shared.standing.subscribe()
    }

    /// The lease, if it may be relied on now.
    pub fn lease(&self) -> Option<LeaseId> {
        match self.standing() {
            Standing::Held(term) if self.now() < term.deadline => Some(LeaseId(term.lease)),
            Standing::Held(_) | Standing::Without | Standing::Closed => None,
        }
    }

    /// The present moment of the clock that everything here is counted with.
    pub fn now(&self) -> Moment {
        self.shared.clock.now()
    }

    /// The clock.
    pub fn clock(&self) -> &Boottime {
        &self.shared.clock
    }

    /// The node's name.
    pub fn node(&self) -> &str {
        &self.shared.node
    }

    /// How long a lease lasts that is not renewed.
    pub fn ttl(&self) -> Duration {
        self.shared.ttl
    }

    /// What has happened so far.
    pub fn counts(&self) -> &Counts {
        &self.shared.counts
    }

    /// Ends the session: what acts is told to stop, and the lease is ended once it has, so that others need not wait for its
    /// end. Roles that should be drained are to be resigned before.
    pub async fn close(&self) {
        self.shared.wishes().close = true;
        self.shared.driver.notify_one();
        // The sender lives as long as this does.
        let mut standing = self.follow();
        let _closed = standing.wait_for(|standing| *standing == Standing::Closed).await;
    }
}

impl Shared {
    fn wishes(&self) -> MutexGuard<'_, Wishes> {
        self.wishes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wishes {
    fn take_place(&mut self) -> Result<(), TooMany> {
        if self.handles >= ROLES_MAX {
            return Err(TooMany);
        }
        self.handles += 1;
        Ok(())
    }
}

/// The times of the machines, of those of the cluster.
pub fn policy(timings: &Timings) -> Policy {
    Policy {
        ttl: timings.ttl,
        renew: timings.renew,
        rpc: timings.rpc,
        drift_ppm: DRIFT_PPM,
        stop_budget: timings.stop_budget,
        guard: timings.guard,
        retry: backoff::Policy { base: timings.renew / 10, cap: timings.renew },
    }
}

#[cfg(test)]
mod tests;

//! The way back of a service after an outage, shared by all workers.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use mainstay_core::random::Rng;
use mainstay_core::restart::{self, Policy};
use mainstay_core::time::Moment;

/// Lets traffic back in a ramp. While there was no outage, a request costs one load.
#[derive(Debug)]
pub struct Restart {
    service: String,
    is_at_work: AtomicBool,
    machine: Mutex<(restart::Restart, Rng)>,
    /// Ramps begun.
    pub ramps: AtomicU64,
    /// Requests that were sent away.
    pub refused: AtomicU64,
}

impl Restart {
    /// Of a service that serves.
    pub fn new(service: &str, policy: Policy) -> Self {
        let rng = Rng::seeded(RandomState::new().hash_one(0u8));
        Self {
            service: service.to_owned(),
            is_at_work: AtomicBool::new(false),
            machine: Mutex::new((restart::Restart::new(policy), rng)),
            ramps: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }

    /// Whether there is an outage, or a ramp after one, as of the last request.
    pub fn is_at_work(&self) -> bool {
        self.is_at_work.load(Ordering::Relaxed)
    }

    /// Nobody could be asked for a request.
    pub(crate) fn empty(&self, now: Moment) {
        let mut machine = self.machine.lock().unwrap_or_else(PoisonError::into_inner);
        machine.0.empty(now);
        self.is_at_work.store(true, Ordering::Relaxed);
    }

    /// Somebody can be asked for a request: whether it is let through, and if not, after how long to try again.
    pub(crate) fn let_through(&self, now: Moment) -> Result<(), Duration> {
        let mut machine = self.machine.lock().unwrap_or_else(PoisonError::into_inner);
        let (restart, rng) = &mut *machine;
        let was_out = restart.share(now) == Some(0.0);
        let answer = restart.let_through(now, rng);
        let is_at_work = restart.is_at_work();
        drop(machine);
        self.is_at_work.store(is_at_work, Ordering::Relaxed);
        let service = &self.service;
        match (was_out, is_at_work) {
            (true, true) => {
                self.ramps.fetch_add(1, Ordering::Relaxed);
                tracing::info!(service, "service is back after an outage: its traffic returns in a ramp");
            }
            (false, false) => tracing::info!(service, "service gets all of its traffic again"),
            (true, false) | (false, true) => {}
        }
        if answer.is_err() {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        answer
    }
}

//! A circuit breaker that all workers share.
//!
//! While it is closed, a call costs one load and, once it has gone well, one addition to a number of the worker's own. The
//! machine behind the lock hears of these in batches, and of every call that failed or was slow at once, after the
//! successes before it: so it judges by the same calls, in the same order, as if it had heard of each.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use mainstay_core::breaker::{self, Admission, Change, Outcome, Phase, Policy, Ticket};
use mainstay_core::random::Rng;
use mainstay_core::time::Moment;

use super::Shards;

/// Stands in place of an era while the breaker is not closed.
const NOT_CLOSED: u64 = u64::MAX;
/// Successes after which a worker tells the machine, at the latest.
const BATCH: u32 = 64;

/// Whose calls a breaker watches over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// All requests of a route.
    Route(String),
    /// All attempts at an endpoint.
    Endpoint {
        /// The service that it belongs to.
        service: String,
        /// Its name.
        endpoint: String,
    },
}

/// A circuit breaker.
#[derive(Debug)]
pub struct Breaker {
    subject: Subject,
    /// Calls that take longer are slow, and are told of at once.
    slow_after: Option<Duration>,
    /// The machine's era while it is closed, else [`NOT_CLOSED`].
    closed: AtomicU64,
    phase: AtomicU8,
    machine: Mutex<Machine>,
    /// Successes of which the machine has not heard yet, one number a worker.
    well: Shards<AtomicU32>,
    /// When it changed last, and why.
    last: Mutex<Option<(SystemTime, String)>>,
    /// Times it has opened.
    pub opened: AtomicU64,
    /// Calls that it did not let through.
    pub refused: AtomicU64,
}

#[derive(Debug)]
struct Machine {
    breaker: breaker::Breaker,
    rng: Rng,
}

impl Breaker {
    /// A closed breaker for `workers` workers.
    pub fn new(subject: Subject, policy: Policy, workers: usize) -> Self {
        // Breakers of many gateways must not draw the same jitter.
        let rng = Rng::seeded(RandomState::new().hash_one(0u8));
        Self {
            subject,
            slow_after: policy.slow.map(|slow| slow.after),
            closed: AtomicU64::new(0),
            phase: AtomicU8::new(Phase::Closed as u8),
            machine: Mutex::new(Machine { breaker: breaker::Breaker::new(policy), rng }),
            well: Shards::new(workers),
            last: Mutex::new(None),
            opened: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }

    /// Where it stands: while nobody calls, as of the last time that a worker looked after it.
    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            phase if phase == Phase::Open as u8 => Phase::Open,
            phase if phase == Phase::HalfOpen as u8 => Phase::HalfOpen,
            phase if phase == Phase::Ramping as u8 => Phase::Ramping,
            _closed => Phase::Closed,
        }
    }

    /// When it changed last, and why; `None` if it never did.
    pub fn last_change(&self) -> Option<(SystemTime, String)> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether a call may be made; if not, after how long it makes sense to try again.
    pub(crate) fn admit(&self, now: Moment) -> Result<Permit<'_>, Duration> {
        let permit = |ticket| Permit { breaker: self, ticket: Some(ticket), began: now };
        // NOT_CLOSED is no number of an era.
        if let Ok(era) = u32::try_from(self.closed.load(Ordering::Acquire)) {
            return Ok(permit(Ticket::closed(era)));
        }
        match self.with(|Machine { breaker, rng }| breaker.admit(now, rng)) {
            Admission::Pass(ticket) => Ok(permit(ticket)),
            Admission::Refuse(wait) => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                Err(wait)
            }
        }
    }

    /// A call that had counted as a success has failed after all.
    pub(crate) fn belie(&self, now: Moment) {
        self.with(|Machine { breaker, rng }| {
            self.drain(now, breaker, rng);
            breaker.belie(now, rng);
        });
    }

    /// Closes it, and forgets what it has seen.
    pub(crate) fn reset(&self) {
        self.with(|Machine { breaker, .. }| {
            self.well.sum(|well| u64::from(well.swap(0, Ordering::Relaxed)));
            breaker.reset();
        });
    }

    /// Tells the machine of successes that it has not heard of, and of the time.
    pub(crate) fn look_after(&self, now: Moment) {
        let untold = self.well.sum(|well| u64::from(well.load(Ordering::Relaxed)));
        if untold > 0 || self.closed.load(Ordering::Relaxed) == NOT_CLOSED {
            self.with(|Machine { breaker, rng }| {
                self.drain(now, breaker, rng);
                breaker.step(now, rng);
            });
        }
    }

    fn drain(&self, now: Moment, breaker: &mut breaker::Breaker, rng: &mut Rng) {
        let well = self.well.sum(|well| u64::from(well.swap(0, Ordering::Relaxed)));
        breaker.record_well(now, breaker.era(), u32::try_from(well).unwrap_or(u32::MAX), rng);
    }

    fn end(&self, now: Moment, worker: usize, ticket: Ticket, outcome: Outcome, is_slow: bool) {
        if matches!(outcome, Outcome::Success(_)) && !is_slow && !ticket.is_probe() {
            let closed = self.closed.load(Ordering::Acquire);
            if closed == u64::from(ticket.era()) {
                let well = self.well.of(worker);
                if well.fetch_add(1, Ordering::Relaxed) + 1 < BATCH {
                    return;
                }
                let untold = well.swap(0, Ordering::Relaxed);
                self.with(|Machine { breaker, rng }| breaker.record_well(now, ticket.era(), untold, rng));
                return;
            }
        }
        self.with(|Machine { breaker, rng }| {
            self.drain(now, breaker, rng);
            breaker.record(now, ticket, outcome, rng);
        });
    }

    /// Lets `act` do something to the machine, and publishes what came of it.
    fn with<T>(&self, act: impl FnOnce(&mut Machine) -> T) -> T {
        let mut machine = self.lock();
        let done = act(&mut machine);
        let Some(first) = machine.breaker.poll_output() else { return done };
        let changes: Vec<Change> =
            std::iter::once(first).chain(std::iter::from_fn(|| machine.breaker.poll_output())).collect();
        let phase = machine.breaker.phase();
        // What was not told before the change belongs to the time before it.
        self.well.sum(|well| u64::from(well.swap(0, Ordering::Relaxed)));
        self.phase.store(phase as u8, Ordering::Relaxed);
        let closed = if phase == Phase::Closed { u64::from(machine.breaker.era()) } else { NOT_CLOSED };
        self.closed.store(closed, Ordering::Release);
        drop(machine);
        for change in changes {
            self.tell(change);
        }
        done
    }

    fn tell(&self, change: Change) {
        let why = change.why.to_string();
        let (from, to) = (change.from.word(), change.to.word());
        let (kind, service, name) = match &self.subject {
            Subject::Route(route) => ("route", None, route),
            Subject::Endpoint { service, endpoint } => ("endpoint", Some(service.as_str()), endpoint),
        };
        if change.to == Phase::Open {
            self.opened.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(of = kind, service, name, from, to, reason = why, "circuit breaker opens");
        } else {
            tracing::info!(of = kind, service, name, from, to, reason = why, "circuit breaker");
        }
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some((SystemTime::now(), why));
    }

    fn is_slow(&self, took: Duration) -> bool {
        self.slow_after.is_some_and(|after| took > after)
    }

    fn lock(&self) -> MutexGuard<'_, Machine> {
        // A poisoned lock only says that its holder panicked: the machine is whole after each of its steps.
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Leave to make a call. Dropped without [`Permit::settle`], the call counts as neither success nor failure.
#[derive(Debug)]
pub(crate) struct Permit<'a> {
    breaker: &'a Breaker,
    ticket: Option<Ticket>,
    began: Moment,
}

impl Permit<'_> {
    /// Tells how the call ended, and what it took since it was let through.
    pub(crate) fn settle(mut self, now: Moment, worker: usize, failed: bool) {
        let Some(ticket) = self.ticket.take() else { return };
        let took = now.since(self.began);
        let outcome = if failed { Outcome::Failure(took) } else { Outcome::Success(took) };
        self.breaker.end(now, worker, ticket, outcome, self.breaker.is_slow(took));
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        // Only a probe holds something that has to be given back.
        if let Some(ticket) = self.ticket.take().filter(|ticket| ticket.is_probe()) {
            let release = |Machine { breaker, rng }: &mut Machine| {
                breaker.record(self.began, ticket, Outcome::Abandoned, rng);
            };
            self.breaker.with(release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaker() -> Breaker {
        let policy =
            Policy { failure_rate: Some(0.5), min_calls: 4, ramp: Duration::ZERO, probes: 1, ..Policy::default() };
        Breaker::new(Subject::Route("shop".to_owned()), policy, 2)
    }

    fn call(breaker: &Breaker, now: Moment, worker: usize, failed: bool) {
        breaker.admit(now).expect("it lets calls through").settle(now, worker, failed);
    }

    #[test]
    fn successes_of_all_workers_count_before_a_failure_is_judged() {
        let (breaker, now) = (breaker(), Moment::from_millis(1));
        for worker in [0, 1, 1, 0, 1] {
            call(&breaker, now, worker, false);
        }
        for _failure in 0..4 {
            call(&breaker, now, 0, true);
        }
        assert_eq!(breaker.phase(), Phase::Closed, "4 of 9");
        call(&breaker, now, 1, true);
        assert_eq!(breaker.phase(), Phase::Open, "5 of 10");
        assert_eq!(breaker.opened.load(Ordering::Relaxed), 1);
        assert!(breaker.admit(now).is_err());
        assert_eq!(breaker.last_change().map(|(_at, why)| why).as_deref(), Some("5 of 10 calls failed"));
    }

    #[test]
    fn a_permit_that_is_dropped_gives_its_slot_back() {
        let (breaker, now) = (breaker(), Moment::from_millis(1));
        for _failure in 0..4 {
            call(&breaker, now, 0, true);
        }
        let later = now.after(Duration::from_secs(6));
        let probe = breaker.admit(later).expect("one is let through");
        assert!(breaker.admit(later).is_err(), "and no other");
        drop(probe);
        call(&breaker, later, 0, false);
        assert_eq!(breaker.phase(), Phase::Closed);
        for _success in 0..200 {
            call(&breaker, later, 0, false);
        }
        breaker.look_after(later);
        let calls = breaker.lock().breaker.tally(later).calls;
        assert_eq!(calls, 200, "batches lose nothing");
    }
}

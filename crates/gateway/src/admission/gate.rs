//! The places of a route, shared by all workers: the bulkhead and the adaptive limit behind one lock, which is held for
//! some ten nanoseconds and never while anybody waits.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use mainstay_core::adaptive::{Adaptive, Sample};
use mainstay_core::bulkhead::{self, Bulkhead, Entry, Settled, Ticket};
use mainstay_core::criticality::Criticality;
use mainstay_core::time::Moment;

use super::Reason;
use crate::gateway::seed;
use crate::spec;
use crate::worker::Worker;

/// The places of a route.
#[derive(Debug)]
pub(super) struct Gate {
    queue: spec::Queue,
    /// The bulkhead's own limit, if there is one.
    concurrency: Option<u32>,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    bulkhead: Bulkhead,
    adaptive: Option<Adaptive>,
    /// Whom to wake, by the numbers of tickets.
    wakers: Vec<Option<Waker>>,
}

/// What a gate looks like at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Snapshot {
    /// Requests that may be in at once.
    pub limit: u32,
    /// Requests that are in.
    pub in_flight: u32,
    /// Requests that wait.
    pub waiting: u32,
    /// Requests that may wait.
    pub queue: u32,
    /// What the adaptive limit compares with, if there is one and it has been measured.
    pub base: Option<Duration>,
    /// Whether the limit moves.
    pub is_adaptive: bool,
    /// Whether the adaptive limit is lowered in order to measure.
    pub is_measuring: bool,
}

/// What became of a request that wants in.
pub(super) enum Entered {
    /// It is in, with so many, itself included.
    In(u32),
    Waiting(Ticket),
    Full(Reason),
}

impl Gate {
    /// The gate that `spec` wants, if it wants one.
    pub(super) fn new(spec: &spec::Admission, now: Moment) -> Option<Self> {
        let concurrency = spec.bulkhead.map(|bulkhead| bulkhead.concurrency);
        let adaptive = spec.adaptive.map(|policy| Adaptive::new(policy, now, seed()));
        let limit = match (concurrency, adaptive.as_ref().map(Adaptive::limit)) {
            (Some(fixed), Some(found)) => fixed.min(found),
            (Some(limit), None) | (None, Some(limit)) => limit,
            (None, None) => return None,
        };
        let policy = bulkhead::Policy { concurrency: limit, queue: spec.queue.size, ..bulkhead::Policy::default() };
        let inner = Inner { bulkhead: Bulkhead::new(policy), adaptive, wakers: Vec::new() };
        Some(Self { queue: spec.queue, concurrency, inner: Mutex::new(inner) })
    }

    pub(super) fn queue_timeout(&self) -> Duration {
        self.queue.timeout
    }

    pub(super) fn enter(&self, now: Moment, class: Criticality) -> Entered {
        let mut inner = self.lock();
        let entered = match inner.bulkhead.enter(now, class) {
            Entry::Admitted => Entered::In(inner.bulkhead.in_flight()),
            Entry::Waiting(ticket) => Entered::Waiting(ticket),
            Entry::Full => {
                let reason = if self.concurrency.is_some_and(|limit| limit <= inner.bulkhead.limit()) {
                    Reason::BulkheadFull
                } else {
                    Reason::Overloaded
                };
                if let Some(adaptive) = &mut inner.adaptive {
                    adaptive.turn(now);
                    self.follow(&mut inner, now);
                }
                Entered::Full(reason)
            }
        };
        self.wake(inner);
        entered
    }

    /// A request is over. `sample` is what its endpoint took and with how many it was let in, if that counts.
    pub(super) fn release(&self, now: Moment, sample: Option<(Duration, u32)>) {
        let mut inner = self.lock();
        let left_with = inner.bulkhead.in_flight();
        if let Some(adaptive) = &mut inner.adaptive {
            match sample {
                Some((latency, entered_with)) => adaptive.sample(now, Sample { latency, entered_with, left_with }),
                None => adaptive.turn(now),
            }
            self.follow(&mut inner, now);
        }
        inner.bulkhead.release(now);
        self.wake(inner);
    }

    /// What the gate looks like now.
    pub(super) fn snapshot(&self) -> Snapshot {
        let inner = self.lock();
        Snapshot {
            limit: inner.bulkhead.limit(),
            in_flight: inner.bulkhead.in_flight(),
            waiting: inner.bulkhead.waiting(),
            queue: self.queue.size,
            base: inner.adaptive.as_ref().and_then(Adaptive::base),
            is_adaptive: inner.adaptive.is_some(),
            is_measuring: inner.adaptive.as_ref().is_some_and(Adaptive::is_measuring),
        }
    }

    /// Tells the bulkhead what the adaptive limit has become.
    fn follow(&self, inner: &mut Inner, now: Moment) {
        let Some(adaptive) = &inner.adaptive else { return };
        let limit = adaptive.limit().min(self.concurrency.unwrap_or(u32::MAX));
        if limit != inner.bulkhead.limit() {
            inner.bulkhead.set_limit(now, limit);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes those who were called, each without the lock.
    fn wake<'a>(&'a self, mut inner: MutexGuard<'a, Inner>) {
        while let Some(ticket) = inner.bulkhead.poll_output() {
            let waker = inner.wakers.get_mut(ticket.number()).and_then(Option::take);
            drop(inner);
            if let Some(waker) = waker {
                waker.wake();
            }
            inner = self.lock();
        }
    }
}

/// A place in the queue, given back when it is dropped.
pub(super) struct Waiting<'a> {
    gate: &'a Gate,
    worker: &'a Worker,
    ticket: Option<Ticket>,
}

impl<'a> Waiting<'a> {
    pub(super) fn new(gate: &'a Gate, worker: &'a Worker, ticket: Ticket) -> Self {
        Self { gate, worker, ticket: Some(ticket) }
    }

    /// Ready when the ticket was called; with how many requests are in then.
    pub(super) fn poll(&mut self, cx: &Context<'_>) -> Poll<(Settled, u32)> {
        let Some(ticket) = self.ticket else { return Poll::Ready((Settled::Unknown, 0)) };
        let mut inner = self.gate.lock();
        if inner.bulkhead.is_called(ticket) {
            drop(inner);
            return Poll::Ready(self.leave());
        }
        let number = ticket.number();
        if inner.wakers.len() <= number {
            inner.wakers.resize(number + 1, None);
        }
        if let Some(place) = inner.wakers.get_mut(number)
            && !place.as_ref().is_some_and(|known| known.will_wake(cx.waker()))
        {
            *place = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Gives the ticket back, for what it is worth.
    pub(super) fn leave(&mut self) -> (Settled, u32) {
        let Some(ticket) = self.ticket.take() else { return (Settled::Unknown, 0) };
        let mut inner = self.gate.lock();
        let settled = inner.bulkhead.leave(self.worker.now(), ticket);
        if let Some(place) = inner.wakers.get_mut(ticket.number()) {
            *place = None;
        }
        (settled, inner.bulkhead.in_flight())
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        // The client has left: a place that it was called to is for the next one.
        if self.leave().0 == Settled::Admitted {
            self.gate.release(self.worker.now(), None);
        }
    }
}

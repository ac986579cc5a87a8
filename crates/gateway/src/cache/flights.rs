//! Requests for the same thing at the same time, over all workers: who goes and who waits ([`coalesce`]), and how those who
//! wait are woken.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use mainstay_core::coalesce::{self, Ended, Joined, Limits, Ticket, Told};

/// Enough for every client of a busy page; each takes about 100 bytes.
const LIMITS: Limits = Limits { waiters: 100_000, leaders: 3 };

/// All flights by what they are for.
#[derive(Debug, Default)]
pub(crate) struct Flights(Arc<Mutex<ByKey>>);

type ByKey = HashMap<Box<[u8]>, Arc<Flight>>;

/// One group of requests.
struct Flight {
    inner: Mutex<Inner>,
}

impl fmt::Debug for Flight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flight").finish_non_exhaustive()
    }
}

struct Inner {
    machine: coalesce::Flight,
    waiting: HashMap<Ticket, Waiting>,
    /// What it brings is out of date already.
    invalidated: bool,
}

#[derive(Default)]
struct Waiting {
    waker: Option<Waker>,
    told: Option<Told>,
}

impl Flight {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Nothing in here panics half-way.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Hands out what the machine has decided; the wakers are to be woken without a lock held.
    fn deliver(&mut self) -> Vec<Waker> {
        let mut wakers = Vec::new();
        while let Some((ticket, told)) = self.machine.poll_output() {
            if let Some(waiting) = self.waiting.get_mut(&ticket) {
                waiting.told = Some(told);
                wakers.extend(waiting.waker.take());
            }
        }
        wakers
    }
}

/// What a request does.
#[derive(Debug)]
pub(crate) enum Seat {
    /// It goes, for all.
    Lead(Lead),
    /// It waits.
    Wait(Waiter),
    /// It goes for itself.
    Alone,
}

impl Flights {
    fn all(&self) -> MutexGuard<'_, ByKey> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Joins the flight for `key`, or begins it.
    pub(crate) fn join(&self, key: &[u8]) -> Seat {
        let mut all = self.all();
        let Some(flight) = all.get(key) else {
            return Seat::Lead(self.begin(&mut all, key));
        };
        let mut inner = flight.inner();
        match inner.machine.join() {
            Joined::Wait(ticket) => {
                inner.waiting.insert(ticket, Waiting::default());
                drop(inner);
                let flight = Arc::clone(flight);
                Seat::Wait(Waiter { all: Self(Arc::clone(&self.0)), flight, key: key.into(), ticket, is_over: false })
            }
            Joined::Alone | Joined::Lead => Seat::Alone,
        }
    }

    /// Begins the flight for `key`, unless there is one.
    pub(crate) fn lead(&self, key: &[u8]) -> Option<Lead> {
        let mut all = self.all();
        if all.contains_key(key) { None } else { Some(self.begin(&mut all, key)) }
    }

    fn begin(&self, all: &mut ByKey, key: &[u8]) -> Lead {
        let machine = coalesce::Flight::new(LIMITS);
        let inner = Inner { machine, waiting: HashMap::new(), invalidated: false };
        let flight = Arc::new(Flight { inner: Mutex::new(inner) });
        all.insert(key.into(), Arc::clone(&flight));
        Lead { all: Self(Arc::clone(&self.0)), flight, key: key.into(), is_over: false }
    }

    /// Takes `flight` a step further: wakes whoever is told something then, and forgets the flight if that was its end.
    fn step(&self, key: &[u8], flight: &Arc<Flight>, step: impl FnOnce(&mut Inner)) {
        let mut all = self.all();
        let mut inner = flight.inner();
        step(&mut inner);
        let wakers = inner.deliver();
        // Another flight may have begun for the same thing.
        if inner.machine.is_over() && all.get(key).is_some_and(|known| Arc::ptr_eq(known, flight)) {
            all.remove(key);
        }
        drop(inner);
        drop(all);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Has nothing stored of what is under way for a URL: keys are its own, a NUL, and what else tells requests apart.
    pub(crate) fn invalidate(&self, url: &[u8]) {
        for (key, flight) in self.all().iter() {
            if key.strip_prefix(url).is_some_and(|rest| rest.first() == Some(&0)) {
                flight.inner().invalidated = true;
            }
        }
    }
}

/// The request that goes. If it is dropped without a word, it has failed.
#[derive(Debug)]
pub(crate) struct Lead {
    all: Flights,
    flight: Arc<Flight>,
    key: Box<[u8]>,
    is_over: bool,
}

impl Lead {
    /// Whether what it brings may be stored.
    pub(crate) fn may_store(&self) -> bool {
        !self.flight.inner().invalidated
    }

    /// Tells the others how it ended.
    pub(crate) fn end(mut self, how: Ended) {
        self.settle(how);
    }

    fn settle(&mut self, how: Ended) {
        if std::mem::replace(&mut self.is_over, true) {
            return;
        }
        self.all.step(&self.key, &self.flight, |inner| inner.machine.ended(how));
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        self.settle(Ended::Failed);
    }
}

/// A request that waits. If it is dropped, it waits no more.
#[derive(Debug)]
pub(crate) struct Waiter {
    all: Flights,
    flight: Arc<Flight>,
    key: Box<[u8]>,
    ticket: Ticket,
    is_over: bool,
}

impl Waiter {
    /// What it is told.
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<Told> {
        let mut inner = self.flight.inner();
        let waiting = inner.waiting.entry(self.ticket).or_default();
        match waiting.told {
            Some(told) => Poll::Ready(told),
            None => {
                waiting.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Goes, having been told [`Told::Lead`].
    pub(crate) fn lead(mut self) -> Lead {
        self.is_over = true;
        self.flight.inner().waiting.remove(&self.ticket);
        let all = Flights(Arc::clone(&self.all.0));
        Lead { all, flight: Arc::clone(&self.flight), key: std::mem::take(&mut self.key), is_over: false }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        self.all.step(&self.key, &self.flight, |inner| {
            let told = inner.waiting.remove(&self.ticket).and_then(|waiting| waiting.told);
            inner.machine.leave(self.ticket, told);
        });
    }
}

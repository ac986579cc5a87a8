//! The bulkhead: so many calls at once, so many more that wait, and no more. Its size may be fixed, or find itself.

mod policy;

use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use mainstay_core::adaptive::{Adaptive as Gradient, Sample};
use mainstay_core::bulkhead::{Bulkhead as Machine, Entry, Settled, Ticket};
use mainstay_core::criticality::Criticality;
use mainstay_core::time::Moment;
use pin_project_lite::pin_project;
pub use policy::{Adaptive, Concurrency, Policy};
use tokio::time::Sleep;
use tower_layer::Layer;
use tower_service::Service;

use crate::clock::{Clock, lock, seed};
use crate::counts::Counts;
use crate::error::{BoxError, Rejected};

const EVENTS: &[&str] = &["admitted", "waited", "full", "queue-timeout", "cancelled"];
const ADMITTED: usize = 0;
const WAITED: usize = 1;
const FULL: usize = 2;
const QUEUE_TIMEOUT: usize = 3;
const CANCELLED: usize = 4;

/// Lets only so many calls through at once. All services that one layer makes share its room.
#[derive(Clone, Debug)]
pub struct BulkheadLayer {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    clock: Clock,
    policy: Policy,
    room: Mutex<Room>,
    counts: Arc<Counts>,
}

#[derive(Debug)]
struct Room {
    machine: Machine,
    gradient: Option<Gradient>,
    /// By the numbers of tickets.
    wakers: Vec<Option<Waker>>,
}

impl BulkheadLayer {
    /// An empty bulkhead.
    pub fn new(policy: Policy) -> Self {
        Self { shared: Arc::new(Shared::new(policy, "")) }
    }

    /// Names it in metrics. It begins empty.
    #[must_use]
    pub fn named(self, name: &str) -> Self {
        Self { shared: Arc::new(Shared::new(self.shared.policy, name)) }
    }

    /// How many calls are let through at once just now.
    pub fn limit(&self) -> u32 {
        lock(&self.shared.room).machine.limit()
    }

    /// How many calls are under way.
    pub fn in_flight(&self) -> u32 {
        lock(&self.shared.room).machine.in_flight()
    }

    /// How many calls wait.
    pub fn waiting(&self) -> u32 {
        lock(&self.shared.room).machine.waiting()
    }

    /// Its events: `admitted`, `waited` (admitted after a wait), `full`, `queue-timeout` and `cancelled` (the caller left
    /// before the end).
    pub fn counts(&self) -> &Arc<Counts> {
        &self.shared.counts
    }
}

impl Shared {
    fn new(policy: Policy, name: &str) -> Self {
        let clock = Clock::start();
        let gradient = match policy.concurrency {
            Concurrency::Fixed(_) => None,
            Concurrency::Adaptive(adaptive) => Some(Gradient::new(adaptive, clock.now(), seed())),
        };
        let concurrency = match (policy.concurrency, &gradient) {
            (Concurrency::Fixed(concurrency), _) => concurrency,
            (Concurrency::Adaptive(_), gradient) => gradient.as_ref().map_or(1, Gradient::limit),
        };
        let machine = Machine::new(mainstay_core::bulkhead::Policy {
            concurrency,
            queue: policy.queue,
            ..mainstay_core::bulkhead::Policy::default()
        });
        let room = Mutex::new(Room { machine, gradient, wakers: Vec::new() });
        Self { clock, policy, room, counts: Arc::new(Counts::new("bulkhead", name, EVENTS)) }
    }

    /// A call comes. Beside what becomes of it, how many are inside.
    fn enter(&self) -> (Entry, u32) {
        let mut room = lock(&self.room);
        let now = self.now(&room);
        let entry = room.machine.enter(now, Criticality::Normal);
        // While nobody ends, it is refusals that tell a limit of the time.
        if entry == Entry::Full {
            room.follow(now, |gradient| gradient.turn(now));
        }
        let in_flight = room.machine.in_flight();
        let called = room.called();
        drop(room);
        called.into_iter().for_each(Waker::wake);
        (entry, in_flight)
    }

    /// The time, if the machines will look at it: reading it costs more than all the rest. A queue that is empty does not.
    fn now(&self, room: &Room) -> Moment {
        let has_place = room.machine.in_flight() < room.machine.limit();
        if room.machine.waiting() == 0 && has_place && room.gradient.is_none() {
            return Moment::ZERO;
        }
        self.clock.now()
    }

    /// When a call begins, if that is of interest.
    fn began(&self) -> Option<Moment> {
        matches!(self.policy.concurrency, Concurrency::Adaptive(_)).then(|| self.clock.now())
    }

    /// A call is over, after `latency` if that says something of the service.
    fn release(&self, entered_with: u32, latency: Option<Duration>) {
        let mut room = lock(&self.room);
        let is_looked_at = room.machine.waiting() > 0 || room.gradient.is_some();
        let now = if is_looked_at { self.clock.now() } else { Moment::ZERO };
        if let Some(latency) = latency {
            let left_with = room.machine.in_flight();
            room.follow(now, |gradient| gradient.sample(now, Sample { latency, entered_with, left_with }));
        }
        room.machine.release(now);
        let called = room.called();
        drop(room);
        called.into_iter().for_each(Waker::wake);
    }

    /// A call does not wait any longer.
    fn leave(&self, ticket: Ticket) -> Settled {
        let mut room = lock(&self.room);
        let settled = room.machine.leave(self.clock.now(), ticket);
        let called = room.called();
        drop(room);
        called.into_iter().for_each(Waker::wake);
        settled
    }
}

impl Room {
    /// Tells the gradient something, and sets the limit that follows.
    fn follow(&mut self, now: Moment, tell: impl FnOnce(&mut Gradient)) {
        if let Some(gradient) = &mut self.gradient {
            tell(gradient);
            let limit = gradient.limit();
            self.machine.set_limit(now, limit);
        }
    }

    /// Whom to wake, once the lock is given back. Allocates only if there is somebody.
    fn called(&mut self) -> Vec<Waker> {
        let mut called = Vec::new();
        while let Some(ticket) = self.machine.poll_output() {
            called.extend(self.wakers.get_mut(ticket.number()).and_then(Option::take));
        }
        called
    }

    fn wake_with(&mut self, ticket: Ticket, waker: &Waker) {
        let number = ticket.number();
        if self.wakers.len() <= number {
            self.wakers.resize(number + 1, None);
        }
        if let Some(place) = self.wakers.get_mut(number) {
            *place = Some(waker.clone());
        }
    }
}

/// A place inside; given back when dropped.
struct Permit {
    shared: Arc<Shared>,
    began: Option<Moment>,
    entered_with: u32,
    ended: bool,
}

impl Permit {
    fn new(shared: &Arc<Shared>, entered_with: u32) -> Self {
        Self { shared: Arc::clone(shared), began: shared.began(), entered_with, ended: false }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        // How long a call took that was cancelled says nothing of how long calls take.
        let began = self.began.filter(|_began| self.ended);
        let latency = began.map(|began| self.shared.clock.now().since(began));
        if !self.ended {
            self.shared.counts.add(CANCELLED);
        }
        self.shared.release(self.entered_with, latency);
    }
}

/// A place in the queue; given back when dropped.
struct Place {
    shared: Arc<Shared>,
    ticket: Option<Ticket>,
}

impl Place {
    /// Gives the place back, for one inside if the call was called.
    fn settle(&mut self) -> Settled {
        self.ticket.take().map_or(Settled::Unknown, |ticket| self.shared.leave(ticket))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.ticket.is_some() {
            self.shared.counts.add(CANCELLED);
            if self.settle() == Settled::Admitted {
                self.shared.release(0, None);
            }
        }
    }
}

impl<S> Layer<S> for BulkheadLayer {
    type Service = Bulkhead<S>;

    fn layer(&self, inner: S) -> Bulkhead<S> {
        Bulkhead { inner, layer: self.clone() }
    }
}

/// See [`BulkheadLayer`].
#[derive(Clone, Debug)]
pub struct Bulkhead<S> {
    inner: S,
    layer: BulkheadLayer,
}

impl<S, Request> Service<Request> for Bulkhead<S>
where
    S: Service<Request> + Clone,
    S::Error: Into<BoxError>,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = BulkheadFuture<S, Request>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let shared = &self.layer.shared;
        let (entry, in_flight) = shared.enter();
        let clone = self.inner.clone();
        let mut service = mem::replace(&mut self.inner, clone);
        let state = match entry {
            Entry::Admitted => {
                shared.counts.add(ADMITTED);
                let permit = Permit::new(shared, in_flight);
                State::Calling { call: service.call(request), permit }
            }
            Entry::Waiting(ticket) => State::Waiting {
                place: Place { shared: Arc::clone(shared), ticket: Some(ticket) },
                sleep: tokio::time::sleep(shared.policy.queue_timeout),
                request: Some(request),
            },
            Entry::Full => {
                shared.counts.add(FULL);
                State::Refused { rejected: Rejected::Full }
            }
        };
        BulkheadFuture { service, state }
    }
}

pin_project! {
    /// The future of [`Bulkhead`].
    pub struct BulkheadFuture<S, Request>
    where
        S: Service<Request>,
    {
        // The one that was polled ready.
        service: S,
        #[pin]
        state: State<S::Future, Request>,
    }
}

pin_project! {
    #[project = Projected]
    enum State<F, Request> {
        Waiting { place: Place, #[pin] sleep: Sleep, request: Option<Request> },
        Calling { #[pin] call: F, permit: Permit },
        Refused { rejected: Rejected },
    }
}

/// Whether a call that waits may go.
fn turn(place: &mut Place, sleep: Pin<&mut Sleep>, context: &mut Context<'_>) -> Poll<Result<(), Rejected>> {
    let Some(ticket) = place.ticket else { return Poll::Ready(Err(Rejected::Full)) };
    let after = place.shared.policy.queue_timeout;
    {
        let mut room = lock(&place.shared.room);
        if !room.machine.is_called(ticket) {
            room.wake_with(ticket, context.waker());
            drop(room);
            ready!(sleep.poll(context));
        }
    }
    // Whoever is called in the moment in which time is up goes all the same.
    Poll::Ready(match place.settle() {
        Settled::Admitted => Ok(()),
        Settled::Left => Err(Rejected::QueueTimeout { after }),
        Settled::Displaced | Settled::Unknown => Err(Rejected::Full),
    })
}

impl<S, Request> Future for BulkheadFuture<S, Request>
where
    S: Service<Request>,
    S::Error: Into<BoxError>,
{
    type Output = Result<S::Response, BoxError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.state.as_mut().project() {
                Projected::Waiting { place, sleep, request } => {
                    let turn = ready!(turn(place, sleep, context));
                    let next = match (turn, request.take()) {
                        (Ok(()), Some(request)) => {
                            place.shared.counts.add(WAITED);
                            let in_flight = lock(&place.shared.room).machine.in_flight();
                            let permit = Permit::new(&place.shared, in_flight);
                            State::Calling { call: this.service.call(request), permit }
                        }
                        (Ok(()), None) => State::Refused { rejected: Rejected::Full },
                        (Err(rejected), _) => {
                            let event = if rejected == Rejected::Full { FULL } else { QUEUE_TIMEOUT };
                            place.shared.counts.add(event);
                            State::Refused { rejected }
                        }
                    };
                    this.state.set(next);
                }
                Projected::Calling { call, permit } => {
                    let result = ready!(call.poll(context)).map_err(Into::into);
                    permit.ended = true;
                    // The place is given back now, and not only when somebody drops the future.
                    this.state.set(State::Refused { rejected: Rejected::Full });
                    return Poll::Ready(result);
                }
                Projected::Refused { rejected } => return Poll::Ready(Err((*rejected).into())),
            }
        }
    }
}

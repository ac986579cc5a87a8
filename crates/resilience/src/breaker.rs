//! The circuit breaker: calls to a service that keeps failing fail at once.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use mainstay_core::breaker::{Admission, Breaker as Machine, Outcome, Ticket};
pub use mainstay_core::breaker::{Phase, Policy, Slow, Span};
use mainstay_core::random::Rng;
use mainstay_core::time::Moment;
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::clock::{Clock, lock, seed};
use crate::counts::Counts;
use crate::error::{BoxError, Rejected};
use crate::judge::{Errors, Judge, Verdict};

const EVENTS: &[&str] = &["success", "failure", "ignored", "cancelled", "rejected", "opened"];
const CANCELLED: usize = 3;
const REJECTED: usize = 4;
const OPENED: usize = 5;

/// Stops calls before they are made while the service below keeps failing. All services that one layer makes, and their clones,
/// share the breaker.
#[derive(Clone, Debug)]
pub struct BreakerLayer<J = Errors> {
    shared: Arc<Shared>,
    judge: J,
}

#[derive(Debug)]
struct Shared {
    clock: Clock,
    policy: Policy,
    machine: Mutex<(Machine, Rng)>,
    counts: Arc<Counts>,
}

impl BreakerLayer {
    /// A closed breaker for which every error is a failure.
    pub fn new(policy: Policy) -> Self {
        Self { shared: Arc::new(Shared::new(policy, "")), judge: Errors }
    }
}

impl<J> BreakerLayer<J> {
    /// Names it in metrics. It begins anew.
    #[must_use]
    pub fn named(self, name: &str) -> Self {
        Self { shared: Arc::new(Shared::new(self.shared.policy, name)), ..self }
    }

    /// Has another judge say what a failure is.
    pub fn judged_by<K>(self, judge: K) -> BreakerLayer<K> {
        BreakerLayer { shared: self.shared, judge }
    }

    /// Where the breaker stands now.
    pub fn phase(&self) -> Phase {
        self.shared.phase()
    }

    /// Its events: `success`, `failure`, `ignored` (the judge could not say), `cancelled` (the caller left), `rejected` and
    /// `opened`.
    pub fn counts(&self) -> &Arc<Counts> {
        &self.shared.counts
    }
}

impl Shared {
    fn new(policy: Policy, name: &str) -> Self {
        Self {
            clock: Clock::start(),
            policy,
            machine: Mutex::new((Machine::new(policy), Rng::seeded(seed()))),
            counts: Arc::new(Counts::new("breaker", name, EVENTS)),
        }
    }

    fn phase(&self) -> Phase {
        let mut locked = lock(&self.machine);
        let (machine, rng) = &mut *locked;
        machine.step(self.clock.now(), rng);
        machine.phase()
    }

    fn admit(&self, now: Moment) -> Admission {
        let mut locked = lock(&self.machine);
        let (machine, rng) = &mut *locked;
        machine.admit(now, rng)
    }

    fn record(&self, ticket: Ticket, outcome: Outcome, now: Moment) {
        let mut locked = lock(&self.machine);
        let (machine, rng) = &mut *locked;
        machine.record(now, ticket, outcome, rng);
        let mut opened = 0;
        while let Some(change) = machine.poll_output() {
            opened += usize::from(change.to == Phase::Open);
        }
        drop(locked);
        for _time in 0..opened {
            self.counts.add(OPENED);
        }
    }
}

impl<S, J: Clone> Layer<S> for BreakerLayer<J> {
    type Service = Breaker<S, J>;

    fn layer(&self, inner: S) -> Breaker<S, J> {
        Breaker { inner, layer: self.clone() }
    }
}

/// See [`BreakerLayer`].
#[derive(Clone, Debug)]
pub struct Breaker<S, J = Errors> {
    inner: S,
    layer: BreakerLayer<J>,
}

impl<S, J, Request> Service<Request> for Breaker<S, J>
where
    S: Service<Request>,
    S::Error: Into<BoxError>,
    J: Judge<S::Response> + Clone,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = BreakerFuture<S::Future, J>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let shared = &self.layer.shared;
        let now = shared.clock.now();
        let state = match shared.admit(now) {
            Admission::Pass(ticket) => State::Calling {
                call: self.inner.call(request),
                pass: Pass { shared: Arc::clone(shared), ticket: Some(ticket), began: now },
                judge: self.layer.judge.clone(),
            },
            Admission::Refuse(retry_after) => {
                shared.counts.add(REJECTED);
                State::Refused { rejected: Rejected::Open { retry_after } }
            }
        };
        BreakerFuture { state }
    }
}

/// A call that was let through. Dropped before its end, it says nothing, and gives its slot back.
struct Pass {
    shared: Arc<Shared>,
    ticket: Option<Ticket>,
    began: Moment,
}

impl Pass {
    fn end(&mut self, verdict: Verdict) {
        let Some(ticket) = self.ticket.take() else { return };
        let now = self.shared.clock.now();
        let took = now.since(self.began);
        let (outcome, event) = match verdict {
            Verdict::Success => (Outcome::Success(took), 0),
            Verdict::Failure => (Outcome::Failure(took), 1),
            Verdict::Ignored => (Outcome::Abandoned, 2),
        };
        self.shared.counts.add(event);
        self.shared.record(ticket, outcome, now);
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.shared.counts.add(CANCELLED);
            self.shared.record(ticket, Outcome::Abandoned, self.shared.clock.now());
        }
    }
}

pin_project! {
    /// The future of [`Breaker`].
    pub struct BreakerFuture<F, J> {
        #[pin]
        state: State<F, J>,
    }
}

pin_project! {
    #[project = Projected]
    enum State<F, J> {
        Calling { #[pin] call: F, pass: Pass, judge: J },
        Refused { rejected: Rejected },
    }
}

impl<F, J, Response, E> Future for BreakerFuture<F, J>
where
    F: Future<Output = Result<Response, E>>,
    E: Into<BoxError>,
    J: Judge<Response>,
{
    type Output = Result<Response, BoxError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            Projected::Refused { rejected } => Poll::Ready(Err((*rejected).into())),
            Projected::Calling { call, pass, judge } => {
                let result = ready!(call.poll(context)).map_err(Into::into);
                pass.end(judge.judge(&result));
                Poll::Ready(result)
            }
        }
    }
}

//! Retries with full jitter, within a budget.

use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use mainstay_core::backoff;
use mainstay_core::random::Rng;
use pin_project_lite::pin_project;
use tokio::time::Sleep;
use tower_layer::Layer;
use tower_service::Service;

use crate::budget::Budget;
use crate::clock::{lock, seed};
use crate::counts::Counts;
use crate::error::BoxError;
use crate::judge::{Clones, Errors, Judge, Repeat, Verdict};

const EVENTS: &[&str] = &["retry", "refused-by-budget", "given-up"];
const RETRY: usize = 0;
const REFUSED: usize = 1;
const GIVEN_UP: usize = 2;

/// When a call is made again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    /// Attempts in all, the first one included; 1 turns retries off.
    pub attempts: u32,
    /// Waits between attempts: `random(0, min(cap, base * 2^n))`.
    pub backoff: backoff::Policy,
    /// A service that asks for a longer pause than this is not called again; a shorter one is kept.
    pub retry_after_max: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self { attempts: 3, backoff: backoff::Policy::default(), retry_after_max: Duration::from_secs(5) }
    }
}

/// Makes calls again that failed, if they may be made twice and the budget allows it. Judge and repeater say which those are: by
/// default every error is a failure and every request may be cloned.
#[derive(Clone, Debug)]
pub struct RetryLayer<J = Errors, R = Clones> {
    policy: Policy,
    budget: Budget,
    rng: Arc<Mutex<Rng>>,
    counts: Arc<Counts>,
    judge: J,
    repeat: R,
}

impl RetryLayer {
    /// Retries within `budget`, which hedges of the same service should share.
    pub fn new(policy: Policy, budget: Budget) -> Self {
        Self {
            policy,
            budget,
            rng: Arc::new(Mutex::new(Rng::seeded(seed()))),
            counts: Arc::new(Counts::new("retry", "", EVENTS)),
            judge: Errors,
            repeat: Clones,
        }
    }
}

impl<J, R> RetryLayer<J, R> {
    /// Names it in metrics.
    #[must_use]
    pub fn named(self, name: &str) -> Self {
        Self { counts: Arc::new(Counts::new("retry", name, EVENTS)), ..self }
    }

    /// Has another judge say what a failure is.
    pub fn judged_by<K>(self, judge: K) -> RetryLayer<K, R> {
        let Self { policy, budget, rng, counts, judge: _, repeat } = self;
        RetryLayer { policy, budget, rng, counts, judge, repeat }
    }

    /// Has another rule say which requests may be made twice.
    pub fn repeated_by<T>(self, repeat: T) -> RetryLayer<J, T> {
        let Self { policy, budget, rng, counts, judge, repeat: _ } = self;
        RetryLayer { policy, budget, rng, counts, judge, repeat }
    }

    /// Its events: `retry`, `refused-by-budget` and `given-up` (the last attempt failed as well).
    pub fn counts(&self) -> &Arc<Counts> {
        &self.counts
    }

    /// How long to wait before the next attempt; `None` if there is none.
    fn next(&self, made: u32, asked: Option<Duration>) -> Option<Duration> {
        if made >= self.policy.attempts {
            self.counts.add(GIVEN_UP);
            return None;
        }
        if asked.is_some_and(|asked| asked > self.policy.retry_after_max) {
            return None;
        }
        if !self.budget.withdraw() {
            self.counts.add(REFUSED);
            return None;
        }
        self.counts.add(RETRY);
        let wait = backoff::delay(&self.policy.backoff, made - 1, &mut lock(&self.rng));
        // The jitter comes on top, so that those who were told the same do not all come at once.
        Some(asked.unwrap_or_default() + wait)
    }
}

impl<S, J: Clone, R: Clone> Layer<S> for RetryLayer<J, R> {
    type Service = Retry<S, J, R>;

    fn layer(&self, inner: S) -> Retry<S, J, R> {
        Retry { inner, layer: self.clone() }
    }
}

/// See [`RetryLayer`].
#[derive(Clone, Debug)]
pub struct Retry<S, J = Errors, R = Clones> {
    inner: S,
    layer: RetryLayer<J, R>,
}

impl<S, J, R, Request> Service<Request> for Retry<S, J, R>
where
    S: Service<Request> + Clone,
    S::Error: Into<BoxError>,
    J: Judge<S::Response> + Clone,
    R: Repeat<Request> + Clone,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = RetryFuture<S, J, R, Request>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        self.layer.budget.deposit();
        // The service that was polled ready makes the first call; the clone has yet to become so.
        let clone = self.inner.clone();
        let mut service = mem::replace(&mut self.inner, clone);
        let again = if self.layer.policy.attempts > 1 { self.layer.repeat.repeat(&request) } else { None };
        let state = State::Calling { call: service.call(request) };
        RetryFuture { service, layer: self.layer.clone(), again, made: 1, state }
    }
}

pin_project! {
    /// The future of [`Retry`].
    pub struct RetryFuture<S, J, R, Request>
    where
        S: Service<Request>,
    {
        service: S,
        layer: RetryLayer<J, R>,
        // The request for the next attempt, if there can be one.
        again: Option<Request>,
        made: u32,
        #[pin]
        state: State<S::Future>,
    }
}

pin_project! {
    #[project = Projected]
    enum State<F> {
        Calling { #[pin] call: F },
        Waiting { #[pin] sleep: Sleep },
        Readying,
    }
}

impl<S, J, R, Request> Future for RetryFuture<S, J, R, Request>
where
    S: Service<Request>,
    S::Error: Into<BoxError>,
    J: Judge<S::Response>,
    R: Repeat<Request>,
{
    type Output = Result<S::Response, BoxError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.state.as_mut().project() {
                Projected::Calling { call } => {
                    let result = ready!(call.poll(context)).map_err(Into::into);
                    let judge = &this.layer.judge;
                    if this.again.is_none() || judge.judge(&result) != Verdict::Failure {
                        return Poll::Ready(result);
                    }
                    let Some(wait) = this.layer.next(*this.made, judge.retry_after(&result)) else {
                        return Poll::Ready(result);
                    };
                    drop(result);
                    this.state.set(State::Waiting { sleep: tokio::time::sleep(wait) });
                }
                Projected::Waiting { sleep } => {
                    ready!(sleep.poll(context));
                    this.state.set(State::Readying);
                }
                Projected::Readying => {
                    ready!(this.service.poll_ready(context)).map_err(Into::into)?;
                    // It is there: without it there would have been no wait.
                    let Some(request) = this.again.take() else { return Poll::Pending };
                    *this.made += 1;
                    // Kept even for the last attempt, so that its end is judged and counted.
                    *this.again = this.layer.repeat.repeat(&request);
                    let call = this.service.call(request);
                    this.state.set(State::Calling { call });
                }
            }
        }
    }
}

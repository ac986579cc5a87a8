//! Something in place of a failure.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::counts::Counts;
use crate::error::BoxError;
use crate::judge::{Errors, Judge, Verdict};

const EVENTS: &[&str] = &["fallback"];

/// Calls a function in place of passing a failure on: a fixed answer, another service, the last good copy. Rejections by layers
/// below are failures here: the caller is helped whatever the reason.
#[derive(Clone, Debug)]
pub struct FallbackLayer<F, J = Errors> {
    fallback: F,
    judge: J,
    counts: Arc<Counts>,
}

impl<F> FallbackLayer<F> {
    /// `fallback` gets the result that is a failure and answers a future of what is passed on.
    pub fn new(fallback: F) -> Self {
        Self { fallback, judge: Errors, counts: Arc::new(Counts::new("fallback", "", EVENTS)) }
    }
}

impl<F, J> FallbackLayer<F, J> {
    /// Names it in metrics.
    #[must_use]
    pub fn named(self, name: &str) -> Self {
        Self { counts: Arc::new(Counts::new("fallback", name, EVENTS)), ..self }
    }

    /// Has another judge say what a failure is among responses; every error is one.
    pub fn judged_by<K>(self, judge: K) -> FallbackLayer<F, K> {
        FallbackLayer { fallback: self.fallback, judge, counts: self.counts }
    }

    /// Its events: `fallback`.
    pub fn counts(&self) -> &Arc<Counts> {
        &self.counts
    }
}

impl<S, F: Clone, J: Clone> Layer<S> for FallbackLayer<F, J> {
    type Service = Fallback<S, F, J>;

    fn layer(&self, inner: S) -> Fallback<S, F, J> {
        Fallback { inner, layer: self.clone() }
    }
}

/// See [`FallbackLayer`].
#[derive(Clone, Debug)]
pub struct Fallback<S, F, J = Errors> {
    inner: S,
    layer: FallbackLayer<F, J>,
}

impl<S, F, J, Request, Other> Service<Request> for Fallback<S, F, J>
where
    S: Service<Request>,
    S::Error: Into<BoxError>,
    F: Fn(Result<S::Response, BoxError>) -> Other + Clone,
    Other: Future<Output = Result<S::Response, BoxError>>,
    J: Judge<S::Response> + Clone,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = FallbackFuture<S::Future, F, J, Other>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        FallbackFuture { layer: self.layer.clone(), state: State::Calling { call: self.inner.call(request) } }
    }
}

pin_project! {
    /// The future of [`Fallback`].
    pub struct FallbackFuture<C, F, J, Other> {
        layer: FallbackLayer<F, J>,
        #[pin]
        state: State<C, Other>,
    }
}

pin_project! {
    #[project = Projected]
    enum State<C, Other> {
        Calling { #[pin] call: C },
        Falling { #[pin] other: Other },
    }
}

impl<C, F, J, Other, Response, E> Future for FallbackFuture<C, F, J, Other>
where
    C: Future<Output = Result<Response, E>>,
    E: Into<BoxError>,
    F: Fn(Result<Response, BoxError>) -> Other,
    Other: Future<Output = Result<Response, BoxError>>,
    J: Judge<Response>,
{
    type Output = Result<Response, BoxError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.state.as_mut().project() {
                Projected::Calling { call } => {
                    let result = ready!(call.poll(context)).map_err(Into::into);
                    if result.is_ok() && this.layer.judge.judge(&result) != Verdict::Failure {
                        return Poll::Ready(result);
                    }
                    this.layer.counts.add(0);
                    let other = (this.layer.fallback)(result);
                    this.state.set(State::Falling { other });
                }
                Projected::Falling { other } => return other.poll(context),
            }
        }
    }
}

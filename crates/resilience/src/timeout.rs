//! An end to every call.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::time::Sleep;
use tower_layer::Layer;
use tower_service::Service;

use crate::counts::Counts;
use crate::error::{BoxError, Rejected};

const EVENTS: &[&str] = &["timeout"];

/// Gives calls up that take longer than a time. The call is cancelled: its future is dropped.
#[derive(Clone, Debug)]
pub struct TimeoutLayer {
    after: Duration,
    counts: Arc<Counts>,
}

impl TimeoutLayer {
    /// Calls end after this long, from [`Service::call`] on.
    pub fn new(after: Duration) -> Self {
        Self { after, counts: Arc::new(Counts::new("timeout", "", EVENTS)) }
    }

    /// Names it in metrics.
    #[must_use]
    pub fn named(self, name: &str) -> Self {
        Self { counts: Arc::new(Counts::new("timeout", name, EVENTS)), ..self }
    }

    /// Its events: `timeout`.
    pub fn counts(&self) -> &Arc<Counts> {
        &self.counts
    }
}

impl<S> Layer<S> for TimeoutLayer {
    type Service = Timeout<S>;

    fn layer(&self, inner: S) -> Timeout<S> {
        Timeout { inner, layer: self.clone() }
    }
}

/// See [`TimeoutLayer`].
#[derive(Clone, Debug)]
pub struct Timeout<S> {
    inner: S,
    layer: TimeoutLayer,
}

impl<S, Request> Service<Request> for Timeout<S>
where
    S: Service<Request>,
    S::Error: Into<BoxError>,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = TimeoutFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        TimeoutFuture {
            call: self.inner.call(request),
            sleep: tokio::time::sleep(self.layer.after),
            after: self.layer.after,
            counts: Arc::clone(&self.layer.counts),
        }
    }
}

pin_project! {
    /// The future of [`Timeout`].
    pub struct TimeoutFuture<F> {
        #[pin]
        call: F,
        #[pin]
        sleep: Sleep,
        after: Duration,
        counts: Arc<Counts>,
    }
}

impl<F, Response, E> Future for TimeoutFuture<F>
where
    F: Future<Output = Result<Response, E>>,
    E: Into<BoxError>,
{
    type Output = Result<Response, BoxError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(result) = this.call.poll(context) {
            return Poll::Ready(result.map_err(Into::into));
        }
        ready!(this.sleep.poll(context));
        this.counts.add(0);
        Poll::Ready(Err(Rejected::Timeout { after: *this.after }.into()))
    }
}

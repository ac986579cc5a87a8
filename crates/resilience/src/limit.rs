//! Rate limits: so many calls a second, for all or for each key.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

pub use mainstay_core::limiter::Rate;
use mainstay_core::limiter::Table;
use mainstay_core::random::mix;
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::clock::{Clock, lock, seed};
use crate::counts::Counts;
use crate::error::{BoxError, Rejected};

const EVENTS: &[&str] = &["admitted", "rejected"];

/// Of which bucket a request takes a token. Functions of a request to a number are keys; [`All`] is one bucket for everything.
pub trait Key<Request> {
    /// The bucket's number. It need not be spread well; it is mixed with a secret.
    fn key(&self, request: &Request) -> u64;
}

impl<Request, F: Fn(&Request) -> u64> Key<Request> for F {
    fn key(&self, request: &Request) -> u64 {
        self(request)
    }
}

/// One bucket for all requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct All;

impl<Request> Key<Request> for All {
    fn key(&self, _request: &Request) -> u64 {
        0
    }
}

/// Makes no more calls than a rate allows; further ones fail at once and say when one fits again. All services that one layer
/// makes share its buckets.
#[derive(Clone, Debug)]
pub struct RateLimitLayer<K = All> {
    shared: Arc<Shared>,
    rate: Rate,
    key: K,
}

#[derive(Debug)]
struct Shared {
    clock: Clock,
    secret: u64,
    table: Mutex<Table>,
    counts: Arc<Counts>,
}

impl Shared {
    fn new(rate: Rate, keys: usize, name: &str) -> Arc<Self> {
        Arc::new(Self {
            clock: Clock::start(),
            secret: seed(),
            table: Mutex::new(Table::new(rate, keys)),
            counts: Arc::new(Counts::new("rate_limit", name, EVENTS)),
        })
    }
}

impl RateLimitLayer {
    /// One bucket for all calls.
    pub fn new(rate: Rate) -> Self {
        Self { shared: Shared::new(rate, 1, ""), rate, key: All }
    }
}

impl<K> RateLimitLayer<K> {
    /// Has a bucket for each key, and room for at least `keys` of them (16 bytes each); beyond that, keys that have used
    /// little of their bucket are forgotten first. The buckets begin full.
    pub fn by_key<L>(self, keys: usize, key: L) -> RateLimitLayer<L> {
        RateLimitLayer { shared: Shared::new(self.rate, keys, ""), rate: self.rate, key }
    }

    /// Names it in metrics. The buckets begin full.
    #[must_use]
    pub fn named(self, name: &str) -> Self {
        let keys = lock(&self.shared.table).capacity();
        Self { shared: Shared::new(self.rate, keys, name), ..self }
    }

    /// Its events: `admitted` and `rejected`.
    pub fn counts(&self) -> &Arc<Counts> {
        &self.shared.counts
    }
}

impl<S, K: Clone> Layer<S> for RateLimitLayer<K> {
    type Service = RateLimit<S, K>;

    fn layer(&self, inner: S) -> RateLimit<S, K> {
        RateLimit { inner, layer: self.clone() }
    }
}

/// See [`RateLimitLayer`].
#[derive(Clone, Debug)]
pub struct RateLimit<S, K = All> {
    inner: S,
    layer: RateLimitLayer<K>,
}

impl<S, K, Request> Service<Request> for RateLimit<S, K>
where
    S: Service<Request>,
    S::Error: Into<BoxError>,
    K: Key<Request>,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = RateLimitFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let shared = &self.layer.shared;
        // Keys that clients choose must not meet in one place of the table on purpose.
        let key = mix(self.layer.key.key(&request) ^ shared.secret);
        let taken = lock(&shared.table).take(shared.clock.now(), key, 1.0);
        shared.counts.add(usize::from(taken.is_err()));
        let state = match taken {
            Ok(()) => State::Calling { call: self.inner.call(request) },
            Err(limited) => State::Refused { rejected: Rejected::Limited { retry_after: limited.after } },
        };
        RateLimitFuture { state }
    }
}

pin_project! {
    /// The future of [`RateLimit`].
    pub struct RateLimitFuture<F> {
        #[pin]
        state: State<F>,
    }
}

pin_project! {
    #[project = Projected]
    enum State<F> {
        Calling { #[pin] call: F },
        Refused { rejected: Rejected },
    }
}

impl<F, Response, E> Future for RateLimitFuture<F>
where
    F: Future<Output = Result<Response, E>>,
    E: Into<BoxError>,
{
    type Output = Result<Response, BoxError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            Projected::Calling { call } => call.poll(context).map_err(Into::into),
            Projected::Refused { rejected } => Poll::Ready(Err((*rejected).into())),
        }
    }
}

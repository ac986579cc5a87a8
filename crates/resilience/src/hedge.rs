//! Hedging: a call that takes longer than most gets a twin, and the first good answer counts ("The Tail at Scale", Dean and
//! Barroso, 2013).

use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use mainstay_core::quantile::Recent;
use mainstay_core::time::Moment;
use pin_project_lite::pin_project;
use tokio::time::Sleep;
use tower_layer::Layer;
use tower_service::Service;

use crate::budget::Budget;
use crate::clock::{Clock, lock};
use crate::counts::Counts;
use crate::error::BoxError;
use crate::judge::{Clones, Errors, Judge, Repeat, Verdict};

const EVENTS: &[&str] = &["hedge", "won", "refused-by-budget"];
const HEDGE: usize = 0;
const WON: usize = 1;
const REFUSED: usize = 2;

/// When a call gets a twin.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    /// After the duration that this share of recent calls did not exceed, 0 to 1.
    pub quantile: f64,
    /// Never sooner than this.
    pub min_delay: Duration,
    /// Never while fewer calls are known.
    pub min_calls: u32,
    /// How long calls are remembered: once to twice this.
    pub window: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self { quantile: 0.95, min_delay: Duration::from_millis(1), min_calls: 20, window: Duration::from_secs(10) }
    }
}

/// Makes slow calls a second time, if they may be made twice and the budget allows it. The loser is cancelled and counts as
/// neither success nor failure of anything below.
#[derive(Clone, Debug)]
pub struct HedgeLayer<J = Errors, R = Clones> {
    shared: Arc<Shared>,
    counts: Arc<Counts>,
    judge: J,
    repeat: R,
}

#[derive(Debug)]
struct Shared {
    clock: Clock,
    policy: Policy,
    budget: Budget,
    recent: Mutex<Recent>,
}

impl HedgeLayer {
    /// Hedges within `budget`. If retries of the same service share it, this layer belongs below theirs; the one of both that
    /// is further out counts calls.
    pub fn new(policy: Policy, budget: Budget) -> Self {
        let clock = Clock::start();
        let recent = Mutex::new(Recent::new(policy.window, clock.now()));
        Self {
            shared: Arc::new(Shared { clock, policy, budget, recent }),
            counts: Arc::new(Counts::new("hedge", "", EVENTS)),
            judge: Errors,
            repeat: Clones,
        }
    }
}

impl<J, R> HedgeLayer<J, R> {
    /// Names it in metrics.
    #[must_use]
    pub fn named(self, name: &str) -> Self {
        Self { counts: Arc::new(Counts::new("hedge", name, EVENTS)), ..self }
    }

    /// Has another judge say what a failure is.
    pub fn judged_by<K>(self, judge: K) -> HedgeLayer<K, R> {
        HedgeLayer { shared: self.shared, counts: self.counts, judge, repeat: self.repeat }
    }

    /// Has another rule say which requests may be made twice.
    pub fn repeated_by<T>(self, repeat: T) -> HedgeLayer<J, T> {
        HedgeLayer { shared: self.shared, counts: self.counts, judge: self.judge, repeat }
    }

    /// Its events: `hedge`, `won` (the twin was first) and `refused-by-budget`.
    pub fn counts(&self) -> &Arc<Counts> {
        &self.counts
    }

    /// After how long a call would get a twin now; `None` while too few calls are known.
    pub fn delay(&self) -> Option<Duration> {
        let Shared { clock, policy, .. } = &*self.shared;
        let now = clock.now();
        let mut recent = lock(&self.shared.recent);
        if recent.count(now) < u64::from(policy.min_calls) {
            return None;
        }
        recent.quantile(now, policy.quantile).map(|delay| delay.max(policy.min_delay))
    }
}

impl<S, J: Clone, R: Clone> Layer<S> for HedgeLayer<J, R> {
    type Service = Hedge<S, J, R>;

    fn layer(&self, inner: S) -> Hedge<S, J, R> {
        Hedge { inner, layer: self.clone() }
    }
}

/// See [`HedgeLayer`].
#[derive(Clone, Debug)]
pub struct Hedge<S, J = Errors, R = Clones> {
    inner: S,
    layer: HedgeLayer<J, R>,
}

impl<S, J, R, Request> Service<Request> for Hedge<S, J, R>
where
    S: Service<Request> + Clone,
    S::Error: Into<BoxError>,
    J: Judge<S::Response> + Clone,
    R: Repeat<Request> + Clone,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = HedgeFuture<S, J, R, Request>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        self.layer.shared.budget.deposit();
        let clone = self.inner.clone();
        let mut service = mem::replace(&mut self.inner, clone);
        let delay = self.layer.delay();
        let twin = match delay.and_then(|delay| Some((delay, self.layer.repeat.repeat(&request)?))) {
            Some((delay, request)) => Twin::Later { sleep: tokio::time::sleep(delay), request: Some(request) },
            None => Twin::None,
        };
        let first = First::Calling { call: service.call(request) };
        let began = self.layer.shared.clock.now();
        HedgeFuture { service, layer: self.layer.clone(), began, first, twin }
    }
}

pin_project! {
    /// The future of [`Hedge`].
    pub struct HedgeFuture<S, J, R, Request>
    where
        S: Service<Request>,
    {
        service: S,
        layer: HedgeLayer<J, R>,
        began: Moment,
        #[pin]
        first: First<S::Future, Result<S::Response, BoxError>>,
        #[pin]
        twin: Twin<S::Future, Request>,
    }
}

pin_project! {
    #[project = FirstProjected]
    enum First<F, Output> {
        Calling { #[pin] call: F },
        // A failure, kept while the twin may do better.
        Failed { result: Option<Output> },
    }
}

pin_project! {
    #[project = TwinProjected]
    enum Twin<F, Request> {
        None,
        Later { #[pin] sleep: Sleep, request: Option<Request> },
        Readying { request: Option<Request> },
        Calling { #[pin] call: F, began: Moment },
    }
}

impl<S, J, R, Request> Future for HedgeFuture<S, J, R, Request>
where
    S: Service<Request>,
    S::Error: Into<BoxError>,
    J: Judge<S::Response>,
    R: Repeat<Request>,
{
    type Output = Result<S::Response, BoxError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let FirstProjected::Calling { call } = this.first.as_mut().project()
            && let Poll::Ready(result) = call.poll(context)
        {
            let result = result.map_err(Into::into);
            let verdict = this.layer.judge.judge(&result);
            if verdict == Verdict::Success {
                this.layer.shared.learn(*this.began);
            }
            // A failure is the retries' affair, unless a twin is under way already.
            if verdict != Verdict::Failure || !matches!(*this.twin, Twin::Calling { .. }) {
                return Poll::Ready(result);
            }
            this.first.set(First::Failed { result: Some(result) });
        }
        let result = ready!(poll_twin(this.twin.as_mut(), this.service, this.layer, context));
        let first_failed =
            if let FirstProjected::Failed { result } = this.first.as_mut().project() { result.take() } else { None };
        match (this.layer.judge.judge(&result.0), first_failed) {
            (Verdict::Success, _) => {
                this.layer.shared.learn(result.1);
                this.layer.counts.add(WON);
                Poll::Ready(result.0)
            }
            // Both have failed: the first failure is told.
            (Verdict::Failure | Verdict::Ignored, Some(first)) => Poll::Ready(first),
            // The first one goes on alone.
            (Verdict::Failure | Verdict::Ignored, None) => {
                this.twin.set(Twin::None);
                Poll::Pending
            }
        }
    }
}

impl Shared {
    /// A call that began then has succeeded.
    fn learn(&self, began: Moment) {
        let now = self.clock.now();
        lock(&self.recent).record(now, now.since(began));
    }
}

/// The twin's result, and when it began.
type Ended<Response> = (Result<Response, BoxError>, Moment);

fn poll_twin<S, J, R, Request>(
    mut twin: Pin<&mut Twin<S::Future, Request>>,
    service: &mut S,
    layer: &HedgeLayer<J, R>,
    context: &mut Context<'_>,
) -> Poll<Ended<S::Response>>
where
    S: Service<Request>,
    S::Error: Into<BoxError>,
{
    loop {
        let next = match twin.as_mut().project() {
            TwinProjected::None => return Poll::Pending,
            TwinProjected::Later { sleep, request } => {
                ready!(sleep.poll(context));
                if layer.shared.budget.withdraw() {
                    layer.counts.add(HEDGE);
                    Twin::Readying { request: request.take() }
                } else {
                    layer.counts.add(REFUSED);
                    Twin::None
                }
            }
            TwinProjected::Readying { request } => {
                let is_ready = ready!(service.poll_ready(context)).map_err(Into::into);
                let began = layer.shared.clock.now();
                match (is_ready, request.take()) {
                    (Ok(()), Some(request)) => Twin::Calling { call: service.call(request), began },
                    (Err(error), _) => return Poll::Ready((Err(error), began)),
                    (Ok(()), None) => Twin::None,
                }
            }
            TwinProjected::Calling { call, began } => {
                return call.poll(context).map(|result| (result.map_err(Into::into), *began));
            }
        };
        twin.set(next);
    }
}

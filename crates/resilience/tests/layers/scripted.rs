//! A service that does what a function of the call's number says, and counts.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mainstay_resilience::{BoxError, Rejected};
use tokio::time::sleep;
use tower::util::BoxCloneSyncService;

pub(crate) fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(crate) fn rejection(error: &BoxError) -> Option<Rejected> {
    Rejected::of(&**error).copied()
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Does {
    /// Answers with the request.
    Answer(Duration),
    Fail,
    FailAfter(Duration),
}

impl Does {
    pub(crate) fn answer_after(wait: Duration) -> Self {
        Self::Answer(wait)
    }
}

#[derive(Default)]
struct Seen {
    calls: AtomicU64,
    at_once: AtomicU64,
    most_at_once: AtomicU64,
    cancelled: AtomicU64,
}

/// Counts a call that is dropped before its end.
struct Running {
    seen: Arc<Seen>,
    ended: bool,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.seen.at_once.fetch_sub(1, Ordering::Relaxed);
        if !self.ended {
            self.seen.cancelled.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[derive(Clone)]
pub(crate) struct Scripted {
    seen: Arc<Seen>,
    does: Arc<dyn Fn(u64) -> Does + Send + Sync>,
}

impl Scripted {
    pub(crate) fn new(does: impl Fn(u64) -> Does + Send + Sync + 'static) -> Self {
        Self { seen: Arc::default(), does: Arc::new(does) }
    }

    pub(crate) fn service(&self) -> BoxCloneSyncService<u32, u32, BoxError> {
        let this = self.clone();
        BoxCloneSyncService::new(tower::service_fn(move |request| this.call(request)))
    }

    fn call(&self, request: u32) -> Pin<Box<dyn Future<Output = Result<u32, BoxError>> + Send>> {
        let number = self.seen.calls.fetch_add(1, Ordering::Relaxed);
        let at_once = self.seen.at_once.fetch_add(1, Ordering::Relaxed) + 1;
        self.seen.most_at_once.fetch_max(at_once, Ordering::Relaxed);
        let running = Running { seen: Arc::clone(&self.seen), ended: false };
        let does = (self.does)(number);
        Box::pin(async move {
            // Whole, so that it is dropped with the future.
            let mut running = running;
            let (wait, result) = match does {
                Does::Answer(wait) => (wait, Ok(request)),
                Does::Fail => (Duration::ZERO, Err("scripted".into())),
                Does::FailAfter(wait) => (wait, Err("scripted".into())),
            };
            if !wait.is_zero() {
                sleep(wait).await;
            }
            running.ended = true;
            result
        })
    }

    pub(crate) fn calls(&self) -> u64 {
        self.seen.calls.load(Ordering::Relaxed)
    }

    pub(crate) fn most_at_once(&self) -> u64 {
        self.seen.most_at_once.load(Ordering::Relaxed)
    }

    pub(crate) fn cancelled(&self) -> u64 {
        self.seen.cancelled.load(Ordering::Relaxed)
    }
}

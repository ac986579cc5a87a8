//! What a route knows of the durations of its requests, for hedging.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mainstay_core::hedge::{Hedge, Policy};
use mainstay_core::time::Moment;

use super::{Counter, Shards};

/// How long a quantile that was worked out is good enough.
const RENEWAL: Duration = Duration::from_millis(100);
/// Stands for a delay that is not known.
const UNKNOWN: u64 = u64::MAX;

/// The hedging of a route. Each worker goes by its own requests.
#[derive(Debug)]
pub struct Hedging {
    policy: Policy,
    shards: Shards<Shard>,
}

#[derive(Debug, Default)]
struct Shard {
    /// Locked by its worker alone.
    hedge: Mutex<Option<Hedge>>,
    delay_nanos: AtomicU64,
    renewed_nanos: AtomicU64,
    counters: HedgeCounters,
}

/// Counters of a route's hedges.
#[derive(Debug, Default)]
pub struct HedgeCounters {
    /// Second attempts beside a first one.
    pub sent: Counter,
    /// Those that were answered first.
    pub won: Counter,
}

impl Hedging {
    /// Without durations.
    pub fn new(policy: Policy, workers: usize) -> Self {
        Self { policy, shards: Shards::new(workers) }
    }

    /// By which it goes.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Sums what `read` finds in every worker's counters.
    pub fn sum(&self, read: impl Fn(&HedgeCounters) -> u64) -> u64 {
        self.shards.sum(|shard| read(&shard.counters))
    }

    /// The longest delay over all workers; `None` while none has seen enough.
    pub fn delay(&self) -> Option<Duration> {
        let longest = Mutex::new(None::<u64>);
        self.shards.sum(|shard| {
            let nanos = shard.delay_nanos.load(Ordering::Relaxed);
            if !matches!(nanos, 0 | UNKNOWN) {
                let mut longest = longest.lock().unwrap_or_else(PoisonError::into_inner);
                *longest = Some(longest.map_or(nanos, |known| known.max(nanos)));
            }
            0
        });
        longest.into_inner().unwrap_or_else(PoisonError::into_inner).map(Duration::from_nanos)
    }

    pub(crate) fn counters(&self, worker: usize) -> &HedgeCounters {
        &self.shards.of(worker).counters
    }

    /// Takes in how long a request that was sent to `endpoint` first waited for the head of its response.
    pub(crate) fn record(&self, worker: usize, now: Moment, endpoint: usize, took: Duration) {
        let mut hedge = self.known(worker);
        hedge.get_or_insert_with(|| Hedge::new(self.policy, now)).record(now, endpoint, took);
    }

    /// Whether one more request may be hedged, which is then counted.
    pub(crate) fn pay(&self, worker: usize) -> bool {
        self.known(worker).as_mut().is_some_and(Hedge::pay)
    }

    fn known(&self, worker: usize) -> MutexGuard<'_, Option<Hedge>> {
        self.shards.of(worker).hedge.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long a request waits before another endpoint is asked as well; `None` while that is not known.
    pub(crate) fn delay_now(&self, worker: usize, now: Moment) -> Option<Duration> {
        let shard = self.shards.of(worker);
        let renewed = Moment::from_nanos(shard.renewed_nanos.load(Ordering::Relaxed));
        if renewed == Moment::ZERO || now.since(renewed) >= RENEWAL {
            let delay = self.known(worker).as_mut().and_then(|hedge| hedge.delay(now));
            let nanos = delay.map_or(UNKNOWN, |delay| u64::try_from(delay.as_nanos()).unwrap_or(UNKNOWN));
            shard.delay_nanos.store(nanos, Ordering::Relaxed);
            shard.renewed_nanos.store(now.as_nanos().max(1), Ordering::Relaxed);
        }
        match shard.delay_nanos.load(Ordering::Relaxed) {
            UNKNOWN => None,
            nanos => Some(Duration::from_nanos(nanos)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_worker_has_its_own_delay_for_a_while() {
        let hedging = Hedging::new(Policy::default(), 2);
        let mut now = Moment::from_millis(1);
        for _request in 0..100 {
            hedging.record(0, now, 0, Duration::from_millis(100));
        }
        let delay = hedging.delay_now(0, now).expect("enough");
        assert!(delay >= Duration::from_millis(100) && delay < Duration::from_millis(110), "{delay:?}");
        assert_eq!(hedging.delay_now(1, now), None, "the other worker has seen nothing");
        assert!(hedging.pay(0) && !hedging.pay(1));
        assert_eq!(hedging.delay(), Some(delay));
        for _request in 0..2_000 {
            hedging.record(0, now, 0, Duration::from_millis(1));
        }
        assert_eq!(hedging.delay_now(0, now), Some(delay), "not worked out anew for each request");
        now = now.after(RENEWAL);
        assert_eq!(hedging.delay_now(0, now), Some(Duration::from_millis(5)));
    }
}

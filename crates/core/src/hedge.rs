//! When a request is sent to a second endpoint beside the first: after the time that nearly all requests stay below, and
//! never for more than the share of requests that this leaves (as the backup requests of Dean and Barroso, "The Tail at Scale",
//! 2013, and of Finagle).
//!
//! An endpoint that is far slower than the others on the whole must not raise that time: were its answers counted in, a tenth of the
//! requests at a slow endpoint would make slowness the 95th percentile, and nobody would be hedged for it.

use std::time::Duration;

use crate::quantile::Recent;
use crate::time::Moment;

/// When hedging is done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    /// The share of requests (0 to 1) that takes less than the time after which a request is hedged. No more than the rest of
    /// them is hedged.
    pub quantile: f64,
    /// No request is hedged sooner.
    pub min_delay: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self { quantile: 0.95, min_delay: Duration::from_millis(5) }
    }
}

/// A duration is forgotten after one to two of these.
const SPAN: Duration = Duration::from_secs(10);
/// Fewer durations than this say nothing about a high quantile.
const ENOUGH: u64 = 40;
/// Hedges that can be saved up for a time when more are wanted.
const SAVED_MOST: f64 = 10.0;
/// An endpoint whose mean is more than this many times that of all requests is left out of the quantile.
const APART: f64 = 2.0;

/// What is known of the durations of a route's requests, and how many of them may still be hedged.
#[derive(Clone, Debug)]
pub struct Hedge {
    policy: Policy,
    recent: Recent,
    /// Of all requests.
    mean: Mean<64>,
    /// By endpoint. An index may come to mean another endpoint: a few requests later that is forgotten.
    paces: Vec<Mean<16>>,
    saved: f64,
}

impl Hedge {
    /// Without durations.
    pub fn new(policy: Policy, now: Moment) -> Self {
        Self { policy, recent: Recent::new(SPAN, now), mean: Mean::default(), paces: Vec::new(), saved: 0.0 }
    }

    /// A request that was sent to `endpoint`, a small number, first has waited for `took`, be it for that endpoint or for the one
    /// that was asked beside it.
    pub fn record(&mut self, now: Moment, endpoint: usize, took: Duration) {
        self.saved = (self.saved + 1.0 - self.policy.quantile).min(SAVED_MOST);
        self.mean.add(took);
        if self.paces.len() <= endpoint {
            self.paces.resize(endpoint + 1, Mean::default());
        }
        let pace = &mut self.paces[endpoint];
        pace.add(took);
        if pace.nanos <= self.mean.nanos * APART {
            self.recent.record(now, took);
        }
    }

    /// How long a request waits before a second endpoint is asked; `None` while too little is known.
    pub fn delay(&mut self, now: Moment) -> Option<Duration> {
        if self.recent.count(now) < ENOUGH {
            return None;
        }
        self.recent.quantile(now, self.policy.quantile).map(|delay| delay.max(self.policy.min_delay))
    }

    /// Whether one more request may be hedged, which is then counted.
    pub fn pay(&mut self) -> bool {
        let pays = self.saved >= 1.0;
        if pays {
            self.saved -= 1.0;
        }
        pays
    }
}

/// The mean of the last `N` or so durations, those before them counting less and less.
#[derive(Clone, Copy, Debug, Default)]
struct Mean<const N: u32> {
    nanos: f64,
    /// Up to `N`.
    count: u32,
}

impl<const N: u32> Mean<N> {
    fn add(&mut self, took: Duration) {
        self.count = (self.count + 1).min(N);
        self.nanos += (took.as_nanos() as f64 - self.nanos) / f64::from(self.count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAST: Duration = Duration::from_millis(10);
    const SLOW: Duration = Duration::from_millis(100);

    fn hedge() -> Hedge {
        Hedge::new(Policy::default(), Moment::ZERO)
    }

    #[test]
    fn the_delay_is_the_quantile_and_never_below_the_least() {
        let mut hedge = hedge();
        for number in 0..100 {
            assert!(number >= 40 || hedge.delay(Moment::ZERO).is_none(), "{number} are too few");
            // The same at both endpoints.
            let took = if number % 10 == 0 { SLOW } else { FAST };
            hedge.record(Moment::ZERO, number / 10 % 2, took);
        }
        let delay = hedge.delay(Moment::ZERO).expect("enough");
        assert!(delay >= SLOW && delay < SLOW.mul_f64(1.1), "{delay:?}");
        for number in 0..10_000 {
            hedge.record(Moment::ZERO, number % 2, Duration::from_millis(1));
        }
        assert_eq!(hedge.delay(Moment::ZERO), Some(Policy::default().min_delay));
    }

    #[test]
    fn one_slow_endpoint_of_five_does_not_raise_it() {
        let mut hedge = hedge();
        for number in 0..500 {
            hedge.record(Moment::ZERO, number % 5, if number % 5 == 4 { SLOW } else { FAST });
        }
        let delay = hedge.delay(Moment::ZERO).expect("enough");
        assert!(delay >= FAST && delay < FAST.mul_f64(1.1), "{delay:?}");
    }

    #[test]
    fn if_all_become_slow_so_does_the_delay() {
        let mut hedge = hedge();
        for number in 0..1000 {
            hedge.record(Moment::ZERO, number % 5, FAST);
        }
        // A time later, when what was before is forgotten.
        for number in 0..1000 {
            hedge.record(Moment::from_millis(30_000), number % 5, SLOW);
        }
        assert!(hedge.delay(Moment::from_millis(30_000)).is_some_and(|delay| delay >= SLOW));
    }

    #[test]
    fn no_more_than_the_rest_is_hedged() {
        let mut hedge = hedge();
        assert!(!hedge.pay(), "nothing is saved");
        let mut paid = 0;
        for _request in 0..10_000 {
            hedge.record(Moment::ZERO, 0, FAST);
            paid += u32::from(hedge.pay());
        }
        assert!((495..=500).contains(&paid), "{paid}");
        for _request in 0..10_000 {
            hedge.record(Moment::ZERO, 0, FAST);
        }
        assert_eq!((0..100).filter(|_hedge| hedge.pay()).count(), SAVED_MOST as usize);
    }
}

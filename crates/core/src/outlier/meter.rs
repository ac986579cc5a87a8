//! What an endpoint did lately, from counters that only ever rise.
//!
//! Requests that hang leave no duration behind. Their age follows from the counters all the same: of those that are awaited
//! now, as many as exceed what was begun since an earlier reading were begun before it.

use std::collections::VecDeque;
use std::time::Duration;

use crate::time::Moment;

/// Buckets of a histogram of durations, the last one open to above.
pub const BUCKETS: usize = 15;
/// Readings that are remembered, and with them the age that a request can be known to have.
const READINGS_MAX: usize = 64;

/// An endpoint's counters since it exists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Attempts begun.
    pub started: u64,
    /// Attempts whose response head came, that failed or that were given up.
    pub settled: u64,
    /// Attempts that spoke against the endpoint.
    pub failed: u64,
    /// Durations of those that were answered, by bucket.
    pub buckets: [u64; BUCKETS],
    /// Their sum in nanoseconds.
    pub sum_nanos: u64,
}

/// What an endpoint did over some time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Observed {
    /// Attempts that ended, and those that hang.
    pub requests: u64,
    /// The share of them that failed, 0 to 1.
    pub failed: f64,
    /// The median time to a response head. A request that hangs counts with the age that it has at least.
    pub latency: Duration,
}

/// Reads one endpoint's counters from time to time.
#[derive(Clone, Debug)]
pub struct Meter {
    /// Upper bounds of all buckets but the last, in seconds.
    bounds: &'static [f64; BUCKETS - 1],
    /// Where the present observation began.
    base: Option<(Moment, Totals)>,
    /// When it was read before, and how much had been started by then; the oldest first.
    readings: VecDeque<(Moment, u64)>,
    latest: Option<(Moment, Observed)>,
}

impl Meter {
    /// A meter over histograms with these upper bounds, in seconds.
    pub const fn new(bounds: &'static [f64; BUCKETS - 1]) -> Self {
        Self { bounds, base: None, readings: VecDeque::new(), latest: None }
    }

    /// Takes a reading. Once `needed` requests came together since the last observation there is a new one, and this answers
    /// it; what takes longer than `patience` is dropped. A request hangs if it is older than `hanging` and than the median of
    /// those that were answered.
    pub fn read(
        &mut self,
        now: Moment,
        totals: &Totals,
        needed: u64,
        patience: Duration,
        hanging: Duration,
    ) -> Option<Observed> {
        let observed = self.base.and_then(|(_since, base)| self.observe(now, totals, &base, hanging));
        self.readings.push_back((now, totals.started));
        if self.readings.len() > READINGS_MAX {
            self.readings.pop_front();
        }
        let fresh = observed.filter(|observed| observed.requests >= needed.max(1));
        let stale = self.base.is_none_or(|(since, _base)| now.since(since) > patience);
        if fresh.is_some() || stale {
            self.base = Some((now, *totals));
        }
        if let Some(observed) = fresh {
            self.latest = Some((now, observed));
        }
        if self.latest.is_some_and(|(at, _observed)| now.since(at) > patience) {
            self.latest = None;
        }
        fresh
    }

    /// The last observation, unless it is too old to say anything.
    pub fn latest(&self) -> Option<Observed> {
        self.latest.map(|(_at, observed)| observed)
    }

    fn observe(&self, now: Moment, totals: &Totals, base: &Totals, hanging: Duration) -> Option<Observed> {
        let mut buckets: [u64; BUCKETS] =
            std::array::from_fn(|index| totals.buckets[index].saturating_sub(base.buckets[index]));
        let answered = buckets.iter().fold(0u64, |sum, count| sum.saturating_add(*count));
        let settled = totals.settled.saturating_sub(base.settled).max(answered);
        let sum = Duration::from_nanos(totals.sum_nanos.saturating_sub(base.sum_nanos));
        let mean = sum.as_secs_f64() / answered.max(1) as f64;
        let usual = self.median(&buckets, mean);
        let mut stuck = 0;
        let awaited = totals.started.saturating_sub(totals.settled);
        for (at, started) in &self.readings {
            let age = now.since(*at);
            if age < hanging || age.as_secs_f64() < usual {
                break;
            }
            let older = awaited.saturating_sub(totals.started.saturating_sub(*started));
            // Those that no earlier reading has counted already.
            let more = older.saturating_sub(stuck);
            stuck = stuck.saturating_add(more);
            let bucket = &mut buckets[self.bucket(age.as_secs_f64())];
            *bucket = bucket.saturating_add(more);
        }
        let requests = settled.saturating_add(stuck);
        if requests == 0 {
            return None;
        }
        let failed = totals.failed.saturating_sub(base.failed).min(requests) as f64 / requests as f64;
        let latency = Duration::try_from_secs_f64(self.median(&buckets, mean)).unwrap_or(Duration::MAX);
        Some(Observed { requests, failed, latency })
    }

    fn bucket(&self, seconds: f64) -> usize {
        self.bounds.iter().position(|bound| seconds <= *bound).unwrap_or(BUCKETS - 1)
    }

    /// The median in seconds. Where the mean lies in the median's bucket it is the better estimate; else the place in the
    /// bucket is interpolated, and in the open one its lower bound is taken.
    fn median(&self, buckets: &[u64; BUCKETS], mean: f64) -> f64 {
        let total: f64 = buckets.iter().map(|count| *count as f64).sum();
        if total == 0.0 {
            return 0.0;
        }
        let half = total / 2.0;
        let mut below = 0.0;
        for (index, count) in buckets.iter().enumerate() {
            let count = *count as f64;
            if count > 0.0 && below + count >= half {
                let low = index.checked_sub(1).and_then(|before| self.bounds.get(before)).copied().unwrap_or(0.0);
                let Some(high) = self.bounds.get(index).copied() else { return low };
                let inside = mean > low && mean <= high;
                return if inside { mean } else { low + (high - low) * ((half - below) / count).clamp(0.0, 1.0) };
            }
            below += count;
        }
        0.0
    }
}

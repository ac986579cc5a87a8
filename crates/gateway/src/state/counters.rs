//! Counters with one writer each, summed when they are read.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the duration histograms' buckets in seconds (OpenTelemetry, `http.server.request.duration`); one more
/// bucket holds the rest.
pub const BUCKETS: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

/// A number that one thread raises and others read.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `by`. Only the owning worker may call it: two writers would lose counts.
    pub fn add(&self, by: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
    }

    /// The number now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A histogram over [`BUCKETS`] that one thread writes.
#[derive(Debug, Default)]
pub struct Histogram {
    /// Observations in each bucket (not cumulative); the last one is above all bounds.
    pub buckets: [Counter; 15],
    /// Sum of the observations in nanoseconds.
    pub sum_nanos: Counter,
}

impl Histogram {
    /// Records a duration.
    pub fn record(&self, duration: Duration) {
        if let Some(counter) = self.buckets.get(bucket_of(duration)) {
            counter.add(1);
        }
        self.sum_nanos.add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
    }
}

/// The number of the bucket that a duration falls into.
pub(super) fn bucket_of(duration: Duration) -> usize {
    let seconds = duration.as_secs_f64();
    BUCKETS.iter().position(|bound| seconds <= *bound).unwrap_or(BUCKETS.len())
}

/// One value for each worker, on cache lines of their own.
#[derive(Debug)]
pub struct Shards<T>(Box<[Aligned<T>]>);

#[derive(Debug, Default)]
#[repr(align(128))]
struct Aligned<T>(T);

impl<T: Default> Shards<T> {
    /// Fresh values for `workers` workers.
    pub fn new(workers: usize) -> Self {
        Self((0..workers.max(1)).map(|_worker| Aligned::default()).collect())
    }

    /// The value of `worker`.
    ///
    /// # Panics
    /// Never: a worker beyond the last shares the last one's value.
    pub fn of(&self, worker: usize) -> &T {
        &self.0[worker.min(self.0.len() - 1)].0
    }

    /// Sums what `read` finds in every worker's value.
    pub fn sum(&self, read: impl Fn(&T) -> u64) -> u64 {
        self.0.iter().map(|shard| read(&shard.0)).sum()
    }

    /// All workers' values.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|shard| &shard.0)
    }
}

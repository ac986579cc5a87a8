//! Latencies of the latest requests, and their median.

use std::time::Duration;

use super::SAMPLES;
use crate::time::Moment;

/// How many latencies are kept; of more, the latest.
const KEPT: usize = 2 * SAMPLES;

#[derive(Clone, Debug)]
pub(super) struct Window {
    began: Moment,
    latencies: [u64; KEPT],
    count: usize,
}

impl Window {
    pub(super) fn new(now: Moment) -> Self {
        Self { began: now, latencies: [0; KEPT], count: 0 }
    }

    pub(super) fn add(&mut self, latency: Duration) {
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.latencies[self.count % KEPT] = nanos;
        self.count = self.count.saturating_add(1);
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn lasted(&self, now: Moment) -> Duration {
        now.since(self.began)
    }

    pub(super) fn clear(&mut self, now: Moment) {
        self.began = now;
        self.count = 0;
    }

    /// The median, and the window begins anew. `None` if it is empty.
    pub(super) fn take_median(&mut self, now: Moment) -> Option<Duration> {
        let kept = self.latencies.get_mut(..self.count.min(KEPT))?;
        let median = (!kept.is_empty()).then(|| *kept.select_nth_unstable(kept.len() / 2).1);
        self.clear(now);
        median.map(Duration::from_nanos)
    }
}

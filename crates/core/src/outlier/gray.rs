//! Gray failure: an endpoint that is far slower than its siblings, or fails far more, while its checks pass.
//!
//! Each is compared with the median of the others, so that neither the one in question nor one more that is unwell moves the
//! yardstick. What all of them share (a slow database, say) makes none of them stand out.

use std::time::Duration;

use super::meter::{BUCKETS, Meter, Observed, Totals};
use crate::balance::Share;
use crate::time::Moment;

/// When an endpoint counts as gray.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    /// How often endpoints are compared.
    pub interval: Duration,
    /// Slow is who takes this many times the median of the others,
    pub slower: f64,
    /// and this much longer.
    pub slower_by: Duration,
    /// Failing is whose share of failures is so far above the median of the others, 0 to 1.
    pub errors: f64,
    /// Requests without which nothing is said of an endpoint; fewer for one that is eased out already.
    pub min_requests: u64,
    /// Endpoints that must have been observed, this one counted.
    pub min_endpoints: usize,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(1),
            slower: 5.0,
            slower_by: Duration::from_millis(10),
            errors: 0.2,
            min_requests: 20,
            min_endpoints: 3,
        }
    }
}

/// What a comparison says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As its siblings.
    Well,
    /// Between well and not well: nothing follows from it.
    Unclear,
    /// Far slower than its siblings.
    Slow,
    /// It fails far more than its siblings.
    Failing,
}

/// A comparison of one endpoint with the others.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Finding {
    /// Which one.
    pub endpoint: usize,
    /// What it says.
    pub verdict: Verdict,
    /// What the endpoint did.
    pub own: Observed,
    /// The median latency of the others.
    pub peers_latency: Duration,
    /// The median share of failures of the others.
    pub peers_failed: f64,
}

/// The least number of requests that is ever enough.
const REQUESTS_LEAST: u64 = 5;
/// Intervals after which an observation that is not complete, or the last one, is dropped.
const PATIENCE: u32 = 10;
/// Median absolute deviations, scaled to a standard deviation, that an outlier is beyond (Leys et al. 2013).
const DEVIATIONS: f64 = 3.0 * 1.4826;

/// The meters of one service's endpoints.
#[derive(Clone, Debug)]
pub struct Peers {
    policy: Policy,
    meters: Vec<Meter>,
    next: Moment,
}

impl Peers {
    /// Meters for `endpoints` endpoints, over histograms with these upper bounds in seconds.
    pub fn new(policy: Policy, endpoints: usize, bounds: &'static [f64; BUCKETS - 1], now: Moment) -> Self {
        Self { policy, meters: vec![Meter::new(bounds); endpoints], next: now }
    }

    /// When to call [`Self::read`].
    pub const fn deadline(&self) -> Moment {
        self.next
    }

    /// Takes a reading of every endpoint, in order, and compares those of which enough is known by now. `share` is how much
    /// of its weight an endpoint gets: whoever gets little has little to show.
    pub fn read(&mut self, now: Moment, totals: &[Totals], share: impl Fn(usize) -> Share) -> Vec<Finding> {
        self.next = now.after(self.policy.interval);
        let patience = self.policy.interval.saturating_mul(PATIENCE);
        let mut fresh = Vec::new();
        for (endpoint, (meter, totals)) in self.meters.iter_mut().zip(totals).enumerate() {
            let scaled = (self.policy.min_requests as f64 * share(endpoint).as_ratio()).ceil() as u64;
            let needed = scaled.max(REQUESTS_LEAST.min(self.policy.min_requests));
            if let Some(own) = meter.read(now, totals, needed, patience, self.policy.interval) {
                fresh.push((endpoint, own));
            }
        }
        fresh.into_iter().filter_map(|(endpoint, own)| self.compare(endpoint, own)).collect()
    }

    fn compare(&self, endpoint: usize, own: Observed) -> Option<Finding> {
        let others = self.meters.iter().enumerate().filter(|(index, _meter)| *index != endpoint);
        let others: Vec<Observed> = others.filter_map(|(_index, meter)| meter.latest()).collect();
        if others.is_empty() || others.len() + 1 < self.policy.min_endpoints {
            return None;
        }
        let latency = Typical::of(others.iter().map(|other| other.latency.as_secs_f64()).collect());
        let failed = Typical::of(others.iter().map(|other| other.failed).collect());
        let verdict = verdict(&self.policy, &own, &latency, &failed);
        let peers_latency = Duration::try_from_secs_f64(latency.median).unwrap_or(Duration::MAX);
        Some(Finding { endpoint, verdict, own, peers_latency, peers_failed: failed.median })
    }
}

fn verdict(policy: &Policy, own: &Observed, latency: &Typical, failed: &Typical) -> Verdict {
    let (took, slower_by) = (own.latency.as_secs_f64(), policy.slower_by.as_secs_f64());
    let slow = (latency.median * policy.slower).max(latency.median + slower_by);
    let half_slow = (latency.median * (policy.slower + 1.0) / 2.0).max(latency.median + slower_by);
    if own.failed >= failed.median + policy.errors && failed.is_outlier(own.failed) {
        Verdict::Failing
    } else if took >= slow && latency.is_outlier(took) {
        Verdict::Slow
    } else if took < half_slow && own.failed < failed.median + policy.errors / 2.0 {
        Verdict::Well
    } else {
        Verdict::Unclear
    }
}

/// Median and median absolute deviation.
struct Typical {
    median: f64,
    deviation: f64,
}

impl Typical {
    fn of(values: Vec<f64>) -> Self {
        let spread = values.clone();
        let median = median(values);
        Self { median, deviation: self::median(spread.iter().map(|value| (value - median).abs()).collect()) }
    }

    fn is_outlier(&self, value: f64) -> bool {
        value > self.median + DEVIATIONS * self.deviation
    }
}

/// The median; 0 of nothing.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match (values.len() % 2, values.get(middle), middle.checked_sub(1).and_then(|below| values.get(below))) {
        (0, Some(above), Some(below)) => f64::midpoint(*above, *below),
        (_odd, Some(value), _) => *value,
        (_none, None, _) => 0.0,
    }
}

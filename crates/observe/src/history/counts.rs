//! What is counted, so that it can be added up.

use std::time::Duration;

use mainstay_gateway::state::BUCKETS;

/// Buckets of durations: one below each of the gateway's bounds, and one above them all.
pub const BUCKET_COUNT: usize = BUCKETS.len() + 1;
/// Numbers in [`Counts`] besides the seconds.
pub(super) const FIELDS: usize = 6 + BUCKET_COUNT;

/// What happened in a span of time. Counts of spans that follow each other, and of nodes, are added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Seconds of the span of which something is known. Added over nodes these are node-seconds.
    pub seconds: u64,
    /// Requests (endpoints: attempts; listeners: connections; probes: runs; databases: seconds) that came to an end.
    pub requests: u64,
    /// Those that failed: answered 5xx, by the gateway itself too (endpoints: or not at all; databases: without writes).
    pub errors: u64,
    /// Attempts beyond the first.
    pub retries: u64,
    /// Requests (listeners, node: connections) under way, times the seconds for which they were.
    pub active_seconds: u64,
    /// Milliseconds of processor time.
    pub cpu_millis: u64,
    /// Memory in KiB, times the seconds for which it was in use.
    pub memory_kib_seconds: u64,
    /// Durations by bucket (databases: of what clients waited for), not cumulative. The bounds are
    /// [`mainstay_gateway::state::BUCKETS`].
    pub buckets: [u64; BUCKET_COUNT],
}

impl Counts {
    /// Adds what happened elsewhere, or at another time.
    pub fn add(&mut self, other: &Self) {
        self.seconds = self.seconds.saturating_add(other.seconds);
        let mut fields = self.fields();
        fields.iter_mut().zip(other.fields()).for_each(|(field, more)| *field = field.saturating_add(more));
        *self = Self::of_fields(self.seconds, fields);
    }

    /// How many took no longer than the bucket bound `bound`; exact if it is one, else of the next lower one.
    pub fn within(&self, bound: Duration) -> u64 {
        let seconds = bound.as_secs_f64();
        self.buckets
            .iter()
            .zip(BUCKETS)
            .filter(|(_count, upper)| *upper <= seconds + 1e-9)
            .map(|(count, _)| count)
            .sum()
    }

    /// How many have a known duration.
    pub fn timed(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The duration below which the share `q` of the requests lies, interpolated in its bucket; the last bound if it is
    /// above that, `None` without any.
    pub fn quantile(&self, q: f64) -> Option<Duration> {
        let rank = q * self.timed() as f64;
        let (mut below, mut lower) = (0.0, 0.0);
        for (count, upper) in self.buckets.iter().zip(BUCKETS) {
            let count = *count as f64;
            if count > 0.0 && below + count >= rank {
                let share = ((rank - below) / count).clamp(0.0, 1.0);
                return Some(Duration::from_secs_f64(lower + (upper - lower) * share));
            }
            below += count;
            lower = upper;
        }
        (self.timed() > 0).then(|| Duration::from_secs_f64(lower))
    }

    /// A number for each second that is known; 0 without any.
    pub fn per_second(&self, number: u64) -> f64 {
        if self.seconds == 0 { 0.0 } else { number as f64 / self.seconds as f64 }
    }

    /// All numbers but the seconds, in the order in which they are stored: what is rarely zero last.
    pub(super) fn fields(&self) -> [u64; FIELDS] {
        let mut fields = [0; FIELDS];
        let (head, buckets) = fields.split_at_mut(FIELDS - BUCKET_COUNT);
        head.copy_from_slice(&[
            self.requests,
            self.errors,
            self.retries,
            self.active_seconds,
            self.cpu_millis,
            self.memory_kib_seconds,
        ]);
        buckets.copy_from_slice(&self.buckets);
        fields
    }

    pub(super) fn of_fields(seconds: u64, fields: [u64; FIELDS]) -> Self {
        let [requests, errors, retries, active_seconds, cpu_millis, memory_kib_seconds, ..] = fields;
        let buckets = std::array::from_fn(|at| fields.get(FIELDS - BUCKET_COUNT + at).copied().unwrap_or_default());
        Self { seconds, requests, errors, retries, active_seconds, cpu_millis, memory_kib_seconds, buckets }
    }
}

/// What a series' counters and gauges show now. Counters only grow until their owner is replaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// See [`Counts::requests`].
    pub requests: u64,
    /// See [`Counts::errors`].
    pub errors: u64,
    /// See [`Counts::retries`].
    pub retries: u64,
    /// See [`Counts::cpu_millis`].
    pub cpu_millis: u64,
    /// See [`Counts::buckets`].
    pub buckets: [u64; BUCKET_COUNT],
    /// A gauge: what is under way now.
    pub active: u64,
    /// A gauge: memory in use now, in KiB.
    pub memory_kib: u64,
}

impl Reading {
    /// What was added since `earlier`, `seconds` ago. If the requests went back, the counters are others, and begin at zero.
    pub(super) fn since(&self, earlier: &Self, seconds: u64) -> Counts {
        let fresh = Self::default();
        let earlier = if self.requests < earlier.requests { &fresh } else { earlier };
        Counts {
            seconds,
            requests: self.requests - earlier.requests,
            errors: self.errors.saturating_sub(earlier.errors),
            retries: self.retries.saturating_sub(earlier.retries),
            active_seconds: self.active.saturating_mul(seconds),
            cpu_millis: self.cpu_millis.saturating_sub(earlier.cpu_millis),
            memory_kib_seconds: self.memory_kib.saturating_mul(seconds),
            buckets: std::array::from_fn(|at| self.buckets[at].saturating_sub(earlier.buckets[at])),
        }
    }
}

//! A quantile of recent durations, from counts in buckets whose bounds grow by a fixed factor (as in HDR and DDSketch
//! histograms). Two halves take turns, so that what is old is forgotten and what is new is seen soon.

use std::time::Duration;

use crate::time::Moment;

/// Buckets an octave (a doubling of the duration): bounds lie a factor of `2^(1/8)`, 9 %, apart.
const PER_OCTAVE: usize = 8;
/// Octaves covered, from [`FINEST`]: up to 67 s.
const OCTAVES: usize = 20;
const BUCKETS: usize = PER_OCTAVE * OCTAVES;
/// The bound of the first bucket.
const FINEST: Duration = Duration::from_micros(64);

/// Durations of the last one to two spans.
#[derive(Clone, Debug)]
pub struct Recent {
    span: Duration,
    /// When the present half began.
    since: Moment,
    present: Half,
    before: Half,
}

#[derive(Clone, Debug)]
struct Half {
    buckets: Box<[u32; BUCKETS]>,
    count: u64,
}

impl Half {
    fn new() -> Self {
        Self { buckets: Box::new([0; BUCKETS]), count: 0 }
    }

    fn clear(&mut self) {
        self.buckets.fill(0);
        self.count = 0;
    }
}

impl Recent {
    /// Without observations; each is forgotten after one to two times `span`.
    pub fn new(span: Duration, now: Moment) -> Self {
        Self { span, since: now, present: Half::new(), before: Half::new() }
    }

    /// Takes in one duration.
    pub fn record(&mut self, now: Moment, duration: Duration) {
        self.advance(now);
        let bucket = &mut self.present.buckets[bucket(duration)];
        *bucket = bucket.saturating_add(1);
        self.present.count += 1;
    }

    /// How many durations are remembered.
    pub fn count(&mut self, now: Moment) -> u64 {
        self.advance(now);
        self.present.count + self.before.count
    }

    /// The duration that the share `q` (0 to 1) of the remembered ones does not exceed, up to 9 % more; `None` if nothing
    /// is remembered.
    pub fn quantile(&mut self, now: Moment, q: f64) -> Option<Duration> {
        let total = self.count(now);
        if total == 0 {
            return None;
        }
        let wanted = ((q.clamp(0.0, 1.0) * total as f64).ceil() as u64).max(1);
        let mut seen = 0;
        for (index, (present, before)) in self.present.buckets.iter().zip(self.before.buckets.iter()).enumerate() {
            seen += u64::from(*present) + u64::from(*before);
            if seen >= wanted {
                return Some(bound(index));
            }
        }
        Some(bound(BUCKETS - 1))
    }

    fn advance(&mut self, now: Moment) {
        let passed = now.since(self.since);
        if passed < self.span {
            return;
        }
        std::mem::swap(&mut self.present, &mut self.before);
        self.present.clear();
        if passed >= self.span.saturating_mul(2) {
            self.before.clear();
        }
        self.since = now;
    }
}

/// The bucket of a duration: the first whose bound is not below it; the last one takes all that is longer.
fn bucket(duration: Duration) -> usize {
    let ratio = duration.as_secs_f64() / FINEST.as_secs_f64();
    if ratio <= 1.0 {
        return 0;
    }
    ((ratio.log2() * PER_OCTAVE as f64 - 1e-3).ceil() as usize).min(BUCKETS - 1)
}

fn bound(bucket: usize) -> Duration {
    FINEST.mul_f64((bucket as f64 / PER_OCTAVE as f64).exp2())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPAN: Duration = Duration::from_secs(10);

    #[test]
    fn tells_the_quantile_to_nine_percent() {
        let mut recent = Recent::new(SPAN, Moment::ZERO);
        assert_eq!(recent.quantile(Moment::ZERO, 0.95), None);
        for millis in 1..=1000 {
            recent.record(Moment::ZERO, Duration::from_millis(millis));
        }
        for (q, millis) in [(0.0, 1.0), (0.5, 500.0), (0.95, 950.0), (0.99, 990.0), (1.0, 1000.0)] {
            let found = recent.quantile(Moment::ZERO, q).unwrap().as_secs_f64() * 1e3;
            assert!(found >= millis && found <= millis * 1.0906, "{q}: {found}");
        }
    }

    #[test]
    fn forgets_after_one_to_two_spans() {
        let mut recent = Recent::new(SPAN, Moment::ZERO);
        recent.record(Moment::from_millis(9_000), Duration::from_secs(1));
        assert_eq!(recent.count(Moment::from_millis(18_000)), 1);
        recent.record(Moment::from_millis(18_500), Duration::from_millis(1));
        assert_eq!(recent.count(Moment::from_millis(27_000)), 2);
        assert_eq!(recent.count(Moment::from_millis(28_500)), 1, "the first one is gone");
        assert!(recent.quantile(Moment::from_millis(28_500), 1.0).unwrap() < Duration::from_millis(2));
        assert_eq!(recent.count(Moment::NEVER), 0);
    }

    #[test]
    fn every_duration_has_a_bucket() {
        let mut recent = Recent::new(SPAN, Moment::ZERO);
        for duration in [Duration::ZERO, Duration::from_nanos(1), FINEST, FINEST * 2, Duration::MAX] {
            recent.record(Moment::ZERO, duration);
        }
        assert_eq!(recent.count(Moment::ZERO), 5);
        assert_eq!(recent.quantile(Moment::ZERO, f64::NAN).map(|it| it <= bound(BUCKETS - 1)), Some(true));
        for index in 0..BUCKETS {
            assert_eq!(bucket(bound(index)), index);
        }
    }
}

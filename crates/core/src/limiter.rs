//! Rate limits: a token bucket, told as the generic cell rate algorithm (ITU-T I.371, annex A), which needs one moment
//! instead of a level and a time.
//!
//! A bucket holds `burst` tokens and fills at `rate`. What is remembered is when it will be full again. Over any span of
//! time `t` at most `burst + rate * t` requests pass.

mod table;

use std::time::Duration;

pub use table::Table;

use crate::time::Moment;

/// How many requests pass: so many at once, and from then on one each interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Time that one token takes to come back; at least a nanosecond.
    interval_nanos: u64,
    /// What a full bucket holds, in time: `burst * interval`.
    depth_nanos: u64,
}

impl Rate {
    /// `requests` each `per`, of which `burst` may come at once. Zero counts as one for each number. A token takes a whole
    /// number of nanoseconds, so that a rate of millions a second is kept to about a thousandth.
    pub fn new(requests: u32, per: Duration, burst: u32) -> Self {
        let per = u64::try_from(per.as_nanos()).unwrap_or(u64::MAX);
        let interval_nanos = (per / u64::from(requests.max(1))).max(1);
        Self { interval_nanos, depth_nanos: interval_nanos.saturating_mul(u64::from(burst.max(1))) }
    }

    /// A part of it (0 to 1): so much of the rate and of the burst, but at least one request each time that the bucket fills.
    #[must_use]
    pub fn part(&self, part: f64) -> Self {
        if part >= 1.0 {
            return *self;
        }
        // A part that is not a number is none, as the largest interval shows: conversions of floats saturate.
        let interval_nanos = (self.interval_nanos as f64 / part.max(0.0)).min(u64::MAX as f64 / 2.0) as u64;
        let interval_nanos = interval_nanos.max(self.interval_nanos);
        Self { interval_nanos, depth_nanos: self.depth_nanos.max(interval_nanos) }
    }

    /// How many requests may come at once.
    pub fn burst(&self) -> u64 {
        self.depth_nanos / self.interval_nanos
    }
}

/// One bucket, full at first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// When it is full again, in nanoseconds of the clock.
    full_at: u64,
}

/// There is no token now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limited {
    /// When there will be one, if nobody takes it before.
    pub after: Duration,
}

impl Bucket {
    /// Takes a token, if one is left when `share` (0 to 1) of the bucket is all that may be used up; the rest is for those
    /// who matter more. One token is always in the share.
    ///
    /// # Errors
    ///
    /// [`Limited`] if there is none; then nothing is taken.
    pub fn take(&mut self, now: Moment, rate: &Rate, share: f64) -> Result<(), Limited> {
        // A worker that read the clock before another took the lock does no harm: the bucket is a little emptier.
        let base = self.full_at.max(now.as_nanos());
        let then = base.saturating_add(rate.interval_nanos);
        let depth = if share >= 1.0 {
            rate.depth_nanos
        } else {
            ((rate.depth_nanos as f64 * share.max(0.0)) as u64).max(rate.interval_nanos)
        };
        let fits_at = then.saturating_sub(depth);
        if fits_at > now.as_nanos() {
            return Err(Limited { after: Duration::from_nanos(fits_at - now.as_nanos()) });
        }
        self.full_at = then;
        Ok(())
    }

    /// Puts a token back that was taken for a request which another limit then refused.
    pub fn put_back(&mut self, rate: &Rate) {
        self.full_at = self.full_at.saturating_sub(rate.interval_nanos);
    }

    /// Whether nothing is lost if it is forgotten.
    pub fn is_full(&self, now: Moment) -> bool {
        self.full_at <= now.as_nanos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(bucket: &mut Bucket, now: Moment, rate: &Rate, wanted: u32, share: f64) -> u32 {
        (0..wanted).map(|_request| u32::from(bucket.take(now, rate, share).is_ok())).sum()
    }

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let rate = Rate::new(10, Duration::from_secs(1), 5);
        assert_eq!(rate.burst(), 5);
        let mut bucket = Bucket::default();
        let start = Moment::from_millis(7_000);
        assert_eq!(taken(&mut bucket, start, &rate, 100, 1.0), 5);
        assert_eq!(bucket.take(start, &rate, 1.0), Err(Limited { after: Duration::from_millis(100) }));
        assert_eq!(taken(&mut bucket, start.after(Duration::from_millis(350)), &rate, 100, 1.0), 3);
        assert_eq!(taken(&mut bucket, start.after(Duration::from_secs(60)), &rate, 100, 1.0), 5, "full again");
    }

    #[test]
    fn a_share_leaves_tokens_for_others_and_costs_no_rate() {
        let rate = Rate::new(10, Duration::from_secs(1), 10);
        let mut bucket = Bucket::default();
        assert_eq!(taken(&mut bucket, Moment::ZERO, &rate, 100, 0.5), 5);
        assert_eq!(taken(&mut bucket, Moment::ZERO, &rate, 100, 1.0), 5);
        let mut alone = Bucket::default();
        let passed: u32 = (0..1000).map(|step| taken(&mut alone, Moment::from_millis(step * 10), &rate, 10, 0.5)).sum();
        assert_eq!(passed, 5 + 99, "10 seconds at 10 a second");
        assert_eq!(taken(&mut Bucket::default(), Moment::ZERO, &rate, 100, 0.0), 1, "one is in any share");
    }

    #[test]
    fn parts_of_a_rate_add_up_to_it() {
        let (rate, start) = (Rate::new(100, Duration::from_secs(1), 50), Moment::from_millis(5));
        for (part, burst, more) in
            [(1.0, 50, 100), (0.5, 25, 50), (0.1, 5, 10), (0.01, 1, 1), (0.0, 1, 0), (7.0, 50, 100)]
        {
            let (part, mut bucket) = (rate.part(part), Bucket::default());
            assert_eq!(taken(&mut bucket, start, &part, 1000, 1.0), burst);
            let each_ms =
                (1..=1000).map(|ms| taken(&mut bucket, start.after(Duration::from_millis(ms)), &part, 9, 1.0));
            assert_eq!(each_ms.sum::<u32>(), more);
        }
        assert_eq!(taken(&mut Bucket::default(), start, &rate.part(f64::NAN), 10, 1.0), 1);
    }

    #[test]
    fn what_is_put_back_can_be_taken_again() {
        let rate = Rate::new(1, Duration::from_secs(60), 2);
        let mut bucket = Bucket::default();
        assert_eq!(taken(&mut bucket, Moment::from_millis(1), &rate, 9, 1.0), 2);
        bucket.put_back(&rate);
        assert_eq!(taken(&mut bucket, Moment::from_millis(1), &rate, 9, 1.0), 1);
    }

    #[test]
    fn senseless_rates_neither_panic_nor_let_everything_through() {
        let nothing = Rate::new(0, Duration::ZERO, 0);
        assert_eq!(taken(&mut Bucket::default(), Moment::ZERO, &nothing, 10, 1.0), 1);
        let never = Rate::new(1, Duration::MAX, u32::MAX);
        let mut bucket = Bucket::default();
        assert!(taken(&mut bucket, Moment::NEVER, &never, 3, f64::NAN) <= 3);
    }
}

//! A share of traffic that grows from a first part to all of it.

use std::time::Duration;

use crate::time::Moment;

/// How much is let through, by time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ramp {
    since: Moment,
    lasts: Duration,
    from: f64,
}

impl Ramp {
    /// A ramp that begins at `since` with the share `from` (0 to 1) and reaches everything after `lasts`.
    pub const fn new(since: Moment, lasts: Duration, from: f64) -> Self {
        Self { since, lasts, from }
    }

    /// The share at `now`, 0 to 1; before the beginning the first part, after the end 1. It grows evenly.
    pub fn share(&self, now: Moment) -> f64 {
        if self.is_over(now) {
            return 1.0;
        }
        let done = now.since(self.since).as_secs_f64() / self.lasts.as_secs_f64();
        let from = if self.from.is_nan() { 0.0 } else { self.from.clamp(0.0, 1.0) };
        (from + (1.0 - from) * done).clamp(0.0, 1.0)
    }

    /// When everything passes again.
    pub fn end(&self) -> Moment {
        self.since.after(self.lasts)
    }

    /// Whether everything passes.
    pub fn is_over(&self, now: Moment) -> bool {
        now >= self.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_evenly_from_its_first_part_to_everything() {
        let ramp = Ramp::new(Moment::from_millis(1000), Duration::from_secs(10), 0.1);
        for (at_ms, expected) in [(0, 0.1), (1000, 0.1), (6000, 0.55), (10_000, 0.91), (11_000, 1.0), (90_000, 1.0)] {
            let share = ramp.share(Moment::from_millis(at_ms));
            assert!((share - expected).abs() < 1e-9, "{at_ms} ms: {share}");
        }
        assert_eq!(ramp.end(), Moment::from_millis(11_000));
    }

    #[test]
    fn senseless_ramps_stay_between_nothing_and_everything() {
        for (from, lasts) in [(f64::NAN, 5), (-3.0, 5), (7.0, 5), (0.5, 0), (f64::INFINITY, 1)] {
            let ramp = Ramp::new(Moment::ZERO, Duration::from_secs(lasts), from);
            for at_ms in [0, 1, 4999, 5000, 10_000] {
                let share = ramp.share(Moment::from_millis(at_ms));
                assert!((0.0..=1.0).contains(&share), "{from} {lasts} {at_ms}: {share}");
            }
        }
    }
}

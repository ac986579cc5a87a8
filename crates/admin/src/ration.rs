//! How often something may be written down that anybody can bring about.

use std::time::{Duration, Instant};

/// Some at once, and then one in each span of time; what goes beyond is counted.
#[derive(Debug)]
pub struct Ration {
    most: u32,
    every: Duration,
    left: u32,
    /// Since when the next one is awaited, once some are used.
    since: Option<Instant>,
    left_out: u64,
}

impl Ration {
    /// `most` at once, and one more after each `every`.
    pub fn new(most: u32, every: Duration) -> Self {
        Self { most, every, left: most, since: None, left_out: 0 }
    }

    /// Takes one: how many were left out before it, or none if this one is left out, too.
    pub fn take(&mut self, now: Instant) -> Option<u64> {
        let since = *self.since.get_or_insert(now);
        let spans = now.saturating_duration_since(since).as_millis() / self.every.as_millis().max(1);
        let more = u32::try_from(spans).unwrap_or(u32::MAX);
        self.left = self.left.saturating_add(more).min(self.most);
        self.since = Some(if self.left == self.most { now } else { since + self.every.saturating_mul(more) });
        if self.left == 0 {
            self.left_out = self.left_out.saturating_add(1);
            return None;
        }
        self.left -= 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_at_once_then_one_in_each_span() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut ration = Ration::new(3, 10 * second);
        let taken: Vec<_> = (0..5).map(|_each| ration.take(start)).collect();
        assert_eq!(taken, [Some(0), Some(0), Some(0), None, None]);
        assert_eq!(ration.take(start + 9 * second), None);
        assert_eq!(ration.take(start + 10 * second), Some(3));
        assert_eq!(ration.take(start + 19 * second), None);
        assert_eq!(ration.take(start + 20 * second), Some(1), "parts of a span are not lost");
        let later = start + 1_000 * second;
        assert_eq!((0..5).filter_map(|_each| ration.take(later)).count(), 3, "no more than at once");
    }

    #[test]
    fn a_flood_leaves_as_many_as_time_allows() {
        let start = Instant::now();
        let mut ration = Ration::new(20, Duration::from_secs(120));
        let mut told = 0;
        let written = (0..86_400_u64).filter_map(|at| ration.take(start + Duration::from_secs(at)));
        let written = written.inspect(|left_out| told += left_out).count();
        assert!((735..=740).contains(&written), "{written}");
        assert!(told + 120 + u64::try_from(written).expect("few") >= 86_400, "all are counted: {told}");
    }
}

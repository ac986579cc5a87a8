//! Traces that stand for the buckets of a histogram: of each bucket the last one that was told of, so that who sees a slow
//! request counted can look one up.

use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::time::Duration;

use super::counters::bucket_of;

/// How often a reader tries to find a place that is not being written.
const TRIES: usize = 4;

/// A request that was told of with its trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exemplar {
    /// The trace's id.
    pub trace: u128,
    /// How long the request took.
    pub duration: Duration,
    /// When it ended, since 1970.
    pub at: Duration,
}

/// The places for a histogram's exemplars: written by one thread, which never waits, and read by others.
#[derive(Debug, Default)]
pub struct Exemplars([Place; 15]);

/// One exemplar behind a version, which is odd while it is written.
#[derive(Debug, Default)]
struct Place {
    version: AtomicU64,
    /// The trace's upper and lower half, the duration and the time in nanoseconds.
    words: [AtomicU64; 4],
}

impl Exemplars {
    /// Notes a request in the bucket of its duration. Only the owning worker may call it.
    pub fn note(&self, exemplar: Exemplar) {
        let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let Exemplar { trace, duration, at } = exemplar;
        if let Some(place) = self.0.get(bucket_of(duration)) {
            place.write([(trace >> 64) as u64, trace as u64, nanos(duration), nanos(at)]);
        }
    }

    /// The last one of a bucket, if there is one and it is not being replaced at this very moment.
    pub fn get(&self, bucket: usize) -> Option<Exemplar> {
        let [high, low, duration, at] = self.0.get(bucket)?.read()?;
        Some(Exemplar {
            trace: (u128::from(high) << 64) | u128::from(low),
            duration: Duration::from_nanos(duration),
            at: Duration::from_nanos(at),
        })
    }
}

impl Place {
    fn write(&self, values: [u64; 4]) {
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version.wrapping_add(1), Ordering::Relaxed);
        // Nobody sees a new word with an old version.
        fence(Ordering::Release);
        for (word, value) in self.words.iter().zip(values) {
            word.store(value, Ordering::Relaxed);
        }
        self.version.store(version.wrapping_add(2), Ordering::Release);
    }

    fn read(&self) -> Option<[u64; 4]> {
        (0..TRIES).find_map(|_try| {
            let before = self.version.load(Ordering::Acquire);
            let words = [0, 1, 2, 3].map(|index: usize| self.words[index].load(Ordering::Relaxed));
            fence(Ordering::Acquire);
            let is_whole = before.is_multiple_of(2) && self.version.load(Ordering::Relaxed) == before;
            (before > 0 && is_whole).then_some(words)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    #[test]
    fn a_bucket_has_its_last_one_and_others_none() {
        let exemplars = Exemplars::default();
        assert!((0..20).all(|bucket| exemplars.get(bucket).is_none()));
        let one = |trace, millis| Exemplar {
            trace,
            duration: Duration::from_millis(millis),
            at: Duration::from_secs(1_700_000_000),
        };
        for exemplar in [one(1 << 100, 3), one(7, 4), one(8, 60_000)] {
            exemplars.note(exemplar);
        }
        assert_eq!(exemplars.get(0), Some(one(7, 4)));
        assert_eq!(exemplars.get(14), Some(one(8, 60_000)));
        assert_eq!((1..14).filter_map(|bucket| exemplars.get(bucket)).count(), 0);
    }

    #[test]
    fn a_reader_never_sees_parts_of_two() {
        let (exemplars, ends) = (Exemplars::default(), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for number in 1..200_000_u64 {
                    let same = Duration::from_nanos(number);
                    let trace = (u128::from(number) << 64) | u128::from(number);
                    exemplars.note(Exemplar { trace, duration: same, at: same });
                }
                ends.store(true, Ordering::Release);
            });
            while !ends.load(Ordering::Acquire) {
                if let Some(Exemplar { trace, duration, at }) = exemplars.get(0) {
                    assert_eq!((trace as u64, duration), ((trace >> 64) as u64, at));
                    assert_eq!(u128::from(trace as u64), duration.as_nanos());
                }
            }
        });
    }
}

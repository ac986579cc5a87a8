//! Buckets by key, in bounded memory: a set-associative table, like a processor's cache.
//!
//! A key can stand in one of eight places. A new key takes a free place, then that of a bucket that is full again (forgetting
//! it loses nothing), and else that of the bucket nearest to being full: of all it forgets the least. So a flood of new keys
//! does not wash out those that are far over their limit.

use super::{Bucket, Limited, Rate};
use crate::time::Moment;

/// Places that a key can stand in.
const WAYS: usize = 8;
/// No table remembers more keys than this, whatever is asked for: 16 bytes each.
const MOST_KEYS: usize = 1 << 24;

/// Buckets of one rate by key.
#[derive(Clone, Debug)]
pub struct Table {
    rate: Rate,
    /// A power of two of them.
    sets: Vec<[Entry; WAYS]>,
    evicted: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    key: u64,
    bucket: Bucket,
}

impl Table {
    /// A table for at least `keys` keys, rounded up to eight times a power of two and at most 16,777,216. All its memory is
    /// taken now.
    pub fn new(rate: Rate, keys: usize) -> Self {
        let sets = keys.min(MOST_KEYS).div_ceil(WAYS).next_power_of_two();
        Self { rate, sets: vec![[Entry::default(); WAYS]; sets], evicted: 0 }
    }

    /// Takes a token from the bucket of `key`, see [`Bucket::take`]. The key has to be a good hash, keyed by a secret if
    /// clients choose what is hashed.
    ///
    /// # Errors
    ///
    /// [`Limited`] if there is no token.
    pub fn take(&mut self, now: Moment, key: u64, share: f64) -> Result<(), Limited> {
        let rate = self.rate;
        let mut lost = false;
        let entry = match self.place(key) {
            Place::Known(entry) => entry,
            Place::Victim(entry) => {
                lost = !entry.bucket.is_full(now);
                *entry = Entry { key, bucket: Bucket::default() };
                entry
            }
        };
        let result = entry.bucket.take(now, &rate, share);
        self.evicted += u64::from(lost);
        result
    }

    /// Puts a token back, see [`Bucket::put_back`]. Does nothing if the key has been forgotten.
    pub fn put_back(&mut self, key: u64) {
        let rate = self.rate;
        if let Place::Known(entry) = self.place(key) {
            entry.bucket.put_back(&rate);
        }
    }

    /// How many keys fit.
    pub fn capacity(&self) -> usize {
        self.sets.len() * WAYS
    }

    /// How many keys have a bucket that is not full.
    pub fn active(&self, now: Moment) -> usize {
        self.sets.iter().flatten().filter(|entry| !entry.bucket.is_full(now)).count()
    }

    /// How many buckets were forgotten before they were full, since the table was made.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Where `key` stands, or whose place it would take. A place that was never used is full since the beginning of time.
    fn place(&mut self, key: u64) -> Place<'_> {
        let index = key as usize & (self.sets.len() - 1);
        let set = &mut self.sets[index];
        let known = set.iter().position(|entry| entry.key == key);
        match known {
            Some(way) => Place::Known(&mut set[way]),
            None => {
                let mut way = 0;
                for other in 1..WAYS {
                    if set[other].bucket.full_at < set[way].bucket.full_at {
                        way = other;
                    }
                }
                Place::Victim(&mut set[way])
            }
        }
    }
}

enum Place<'a> {
    Known(&'a mut Entry),
    Victim(&'a mut Entry),
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::random::mix;

    fn table(keys: usize) -> Table {
        Table::new(Rate::new(1, Duration::from_secs(1), 10), keys)
    }

    #[test]
    fn each_key_has_a_bucket_of_its_own() {
        let mut table = table(1000);
        assert!(table.capacity() >= 1000);
        let now = Moment::from_millis(5);
        for key in 1..=300 {
            let passed = (0..20).filter(|_request| table.take(now, mix(key), 1.0).is_ok()).count();
            assert_eq!(passed, 10, "{key}");
        }
        assert_eq!((table.active(now), table.evicted()), (300, 0));
        assert_eq!(table.active(now.after(Duration::from_secs(11))), 0);
    }

    #[test]
    fn a_flood_of_keys_does_not_free_those_over_their_limit() {
        let mut table = table(64);
        let capacity = table.capacity();
        let now = Moment::from_millis(5);
        let greedy = mix(0);
        while table.take(now, greedy, 1.0).is_ok() {}
        for key in 1..100_000 {
            let _passed_or_not = table.take(now, mix(key), 1.0);
            assert!(table.take(now, greedy, 1.0).is_err(), "after {key} others");
        }
        assert_eq!(table.capacity(), capacity);
        assert!(table.active(now) <= capacity && table.evicted() > 90_000);
    }

    #[test]
    fn sizes_without_sense_make_a_small_table() {
        assert_eq!(table(0).capacity(), WAYS);
        let mut table = table(1);
        assert!(table.take(Moment::ZERO, 0, 1.0).is_ok());
        table.put_back(0);
        table.put_back(99);
        assert_eq!(table.active(Moment::ZERO), 0);
    }
}

//! The table of sessions that nodes share: which endpoint a session belongs to, for how long, and what two nodes make of what
//! both know of it.
//!
//! Nodes change their tables at the same time and tell each other later, in any order and more than once. So what they know
//! of a session only ever grows: [`Session::merge`] is commutative, associative and idempotent, and tables that have seen the
//! same changes hold the same. Nothing is ever deleted but by time, which all nodes have in common, so that no deletion can
//! be undone by somebody who has not heard of it.
//!
//! Times are those of the wall clock, in milliseconds since 1970, because they are compared between nodes. A clock that is
//! wrong by minutes makes sessions live longer or shorter by as much, no more: who moves a session always stamps it later
//! than what it has seen.

use std::collections::{BTreeSet, HashMap};
use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::random::{hash, mix};

/// How finely two tables are compared: sessions fall into this many buckets.
pub const BUCKETS: usize = 64;
/// A stamp that is further ahead of the own clock is nobody's that can be trusted, in milliseconds.
pub const AHEAD_MAX_MS: u64 = 3_600_000;
/// How long a session may live without being used, in seconds.
pub const TTL_SECONDS: RangeInclusive<u32> = 1..=30 * 86_400;
/// Bytes of an endpoint's name.
pub const ENDPOINT_BYTES_MAX: usize = 512;
/// The last access counts in steps of one part of the time to live when tables are compared: what is told of it is late by
/// design, and a difference that small is none.
const ACCESS_STEPS: u64 = 8;

/// Which session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The service that it is one of: a hash of its name.
    pub scope: u64,
    /// Its id, drawn at random.
    pub id: u128,
}

impl Key {
    /// Which bucket it falls into, below [`BUCKETS`].
    pub const fn bucket(self) -> usize {
        (self.mixed() % BUCKETS as u64) as usize
    }

    /// One of `count` parts that it falls into, with no regard to its bucket.
    pub const fn part(self, count: usize) -> usize {
        if count == 0 { 0 } else { ((self.mixed() >> 32) % count as u64) as usize }
    }

    const fn mixed(self) -> u64 {
        mix(self.scope ^ mix(self.id as u64) ^ (self.id >> 64) as u64)
    }
}

/// When a session was bound to its endpoint, and by which node. The later one counts; of two at the same time the one of the
/// greater node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp {
    /// Milliseconds since 1970.
    pub millis: u64,
    /// The node's number.
    pub node: u64,
}

/// What is known of a session.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Session {
    /// When it was bound last.
    pub bound: Stamp,
    /// The endpoint's name.
    pub endpoint: Arc<str>,
    /// How long it lives after its last access, in seconds.
    pub ttl: u32,
    /// When it began, in milliseconds since 1970.
    pub created: u64,
    /// When it was last used, in seconds since 1970.
    pub accessed: u64,
}

impl Session {
    /// Takes over what `other` knows better of the same session. Answers whether that is anything.
    pub fn merge(&mut self, other: &Self) -> bool {
        let mut is_news = false;
        if (other.bound, &other.endpoint, other.ttl) > (self.bound, &self.endpoint, self.ttl) {
            self.bound = other.bound;
            self.endpoint = Arc::clone(&other.endpoint);
            self.ttl = other.ttl;
            is_news = true;
        }
        if other.created < self.created {
            self.created = other.created;
            is_news = true;
        }
        if other.accessed > self.accessed {
            self.accessed = other.accessed;
            is_news = true;
        }
        is_news
    }

    /// When it ends unless it is used again, in seconds since 1970.
    pub fn ends(&self) -> u64 {
        self.accessed.saturating_add(self.ttl.into())
    }

    /// What stands for it when tables are compared.
    fn digest(&self, key: Key) -> u64 {
        let step = (u64::from(self.ttl) / ACCESS_STEPS).max(1);
        let parts = [key.mixed(), self.bound.millis, self.bound.node, hash(self.endpoint.as_bytes()), self.created];
        let all = parts.into_iter().fold(0, |sum, part| mix(sum ^ part));
        mix(all ^ (self.accessed / step) ^ (u64::from(self.ttl) << 32))
    }
}

/// What came of a session that another node told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merged {
    /// It was not known, or something of it was not.
    News,
    /// All of it was known.
    Known,
    /// It has ended, or is used less than everything in a table that is full.
    Outlived,
    /// Its times are too far ahead of the own clock, or its sizes out of bounds.
    Refused,
}

/// A table of sessions, bounded: whoever would end first makes room.
#[derive(Clone, Debug)]
pub struct Table {
    sessions: HashMap<Key, Session>,
    /// The same by when they end.
    order: BTreeSet<(u64, Key)>,
    max: usize,
    evicted: u64,
}

impl Table {
    /// An empty table for `max` sessions, at least one.
    pub fn new(max: usize) -> Self {
        Self { sessions: HashMap::new(), order: BTreeSet::new(), max: max.max(1), evicted: 0 }
    }

    /// Changes for how many there is room.
    pub fn resize(&mut self, max: usize) {
        self.max = max.max(1);
        self.make_room(self.max);
    }

    /// Sessions in it, some of which may have ended.
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// How many have made room for others.
    pub const fn evicted(&self) -> u64 {
        self.evicted
    }

    /// The session, unless it has ended.
    pub fn find(&self, now: u64, key: Key) -> Option<&Session> {
        self.sessions.get(&key).filter(|session| session.ends() > now / 1000)
    }

    /// Notes that the session is used, and answers whether others do not know that yet: once a second at most.
    pub fn touch(&mut self, now: u64, key: Key) -> bool {
        let Some(session) = self.sessions.get_mut(&key) else { return false };
        let seconds = now / 1000;
        if session.accessed >= seconds || session.ends() <= seconds {
            return false;
        }
        let before = session.ends();
        session.accessed = seconds;
        let after = session.ends();
        self.reorder(key, before, after);
        true
    }

    /// Binds a session to `endpoint`, a new one or one that moves, and answers what others are to be told.
    pub fn bind(&mut self, now: u64, node: u64, key: Key, endpoint: &Arc<str>, ttl: u32) -> Session {
        let known = self.find(now, key);
        // Later than what it replaces, whatever this node's clock says.
        let millis = known.map_or(now, |known| now.max(known.bound.millis.saturating_add(1)));
        let ttl = ttl.clamp(*TTL_SECONDS.start(), *TTL_SECONDS.end());
        let session = Session {
            bound: Stamp { millis, node },
            endpoint: Arc::clone(endpoint),
            ttl,
            created: known.map_or(now, |known| known.created),
            accessed: known.map_or(now / 1000, |known| known.accessed.max(now / 1000)),
        };
        self.make_room(self.max - usize::from(!self.sessions.contains_key(&key)));
        self.put(key, session.clone());
        session
    }

    /// Takes over what another node knows.
    pub fn merge(&mut self, now: u64, key: Key, session: &Session) -> Merged {
        let is_ahead = [session.bound.millis, session.created, session.accessed.saturating_mul(1000)]
            .into_iter()
            .any(|time| time > now.saturating_add(AHEAD_MAX_MS));
        if is_ahead || !TTL_SECONDS.contains(&session.ttl) || session.endpoint.len() > ENDPOINT_BYTES_MAX {
            return Merged::Refused;
        }
        if session.ends() <= now / 1000 {
            return Merged::Outlived;
        }
        if let Some(known) = self.sessions.get_mut(&key) {
            let before = known.ends();
            if !known.merge(session) {
                return Merged::Known;
            }
            let after = known.ends();
            self.reorder(key, before, after);
            return Merged::News;
        }
        if self.sessions.len() >= self.max {
            let is_last = self.order.first().is_none_or(|first| (session.ends(), key) <= *first);
            if is_last {
                return Merged::Outlived;
            }
            self.make_room(self.max - 1);
        }
        self.put(key, session.clone());
        Merged::News
    }

    /// Forgets sessions that have ended, up to `limit` of them, and answers how many.
    pub fn sweep(&mut self, now: u64, limit: usize) -> usize {
        let mut swept = 0;
        while swept < limit && self.order.first().is_some_and(|(ends, _key)| *ends <= now / 1000) {
            if let Some((_ends, key)) = self.order.pop_first() {
                self.sessions.remove(&key);
            }
            swept += 1;
        }
        swept
    }

    /// What stands for the contents of each bucket. Two tables with the same digest of a bucket hold the same in it, but for
    /// accesses that have not been told yet. Adds to `digests`, so that a table in parts has one sum.
    pub fn digest(&self, now: u64, digests: &mut [u64; BUCKETS]) {
        for (key, session) in self.sessions.iter().filter(|(_key, session)| session.ends() > now / 1000) {
            // Order plays no part in a sum.
            if let Some(sum) = digests.get_mut(key.bucket()) {
                *sum = sum.wrapping_add(session.digest(*key));
            }
        }
    }

    /// The sessions of these buckets that have not ended, in no order.
    pub fn within<'a>(&'a self, now: u64, buckets: &'a [bool; BUCKETS]) -> impl Iterator<Item = (Key, &'a Session)> {
        let wanted = move |key: &Key| buckets.get(key.bucket()).copied().unwrap_or(false);
        let all = self.sessions.iter().filter(move |(key, session)| session.ends() > now / 1000 && wanted(key));
        all.map(|(key, session)| (*key, session))
    }

    /// What must hold between any two calls.
    ///
    /// # Panics
    /// If it does not, which is a defect.
    pub fn check_invariants(&self) {
        assert!(self.sessions.len() <= self.max, "more sessions than there is room for");
        assert_eq!(self.sessions.len(), self.order.len(), "each session has one place in the order");
        for (key, session) in &self.sessions {
            assert!(self.order.contains(&(session.ends(), *key)), "the place is the right one");
        }
    }

    fn put(&mut self, key: Key, session: Session) {
        self.order.insert((session.ends(), key));
        if let Some(before) = self.sessions.insert(key, session)
            && self.sessions.get(&key).is_some_and(|after| after.ends() != before.ends())
        {
            self.order.remove(&(before.ends(), key));
        }
    }

    fn reorder(&mut self, key: Key, before: u64, after: u64) {
        if before != after {
            self.order.remove(&(before, key));
            self.order.insert((after, key));
        }
    }

    fn make_room(&mut self, at_most: usize) {
        while self.sessions.len() > at_most {
            let Some((_ends, key)) = self.order.pop_first() else { return };
            self.sessions.remove(&key);
            self.evicted += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: u64 = 1_700_000_000_000;

    fn key(id: u128) -> Key {
        Key { scope: 7, id }
    }

    #[test]
    fn a_session_is_bound_used_moved_and_ends() {
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        let mut table = Table::new(10);
        let first = table.bind(T0, 1, key(1), &a, 60);
        assert_eq!((first.created, first.accessed), (T0, T0 / 1000));
        assert!(table.touch(T0 + 30_000, key(1)));
        assert!(!table.touch(T0 + 30_500, key(1)), "others are told once a second");
        assert!(table.find(T0 + 89_000, key(1)).is_some());
        assert!(table.find(T0 + 90_000, key(1)).is_none());
        // The clock of the node that moves it is behind.
        let moved = table.bind(T0 - 5000, 2, key(1), &b, 60);
        assert!(moved.bound > first.bound && moved.created == T0 && moved.accessed == T0 / 1000 + 30);
        assert_eq!(table.merge(T0, key(1), &first), Merged::Known, "what was replaced stays replaced");
        assert_eq!(&*table.find(T0, key(1)).unwrap().endpoint, "b");
        assert_eq!(table.sweep(T0 + 100_000, 10), 1);
        assert!(!table.touch(T0, key(1)) && table.is_empty());
    }

    #[test]
    fn the_one_that_would_end_first_makes_room() {
        let a: Arc<str> = "a".into();
        let mut table = Table::new(2);
        for id in 1..=3 {
            table.bind(T0 + id as u64 * 1000, 1, key(id), &a, 60);
            table.check_invariants();
        }
        assert_eq!((table.len(), table.evicted()), (2, 1));
        assert!(table.find(T0 + 4000, key(1)).is_none());
        let mut old = table.find(T0 + 4000, key(2)).unwrap().clone();
        old.accessed -= 10;
        assert_eq!(table.merge(T0 + 4000, key(9), &old), Merged::Outlived, "it would be the next to go");
        table.resize(1);
        assert!(table.find(T0 + 4000, key(3)).is_some() && table.len() == 1);
    }

    #[test]
    fn what_cannot_be_right_is_refused() {
        let good = Table::new(1).bind(T0, 1, key(1), &"a".into(), 60);
        let mut table = Table::new(2);
        let long: Arc<str> = "x".repeat(ENDPOINT_BYTES_MAX + 1).into();
        for bad in [
            Session { bound: Stamp { millis: T0 + AHEAD_MAX_MS + 1, node: 1 }, ..good.clone() },
            Session { accessed: u64::MAX, ..good.clone() },
            Session { created: u64::MAX, ..good.clone() },
            Session { ttl: 0, ..good.clone() },
            Session { ttl: u32::MAX, ..good.clone() },
            Session { endpoint: long, ..good.clone() },
        ] {
            assert_eq!(table.merge(T0, key(1), &bad), Merged::Refused, "{bad:?}");
        }
        assert_eq!(table.merge(T0, key(1), &good), Merged::News);
        assert_eq!(table.merge(T0 + 60_000, key(2), &good), Merged::Outlived);
    }
}

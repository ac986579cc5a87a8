//! One rate limit of a route: a bucket for all, or buckets by key.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mainstay_core::limiter::{Bucket, Limited, Table};
use mainstay_core::time::Moment;

use crate::http::exchange::Exchange;
use crate::http::identity;
use crate::spec::{RateKey, RateLimit};

/// A rate limit. What it remembers may be shared by the states before and after a reload.
#[derive(Debug)]
pub(super) struct Limit {
    spec: RateLimit,
    buckets: Arc<Buckets>,
}

#[derive(Debug)]
enum Buckets {
    One(Mutex<Bucket>),
    ByKey {
        table: Mutex<Table>,
        /// Keyed at random, so that nobody can choose keys that fall together.
        hasher: RandomState,
    },
}

/// What a rate limit looks like at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot<'a> {
    /// What has a bucket of its own.
    pub key: &'a RateKey,
    /// Keys that were forgotten before their bucket was full.
    pub evicted: u64,
}

impl Limit {
    pub(super) fn new(spec: &RateLimit) -> Self {
        let buckets = match spec.key {
            RateKey::All => Buckets::One(Mutex::default()),
            RateKey::Client | RateKey::Path | RateKey::Header(_) => {
                let table = Mutex::new(Table::new(spec.rate, spec.keys_max));
                Buckets::ByKey { table, hasher: RandomState::new() }
            }
        };
        Self { spec: spec.clone(), buckets: Arc::new(buckets) }
    }

    pub(super) fn is_of(&self, spec: &RateLimit) -> bool {
        self.spec == *spec
    }

    /// The same limit, with the same memory.
    pub(super) fn share(&self) -> Self {
        Self { spec: self.spec.clone(), buckets: Arc::clone(&self.buckets) }
    }

    pub(super) fn snapshot(&self) -> Snapshot<'_> {
        let evicted = match &*self.buckets {
            Buckets::One(_) => 0,
            Buckets::ByKey { table, .. } => lock(table).evicted(),
        };
        Snapshot { key: &self.spec.key, evicted }
    }

    fn take(&self, now: Moment, exchange: &Exchange, share: f64) -> Result<(), Limited> {
        match &*self.buckets {
            Buckets::One(bucket) => lock(bucket).take(now, &self.spec.rate, share),
            Buckets::ByKey { table, hasher } => lock(table).take(now, self.key(hasher, exchange), share),
        }
    }

    fn put_back(&self, exchange: &Exchange) {
        match &*self.buckets {
            Buckets::One(bucket) => lock(bucket).put_back(&self.spec.rate),
            Buckets::ByKey { table, hasher } => lock(table).put_back(self.key(hasher, exchange)),
        }
    }

    fn key(&self, hasher: &RandomState, exchange: &Exchange) -> u64 {
        let bytes = exchange.head_bytes();
        match &self.spec.key {
            RateKey::All => 0,
            // A PROXY header may name clients of IPv4 by addresses of IPv6, which are all of one /64.
            RateKey::Client => match exchange.client_address.to_canonical() {
                IpAddr::V4(address) => hasher.hash_one(address.octets()),
                IpAddr::V6(address) => hasher.hash_one(address.to_bits() >> 64),
            },
            RateKey::Path => hasher.hash_one(exchange.head.path.get(bytes)),
            RateKey::Header(name) => hasher.hash_one(identity::header(&exchange.head, bytes, name)),
        }
    }
}

/// Takes a token from every limit, or from none.
pub(super) fn take_all(limits: &[Limit], now: Moment, exchange: &Exchange, share: f64) -> Result<(), Limited> {
    for (index, limit) in limits.iter().enumerate() {
        if let Err(limited) = limit.take(now, exchange, share) {
            put_all_back(&limits[..index], exchange);
            return Err(limited);
        }
    }
    Ok(())
}

/// Puts back what [`take_all`] took.
pub(super) fn put_all_back(limits: &[Limit], exchange: &Exchange) {
    for limit in limits {
        limit.put_back(exchange);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

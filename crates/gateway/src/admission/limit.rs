//! One rate limit of a route: a bucket for all, or buckets by key.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mainstay_core::limiter::{Bucket, Limited, Rate, Table};
use mainstay_core::time::Moment;

use crate::http::exchange::Exchange;
use crate::http::identity;
use crate::spec::{RateKey, RateLimit, Scope};

/// A rate limit. What it remembers may be shared by the states before and after a reload.
#[derive(Debug)]
pub(super) struct Limit {
    spec: RateLimit,
    buckets: Arc<Buckets>,
    part: Arc<Part>,
}

/// Of a rate that the cluster shares: what this node asks for, and what it has.
#[derive(Debug)]
struct Part {
    /// Requests that asked for a token, refused or not.
    asked: AtomicU64,
    /// A number from 0 to 1, as its bits.
    part: AtomicU64,
}

impl Default for Part {
    fn default() -> Self {
        Self { asked: AtomicU64::new(0), part: AtomicU64::new(1.0f64.to_bits()) }
    }
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
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Snapshot<'a> {
    /// What has a bucket of its own.
    pub key: &'a RateKey,
    /// Keys that were forgotten before their bucket was full.
    pub evicted: u64,
    /// How much of the rate is this node's, 0 to 1, if the cluster shares it.
    pub part: Option<f64>,
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
        Self { spec: spec.clone(), buckets: Arc::new(buckets), part: Arc::default() }
    }

    pub(super) fn is_of(&self, spec: &RateLimit) -> bool {
        self.spec == *spec
    }

    /// The same limit, with the same memory.
    pub(super) fn share(&self) -> Self {
        Self { spec: self.spec.clone(), buckets: Arc::clone(&self.buckets), part: Arc::clone(&self.part) }
    }

    pub(super) fn snapshot(&self) -> Snapshot<'_> {
        let evicted = match &*self.buckets {
            Buckets::One(_) => 0,
            Buckets::ByKey { table, .. } => lock(table).evicted(),
        };
        Snapshot { key: &self.spec.key, evicted, part: self.is_shared().then(|| self.part()) }
    }

    fn take(&self, now: Moment, exchange: &Exchange, share: f64) -> Result<(), Limited> {
        match &*self.buckets {
            Buckets::One(bucket) => {
                if self.is_shared() {
                    self.part.asked.fetch_add(1, Ordering::Relaxed);
                }
                lock(bucket).take(now, &self.rate(), share)
            }
            Buckets::ByKey { table, hasher } => lock(table).take(now, self.key(hasher, exchange), share),
        }
    }

    fn put_back(&self, exchange: &Exchange) {
        match &*self.buckets {
            Buckets::One(bucket) => lock(bucket).put_back(&self.rate()),
            Buckets::ByKey { table, hasher } => lock(table).put_back(self.key(hasher, exchange)),
        }
    }

    /// Whether the nodes of the cluster share it.
    pub(super) fn is_shared(&self) -> bool {
        self.spec.scope == Scope::Cluster
    }

    /// Requests that asked for a token of a shared rate, refused or not.
    pub(super) fn asked(&self) -> u64 {
        self.part.asked.load(Ordering::Relaxed)
    }

    /// How much of a shared rate is this node's from now on.
    pub(super) fn set_part(&self, part: f64) {
        self.part.part.store(part.to_bits(), Ordering::Relaxed);
    }

    pub(super) fn part(&self) -> f64 {
        f64::from_bits(self.part.part.load(Ordering::Relaxed))
    }

    fn rate(&self) -> Rate {
        if self.is_shared() { self.spec.rate.part(self.part()) } else { self.spec.rate }
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

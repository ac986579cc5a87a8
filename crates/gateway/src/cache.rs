//! What the response cache holds, shared by all workers: stored responses in bounded memory, and the requests that are under
//! way for what is not stored. What may be stored and served is decided by [`mainstay_core::cache`], who goes and who waits by
//! [`mainstay_core::coalesce`].

pub(crate) mod flights;
pub(crate) mod object;

use std::cell::Cell;
use std::collections::hash_map::RandomState;
use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use mainstay_core::time::Moment;
use quick_cache::sync::Cache;
use quick_cache::{Lifecycle, OptionsBuilder, Weighter};

use self::flights::Flights;
use self::object::Object;

/// Parts of the store that are locked apart. Each holds its share of the memory, so that an object must fit into one.
const SHARDS: usize = 8;
/// What a stored response may take of the memory, as a divisor.
pub const OBJECT_SHARE: u64 = 2 * SHARDS as u64;
/// Stored responses of one URL: further ones take the place of the oldest.
const VARIANTS_MAX: usize = 16;
/// How many objects the tables are laid out for at first: one for this many bytes.
const BYTES_A_RESOURCE: u64 = 16 * 1024;
/// What an entry takes besides its bytes.
const OVERHEAD: u64 = 256;
/// Validations in the background at once.
const REFRESHING_MAX: u32 = 256;
/// What bodies on their way into the store may take of its memory, as a divisor; beyond it they go to clients unstored.
const COLLECTING_SHARE: u64 = 4;

/// What is stored of one URL.
#[derive(Debug, Default)]
pub(crate) struct Resource {
    /// The newest last.
    objects: Vec<Arc<Object>>,
    /// Until when it is known that responses are not for everybody, so that nobody waits for another one's.
    apart_until: Moment,
}

impl Resource {
    fn weight(&self) -> u64 {
        OVERHEAD + self.objects.iter().map(|object| object.bytes() + OVERHEAD).sum::<u64>()
    }

    /// The newest response that the request selects.
    pub(crate) fn select<'a>(
        &self,
        zone: u64,
        fields: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone,
        scratch: &mut Vec<u8>,
    ) -> Option<&Arc<Object>> {
        self.objects.iter().rev().find(|object| object.zone == zone && object.is_selected(fields.clone(), scratch))
    }

    /// The fields on which the route's newest response depends.
    pub(crate) fn varies_on(&self, zone: u64) -> &[Box<[u8]>] {
        self.objects.iter().rev().find(|object| object.zone == zone).map_or(&[], |object| &object.names)
    }

    /// Whether nobody should wait for what another one gets.
    pub(crate) fn is_apart(&self, now: Moment) -> bool {
        now < self.apart_until
    }
}

#[derive(Clone, Debug)]
struct Weight;

impl Weighter<Box<[u8]>, Arc<Resource>> for Weight {
    fn weight(&self, key: &Box<[u8]>, resource: &Arc<Resource>) -> u64 {
        key.len() as u64 + resource.weight()
    }
}

/// Counts what has to go.
#[derive(Clone, Debug)]
struct Evicted(Arc<AtomicU64>);

impl Lifecycle<Box<[u8]>, Arc<Resource>> for Evicted {
    type RequestState = ();

    fn on_evict(&self, _state: &mut (), _key: Box<[u8]>, _resource: Arc<Resource>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// The response cache.
pub struct Store {
    resources: Cache<Box<[u8]>, Arc<Resource>, Weight, RandomState, Evicted>,
    /// Held while what is stored of a URL is changed, which is rare.
    changing: Mutex<()>,
    pub(crate) flights: Flights,
    memory: u64,
    collecting: AtomicU64,
    refreshing: AtomicU32,
    evictions: Arc<AtomicU64>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("memory", &self.memory).finish_non_exhaustive()
    }
}

impl Store {
    /// An empty store that takes at most about `memory` bytes.
    pub(crate) fn new(memory: u64) -> Option<Self> {
        let evictions = Arc::default();
        let items = usize::try_from(memory / BYTES_A_RESOURCE).unwrap_or(usize::MAX);
        let options = OptionsBuilder::new()
            .shards(SHARDS)
            .estimated_items_capacity(items.max(SHARDS))
            .weight_capacity(memory)
            .build()
            .ok()?;
        let lifecycle = Evicted(Arc::clone(&evictions));
        Some(Self {
            resources: Cache::with_options(options, Weight, RandomState::new(), lifecycle),
            changing: Mutex::new(()),
            flights: Flights::default(),
            memory,
            collecting: AtomicU64::new(0),
            refreshing: AtomicU32::new(0),
            evictions,
        })
    }

    /// Bytes that it may take.
    pub fn memory(&self) -> u64 {
        self.memory
    }

    /// Bytes that are stored, with what is needed to find them.
    pub fn bytes(&self) -> u64 {
        self.resources.weight()
    }

    /// URLs of which something is stored.
    pub fn resources(&self) -> usize {
        self.resources.len()
    }

    /// URLs that had to go to make room.
    pub fn evictions(&self) -> u64 {
        self.evictions.load(Ordering::Relaxed)
    }

    /// What is stored of a URL.
    pub(crate) fn get(&self, key: &[u8]) -> Option<Arc<Resource>> {
        self.resources.get(key)
    }

    /// Stores a response, in place of those that the same requests select.
    pub(crate) fn put(&self, key: &[u8], object: &Arc<Object>) {
        self.change(key, |resource| {
            let is_same = |known: &Arc<Object>| {
                known.zone == object.zone && known.names == object.names && known.selected == object.selected
            };
            resource.objects.retain(|known| !is_same(known));
            resource.objects.push(Arc::clone(object));
            let room = self.memory / OBJECT_SHARE;
            while resource.objects.len() > VARIANTS_MAX || (resource.objects.len() > 1 && resource.weight() > room) {
                resource.objects.remove(0);
            }
            resource.apart_until = Moment::ZERO;
        });
    }

    /// Forgets one response.
    pub(crate) fn forget(&self, key: &[u8], object: &Arc<Object>) {
        self.change(key, |resource| resource.objects.retain(|known| !Arc::ptr_eq(known, object)));
    }

    /// Notes that responses from this URL are not for everybody, until then.
    pub(crate) fn set_apart(&self, key: &[u8], until: Moment) {
        self.change(key, |resource| resource.apart_until = until);
    }

    fn change(&self, key: &[u8], with: impl FnOnce(&mut Resource)) {
        let _one_at_a_time = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let known = self.resources.peek(key);
        let mut resource = known.map_or_else(Resource::default, |known| Resource {
            objects: known.objects.clone(),
            apart_until: known.apart_until,
        });
        with(&mut resource);
        if resource.objects.is_empty() && resource.apart_until == Moment::ZERO {
            self.resources.remove(key);
        } else {
            self.resources.insert(key.into(), Arc::new(resource));
        }
    }

    /// Forgets a URL, and has what is under way for it not stored (RFC 9111, section 4.4).
    pub(crate) fn invalidate(&self, key: &[u8]) {
        self.flights.invalidate(key);
        let _one_at_a_time = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        self.resources.remove(key);
    }

    /// Forgets what the routes of `zones` have stored, at URLs whose path begins with `path`. Answers how many responses that
    /// were.
    pub(crate) fn purge(&self, zones: &[u64], path: &str) -> usize {
        let _one_at_a_time = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let purged = Cell::new(0);
        self.resources.retain(|key, resource| {
            let found = resource.objects.iter().filter(|object| zones.contains(&object.zone)).count();
            let goes = found > 0 && path_of(key).starts_with(path.as_bytes());
            purged.set(purged.get() + if goes { found } else { 0 });
            !goes
        });
        purged.get()
    }

    /// Room for a body that is on its way into the store.
    pub(crate) fn reserve(self: &Arc<Self>) -> Reservation {
        Reservation { store: Arc::clone(self), bytes: 0 }
    }
}

/// The path in a key: scheme, a space, authority, a space, path and query.
fn path_of(key: &[u8]) -> &[u8] {
    key.splitn(3, |byte| *byte == b' ').nth(2).unwrap_or_default()
}

/// Memory that a body takes before it is stored; given back when this is dropped.
pub(crate) struct Reservation {
    store: Arc<Store>,
    bytes: u64,
}

impl Reservation {
    /// Makes it so many bytes in all. `false`, and nothing done, if too much is on its way already.
    pub(crate) fn grow(&mut self, bytes: u64) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        let before = self.store.collecting.fetch_add(more, Ordering::Relaxed);
        if before + more > self.store.memory / COLLECTING_SHARE {
            self.store.collecting.fetch_sub(more, Ordering::Relaxed);
            return false;
        }
        self.bytes += more;
        true
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.store.collecting.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A validation in the background is counted for as long as this lives.
pub(crate) struct Refreshing(Arc<Store>);

impl Refreshing {
    /// `None` if enough are under way: each holds the buffers of an exchange.
    pub(crate) fn begin(store: &Arc<Store>) -> Option<Self> {
        let place = Self(Arc::clone(store));
        let before = store.refreshing.fetch_add(1, Ordering::Relaxed);
        (before < REFRESHING_MAX).then_some(place)
    }
}

impl Drop for Refreshing {
    fn drop(&mut self) {
        self.0.refreshing.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;

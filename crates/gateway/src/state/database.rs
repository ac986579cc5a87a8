//! A database group: who has which role in it, and what is connected to whom.

use std::collections::BTreeMap;
use std::collections::hash_map::{Entry, HashMap};
use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mainstay_core::random;
use mainstay_core::roles::{Outdated, Roles};

use super::{Counter, Histogram};

/// Keys of connections that are remembered, so that what cancels a command finds the server that runs it. Of more
/// connections than that, who cancels is passed to every server of the group.
const KEYS_MAX: usize = 65_536;

/// Who connects later than this was not waiting for a primary.
const ROUTED_WITHIN: Duration = Duration::from_secs(60);

/// A database group that some listener leads to. It is the same over reloads, by name.
#[derive(Debug)]
pub struct Database {
    /// Its name.
    pub group: String,
    roles: Mutex<Arc<Roles>>,
    /// The server that was asked last whether it speaks TLS has said that it does.
    pub(crate) encrypts: AtomicBool,
    /// Taken when a connection begins or ends, never in between.
    connected: Mutex<Connected>,
}

#[derive(Debug, Default)]
struct Connected {
    /// How many connections each server has.
    counts: BTreeMap<SocketAddr, usize>,
    /// Which server has given out which key, by the key's hash: the keys themselves are secrets.
    keys: HashMap<u64, SocketAddr>,
    /// The change of primary that was heard of last.
    change: Option<Change>,
}

/// A change of primary, as clients of this node see it.
#[derive(Debug)]
struct Change {
    term: u64,
    heard: Instant,
    /// How long after that the first connection was led to the new primary.
    routed: Option<Duration>,
}

impl Database {
    /// A group of which nothing is known.
    pub(crate) fn new(group: &str) -> Self {
        Self {
            group: group.to_owned(),
            roles: Mutex::default(),
            encrypts: AtomicBool::new(false),
            connected: Mutex::default(),
        }
    }

    /// What is known of its servers.
    pub fn roles(&self) -> Arc<Roles> {
        Arc::clone(&lock(&self.roles))
    }

    /// Takes in what is known now. Whether it is something else than before.
    pub(crate) fn learn(&self, roles: Roles) -> Result<bool, Outdated> {
        let mut known = lock(&self.roles);
        let next = known.then(roles)?;
        let is_new = **known != next;
        // What the first primary is that one hears of is no change.
        if next.primary.is_some() && next.primary != known.primary && known.term > 0 {
            lock(&self.connected).change = Some(Change { term: next.term, heard: Instant::now(), routed: None });
        }
        if is_new {
            *known = Arc::new(next);
        }
        Ok(is_new)
    }

    /// A connection was led to the primary of this term.
    pub(crate) fn note_routed(&self, term: u64) {
        let mut connected = lock(&self.connected);
        if let Some(change) = connected.change.as_mut().filter(|change| change.term == term && change.routed.is_none())
        {
            change.routed = Some(change.heard.elapsed());
        }
    }

    /// The term of the change of primary that was heard of last, and how long after that the first connection was led to the new
    /// one; `None` if there was none, or none that can have waited for it.
    pub fn routed(&self) -> Option<(u64, Duration)> {
        let connected = lock(&self.connected);
        let change = connected.change.as_ref()?;
        Some((change.term, change.routed.filter(|took| *took <= ROUTED_WITHIN)?))
    }

    /// Connections to each server that has any.
    pub fn connections(&self) -> BTreeMap<SocketAddr, usize> {
        lock(&self.connected).counts.clone()
    }

    /// Connections to a server.
    pub(crate) fn count(&self, address: SocketAddr) -> usize {
        lock(&self.connected).counts.get(&address).copied().unwrap_or(0)
    }

    /// The server that has given out this key.
    pub(crate) fn server_of(&self, key: &[u8]) -> Option<SocketAddr> {
        lock(&self.connected).keys.get(&random::hash(key)).copied()
    }
}

/// A connection to a server, counted for as long as this lives, with the key that was given out for it.
#[derive(Debug)]
pub(crate) struct Seat {
    database: Arc<Database>,
    address: SocketAddr,
    key: Option<u64>,
}

impl Seat {
    pub(crate) fn new(database: &Arc<Database>, address: SocketAddr) -> Self {
        *lock(&database.connected).counts.entry(address).or_default() += 1;
        Self { database: Arc::clone(database), address, key: None }
    }

    /// Remembers the key, if there is room. One that another server has given out as well stays with that server.
    pub(crate) fn remember(&mut self, key: &[u8]) {
        let hash = random::hash(key);
        let mut connected = lock(&self.database.connected);
        if self.key.is_some() || connected.keys.len() >= KEYS_MAX {
            return;
        }
        if let Entry::Vacant(place) = connected.keys.entry(hash) {
            place.insert(self.address);
            self.key = Some(hash);
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut connected = lock(&self.database.connected);
        if let Some(key) = self.key {
            connected.keys.remove(&key);
        }
        if let Some(count) = connected.counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                connected.counts.remove(&self.address);
            }
        }
    }
}

// What is behind these locks is changed in one step, so that a holder that panicked left nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counters of connections that a listener leads to a group's servers.
#[derive(Debug, Default)]
pub struct DatabaseCounters {
    /// Connections to the primary.
    pub to_primary: Counter,
    /// Connections to replicas.
    pub to_replicas: Counter,
    /// Connections that waited for a server.
    pub held: Counter,
    /// Of these, the ones that wait no more.
    pub released: Counter,
    /// Connections that were ended since their server's role has changed, after the client was told.
    pub cut_told: Counter,
    /// The same without a word, since the client was in the middle of an answer or TLS passes through.
    pub cut_reset: Counter,
    /// Connections that were refused.
    pub refused: Refusals,
    /// Requests to cancel a command, for a key that is known.
    pub cancels: Counter,
    /// The same for a key that is not, which every server got.
    pub cancels_unknown: Counter,
    /// How long clients waited: for the answer to a command (or the end of the connection without one), and at the beginning of a
    /// connection for a server and its first answer.
    pub duration: Histogram,
}

/// Counters of connections that were refused, by reason.
#[derive(Debug, Default)]
pub struct Refusals {
    /// No server was to be had in time.
    pub no_server: Counter,
    /// Too many waited already.
    pub queue_full: Counter,
    /// The client's start-up packet is none, or came in parts for too long.
    pub malformed: Counter,
    /// The start-up took too long.
    pub too_slow: Counter,
    /// The client did not ask for TLS, which the listener wants.
    pub not_encrypted: Counter,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_connection_after_a_change_of_primary_is_noted() {
        let database = Database::new("orders");
        let at = |term, port: u16| {
            let primary = Some(SocketAddr::from(([127, 0, 0, 1], port)));
            Roles { term, number: term, primary, ..Roles::default() }
        };
        database.learn(at(3, 1)).unwrap();
        database.note_routed(3);
        assert_eq!(database.routed(), None, "the first that is heard of is no change");
        database.learn(Roles { primary: None, ..at(4, 1) }).unwrap();
        database.note_routed(3);
        database.learn(Roles { number: 5, ..at(4, 2) }).unwrap();
        database.note_routed(3);
        assert_eq!(database.routed(), None, "it was led to the old one");
        database.note_routed(4);
        let first = database.routed().unwrap();
        database.note_routed(4);
        assert_eq!((first.0, database.routed()), (4, Some(first)));
    }

    #[test]
    fn seats_are_counted_and_leave_nothing_behind() {
        let database = Arc::new(Database::new("orders"));
        let (one, two) = (SocketAddr::from(([127, 0, 0, 1], 1)), SocketAddr::from(([127, 0, 0, 1], 2)));
        let mut first = Seat::new(&database, one);
        let mut second = Seat::new(&database, one);
        let mut third = Seat::new(&database, two);
        first.remember(b"key 1");
        second.remember(b"key 2");
        third.remember(b"key 1");
        assert_eq!((database.count(one), database.count(two)), (2, 1));
        assert_eq!((database.server_of(b"key 1"), database.server_of(b"key 3")), (Some(one), None));
        drop(third);
        assert_eq!(database.server_of(b"key 1"), Some(one), "the key is another one's");
        drop((first, second));
        assert_eq!(database.server_of(b"key 1"), None);
        assert!(database.connections().is_empty());
    }
}

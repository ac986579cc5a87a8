//! Connections to other nodes that are kept for the next request.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::super::directory::Directory;
use super::super::tls::Tls;
use super::super::{NodeId, Service};
use super::RoundTrips;
use crate::identity::random;

/// Requests of the log to one node at once. They have connections of their own, so that nothing large holds up a heartbeat.
const LOG_PLACES: usize = 8;
/// Other requests to one node at once; further ones wait within their limits.
const OTHER_PLACES: usize = 32;
/// Connections that are kept while nobody uses them, in each lane.
const KEPT_MAX: usize = 8;
/// Connections to one node that are made at once, in each lane.
const CONNECTING_MAX: usize = 8;
/// A connection that was not used for so long may be dead without anybody knowing.
const KEPT_FOR: Duration = Duration::from_secs(30);
/// No connection gets older, so that certificates are looked at again.
const AGE_MAX: Duration = Duration::from_secs(3600);
/// After a connection that failed; doubled with each further one.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
/// The longest pause. It adds to the time that a node needs to come back, so that it is short.
const PAUSE_MAX: Duration = Duration::from_millis(400);

/// Connections to all nodes.
pub(super) struct Pools {
    tls: Tls,
    directory: Directory,
    lanes: RefCell<HashMap<(NodeId, bool), Rc<Lane>>>,
    pub(super) round_trips: RoundTrips,
}

/// Connections to one node for one purpose.
pub(super) struct Lane {
    pub(super) places: Semaphore,
    kept: RefCell<Vec<Kept>>,
    address: RefCell<String>,
    /// Connections that are being made.
    connecting: Cell<usize>,
    /// Told when a connection is made, has failed, or is free again.
    pub(super) news: Notify,
    /// Failed connections in a row.
    failures: Cell<u32>,
    pause: RefCell<Option<Pause>>,
    /// Connections from before this moment are not kept.
    forgotten: Cell<Option<Instant>>,
}

struct Kept {
    stream: TlsStream<TcpStream>,
    since: Instant,
    used: Instant,
}

struct Pause {
    until: Instant,
    /// Why the last try failed; `None` if there was silence, which says nothing about the next try.
    reason: Option<String>,
}

impl Pools {
    pub(super) fn new(tls: Tls, directory: Directory, round_trips: RoundTrips) -> Self {
        Self { tls, directory, lanes: RefCell::default(), round_trips }
    }

    pub(super) fn lane(&self, to: NodeId, service: Service) -> Rc<Lane> {
        let is_log = service == Service::Raft;
        let lane = || Rc::new(Lane::new(if is_log { LOG_PLACES } else { OTHER_PLACES }));
        Rc::clone(self.lanes.borrow_mut().entry((to, is_log)).or_insert_with(lane))
    }

    pub(super) fn address(&self, to: NodeId) -> Result<String, String> {
        if self.directory.is_removed(to) {
            return Err("it was removed from the cluster".to_owned());
        }
        self.directory.address(to).ok_or_else(|| "its address is not known".to_owned())
    }

    pub(super) async fn connect(&self, to: NodeId, address: &str) -> Result<TlsStream<TcpStream>, String> {
        let name = self.tls.name_of(to).ok_or_else(|| "its name cannot be one of a host".to_owned())?;
        let stream = TcpStream::connect(address).await.map_err(|error| format!("{address}: {error}"))?;
        let _without_it_only_slower = stream.set_nodelay(true);
        let connector = TlsConnector::from(Arc::clone(&self.tls.present().client));
        connector.connect(name, stream).await.map_err(|error| format!("{address}: handshake: {error}"))
    }
}

impl Lane {
    fn new(places: usize) -> Self {
        Self {
            places: Semaphore::new(places),
            kept: RefCell::default(),
            address: RefCell::default(),
            connecting: Cell::new(0),
            news: Notify::new(),
            failures: Cell::new(0),
            pause: RefCell::new(None),
            forgotten: Cell::new(None),
        }
    }

    /// A kept connection to this address that seems to be alive.
    pub(super) fn take(&self, address: &str) -> Option<(TlsStream<TcpStream>, Instant)> {
        if *self.address.borrow() != address {
            self.kept.borrow_mut().clear();
            return None;
        }
        loop {
            let mut kept = self.kept.borrow_mut().pop()?;
            let now = Instant::now();
            let is_fresh = now - kept.used < KEPT_FOR && now - kept.since < AGE_MAX;
            // Nothing is due on a connection that waits: whatever can be read says that it is over.
            if is_fresh && kept.stream.read(&mut [0; 1]).now_or_never().is_none() {
                return Some((kept.stream, kept.since));
            }
        }
    }

    /// Keeps a connection for the next request.
    pub(super) fn keep(&self, stream: TlsStream<TcpStream>, since: Instant) {
        let is_forgotten = self.forgotten.get().is_some_and(|moment| since <= moment);
        let mut kept = self.kept.borrow_mut();
        if !is_forgotten && kept.len() < KEPT_MAX {
            kept.push(Kept { stream, since, used: Instant::now() });
            self.news.notify_waiters();
        }
    }

    /// Uses none of the present connections again.
    pub(super) fn forget(&self) {
        self.forgotten.set(Some(Instant::now()));
        self.kept.borrow_mut().clear();
    }

    /// Waits until it is time for another try to connect.
    ///
    /// # Errors
    /// Why the last one failed, if that was said at once: nobody needs to wait to hear it again.
    pub(super) async fn may_connect(&self) -> Result<(), String> {
        let until = match &*self.pause.borrow() {
            Some(Pause { until, .. }) if *until <= Instant::now() => return Ok(()),
            Some(Pause { reason: Some(reason), .. }) => return Err(reason.clone()),
            Some(Pause { until, reason: None }) => *until,
            None => return Ok(()),
        };
        tokio::time::sleep_until(until).await;
        Ok(())
    }

    /// Whether one more connection may be made now: then it counts until [`Self::ends_to_connect`].
    pub(super) fn begins_to_connect(&self) -> bool {
        let connecting = self.connecting.get();
        if connecting >= CONNECTING_MAX {
            return false;
        }
        self.connecting.set(connecting + 1);
        true
    }

    pub(super) fn ends_to_connect(&self) {
        self.connecting.set(self.connecting.get().saturating_sub(1));
    }

    pub(super) fn connected(&self, address: String) {
        *self.address.borrow_mut() = address;
        self.failures.set(0);
        *self.pause.borrow_mut() = None;
    }

    /// Notes that no connection came about, and what was said.
    pub(super) fn failed(&self, reason: Option<String>) {
        let failures = self.failures.get();
        self.failures.set(failures.saturating_add(1));
        let whole = PAUSE_FIRST.saturating_mul(1 << failures.min(8)).min(PAUSE_MAX);
        // Half of it at random, so that nodes that lost sight of one do not all come back at once.
        let share = random::<1>().map_or(0, |byte| u32::from(byte[0]));
        let until = Instant::now() + whole / 2 + whole / 512 * share;
        *self.pause.borrow_mut() = Some(Pause { until, reason });
    }
}

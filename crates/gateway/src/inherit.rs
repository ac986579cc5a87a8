//! What one process hands over to the next: sockets, and what it knows of endpoints.

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mainstay_core::health;
use mainstay_core::time::Moment;
use serde::{Deserialize, Serialize};

use crate::state::{Endpoint, State};

/// What a process takes over from the one before it.
#[derive(Debug, Default)]
pub struct Inheritance {
    /// Sockets that are listened on already.
    pub listeners: Vec<InheritedListener>,
    /// What is known of endpoints.
    pub endpoints: Vec<Remembered>,
}

/// All sockets of a listener, one or more for each worker. The kernel spreads connections over all of them, so that one that
/// is closed takes the connections in its queue with it.
#[derive(Debug)]
pub struct InheritedListener {
    /// The listener's name.
    pub name: String,
    /// Its address, as configured.
    pub bind: SocketAddr,
    /// The sockets.
    pub sockets: Vec<TcpListener>,
}

/// What is known of an endpoint. Another version may have written it: what is missing is as at a first start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Remembered {
    /// Its service's name.
    pub service: String,
    /// Its own.
    pub endpoint: String,
    /// What active checks say: `true` for up, nothing if that is not known.
    pub up: Option<bool>,
    /// Up, but degraded.
    pub degraded: bool,
    /// For how much longer it is ejected.
    pub ejected_millis: Option<u64>,
    /// Drained by an operator.
    pub drained: bool,
    /// Its share of traffic as an operator wants it; 0 if nobody does.
    pub weight: u32,
    /// Why it is down, degraded, ejected or unresolved.
    pub reason: String,
    /// When its state changed last, in milliseconds since 1970.
    pub changed_at_millis: u64,
    /// Where its name led to.
    pub resolved: Option<SocketAddr>,
    /// Times it was ejected.
    pub ejections: u64,
}

/// What is known of each endpoint of `state`.
pub(crate) fn remember(state: &State, now: Moment) -> Vec<Remembered> {
    let each = state.services.iter().flat_map(|service| {
        service.endpoints.iter().map(move |endpoint| Remembered {
            service: service.spec.name.clone(),
            endpoint: endpoint.name.clone(),
            up: match endpoint.health() {
                health::State::Up => Some(true),
                health::State::Down => Some(false),
                health::State::Unknown => None,
            },
            degraded: endpoint.degraded.load(Ordering::Acquire),
            ejected_millis: endpoint.ejected.load(Ordering::Acquire).then(|| {
                let until = Moment::from_nanos(endpoint.ejected_until.load(Ordering::Acquire));
                millis(until.since(now))
            }),
            drained: endpoint.drained.load(Ordering::Acquire),
            weight: endpoint.weight_ordered.load(Ordering::Relaxed),
            reason: lock(&endpoint.reason).clone(),
            changed_at_millis: millis(lock(&endpoint.changed_at).duration_since(UNIX_EPOCH).unwrap_or_default()),
            resolved: endpoint.located(),
            ejections: endpoint.ejections.load(Ordering::Relaxed),
        })
    });
    each.collect()
}

/// Lets `state`, which nothing uses yet, begin with what was known.
pub(crate) fn recall(state: &State, known: &[Remembered], now: Moment) {
    for service in &state.services {
        for endpoint in &service.endpoints {
            let same = |it: &&Remembered| it.service == service.spec.name && it.endpoint == endpoint.name;
            if let Some(known) = known.iter().find(same) {
                recall_one(endpoint, known, now);
            }
        }
    }
}

fn recall_one(endpoint: &Endpoint, known: &Remembered, now: Moment) {
    endpoint.set_health(match known.up {
        Some(true) => health::State::Up,
        Some(false) => health::State::Down,
        None => health::State::Unknown,
    });
    endpoint.degraded.store(known.degraded && known.up == Some(true), Ordering::Release);
    if let Some(millis) = known.ejected_millis {
        endpoint.ejected_until.store(now.after(Duration::from_millis(millis)).as_nanos(), Ordering::Release);
        endpoint.ejected.store(true, Ordering::Release);
    }
    endpoint.drained.store(known.drained, Ordering::Release);
    endpoint.weight_ordered.store(known.weight, Ordering::Relaxed);
    endpoint.ejections.store(known.ejections, Ordering::Relaxed);
    lock(&endpoint.reason).clone_from(&known.reason);
    if let Some(changed_at) = UNIX_EPOCH.checked_add(Duration::from_millis(known.changed_at_millis)) {
        *lock(&endpoint.changed_at) = changed_at.min(SystemTime::now());
    }
    if let (None, Some(address)) = (endpoint.located(), known.resolved) {
        endpoint.locate(&[address]);
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

// Whoever panicked under one of these locks left a whole value behind: they are only ever replaced.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

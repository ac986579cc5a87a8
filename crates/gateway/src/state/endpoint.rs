//! An endpoint: health, load and counters.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use mainstay_core::balance::Share;
use mainstay_core::health;
use mainstay_core::opinion::Effect;

use super::factors::{Factor, Factors};
use super::{Counter, Histogram, Load, Shards};
use crate::spec;

/// How the effects of others' opinions are stored.
const OWN: u8 = 0;
const DOWN: u8 = 1;
const SET_ASIDE: u8 = 2;

/// An endpoint: health, load and counters.
#[derive(Debug)]
pub struct Endpoint {
    /// Where it is, as configured.
    pub address: spec::Address,
    /// Share of traffic as configured; a reload may change it without touching anything else.
    pub weight_configured: AtomicU32,
    /// Share of traffic as an operator wants it; 0 if nobody does.
    pub weight_ordered: AtomicU32,
    /// Lower is served first; likewise.
    pub priority: AtomicU16,
    /// Drained by the configuration; a reload may change it.
    pub drain_configured: AtomicBool,
    /// Its name in logs, metrics and commands: the address as configured.
    pub name: String,
    health: AtomicU8,
    factors: Factors,
    /// Up, but degraded by its own word: to get less traffic than its peers.
    pub degraded: AtomicBool,
    /// Whether it takes connections although its check fails; only kept up to date where a cascade guard asks.
    pub live: AtomicBool,
    /// Since when its check fails after having passed, in nanoseconds of the process's clock; 0 if it passes or never did.
    pub failing_since: AtomicU64,
    /// When it came back last, likewise.
    pub recovered_at: AtomicU64,
    /// Ejected by passive checks.
    pub ejected: AtomicBool,
    /// Until when it is ejected, in nanoseconds of the process's clock.
    pub ejected_until: AtomicU64,
    /// Drained by an operator ([`Self::drain_configured`] comes on top).
    pub drained: AtomicBool,
    /// Drained by an operator for all nodes of the cluster.
    pub drained_for_all: AtomicBool,
    /// What the opinions of other nodes mean for it.
    effect: AtomicU8,
    /// Why it is down, degraded, ejected or unresolved; empty when it is well.
    pub reason: Mutex<String>,
    /// When its state changed last.
    pub changed_at: Mutex<SystemTime>,
    resolved: Mutex<Vec<SocketAddr>>,
    moves: AtomicU64,
    /// Requests in flight, over all workers (least-request compares it).
    pub in_flight: AtomicU32,
    /// Failures in a row; a success writes only if it is not zero.
    pub failures_in_a_row: AtomicU32,
    /// What it says of its own load.
    pub load: Load,
    /// Times it was ejected.
    pub ejections: AtomicU64,
    /// Probes that passed, those that found it degraded included.
    pub probes_passed: AtomicU64,
    /// Probes that found it degraded.
    pub probes_degraded: AtomicU64,
    /// Probes that failed.
    pub probes_failed: AtomicU64,
    /// Counters, one a worker.
    pub shards: Shards<EndpointCounters>,
}

impl Endpoint {
    /// An endpoint of which nothing is known yet.
    pub fn new(spec: spec::Endpoint, health: health::State, workers: usize) -> Self {
        let resolved = match &spec.address {
            spec::Address::Socket(address) | spec::Address::Member { address, .. } => vec![*address],
            spec::Address::Name { .. } | spec::Address::Unix(_) => Vec::new(),
        };
        Self {
            name: spec.address.to_string(),
            weight_configured: AtomicU32::new(spec.weight),
            weight_ordered: AtomicU32::new(0),
            priority: AtomicU16::new(spec.priority),
            drain_configured: AtomicBool::new(spec.drain),
            drained: AtomicBool::new(false),
            drained_for_all: AtomicBool::new(false),
            effect: AtomicU8::new(OWN),
            address: spec.address,
            health: AtomicU8::new(health as u8),
            factors: Factors::default(),
            degraded: AtomicBool::new(false),
            live: AtomicBool::new(false),
            failing_since: AtomicU64::new(0),
            recovered_at: AtomicU64::new(0),
            ejected: AtomicBool::new(false),
            ejected_until: AtomicU64::new(0),
            reason: Mutex::new(String::new()),
            changed_at: Mutex::new(SystemTime::now()),
            resolved: Mutex::new(resolved),
            moves: AtomicU64::new(0),
            in_flight: AtomicU32::new(0),
            failures_in_a_row: AtomicU32::new(0),
            load: Load::default(),
            ejections: AtomicU64::new(0),
            probes_passed: AtomicU64::new(0),
            probes_degraded: AtomicU64::new(0),
            probes_failed: AtomicU64::new(0),
            shards: Shards::new(workers),
        }
    }

    /// Its share of traffic: the operator's word goes before the configuration's.
    pub fn weight(&self) -> u32 {
        self.weight_override().unwrap_or_else(|| self.weight_configured.load(Ordering::Relaxed))
    }

    /// The operator's word on its share of traffic.
    pub fn weight_override(&self) -> Option<u32> {
        Some(self.weight_ordered.load(Ordering::Relaxed)).filter(|weight| *weight > 0)
    }

    /// Where it is, the address in use first; empty while its name does not resolve, and for a Unix socket.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.resolved().clone()
    }

    /// The address in use.
    pub fn located(&self) -> Option<SocketAddr> {
        self.resolved().first().copied()
    }

    /// Publishes where it is now.
    pub fn locate(&self, addresses: &[SocketAddr]) {
        let mut resolved = self.resolved();
        let is_left = resolved.iter().any(|address| !addresses.contains(address));
        *resolved = addresses.to_vec();
        drop(resolved);
        if is_left {
            self.moves.fetch_add(1, Ordering::Release);
        }
    }

    /// One more whenever an address has left [`Self::addresses`]: what was opened before may lead nowhere any more.
    pub fn moves(&self) -> u64 {
        self.moves.load(Ordering::Acquire)
    }

    fn resolved(&self) -> MutexGuard<'_, Vec<SocketAddr>> {
        // A poisoned lock holds addresses all the same: they are only ever replaced as a whole.
        self.resolved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What active checks say.
    pub fn health(&self) -> health::State {
        match self.health.load(Ordering::Acquire) {
            value if value == health::State::Up as u8 => health::State::Up,
            value if value == health::State::Down as u8 => health::State::Down,
            _unknown => health::State::Unknown,
        }
    }

    /// What the opinions of other nodes mean for it.
    pub fn effect(&self) -> Effect {
        match self.effect.load(Ordering::Acquire) {
            DOWN => Effect::Down,
            SET_ASIDE => Effect::SetAside,
            _own => Effect::Own,
        }
    }

    /// Stores what the opinions of other nodes mean for it, and answers what it was. The caller raises the service's epoch if that
    /// is news.
    pub fn set_effect(&self, effect: Effect) -> Effect {
        let before = self.effect();
        let stored = match effect {
            Effect::Own => OWN,
            Effect::Down => DOWN,
            Effect::SetAside => SET_ASIDE,
        };
        self.effect.store(stored, Ordering::Release);
        before
    }

    /// What counts when endpoints are chosen: what active checks say, unless the other nodes know better.
    pub fn standing(&self) -> health::State {
        match (self.effect(), self.health()) {
            (Effect::Down, _) => health::State::Down,
            (Effect::SetAside, health::State::Down) => health::State::Up,
            (Effect::SetAside | Effect::Own, own) => own,
        }
    }

    /// Stores what active checks say. The caller raises the service's epoch.
    pub fn set_health(&self, health: health::State) {
        self.health.store(health as u8, Ordering::Release);
    }

    /// How much of its weight it gets while it is eligible, for all reasons together.
    pub fn share(&self) -> Share {
        self.factors.product()
    }

    /// How much of its weight it gets for one reason.
    pub fn factor(&self, factor: Factor) -> Share {
        self.factors.get(factor)
    }

    /// Stores how much of its weight it gets for one reason, and answers what it was. The caller raises the service's epoch
    /// if that is news.
    pub fn set_factor(&self, factor: Factor, share: Share) -> Share {
        self.factors.set(factor, share)
    }

    /// Ends a row of failures. Writes only if there was one: the line is shared by all workers.
    pub(crate) fn works(&self) {
        if self.failures_in_a_row.load(Ordering::Relaxed) != 0 {
            self.failures_in_a_row.store(0, Ordering::Relaxed);
        }
    }

    /// Whether it gets no new requests by an operator's or the config's wish.
    pub fn is_draining(&self) -> bool {
        [&self.drain_configured, &self.drained, &self.drained_for_all].iter().any(|it| it.load(Ordering::Acquire))
    }
}

/// Counters of an endpoint.
#[derive(Debug, Default)]
pub struct EndpointCounters {
    /// Attempts begun (TCP: connections).
    pub attempts: Counter,
    /// Attempts that have a response head, have failed or were given up; the others are awaited.
    pub settled: Counter,
    /// Attempts that spoke against the endpoint.
    pub failed: Counter,
    /// Responses by first digit, as in [`RouteCounters::by_class`].
    pub by_class: [Counter; 5],
    /// Attempts without a connection.
    pub connect_failures: Counter,
    /// Attempts that were reset or closed before a response.
    pub resets: Counter,
    /// Attempts without a response in time.
    pub timeouts: Counter,
    /// Connections opened.
    pub connections_opened: Counter,
    /// Connections closed.
    pub connections_closed: Counter,
    /// Durations from the start of the attempt to its response head.
    pub duration: Histogram,
}

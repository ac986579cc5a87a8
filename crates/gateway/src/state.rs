//! What the gateway knows and counts, readable from any thread while it serves.
//!
//! Counters have one writer each (a worker) and are summed when read, so that requests never share a cache line.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use mainstay_core::{eligibility, health};

use crate::spec;

/// Upper bounds of the duration histograms' buckets in seconds (OpenTelemetry, `http.server.request.duration`); one more
/// bucket holds the rest.
pub const BUCKETS: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

/// The whole state behind the spec that is served now. A reload makes a new one that shares the parts that did not change.
#[derive(Debug)]
pub struct State {
    /// Number of the spec: 1 at start, one more at each reload.
    pub generation: u64,
    /// When it was applied.
    pub applied_at: SystemTime,
    /// Listeners, as in the spec.
    pub listeners: Vec<Arc<Listener>>,
    /// Routes, as in the spec.
    pub routes: Vec<Arc<Route>>,
    /// Services, as in the spec.
    pub services: Vec<Arc<Service>>,
    /// How names are looked up.
    pub resolver: spec::Resolver,
}

/// A listener and its counters.
#[derive(Debug)]
pub struct Listener {
    /// Its settings.
    pub spec: spec::Listener,
    /// Counters, one a worker; kept over reloads by name.
    pub shards: Arc<Shards<ListenerCounters>>,
}

/// Counters of a listener.
#[derive(Debug, Default)]
pub struct ListenerCounters {
    /// Connections accepted.
    pub accepted: Counter,
    /// Connections closed.
    pub closed: Counter,
    /// TLS handshakes that failed.
    pub tls_failures: Counter,
    /// Connections that were closed for want of a PROXY header.
    pub proxy_protocol: ProxyProtocolFailures,
    /// Requests refused before a route was known (malformed, too large, too slow).
    pub rejected: Counter,
}

/// Counters of connections that were closed for want of a PROXY header, by reason.
#[derive(Debug, Default)]
pub struct ProxyProtocolFailures {
    /// The peer may send none.
    pub untrusted: Counter,
    /// None came in time.
    pub timeouts: Counter,
    /// What came was none, or broke off.
    pub malformed: Counter,
}

/// A route and its counters.
#[derive(Debug)]
pub struct Route {
    /// Its settings.
    pub spec: spec::Route,
    /// Counters, one a worker; kept over reloads by name.
    pub shards: Arc<Shards<RouteCounters>>,
    /// Copies of requests that are under way, over all workers; kept over reloads by name.
    pub mirrors: Arc<AtomicU32>,
}

/// Counters of a route.
#[derive(Debug, Default)]
pub struct RouteCounters {
    /// Requests begun.
    pub started: Counter,
    /// Responses by first digit: `[1xx (upgrades), 2xx, 3xx, 4xx, 5xx]`.
    pub by_class: [Counter; 5],
    /// Requests whose client left before the response was complete.
    pub client_gone: Counter,
    /// Error responses that the gateway made itself.
    pub own_errors: Counter,
    /// Retries.
    pub retries: Counter,
    /// Copies of requests.
    pub mirror: MirrorCounters,
    /// Durations from the first byte of the request to the last of the response.
    pub duration: Histogram,
}

/// Counters of a route's mirror.
#[derive(Debug, Default)]
pub struct MirrorCounters {
    /// Copies sent.
    pub sent: Counter,
    /// Copies dropped because enough were under way.
    pub busy: Counter,
    /// Copies dropped because the body was too large, or not complete when the request ended.
    pub body: Counter,
    /// Copies that were not answered, or answered 5xx.
    pub failures: Counter,
}

/// A service, its endpoints and counters.
#[derive(Debug)]
pub struct Service {
    /// Its settings, with the endpoints that its sources have named.
    pub spec: spec::Service,
    /// Its endpoints, as in the spec.
    pub endpoints: Vec<Arc<Endpoint>>,
    /// Where further endpoints come from.
    pub sources: Vec<Arc<Source>>,
    /// One more at each change of any endpoint's eligibility; workers compare it to renew their balancers.
    pub epoch: AtomicU64,
    /// Retries that the budget refused.
    pub budget_refusals: AtomicU64,
    /// Requests answered 503 because no endpoint was eligible.
    pub empty: AtomicU64,
    /// Shared between workers; only retries and batched deposits lock it.
    pub retry_budget: Mutex<mainstay_core::budget::Budget>,
}

impl Service {
    /// Which endpoints get traffic now, in their order.
    pub fn eligible(&self) -> Vec<bool> {
        let known: Vec<eligibility::Known> = self
            .endpoints
            .iter()
            .map(|endpoint| eligibility::Known {
                health: endpoint.health(),
                ejected: endpoint.ejected.load(Ordering::Acquire),
                draining: endpoint.is_draining(),
                priority: endpoint.priority.load(Ordering::Relaxed),
            })
            .collect();
        eligibility::eligible(&known, self.spec.when_empty == spec::WhenEmpty::FailOpen)
    }
}

/// A name that endpoints come from, and what its last good answer was.
#[derive(Debug)]
pub struct Source {
    /// The name, and what is asked of it.
    pub spec: spec::Source,
    /// The name alone, for logs, metrics and people.
    pub name: String,
    /// The endpoints of the last good answer.
    pub found: Mutex<Vec<spec::Endpoint>>,
    /// Why the last answer was of no use; empty if it was.
    pub reason: Mutex<String>,
    /// Whether it has had an answer or a failure, and that is being served.
    pub settled: AtomicBool,
    /// Answers that were of use.
    pub answers: AtomicU64,
    /// Answers that were empty, and look-ups that failed.
    pub failures: AtomicU64,
}

impl Source {
    /// A source that has not been asked yet.
    pub fn new(spec: spec::Source) -> Self {
        Self {
            name: spec.to_string(),
            spec,
            found: Mutex::default(),
            reason: Mutex::default(),
            settled: AtomicBool::new(false),
            answers: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        }
    }
}

/// An endpoint: health, load and counters.
#[derive(Debug)]
pub struct Endpoint {
    /// Where it is, as configured.
    pub address: spec::Address,
    /// Share of traffic; a reload may change it without touching anything else.
    pub weight: AtomicU32,
    /// Lower is served first; likewise.
    pub priority: AtomicU16,
    /// Drained by the configuration; a reload may change it.
    pub drain_configured: AtomicBool,
    /// Its name in logs, metrics and commands: the address as configured.
    pub name: String,
    health: AtomicU8,
    /// Ejected by passive checks.
    pub ejected: AtomicBool,
    /// Until when it is ejected, in nanoseconds of the process's clock.
    pub ejected_until: AtomicU64,
    /// Drained by an operator ([`Self::drain_configured`] comes on top).
    pub drained: AtomicBool,
    /// Why it is down, ejected or unresolved; empty when it is well.
    pub reason: Mutex<String>,
    /// When its state changed last.
    pub changed_at: Mutex<SystemTime>,
    resolved: Mutex<Vec<SocketAddr>>,
    moves: AtomicU64,
    /// Requests in flight, over all workers (least-request compares it).
    pub in_flight: AtomicU32,
    /// Failures in a row; a success writes only if it is not zero.
    pub failures_in_a_row: AtomicU32,
    /// Times it was ejected.
    pub ejections: AtomicU64,
    /// Probes that passed.
    pub probes_passed: AtomicU64,
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
            weight: AtomicU32::new(spec.weight),
            priority: AtomicU16::new(spec.priority),
            drain_configured: AtomicBool::new(spec.drain),
            drained: AtomicBool::new(false),
            address: spec.address,
            health: AtomicU8::new(health as u8),
            ejected: AtomicBool::new(false),
            ejected_until: AtomicU64::new(0),
            reason: Mutex::new(String::new()),
            changed_at: Mutex::new(SystemTime::now()),
            resolved: Mutex::new(resolved),
            moves: AtomicU64::new(0),
            in_flight: AtomicU32::new(0),
            failures_in_a_row: AtomicU32::new(0),
            ejections: AtomicU64::new(0),
            probes_passed: AtomicU64::new(0),
            probes_failed: AtomicU64::new(0),
            shards: Shards::new(workers),
        }
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

    /// Stores what active checks say. The caller raises the service's epoch.
    pub fn set_health(&self, health: health::State) {
        self.health.store(health as u8, Ordering::Release);
    }

    /// Ends a row of failures. Writes only if there was one: the line is shared by all workers.
    pub(crate) fn works(&self) {
        if self.failures_in_a_row.load(Ordering::Relaxed) != 0 {
            self.failures_in_a_row.store(0, Ordering::Relaxed);
        }
    }

    /// Whether it gets no new requests by an operator's or the config's wish.
    pub fn is_draining(&self) -> bool {
        self.drain_configured.load(Ordering::Acquire) || self.drained.load(Ordering::Acquire)
    }
}

/// Counters of an endpoint.
#[derive(Debug, Default)]
pub struct EndpointCounters {
    /// Attempts begun (TCP: connections).
    pub attempts: Counter,
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

/// A number that one thread raises and others read.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `by`. Only the owning worker may call it: two writers would lose counts.
    pub fn add(&self, by: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
    }

    /// The number now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A histogram over [`BUCKETS`] that one thread writes.
#[derive(Debug, Default)]
pub struct Histogram {
    /// Observations in each bucket (not cumulative); the last one is above all bounds.
    pub buckets: [Counter; 15],
    /// Sum of the observations in nanoseconds.
    pub sum_nanos: Counter,
}

impl Histogram {
    /// Records a duration.
    pub fn record(&self, duration: std::time::Duration) {
        let seconds = duration.as_secs_f64();
        let bucket = BUCKETS.iter().position(|bound| seconds <= *bound).unwrap_or(BUCKETS.len());
        if let Some(counter) = self.buckets.get(bucket) {
            counter.add(1);
        }
        self.sum_nanos.add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
    }
}

/// One value for each worker, on cache lines of their own.
#[derive(Debug)]
pub struct Shards<T>(Box<[Aligned<T>]>);

#[derive(Debug, Default)]
#[repr(align(128))]
struct Aligned<T>(T);

impl<T: Default> Shards<T> {
    /// Fresh values for `workers` workers.
    pub fn new(workers: usize) -> Self {
        Self((0..workers.max(1)).map(|_worker| Aligned::default()).collect())
    }

    /// The value of `worker`.
    ///
    /// # Panics
    /// Never: a worker beyond the last shares the last one's value.
    pub fn of(&self, worker: usize) -> &T {
        &self.0[worker.min(self.0.len() - 1)].0
    }

    /// Sums what `read` finds in every worker's value.
    pub fn sum(&self, read: impl Fn(&T) -> u64) -> u64 {
        self.0.iter().map(|shard| read(&shard.0)).sum()
    }
}

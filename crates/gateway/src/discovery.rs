//! Endpoints that DNS names: SRV records, and every address of a host. One thread asks again whenever an answer has had its
//! time, and has the gateway serve the endpoints of the newest good answers by the way that a reload takes.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mainstay_core::random::{self, Rng};
use mainstay_core::resolve::members::{self, MEMBERS_MAX, Members};
use mainstay_core::resolve::{Policy, Schedule};
use mainstay_runtime::clock::Clock;
use mainstay_runtime::names::{Answer, LookupError, Resolver};
use mainstay_runtime::task::{AbortOnDrop, Kind, spawn_local};
use tokio::sync::{Notify, watch};

use crate::health::names;
use crate::spec::{self, Address};
use crate::state::{Service, Source, State};

/// Time between two changes of what is served, at least: a zone that changes all the time must not keep the workers busy.
const PACE: Duration = Duration::from_secs(1);

/// The sources of a service, with what is known of them if the service had them before.
pub(crate) fn sources(spec: &spec::Service, known: Option<&Arc<Service>>) -> Vec<Arc<Source>> {
    let known = |source: &spec::Source| known?.sources.iter().find(|it| it.spec == *source).cloned();
    let made = spec.sources.iter().map(|source| known(source).unwrap_or_else(|| Arc::new(Source::new(source.clone()))));
    made.collect()
}

/// The service with the endpoints that its sources have found, each once.
pub(crate) fn expanded(spec: &spec::Service, sources: &[Arc<Source>]) -> spec::Service {
    let mut expanded = spec.clone();
    let mut names: HashSet<String> = spec.endpoints.iter().map(|endpoint| endpoint.address.to_string()).collect();
    for source in sources {
        let found = lock(&source.found);
        expanded.endpoints.extend(found.iter().filter(|it| names.insert(it.address.to_string())).cloned());
    }
    expanded.endpoints.truncate(spec.endpoints.len() + MEMBERS_MAX);
    expanded
}

/// The way to the thread that asks.
#[derive(Debug)]
pub(crate) struct Discovery {
    assign: watch::Sender<Option<Arc<State>>>,
    settled: AtomicBool,
}

impl Discovery {
    /// The way to the driver, and the driver itself, to be run on a thread of its own.
    pub(crate) fn start(clock: Clock) -> (Self, Runner) {
        let (assign, assigned) = watch::channel(None);
        (Self { assign, settled: AtomicBool::new(false) }, Runner { clock, assigned })
    }

    /// Follows the sources of `state` from now on. One that was there before (the same `Arc`) is not asked anew.
    pub(crate) fn apply(&self, state: &Arc<State>) {
        self.assign.send_replace(Some(Arc::clone(state)));
    }

    /// Whether every source of the first state has been asked and the endpoints that it named have had their first verdict.
    /// Once it is so, it stays so.
    pub(crate) fn is_settled(&self, state: &State) -> bool {
        if self.settled.load(Ordering::Acquire) {
            return true;
        }
        let settled = |service: &Arc<Service>| {
            let unknown = mainstay_core::health::State::Unknown;
            service.sources.iter().all(|source| source.settled.load(Ordering::Acquire))
                && service.endpoints.iter().all(|endpoint| endpoint.health() != unknown)
        };
        let settled = state.services.iter().filter(|service| !service.sources.is_empty()).all(settled);
        self.settled.fetch_or(settled, Ordering::AcqRel);
        settled
    }
}

/// The driver, before it runs.
pub(crate) struct Runner {
    clock: Clock,
    assigned: watch::Receiver<Option<Arc<State>>>,
}

/// What all followers share.
struct Surroundings {
    clock: Clock,
    resolver: RefCell<Rc<Resolver>>,
    policy: RefCell<Policy>,
    /// Some source has changed, or has been asked for the first time.
    news: Notify,
}

impl Runner {
    /// Runs until the [`Discovery`] is gone. `serve` has the gateway serve what was found.
    pub(crate) async fn run(self, serve: impl Fn()) {
        let Self { clock, mut assigned } = self;
        let mut settings = spec::Resolver::default();
        let around = Rc::new(Surroundings {
            clock,
            resolver: RefCell::new(Rc::new(names::resolver(&settings))),
            policy: RefCell::new(names::policy(&settings)),
            news: Notify::new(),
        });
        let mut followed: HashMap<*const Source, Followed> = HashMap::new();
        loop {
            tokio::select! {
                changed = assigned.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let Some(state) = assigned.borrow_and_update().clone() else { continue };
                    if state.resolver != settings {
                        settings = state.resolver.clone();
                        around.resolver.replace(Rc::new(names::resolver(&settings)));
                        around.policy.replace(names::policy(&settings));
                    }
                    followed = assign(&state, followed, &around);
                }
                () = around.news.notified() => {
                    // Noted before it is served: what is heard from here on is news again.
                    let heard: Vec<Arc<Source>> = followed.values().filter_map(Followed::heard).collect();
                    serve();
                    for source in heard {
                        source.settled.store(true, Ordering::Release);
                    }
                    tokio::time::sleep(PACE).await;
                }
            }
        }
    }
}

/// A source and the task that asks for it.
struct Followed {
    source: Arc<Source>,
    _task: AbortOnDrop,
}

impl Followed {
    fn heard(&self) -> Option<Arc<Source>> {
        let asked = self.source.answers.load(Ordering::Acquire) + self.source.failures.load(Ordering::Acquire);
        (asked > 0).then(|| Arc::clone(&self.source))
    }
}

/// Follows the sources of `state`; those that were followed before go on, those that are gone stop.
fn assign(
    state: &State,
    mut before: HashMap<*const Source, Followed>,
    around: &Rc<Surroundings>,
) -> HashMap<*const Source, Followed> {
    let mut followed = HashMap::new();
    for service in &state.services {
        for source in &service.sources {
            let entry = before.remove(&Arc::as_ptr(source)).unwrap_or_else(|| {
                let follower = Follower {
                    source: Arc::clone(source),
                    service: service.spec.name.clone(),
                    around: Rc::clone(around),
                };
                Followed {
                    source: Arc::clone(source),
                    _task: spawn_local(Kind::Control, follower.run()).abort_on_drop(),
                }
            });
            followed.insert(Arc::as_ptr(source), entry);
        }
    }
    followed
}

struct Follower {
    source: Arc<Source>,
    service: String,
    around: Rc<Surroundings>,
}

impl Follower {
    /// Asks for ever.
    async fn run(self) {
        let mut schedule = Schedule::default();
        loop {
            let result = self.ask().await;
            let policy = *self.around.policy.borrow();
            let wait = match result {
                Ok(Answer { records, ttl }) => {
                    self.take(records);
                    schedule.answered(&policy, ttl)
                }
                Err(error) => {
                    self.keep(&error);
                    let seed = random::hash(self.service.as_bytes()) ^ self.around.clock.now().as_nanos();
                    schedule.failed(&policy, &mut Rng::seeded(seed))
                }
            };
            tokio::time::sleep(wait).await;
        }
    }

    /// The endpoints by the newest answer; at least one.
    async fn ask(&self) -> Result<Answer<spec::Endpoint>, LookupError> {
        let resolver = Rc::clone(&self.around.resolver.borrow());
        let (records, ttl) = match &self.source.spec {
            spec::Source::Srv { name } => {
                let answer = resolver.services(name).await?;
                (self.of_records(&answer.records), answer.ttl)
            }
            spec::Source::Addresses { host, port, weight, drain, priority, zone, spare, rps } => {
                let Answer { mut records, ttl } = resolver.addresses(host).await?;
                // Name servers shuffle; the order must not look like a change.
                records.sort_unstable();
                records.dedup();
                self.warn_of(records.len().saturating_sub(MEMBERS_MAX));
                let endpoint = |address| spec::Endpoint {
                    address: Address::Member { host: host.clone(), address: (address, *port).into() },
                    weight: *weight,
                    drain: *drain,
                    priority: *priority,
                    zone: zone.clone(),
                    spare: *spare,
                    rps: *rps,
                };
                (records.into_iter().take(MEMBERS_MAX).map(endpoint).collect(), ttl)
            }
        };
        if records.is_empty() {
            return Err(LookupError::NoRecord("endpoint"));
        }
        Ok(Answer { records, ttl })
    }

    fn of_records(&self, records: &[members::Record]) -> Vec<spec::Endpoint> {
        let Members { list, left_out } = members::members(records);
        self.warn_of(left_out);
        let endpoint = |member: members::Member| {
            let address = match member.target.parse() {
                Ok(ip) => Address::Socket((std::net::IpAddr::V4(ip), member.port).into()),
                Err(_is_a_name) => Address::Name { host: member.target, port: member.port },
            };
            spec::Endpoint { weight: member.weight, priority: member.priority, ..spec::Endpoint::new(address) }
        };
        list.into_iter().map(endpoint).collect()
    }

    fn warn_of(&self, left_out: usize) {
        if left_out > 0 && self.source.answers.load(Ordering::Relaxed) == 0 {
            let (service, source) = (&self.service, &self.source.name);
            tracing::warn!(service, source, left_out, served = MEMBERS_MAX, "the answer names too many endpoints");
        }
    }

    fn take(&self, endpoints: Vec<spec::Endpoint>) {
        let (service, source) = (&self.service, &self.source.name);
        let is_first = self.source.answers.fetch_add(1, Ordering::AcqRel) == 0;
        if !std::mem::take(&mut *lock(&self.source.reason)).is_empty() {
            tracing::info!(service, source, "the name is answered again");
        }
        let mut found = lock(&self.source.found);
        if *found == endpoints && !is_first {
            return;
        }
        let count = |these: &[spec::Endpoint], those: &[spec::Endpoint]| {
            these.iter().filter(|it| !those.iter().any(|other| other.address == it.address)).count()
        };
        let (added, removed) = (count(&endpoints, &found), count(&found, &endpoints));
        let total = endpoints.len();
        *found = endpoints;
        drop(found);
        tracing::info!(service, source, added, removed, total, "endpoints discovered");
        self.around.news.notify_one();
    }

    /// The endpoints of the last good answer stay: a name server that is gone must not take well endpoints with it.
    fn keep(&self, error: &LookupError) {
        let is_first = self.source.failures.fetch_add(1, Ordering::AcqRel) == 0;
        let kept = lock(&self.source.found).len();
        let mut reason = lock(&self.source.reason);
        if reason.is_empty() {
            let (service, source) = (&self.service, &self.source.name);
            tracing::warn!(service, source, reason = %error, kept, "no endpoints discovered; the last ones are kept");
        }
        *reason = match kept {
            0 => format!("no endpoints discovered: {error}"),
            kept => format!("no endpoints discovered: {error} (last {kept} kept)"),
        };
        if is_first {
            self.around.news.notify_one();
        }
    }
}

/// A reader that panicked leaves nothing half written behind: every value is replaced whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

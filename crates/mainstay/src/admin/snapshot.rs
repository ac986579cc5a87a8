//! How the answer of `/api/v1/status` is made from the gateway's state.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use mainstay_core::health;
use mainstay_gateway::spec::{self, Address};
use mainstay_gateway::state::{Breaker, Endpoint, Listener, Route, Service, Source, State};

use crate::admin::document::{
    ActivityStatus, AdmissionStatus, BreakerStatus, EndpointStatus, ListenerStatus, LoadStatus, RouteStatus,
    ServiceState, ServiceStatus, SourceStatus, ZoneStatus,
};
use crate::admin::sampler::{Activity, Sampler, Totals};
use crate::admin::{drains, shared};
use crate::timestamp;

impl From<Activity> for ActivityStatus {
    fn from(activity: Activity) -> Self {
        let rounded = |value: f64, digits: f64| (value * digits).round() / digits;
        let millis = |duration: Duration| rounded(duration.as_secs_f64() * 1e3, 100.0);
        Self {
            rate: rounded(activity.rate, 10.0),
            error_percent: activity.error_percent.map(|percent| rounded(percent, 100.0)),
            p50_ms: activity.p50.map(millis),
            p99_ms: activity.p99.map(millis),
        }
    }
}

/// The listeners' part.
pub fn listeners(state: &State) -> Vec<ListenerStatus> {
    state.listeners.iter().map(|listener| listener_status(listener)).collect()
}

fn listener_status(listener: &Listener) -> ListenerStatus {
    let accepted = listener.shards.sum(|counters| counters.accepted.get());
    let protocol = match (&listener.spec.protocol, &listener.spec.tls) {
        (spec::Protocol::Http(_), None) => "http",
        (spec::Protocol::Http(_), Some(_)) => "https",
        (spec::Protocol::Tcp { .. }, None) => "tcp",
        (spec::Protocol::Database(database), _tls) => match database.engine {
            spec::Engine::Postgres => "postgres",
            spec::Engine::Redis => "redis",
        },
        (spec::Protocol::Tcp { .. }, Some(_)) => "tls",
    };
    ListenerStatus {
        name: listener.spec.name.clone(),
        bind: listener.spec.bind.to_string(),
        protocol: protocol.to_owned(),
        connections: accepted.saturating_sub(listener.shards.sum(|counters| counters.closed.get())),
        max_connections: listener.spec.max_connections as u64,
        accepted,
        tls_failures: listener.shards.sum(|counters| counters.tls_failures.get()),
        proxy_protocol_failures: listener.spec.proxy_protocol.as_ref().map(|_expected| {
            listener.shards.sum(|counters| {
                let failures = &counters.proxy_protocol;
                failures.untrusted.get() + failures.timeouts.get() + failures.malformed.get()
            })
        }),
        rejected: listener.shards.sum(|counters| counters.rejected.get()),
    }
}

/// The routes' part.
pub fn routes(state: &State, sampler: &Sampler, now: Instant) -> Vec<RouteStatus> {
    let status = |(index, route): (usize, &Arc<Route>)| RouteStatus {
        name: route.spec.name.clone(),
        listeners: route.spec.listeners.clone(),
        service: route.spec.service.clone(),
        activity: sampler.route(now, route, index).into(),
        requests: route.shards.sum(|counters| counters.started.get()),
        responses_5xx: route.shards.sum(|counters| counters.by_class.last().map_or(0, |counter| counter.get())),
        retries: route.shards.sum(|counters| counters.retries.get()),
        own_errors: route.shards.sum(|counters| counters.own_errors.get()),
        breaker: route.breaker.as_deref().map(breaker_status),
        admission: admission_status(route),
    };
    state.routes.iter().enumerate().map(status).collect()
}

fn admission_status(route: &Route) -> Option<AdmissionStatus> {
    let gate = route.admission.as_ref()?.gate();
    Some(AdmissionStatus {
        limit: gate.map(|gate| gate.limit),
        adaptive: gate.is_some_and(|gate| gate.is_adaptive),
        in_flight: gate.map_or(0, |gate| gate.in_flight),
        waiting: gate.map_or(0, |gate| gate.waiting),
        queue: gate.map_or(0, |gate| gate.queue),
        refused: route.shards.sum(|counters| counters.admission.refused()),
    })
}

/// The services' part.
pub fn services(state: &State, sampler: &Sampler, now: Instant) -> Vec<ServiceStatus> {
    let clock = SystemTime::now();
    let status = |(at, service): (usize, &Arc<Service>)| {
        let eligible = service.eligible();
        let added = |(index, endpoint): (usize, &Arc<Endpoint>)| sampler.added(endpoint, at, index);
        let added: Vec<Totals> = service.endpoints.iter().enumerate().map(added).collect();
        let endpoints: Vec<EndpointStatus> = service
            .endpoints
            .iter()
            .zip(&eligible)
            .zip(&added)
            .enumerate()
            .map(|(index, ((endpoint, eligible), added))| {
                let activity = sampler.rate_of(now, added).into();
                let breaker = service.breakers.get(index).map(AsRef::as_ref);
                EndpointStatus {
                    zone: service.zone_of(index).map(str::to_owned),
                    spare: service.is_spare(index),
                    ..endpoint_status(endpoint, breaker, *eligible, activity, clock)
                }
            })
            .collect();
        ServiceStatus {
            name: service.spec.name.clone(),
            state: service_state(&endpoints, service.guarded_since().is_some()),
            eligible: eligible.iter().filter(|eligible| **eligible).count() as u64,
            guarded: service.guarded_since().is_some(),
            warnings: warnings(service),
            activity: sampler.rate_of(now, &sum(&added)).into(),
            zones: zones(&endpoints, &added, |added| sampler.rate_of(now, added).into()),
            endpoints,
            sources: service.sources.iter().map(|source| source_status(source)).collect(),
            empty_responses: service.empty.load(Ordering::Relaxed),
            budget_refusals: service.budget_refusals.load(Ordering::Relaxed),
        }
    };
    state.services.iter().enumerate().map(status).collect()
}

fn sum(added: &[Totals]) -> Totals {
    let mut all = Totals::default();
    added.iter().for_each(|added| all += *added);
    all
}

/// The endpoints zone by zone: counters are added before anything is made of them, since percentiles cannot be.
fn zones(
    endpoints: &[EndpointStatus],
    added: &[Totals],
    activity: impl Fn(&Totals) -> ActivityStatus,
) -> Vec<ZoneStatus> {
    let mut zones: BTreeMap<Option<&String>, (u64, u64, Totals)> = BTreeMap::new();
    for (endpoint, added) in endpoints.iter().zip(added) {
        let (all, eligible, together) = zones.entry(endpoint.zone.as_ref()).or_default();
        *all += 1;
        *eligible += u64::from(endpoint.eligible);
        *together += *added;
    }
    let status = |(zone, (endpoints, eligible, together)): (Option<&String>, (u64, u64, Totals))| ZoneStatus {
        zone: zone.cloned(),
        endpoints,
        eligible,
        activity: activity(&together),
    };
    zones.into_iter().map(status).collect()
}

fn source_status(source: &Source) -> SourceStatus {
    SourceStatus {
        name: source.name.clone(),
        endpoints: lock(&source.found).len() as u64,
        reason: lock(&source.reason).clone(),
        answers: source.answers.load(Ordering::Relaxed),
        failures: source.failures.load(Ordering::Relaxed),
    }
}

/// What to see to.
fn warnings(service: &Service) -> Vec<String> {
    let peak = service.spec.capacity.as_ref().map_or(0, |capacity| capacity.peak_rps);
    let short = service.zone_losses().into_iter().filter(|loss| loss.is_short);
    short
        .map(|loss| {
            format!("without zone {} the rest could serve {} requests a second of {peak}", loss.zone, loss.left_rps)
        })
        .collect()
}

fn service_state(endpoints: &[EndpointStatus], guarded: bool) -> ServiceState {
    // Traffic to endpoints that are not proven is an attempt, not health. Spares are well while they wait.
    let is_up = |endpoint: &EndpointStatus| endpoint.health == health_word(health::State::Up) && !endpoint.ejected;
    let has_all = |endpoint: &EndpointStatus| endpoint.weight_percent >= 100.0 && !endpoint.degraded;
    let well = |endpoint: &EndpointStatus| is_up(endpoint) && has_all(endpoint) && !guarded;
    if endpoints.iter().all(|endpoint| !endpoint.eligible) {
        ServiceState::Down
    } else if endpoints.iter().all(|endpoint| endpoint.draining || well(endpoint)) {
        ServiceState::Healthy
    } else {
        ServiceState::Degraded
    }
}

fn breaker_status(breaker: &Breaker) -> BreakerStatus {
    let (at, reason) = breaker.last_change().unzip();
    BreakerStatus {
        state: breaker.phase().word().to_owned(),
        since_seconds: at.map(|at| SystemTime::now().duration_since(at).unwrap_or_default().as_secs()),
        reason: reason.unwrap_or_default(),
        opened: breaker.opened.load(Ordering::Relaxed),
        refused: breaker.refused.load(Ordering::Relaxed),
    }
}

fn endpoint_status(
    endpoint: &Endpoint,
    breaker: Option<&Breaker>,
    eligible: bool,
    activity: ActivityStatus,
    clock: SystemTime,
) -> EndpointStatus {
    let changed_at = *lock(&endpoint.changed_at);
    let opened = endpoint.shards.sum(|counters| counters.connections_opened.get());
    EndpointStatus {
        name: endpoint.name.clone(),
        priority: endpoint.priority.load(Ordering::Relaxed),
        weight: endpoint.weight(),
        weight_override: endpoint.weight_override(),
        address: match &endpoint.address {
            Address::Unix(_) => Some(endpoint.name.clone()),
            Address::Socket(_) | Address::Name { .. } | Address::Member { .. } => {
                endpoint.located().map(|address| address.to_string())
            }
        },
        health: health_word(endpoint.health()).to_owned(),
        degraded: endpoint.degraded.load(Ordering::Acquire),
        ejected: endpoint.ejected.load(Ordering::Acquire),
        draining: endpoint.is_draining(),
        drained_by: drained_by(endpoint).map(str::to_owned),
        eligible,
        weight_percent: f64::from(endpoint.share().as_permille()) / 10.0,
        zone: None,
        spare: false,
        reason: shared::reason(endpoint),
        since: timestamp::rfc3339(changed_at),
        since_seconds: clock.duration_since(changed_at).unwrap_or_default().as_secs(),
        in_flight: u64::from(endpoint.in_flight.load(Ordering::Relaxed)),
        connections: opened.saturating_sub(endpoint.shards.sum(|counters| counters.connections_closed.get())),
        activity,
        attempts: endpoint.shards.sum(|counters| counters.attempts.get()),
        ejections: endpoint.ejections.load(Ordering::Relaxed),
        breaker: breaker.map(breaker_status),
        load: load_status(endpoint, clock),
        etag: drains::tag(endpoint).text(),
    }
}

fn load_status(endpoint: &Endpoint, clock: SystemTime) -> Option<LoadStatus> {
    let report = endpoint.load.heard(clock.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())?;
    let rounded = |value: f32| (f64::from(value) * 100.0).round() / 100.0;
    let percent = |share: f32| rounded(share * 100.0);
    Some(LoadStatus {
        cpu_percent: report.cpu.map(percent),
        memory_percent: report.memory.map(percent),
        application_percent: report.application.map(percent),
        rate: report.requests.map(rounded),
        error_rate: report.errors.map(rounded),
    })
}

fn drained_by(endpoint: &Endpoint) -> Option<&'static str> {
    if endpoint.drain_configured.load(Ordering::Acquire) {
        return Some("configuration");
    }
    endpoint.is_draining().then_some("operator")
}

/// The word for what active checks say.
pub fn health_word(state: health::State) -> &'static str {
    match state {
        health::State::Unknown => "unknown",
        health::State::Up => "up",
        health::State::Down => "down",
    }
}

/// Why a node whose checks have not all answered is not ready yet.
pub fn waiting_for(state: &State) -> Vec<String> {
    let mut reasons = Vec::new();
    for service in &state.services {
        let waiting = |endpoint: &&Arc<Endpoint>| endpoint.health() == health::State::Unknown;
        let waiting = service.endpoints.iter().filter(waiting).count();
        for source in service.sources.iter().filter(|source| !source.settled.load(Ordering::Acquire)) {
            reasons.push(format!("service `{}`: `{}` has not been answered yet", service.spec.name, source.name));
        }
        if waiting > 0 {
            let (name, all) = (&service.spec.name, service.endpoints.len());
            reasons.push(format!("service `{name}`: {waiting} of {all} endpoints have no first health verdict yet"));
        }
    }
    reasons
}

/// One line about everything: the first thing that someone who was woken up reads.
pub fn verdict(ready: bool, leaving: bool, services: &[ServiceStatus]) -> String {
    let all = services.len();
    let named = |wanted: ServiceState| {
        let describe = |service: &ServiceStatus| {
            let up =
                |endpoint: &&EndpointStatus| endpoint.eligible && endpoint.health == health_word(health::State::Up);
            let up = service.endpoints.iter().filter(up).count();
            format!("{} ({up} of {} endpoints up)", service.name, service.endpoints.len())
        };
        let found = services.iter().filter(|service| service.state == wanted);
        found.map(describe).collect::<Vec<_>>()
    };
    let (down, degraded) = (named(ServiceState::Down), named(ServiceState::Degraded));
    let healthy = all - down.len() - degraded.len();
    let mut line = match (leaving, ready, down.is_empty(), degraded.is_empty()) {
        (true, _, _, _) => "shutting down".to_owned(),
        (false, false, _, _) => "starting".to_owned(),
        (false, true, false, _) if down.len() == all => "NOT SERVING".to_owned(),
        (false, true, false, _) => "PARTLY SERVING".to_owned(),
        (false, true, true, false) => "serving, degraded".to_owned(),
        (false, true, true, true) => "serving".to_owned(),
    };
    line.push_str(&format!(": {healthy} of {all} services healthy"));
    for (word, names) in [("down", down), ("degraded", degraded)] {
        if !names.is_empty() {
            line.push_str(&format!("; {word}: {}", shortened(&names)));
        }
    }
    line
}

fn shortened(names: &[String]) -> String {
    const SHOWN: usize = 3;
    let shown = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN { format!("{shown} and {} more", names.len() - SHOWN) } else { shown }
}

// A poisoned lock only says that its holder panicked; the text or time inside is whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

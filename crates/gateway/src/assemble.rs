//! From a spec to what is served: the shared state with what survives of the previous one, TLS material, sockets.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use mainstay_core::health;
use mainstay_core::time::Moment;
use mainstay_runtime::socket;
use mainstay_runtime::tls::{ClientAuth, ClientSettings, ClientTls, Issued, Ordered, ServerTls};

use crate::cache::Store;
use crate::cells::Cells;
use crate::discovery;
use crate::fallback;
use crate::gateway::StartError;
use crate::inherit::InheritedListener;
use crate::postgres::startup;
use crate::spec::{self, CertificateFiles, Challenge, Protocol, Spec};
use crate::state::{Database, Endpoint, Listener, Route, Service, Shards, Source, State};
use crate::sticky::Keys;
use crate::worker::table::Tls;

/// Connections that the kernel queues for each worker's socket (bounded further by `net.core.somaxconn`).
const BACKLOG: i32 = 4096;

/// Refuses a spec whose parts do not fit each other. `has_sessions`: there is a table of sessions.
pub(crate) fn check(spec: &Spec, has_sessions: bool) -> Result<(), StartError> {
    let service = |name: &String| spec.services.iter().any(|service| service.name == *name);
    for route in &spec.routes {
        if !service(&route.service) {
            return Err(StartError::Spec(format!("route `{}`: there is no service `{}`", route.name, route.service)));
        }
        let of_cells = route.cells.iter().flat_map(|cells| &cells.choices);
        if let Some((cell, name)) = of_cells.into_iter().find(|(_cell, name)| !service(name)) {
            let message = format!("route `{}`: there is no service `{name}`, which cell `{cell}` names", route.name);
            return Err(StartError::Spec(message));
        }
        if let Some(mirror) = route.mirror.as_ref().filter(|mirror| !service(&mirror.service)) {
            return Err(StartError::Spec(format!("route `{}`: there is no service `{}`", route.name, mirror.service)));
        }
        let other = route.fallback.as_ref().and_then(|fallback| fallback.service.as_ref());
        if let Some(other) = other.filter(|other| !service(other)) {
            return Err(StartError::Spec(format!("route `{}`: there is no service `{other}`", route.name)));
        }
    }
    for listener in &spec.listeners {
        if let Protocol::Tcp { service: name, .. } = &listener.protocol
            && !service(name)
        {
            return Err(StartError::Spec(format!("listener `{}`: there is no service `{name}`", listener.name)));
        }
    }
    let in_table = |service: &&spec::Service| service.sticky.as_ref().is_some_and(|sticky| sticky.table.is_some());
    if let Some(service) = spec.services.iter().find(in_table).filter(|_service| !has_sessions) {
        let message = format!("service `{}`: there is no table that sessions could be kept in", service.name);
        return Err(StartError::Spec(message));
    }
    let is_empty = |service: &&spec::Service| service.endpoints.is_empty() && service.sources.is_empty();
    if let Some(empty) = spec.services.iter().find(is_empty) {
        return Err(StartError::Spec(format!("service `{}` has no endpoints", empty.name)));
    }
    Ok(())
}

/// The state for `spec`. Endpoints, counters and budgets of `previous` go on where they concern the same thing.
pub(crate) fn state(
    spec: &Spec,
    workers: usize,
    previous: Option<&State>,
    cells: Option<Arc<Cells>>,
    now: Moment,
) -> State {
    let listeners = spec.listeners.iter().map(|listener| {
        let known = previous.and_then(|state| state.listeners.iter().find(|it| it.spec.name == listener.name));
        let shards = known.map_or_else(|| Arc::new(Shards::new(workers)), |known| Arc::clone(&known.shards));
        let holding = known.map_or_else(Arc::default, |known| Arc::clone(&known.holding));
        Arc::new(Listener { spec: listener.clone(), shards, holding })
    });
    let routes = spec.routes.iter().map(|route| {
        let known = previous.and_then(|state| state.routes.iter().find(|it| it.spec.name == route.name));
        let service = spec.services.iter().find(|service| service.name == route.service);
        let retry_budget = route.retry_budget.or(service.map(|service| service.retry_budget));
        let route = spec::Route { retry_budget, ..route.clone() };
        Arc::new(Route::new(route, workers, known.map(Arc::as_ref), now))
    });
    let services = spec.services.iter().map(|service| {
        let known = previous.and_then(|state| state.services.iter().find(|it| it.spec.name == service.name));
        let sources = discovery::sources(service, known);
        self::service(&discovery::expanded(service, &sources), sources, workers, known, now)
    });
    State {
        generation: previous.map_or(1, |state| state.generation + 1),
        applied_at: SystemTime::now(),
        listeners: listeners.collect(),
        databases: databases(spec, previous),
        routes: routes.collect(),
        services: services.collect(),
        resolver: spec.node.resolver.clone(),
        cache: cache(spec, previous),
        cells,
        sessions: previous.and_then(|state| state.sessions.clone()),
        telemetry: Arc::new(spec.telemetry.clone()),
    }
}

/// The groups that listeners lead to. What is known of one survives.
fn databases(spec: &Spec, previous: Option<&State>) -> Vec<Arc<Database>> {
    let mut databases: Vec<Arc<Database>> = Vec::new();
    for listener in &spec.listeners {
        let Protocol::Database(spec::Database { group, .. }) = &listener.protocol else { continue };
        if databases.iter().any(|known| known.group == *group) {
            continue;
        }
        let known = previous.and_then(|state| state.databases.iter().find(|it| it.group == *group));
        databases.push(known.map_or_else(|| Arc::new(Database::new(group)), Arc::clone));
    }
    databases
}

/// The store for responses, if any route has a cache. What is stored survives as long as the memory stays the same.
fn cache(spec: &Spec, previous: Option<&State>) -> Option<Arc<Store>> {
    spec.routes.iter().find(|route| route.cache.is_some())?;
    let memory = spec.node.cache_memory;
    let known = previous.and_then(|state| state.cache.as_ref()).filter(|known| known.memory() == memory);
    known.map(Arc::clone).or_else(|| Store::new(memory).map(Arc::new))
}

fn service(
    spec: &spec::Service,
    sources: Vec<Arc<Source>>,
    workers: usize,
    known: Option<&Arc<Service>>,
    now: Moment,
) -> Arc<Service> {
    if let Some(known) = known.filter(|known| known.spec == *spec && !known.is_reweighed.load(Ordering::Acquire)) {
        return Arc::clone(known);
    }
    // An endpoint is the same if it is reached the same way; its weight and drain may change under it.
    let kept = known.filter(|known| {
        let known = &known.spec;
        known.tls == spec.tls && known.send_proxy == spec.send_proxy && known.protocol == spec.protocol
    });
    let endpoints = spec.endpoints.iter().map(|endpoint| {
        let same = |it: &&Arc<Endpoint>| it.address == endpoint.address;
        let Some(endpoint_known) = kept.and_then(|known| known.endpoints.iter().find(same)) else {
            return Arc::new(Endpoint::new(endpoint.clone(), health::State::Unknown, workers));
        };
        endpoint_known.weight_configured.store(endpoint.weight, Ordering::Relaxed);
        endpoint_known.priority.store(endpoint.priority, Ordering::Relaxed);
        endpoint_known.drain_configured.store(endpoint.drain, Ordering::Release);
        Arc::clone(endpoint_known)
    });
    Arc::new(Service::new(spec.clone(), endpoints.collect(), sources, workers, known.map(Arc::as_ref), now))
}

/// Loads every certificate, key, authority and fixed answer that `spec` names.
pub(crate) fn tls(spec: &Spec, issued: &Arc<Issued>) -> Result<Tls, StartError> {
    let is_asked = |challenge| spec.acme.iter().any(|it| it.challenge == challenge);
    let challenges = is_asked(Challenge::Http01).then(|| Arc::clone(issued));
    let mut loaded = Tls { answers: fallback::load(&spec.routes)?, challenges, ..Tls::default() };
    for listener in &spec.listeners {
        let Some(tls) = &listener.tls else { continue };
        let pairs: Vec<(PathBuf, PathBuf)> = tls.certificates.iter().map(pair).collect();
        let auth = match &tls.client_auth {
            spec::ClientAuth::Off => ClientAuth::Off,
            spec::ClientAuth::Optional { ca } => ClientAuth::Optional(ca.clone()),
            spec::ClientAuth::Required { ca } => ClientAuth::Required(ca.clone()),
        };
        let alpn: &[&[u8]] = match &listener.protocol {
            Protocol::Http(http) if http.http2.is_some() => &[b"h2", b"http/1.1"],
            Protocol::Http(_) => &[b"http/1.1"],
            Protocol::Database(database) if database.engine == spec::Engine::Postgres => &[startup::ALPN],
            Protocol::Tcp { .. } | Protocol::Database(_) => &[],
        };
        let place = || format!("listener `{}`", listener.name);
        let orders = spec.acme.iter().filter(|it| tls.acme.contains(&it.name));
        let ordered = Ordered {
            issued: Arc::clone(issued),
            orders: orders.map(|it| (it.name.clone(), it.domains.iter().cloned().collect())).collect(),
            // An authority shows no certificate, and bytes for a service may be of a protocol that ALPN has not heard of.
            proves: is_asked(Challenge::TlsAlpn01)
                && matches!(listener.protocol, Protocol::Http(_))
                && !matches!(tls.client_auth, spec::ClientAuth::Required { .. }),
        };
        let server = ServerTls::load_with(&pairs, ordered, &auth, alpn)
            .map_err(|error| StartError::Tls { place: place(), message: error.to_string() })?;
        loaded.listeners.insert(listener.name.clone(), server.config);
    }
    for service in &spec.services {
        let Some(tls) = &service.tls else { continue };
        let alpn: &[&[u8]] = match service.protocol {
            spec::HttpVersion::Http1 => &[b"http/1.1"],
            spec::HttpVersion::Http2 => &[b"h2"],
            spec::HttpVersion::Auto => &[b"h2", b"http/1.1"],
        };
        let client = client_tls(tls, alpn, || format!("service `{}`", service.name))?;
        loaded.services.insert(service.name.clone(), client);
    }
    for listener in &spec.listeners {
        let Protocol::Database(spec::Database { upstream_tls: Some(tls), .. }) = &listener.protocol else { continue };
        let client = client_tls(tls, &[], || format!("listener `{}`", listener.name))?;
        loaded.databases.insert(listener.name.clone(), client);
    }
    for service in &spec.services {
        // What is kept in a table needs no key: the id in the cookie says nothing.
        let Some(sticky) = service.sticky.as_ref().filter(|sticky| sticky.table.is_none()) else { continue };
        let keys = match &sticky.key_file {
            Some(file) => Keys::load(file).map(Arc::new),
            None => Keys::own(),
        };
        let place = format!("service `{}`", service.name);
        let keys = keys.map_err(|message| StartError::Tls { place, message })?;
        loaded.sessions.insert(service.name.clone(), keys);
    }
    Ok(loaded)
}

fn client_tls(
    tls: &spec::UpstreamTls,
    alpn: &[&[u8]],
    place: impl FnOnce() -> String,
) -> Result<Arc<rustls::ClientConfig>, StartError> {
    let settings = ClientSettings { verify: tls.verify, ca: tls.ca.clone(), client: tls.client.as_ref().map(pair) };
    ClientTls::load(&settings, alpn).map_err(|error| StartError::Tls { place: place(), message: error.to_string() })
}

fn pair(files: &CertificateFiles) -> (PathBuf, PathBuf) {
    (files.cert.clone(), files.key.clone())
}

/// Sockets by the names of listeners: at least one for each worker.
pub(crate) type Sockets = HashMap<String, Vec<std::net::TcpListener>>;

/// Binds what `spec` listens on and `previous` does not, unless it is among `inherited`.
pub(crate) fn sockets(
    spec: &Spec,
    workers: usize,
    previous: Option<&State>,
    mut inherited: Vec<InheritedListener>,
) -> Result<Sockets, StartError> {
    let mut sockets = Sockets::new();
    let mut wanted = Vec::new();
    for listener in &spec.listeners {
        let bound = |known: &Arc<Listener>| known.spec.name == listener.name && known.spec.bind == listener.bind;
        if previous.is_some_and(|state| state.listeners.iter().any(bound)) {
            continue;
        }
        let handed_over = take(&mut inherited, listener);
        // A listener that was renamed takes over the address from itself, so that the port is rightly in use.
        let ours = previous.is_some_and(|state| state.listeners.iter().any(|known| known.spec.bind == listener.bind));
        let failed = |source: std::io::Error| StartError::Bind {
            listener: listener.name.clone(),
            bind: listener.bind,
            hint: hint(&source, listener.bind),
            source,
        };
        // All are probed before any is bound: 0.0.0.0:80 and 127.0.0.1:80 may stand side by side, but would look taken.
        if !ours && handed_over.is_empty() {
            let probe = if listener.floating { socket::probe_bind_floating } else { socket::probe_bind };
            probe(listener.bind).map_err(failed)?;
        }
        wanted.push((listener, handed_over, failed));
    }
    for (listener, handed_over, failed) in wanted {
        sockets.insert(listener.name.clone(), bind(listener, workers, handed_over).map_err(failed)?);
    }
    Ok(sockets)
}

/// The sockets of `listener`, which may have been renamed.
fn take(inherited: &mut Vec<InheritedListener>, listener: &spec::Listener) -> Vec<std::net::TcpListener> {
    let same_bind = |it: &InheritedListener| it.bind == listener.bind;
    let exact = inherited.iter().position(|it| same_bind(it) && it.name == listener.name);
    match exact.or_else(|| inherited.iter().position(same_bind)) {
        Some(found) => inherited.swap_remove(found).sockets,
        None => Vec::new(),
    }
}

/// Adds to `sockets` what the workers need. If there are more than workers, none goes: the kernel spreads connections over
/// all of them, and closing one would reset those in its queue.
fn bind(
    listener: &spec::Listener,
    workers: usize,
    mut sockets: Vec<std::net::TcpListener>,
) -> std::io::Result<Vec<std::net::TcpListener>> {
    let listen = if listener.floating { socket::listen_tcp_floating } else { socket::listen_tcp };
    // With port 0 the system chooses once, and the other workers share its choice.
    let chosen = match sockets.first() {
        Some(first) => first.local_addr()?,
        None => {
            let first = listen(listener.bind, BACKLOG, true)?;
            let chosen = first.local_addr()?;
            sockets.push(first);
            chosen
        }
    };
    while sockets.len() < workers {
        sockets.push(listen(chosen, BACKLOG, true)?);
    }
    Ok(sockets)
}

/// Deals the sockets out to the workers.
pub(crate) fn deal(sockets: Sockets, workers: usize) -> Vec<Vec<(String, std::net::TcpListener)>> {
    let mut dealt: Vec<Vec<_>> = (0..workers).map(|_worker| Vec::new()).collect();
    for (name, sockets) in sockets {
        for (index, socket) in sockets.into_iter().enumerate() {
            if let Some(own) = dealt.get_mut(index % workers.max(1)) {
                own.push((name.clone(), socket));
            }
        }
    }
    dealt
}

fn hint(error: &std::io::Error, address: SocketAddr) -> String {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            format!(
                "port {0} is in use; `ss -ltnp 'sport = :{0}'` names the process; stop it or change `bind`",
                address.port()
            )
        }
        std::io::ErrorKind::PermissionDenied => {
            "ports below 1024 need root or the capability CAP_NET_BIND_SERVICE".to_owned()
        }
        std::io::ErrorKind::AddrNotAvailable => {
            format!("this machine has no address {}; `ip address` lists those it has", address.ip())
        }
        _other => format!("check the address {address} in `bind`"),
    }
}

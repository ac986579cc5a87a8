//! What one worker serves from: the shared state made ready for lookups, with the worker's own pools and balancers. Built
//! anew at each reload; endpoints that did not change keep their connections.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use mainstay_core::balance::{Balancer, Candidate};
use mainstay_core::random;
use mainstay_core::route;
use mainstay_core::shard::Shards;
use mainstay_core::takeover::Takeover;
use mainstay_core::time::Moment;
use mainstay_runtime::tls::Issued;
use tokio::sync::Notify;

use super::account::Purse;
use super::cells::by_cell;
use super::pool::Pool;
use super::seen::Seen;
use super::{choose, shard};
use crate::cache::Store;
use crate::cells::Cells;
use crate::database::group::{self, Group};
use crate::explain::ring::Scene;
use crate::explain::view::View;
use crate::fallback::{Answers, Fallback};
use crate::http::caching::{self, Cache};
use crate::http::record;
use crate::http1::write::Ops;
use crate::http2::connect::Links;
use crate::mirror::Mirror;
use crate::sessions::Desk;
use crate::spec::{Protocol, Telemetry};
use crate::state::{self, State};
use crate::sticky::{Keys, Marks};

/// What belongs to a [`State`] and is read from files: TLS settings by the names of listeners and services, fixed answers by
/// the names of routes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tls {
    pub(crate) listeners: HashMap<String, Arc<rustls::ServerConfig>>,
    pub(crate) services: HashMap<String, Arc<rustls::ClientConfig>>,
    /// Towards the servers of databases, by the names of listeners.
    pub(crate) databases: HashMap<String, Arc<rustls::ClientConfig>>,
    pub(crate) answers: Answers,
    /// The keys of sessions, by the names of services.
    pub(crate) sessions: HashMap<String, Arc<Keys>>,
    /// What authorities are answered that ask over HTTP, if any may.
    pub(crate) challenges: Option<Arc<Issued>>,
}

/// The table of one worker.
#[derive(Debug, Default)]
pub(crate) struct Table {
    /// Which cell each account is in.
    pub(crate) cells: Option<Arc<Cells>>,
    pub(crate) listeners: HashMap<String, Rc<Listener>>,
    pub(crate) services: HashMap<String, Rc<Service>>,
    pub(crate) groups: HashMap<String, Rc<Group>>,
}

/// A listener with its routes.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) state: Arc<state::Listener>,
    pub(crate) tls: Option<Arc<rustls::ServerConfig>>,
    pub(crate) routes: route::Table,
    pub(crate) targets: Vec<Rc<Route>>,
    /// Some endpoint behind it wants to know where clients connected to.
    pub(crate) sends_proxy: bool,
    /// Where some of its routes store responses.
    pub(crate) cache: Option<Arc<Store>>,
    /// The service of a TCP listener.
    pub(crate) service: Option<Rc<Service>>,
    /// The group of a listener that leads to databases, and TLS towards its servers.
    pub(crate) group: Option<Rc<Group>>,
    pub(crate) upstream_tls: Option<Arc<rustls::ClientConfig>>,
    /// What records of requests refer to, and the listener's place in it.
    pub(crate) scene: Rc<Scene>,
    pub(crate) number: usize,
    /// Its part of every line in the access log.
    pub(crate) log_part: Vec<u8>,
    /// What is told of requests.
    pub(crate) telemetry: Arc<Telemetry>,
    /// What authorities are answered that ask over HTTP, if any may.
    pub(crate) challenges: Option<Arc<Issued>>,
}

/// A route and where it leads.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) state: Arc<state::Route>,
    pub(crate) service: Rc<Service>,
    pub(crate) request_ops: Ops,
    pub(crate) response_ops: Ops,
    /// The same route to each of its cells, by their names.
    pub(crate) cells: Vec<(String, Rc<Route>)>,
    /// Its place in the state.
    pub(crate) number: usize,
    /// Its part of every line in the access log.
    pub(crate) log_part: Vec<u8>,
    pub(crate) mirror: Option<Mirror>,
    pub(crate) fallback: Option<Fallback>,
    pub(crate) cache: Option<Rc<Cache>>,
    /// The service of the route itself, where this one leads to the service that it falls back on.
    pub(crate) primary: Option<Rc<Service>>,
    /// The budget for retries and hedges.
    pub(crate) purse: Purse,
}

/// A service as this worker sees it.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) state: Arc<state::Service>,
    pub(crate) endpoints: Vec<Rc<Endpoint>>,
    pub(crate) tls: Option<Arc<rustls::ClientConfig>>,
    pub(super) balancer: RefCell<Balancer>,
    /// Which endpoints its tenants may use, if not all.
    pub(super) shards: Option<RefCell<Shards>>,
    /// For requests that have failed in the own zone: over the endpoints of others, while zones play a part.
    pub(super) elsewhere: RefCell<Option<Balancer>>,
    /// Nobody is well; the balancer has whoever is not draining.
    pub(super) last_resort: Cell<bool>,
    pub(super) candidates: Vec<Candidate>,
    pub(super) seen_epoch: Cell<u64>,
    pub(super) takeover: Cell<Takeover>,
    /// Something has changed that is to be taken over a little later, and `late` was told.
    pub(super) is_late: Cell<bool>,
    /// The worker's, told that some service is late.
    pub(super) late: Rc<Notify>,
    /// What the balancer was told of, for records of requests.
    pub(super) view: RefCell<Rc<View>>,
    /// The retry budget for what TCP listeners bring.
    pub(crate) purse: Purse,
    /// Its endpoints as the cookies of sessions name them.
    pub(crate) marks: Option<Marks>,
    /// Its way to the table of sessions, if they are kept in one.
    pub(crate) desk: Option<Desk>,
}

/// An endpoint with this worker's connections to it.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) state: Arc<state::Endpoint>,
    pub(crate) pool: Pool,
    /// Its name as it stands in the access log.
    pub(crate) log_name: Vec<u8>,
    /// Connections of HTTP/2.
    pub(crate) links: Links,
    /// How often it had moved when `links` were looked at last.
    moves: Cell<u64>,
    /// What this worker has seen of it, for the balancer.
    pub(crate) seen: Seen,
}

impl Endpoint {
    /// Has shared connections finish what is on them and close, if the endpoint has left an address since the last call.
    pub(crate) fn leave_if_moved(&self) {
        let moves = self.state.moves();
        if self.moves.replace(moves) != moves {
            self.links.leave();
        }
    }
}

impl Table {
    /// The table for `state`, with the connections of `previous` where an endpoint is the same. `late` is told when one of its
    /// services is to be caught up ([`Self::catch_up`]).
    pub(crate) fn new(state: &Arc<State>, tls: &Tls, previous: &Self, late: &Rc<Notify>) -> Self {
        let scene = Rc::new(Scene(Arc::clone(state)));
        let services = services(state, tls, previous, late);
        let groups = group::all(state, &previous.groups);
        let routes: Vec<Rc<Route>> = state
            .routes
            .iter()
            .enumerate()
            .filter_map(|(number, route)| {
                Some(Rc::new(Route {
                    state: Arc::clone(route),
                    purse: Purse::new(&route.retry_budget),
                    service: Rc::clone(services.get(&route.spec.service)?),
                    request_ops: Ops::new(&route.spec.request_headers),
                    response_ops: Ops::new(&route.spec.response_headers),
                    log_part: record::part(&[("route", &route.spec.name), ("service", &route.spec.service)]),
                    number,
                    mirror: mirror(route, &services),
                    fallback: Fallback::new(route, number, &services, &tls.answers),
                    primary: None,
                    cache: caching::of(&route.spec, state.cache.as_ref()),
                    cells: by_cell(route, number, &services),
                }))
            })
            .collect();
        let listeners = state
            .listeners
            .iter()
            .enumerate()
            .map(|(number, listener)| {
                let name = &listener.spec.name;
                let targets: Vec<Rc<Route>> =
                    routes.iter().filter(|route| route.state.spec.listeners.contains(name)).cloned().collect();
                let matches: Vec<route::Match> = targets.iter().map(|route| route.state.spec.matches.clone()).collect();
                let service = match &listener.spec.protocol {
                    Protocol::Tcp { service, .. } => services.get(service).cloned(),
                    Protocol::Http(_) | Protocol::Database(_) => None,
                };
                let group = match &listener.spec.protocol {
                    Protocol::Database(database) => groups.get(&database.group).cloned(),
                    Protocol::Http(_) | Protocol::Tcp { .. } => None,
                };
                let spares = targets.iter().filter_map(|route| route.fallback.as_ref().and_then(Fallback::service));
                let mut behind = targets.iter().map(|route| &route.service).chain(spares).chain(&service);
                let sends_proxy = behind.any(|service| service.state.spec.send_proxy.is_some());
                let made = Listener {
                    sends_proxy,
                    cache: targets.iter().find_map(|route| Some(Arc::clone(&route.cache.as_ref()?.store))),
                    state: Arc::clone(listener),
                    tls: tls.listeners.get(name).cloned(),
                    routes: route::Table::new(&matches),
                    targets,
                    service,
                    group,
                    upstream_tls: tls.databases.get(name).cloned(),
                    scene: Rc::clone(&scene),
                    number,
                    log_part: record::part(&[("listener", name)]),
                    telemetry: Arc::clone(&state.telemetry),
                    challenges: tls.challenges.clone(),
                };
                (name.clone(), Rc::new(made))
            })
            .collect();
        Self { listeners, services, groups, cells: state.cells.clone() }
    }

    /// Has services that are late take over what is known of their endpoints, if that is due; when the next one is, otherwise.
    pub(super) fn catch_up(&self, now: Moment) -> Option<Moment> {
        self.services.values().filter_map(|service| service.catch_up(now)).min()
    }

    /// Tells circuit breakers of the time, and of what they have not heard of.
    pub(crate) fn look_after_breakers(&self, now: Moment) {
        let routes = self.listeners.values().flat_map(|listener| &listener.targets);
        let of_routes = routes.filter_map(|route| route.state.breaker.as_ref());
        let of_endpoints = self.services.values().flat_map(|service| &service.state.breakers);
        for breaker in of_routes.chain(of_endpoints) {
            breaker.look_after(now);
        }
    }

    /// Closes the connections to endpoints that `next`, which comes after this table, does not serve. Those in use finish.
    pub(crate) fn close_what_left(&self, next: &Self) {
        for (name, service) in &self.services {
            let now = next.services.get(name).filter(|now| !now.endpoints.is_empty());
            if now.is_some_and(|now| Rc::ptr_eq(now, service)) {
                continue;
            }
            for endpoint in &service.endpoints {
                let stays = now.is_some_and(|now| now.endpoints.iter().any(|known| Rc::ptr_eq(known, endpoint)));
                if !stays {
                    endpoint.pool.close();
                    endpoint.links.leave();
                }
            }
        }
    }
}

fn services(state: &State, tls: &Tls, previous: &Table, late: &Rc<Notify>) -> HashMap<String, Rc<Service>> {
    let mut services = HashMap::new();
    for service in &state.services {
        let before = previous.services.get(&service.spec.name);
        let keys = tls.sessions.get(&service.spec.name);
        let tls = tls.services.get(&service.spec.name);
        let made = match before.filter(|before| before.is_of(service, tls, keys)) {
            Some(before) => Rc::clone(before),
            None => Rc::new(Service::new(
                service,
                tls.cloned(),
                keys,
                Desk::of(service, state.sessions.as_ref()),
                before.map(Rc::as_ref),
                late,
            )),
        };
        services.insert(service.spec.name.clone(), made);
    }
    services
}

fn mirror(route: &Arc<state::Route>, services: &HashMap<String, Rc<Service>>) -> Option<Mirror> {
    let mirror = route.spec.mirror.as_ref()?;
    Some(Mirror::new(route, mirror, services.get(&mirror.service)?))
}

impl Service {
    /// Whether it is `state` as this worker sees it, reached under `tls` and with sessions by `keys`: then it is the same, with
    /// its balancer's turn.
    fn is_of(
        &self,
        state: &Arc<state::Service>,
        tls: Option<&Arc<rustls::ClientConfig>>,
        keys: Option<&Arc<Keys>>,
    ) -> bool {
        let same_tls = match (&self.tls, tls) {
            (None, None) => true,
            (Some(known), Some(tls)) => Arc::ptr_eq(known, tls),
            (None, Some(_)) | (Some(_), None) => false,
        };
        let same_keys = self.marks.as_ref().map(|marks| &marks.keys) == keys;
        Arc::ptr_eq(&self.state, state) && same_tls && same_keys
    }

    fn new(
        state: &Arc<state::Service>,
        tls: Option<Arc<rustls::ClientConfig>>,
        keys: Option<&Arc<Keys>>,
        desk: Option<Desk>,
        previous: Option<&Self>,
        late: &Rc<Notify>,
    ) -> Self {
        let endpoints: Vec<Rc<Endpoint>> = state
            .endpoints
            .iter()
            .map(|endpoint| {
                let same = |known: &&Rc<Endpoint>| Arc::ptr_eq(&known.state, endpoint);
                match previous.and_then(|service| service.endpoints.iter().find(same)) {
                    Some(known) => Rc::clone(known),
                    None => {
                        let mut log_name = Vec::new();
                        record::escape(&mut log_name, endpoint.name.as_bytes());
                        Rc::new(Endpoint {
                            state: Arc::clone(endpoint),
                            pool: Pool::default(),
                            moves: Cell::new(endpoint.moves()),
                            links: Links::default(),
                            seen: Seen::default(),
                            log_name,
                        })
                    }
                }
            })
            .collect();
        let candidates: Vec<Candidate> = state
            .endpoints
            .iter()
            .map(|endpoint| Candidate { weight: endpoint.weight(), identity: random::hash(endpoint.name.as_bytes()) })
            .collect();
        Self {
            shards: shard::of(&state.spec).map(RefCell::new),
            balancer: RefCell::new(choose::balancer(&state.spec, &candidates)),
            elsewhere: RefCell::default(),
            last_resort: Cell::new(false),
            candidates,
            seen_epoch: Cell::new(u64::MAX),
            takeover: Cell::default(),
            is_late: Cell::new(false),
            late: Rc::clone(late),
            view: RefCell::default(),
            purse: Purse::new(&state.retry_budget),
            marks: keys.zip(state.spec.sticky.as_ref()).map(|(keys, sticky)| {
                let names = state.endpoints.iter().map(|endpoint| endpoint.name.as_str());
                Marks::new(keys, &state.spec.name, names, sticky.max_age)
            }),
            endpoints,
            tls,
            desk,
            state: Arc::clone(state),
        }
    }

    /// The circuit breaker of the endpoint at `index`, if the service has any.
    pub(crate) fn breaker(&self, index: usize) -> Option<&state::Breaker> {
        self.state.breakers.get(index).map(AsRef::as_ref)
    }

    /// What the balancer knew at the last pick.
    pub(crate) fn view(&self) -> Rc<View> {
        Rc::clone(&self.view.borrow())
    }
}

/// Adds one to a counter that several threads raise.
pub(crate) fn raise(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

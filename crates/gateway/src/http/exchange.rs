//! One request: its route, its attempts one after another, its answer.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use mainstay_core::fallback::Form;
use mainstay_core::time::Moment;

use super::caching::{self, Desk};
use super::connection::Next;
use super::grpc::Call;
use super::isolation::{self, Isolation};
use super::record::Attempt;
use super::{attempts, cells, challenge, identity, quarantine, respond, routing, sticky};
use crate::admission::{self, Refused};
use crate::explain::trace::Trace;
use crate::http1::field::Name;
use crate::http1::{request, response};
use crate::mirror::{self, Copied};
use crate::peer::Peer;
use crate::proxy_protocol;
use crate::relay::Relay;
use crate::spec::Http;
use crate::stream::{Buffer, Stream};
use crate::telemetry::context::Context;
use crate::worker::deadline::Slot;
use crate::worker::table::{Listener, Route};
use crate::worker::{Worker, pool};

/// Everything that a request in progress needs, taken from the worker's store while the connection is busy and given back
/// when it is idle. All allocations are used again.
#[derive(Debug)]
pub(crate) struct Exchange {
    /// From the client: the head stands at the front for as long as the exchange lasts.
    pub(crate) input: Buffer,
    pub(crate) head: request::Head,
    /// From the endpoint.
    pub(crate) output: Buffer,
    pub(crate) response: response::Head,
    /// Body and head on their way to the endpoint.
    pub(crate) up: Relay,
    /// Body and head on their way to the client.
    pub(crate) down: Relay,
    pub(crate) request_id: Vec<u8>,
    /// The peer's address as text; stays the same for the connection.
    pub(crate) peer: String,
    /// The client's address as text: the peer's, or what trusted proxies say.
    pub(crate) client: String,
    pub(crate) client_address: IpAddr,
    peer_address: Option<SocketAddr>,
    /// Where the client connected to, if that is known.
    destination: Option<SocketAddr>,
    pub(crate) attempts: Vec<Attempt>,
    pub(crate) tried: Vec<usize>,
    /// What is chosen and decided, for [`crate::explain`].
    pub(crate) trace: Trace,
    /// What became of the copy for the route's mirror.
    pub(crate) copied: Copied,
    /// What the client gets in place of an error.
    pub(crate) fallback: Option<Form>,
    /// What is known of the response cache.
    pub(crate) cache: Desk,
    pub(crate) started: Moment,
    /// After how long a client that is refused may try again; `None` says nothing.
    pub(crate) retry_after: Option<Duration>,
    /// Why layers in front must not retry, if they must not.
    pub(crate) no_retry: Option<&'static str>,
    /// The gRPC call that the request is, if it is one.
    pub(crate) call: Option<Call>,
    /// Whom the request belongs to, and whom it may reach.
    pub(crate) isolation: Isolation,
    /// How it was let in, or not.
    pub(crate) admission: admission::Note,
    /// The trace that it carries.
    pub(crate) context: Context,
}

impl Exchange {
    pub(crate) fn new() -> Self {
        Self {
            input: Buffer::new(),
            head: request::Head::default(),
            output: Buffer::new(),
            response: response::Head::default(),
            up: Relay::default(),
            down: Relay::default(),
            request_id: Vec::new(),
            peer: String::new(),
            client: String::new(),
            client_address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            peer_address: None,
            destination: None,
            attempts: Vec::new(),
            tried: Vec::new(),
            trace: Trace::default(),
            copied: Copied::No,
            fallback: None,
            cache: Desk::default(),
            started: Moment::ZERO,
            retry_after: None,
            no_retry: None,
            call: None,
            isolation: Isolation::default(),
            admission: admission::Note::default(),
            context: Context::default(),
        }
    }

    /// The bytes of the request head.
    pub(crate) fn head_bytes(&self) -> &[u8] {
        self.input.all().get(..self.head.length).unwrap_or_default()
    }

    /// Called when a connection becomes busy.
    pub(crate) fn set_peer(&mut self, peer: &Peer) {
        self.destination = peer.destination.as_deref().copied();
        let peer = peer.address;
        if self.peer_address.is_none_or(|known| known.ip() != peer.ip()) {
            self.peer.clear();
            // Writing to a string cannot fail.
            let _written = std::fmt::Write::write_fmt(&mut self.peer, format_args!("{}", peer.ip().to_canonical()));
        }
        self.peer_address = Some(peer);
    }

    /// Called before each request.
    pub(crate) fn begin(&mut self, now: Moment) {
        self.started = now;
        self.call = None;
        self.isolation.begin();
        self.retry_after = None;
        self.admission = admission::Note::default();
        self.context = Context::default();
        self.no_retry = None;
        self.output.clear();
        self.attempts.clear();
        self.tried.clear();
        self.trace.begin();
        self.copied = Copied::No;
        self.fallback = None;
        self.cache.clear();
        self.down.shed();
        self.request_id.clear();
        self.client.clear();
        self.client.push_str(&self.peer);
        self.head.length = 0;
        self.up.bytes = 0;
        self.down.bytes = 0;
    }

    /// The PROXY header for a connection to an endpoint that wants one: the client as the access log knows it. A client that
    /// was named by a trusted proxy has no port.
    pub(crate) fn introduction(&self, run: &Run<'_>) -> Vec<u8> {
        let Some(version) = run.route.service.state.spec.send_proxy else { return Vec::new() };
        let destination = self.destination.unwrap_or(run.listener.state.spec.bind);
        let source = match (self.peer_address, self.client.parse::<IpAddr>()) {
            (Some(peer), Ok(client)) if peer.ip().to_canonical() == client => peer,
            (_, Ok(client)) => SocketAddr::new(client, 0),
            (peer, Err(_)) => peer.unwrap_or(destination),
        };
        proxy_protocol::write::proxied(version, source, destination)
    }

    /// Takes over the request of `other`, whose bytes end at `end`, for another service.
    pub(crate) fn copy(&mut self, other: &Self, end: usize, now: Moment) {
        self.peer_address = other.peer_address;
        self.destination = other.destination;
        self.peer.clone_from(&other.peer);
        self.begin(now);
        self.client.clone_from(&other.client);
        self.client_address = other.client_address;
        self.admission.class = other.admission.class;
        self.context = other.context;
        self.request_id.clone_from(&other.request_id);
        self.cache.key.clone_from(&other.cache.key);
        self.head.clone_from(&other.head);
        self.input.clear();
        // Buffers are all of one size, so that what was in one fits into the other.
        let _fits = self.input.append(other.input.all().get(..end).unwrap_or_default());
        self.input.consume(self.head.length);
    }

    /// Decides the request id and the client's address.
    fn identify(&mut self, worker: &Worker, http: &Http) -> IpAddr {
        let head = self.input.all().get(..self.head.length).unwrap_or_default();
        let peer = self.peer_address.map_or(IpAddr::from([0, 0, 0, 0]), |peer| peer.ip());
        let trusted = !http.trusted_proxies.is_empty() && identity::is_trusted(peer, &http.trusted_proxies);
        let given = self.head.find(Name::RequestId).map(|field| field.value.get(head));
        match given.filter(|id| trusted && identity::is_request_id(id)) {
            Some(id) => self.request_id.extend_from_slice(id),
            None => worker.write_request_id(&mut self.request_id),
        }
        let Some(address) = self.peer_address.filter(|_| trusted) else { return peer };
        let client = identity::client(address, &http.trusted_proxies, &self.head, head);
        self.client.clear();
        let _written = std::fmt::Write::write_fmt(&mut self.client, format_args!("{client}"));
        client
    }
}

/// What one request carries through its attempts.
pub(crate) struct Run<'a> {
    pub(crate) worker: &'a Rc<Worker>,
    pub(crate) listener: &'a Rc<Listener>,
    pub(crate) route: &'a Route,
    pub(crate) http: &'a Http,
    pub(crate) slot: &'a Rc<Slot>,
    /// When the whole request must be over.
    pub(crate) deadline: Moment,
    pub(crate) is_trusted: bool,
    /// Somebody who is not trusted gave it less time than the route does. That it runs out says nothing of an endpoint:
    /// otherwise anybody could have any endpoint ejected.
    pub(crate) is_cut: bool,
}

/// Serves the request whose head stands in `exchange`.
pub(crate) async fn run(
    worker: &Rc<Worker>,
    listener: &Rc<Listener>,
    http: &Http,
    client: &mut Stream,
    slot: &Rc<Slot>,
    exchange: &mut Exchange,
) -> Next {
    let client_address = exchange.identify(worker, http);
    exchange.client_address = client_address;
    exchange.call = Call::of(&exchange.head, exchange.head_bytes());
    let peer = exchange.peer_address.map_or(client_address, |peer| peer.ip());
    let is_trusted = identity::is_trusted(peer, &http.trusted_proxies);
    if listener.telemetry.traces {
        exchange.context = Context::of(worker, &exchange.head, exchange.head_bytes(), is_trusted);
    }
    if let Some(next) = without_route(worker, listener, http, client, slot, exchange).await {
        return next;
    }
    let Some(route) = routing::route(listener, exchange) else {
        return respond::own(worker, listener, None, client, slot, exchange, respond::NO_ROUTE).await;
    };
    let mut route = Rc::clone(route);
    // Held to the end of the request.
    let mut _stay = None;
    if !route.cells.is_empty() {
        match cells::enter(worker, &route, client, exchange) {
            Ok((to, stay)) => (route, _stay) = (to, Some(stay)),
            Err(refusal) => {
                route.state.shards.of(worker.index).started.add(1);
                return respond::own(worker, listener, Some(&route), client, slot, exchange, refusal).await;
            }
        }
    }
    route.state.shards.of(worker.index).started.add(1);
    worker.deposit(&route.purse);
    let asked = admission::asked(&route.state.spec, exchange).unwrap_or(Duration::MAX);
    let timeout = route.state.spec.timeout.min(asked);
    let run = Run {
        worker,
        listener,
        route: &route,
        http,
        slot,
        deadline: exchange.started.after(timeout),
        is_trusted,
        is_cut: asked < route.state.spec.timeout && !is_trusted,
    };
    if let Some(refusal) = isolation::enter(&run, client, exchange) {
        return respond::own(worker, listener, Some(&route), client, slot, exchange, refusal).await;
    }
    sticky::enter(&run, exchange);
    if let Some(desk) = &route.service.desk {
        Box::pin(sticky::table::enter(&run, desk, exchange)).await;
    }
    // What is stored costs no endpoint anything, so that no limit applies to it.
    if let Some(cache) = &route.cache
        && let Some(next) = caching::serve(&run, cache, client, exchange).await
    {
        return next;
    }
    let next = admitted(&run, client, exchange, client_address).await;
    exchange.cache.leave();
    next
}

/// Answers what needs no route: an authority's question, what belongs to https, and the last hop of a TRACE.
async fn without_route(
    worker: &Rc<Worker>,
    listener: &Rc<Listener>,
    http: &Http,
    client: &mut Stream,
    slot: &Rc<Slot>,
    exchange: &mut Exchange,
) -> Option<Next> {
    if let Some(content) = challenge::asked(listener, exchange) {
        return Some(Box::pin(challenge::answer(worker, listener, client, slot, exchange, &content)).await);
    }
    if let Some(port) = http.redirect_https {
        return Some(respond::redirect(worker, listener, client, slot, exchange, port).await);
    }
    if exchange.head.max_forwards == Some(0) {
        let answer = respond::last_hop(exchange.head.method.get(exchange.head_bytes()));
        return Some(respond::own(worker, listener, None, client, slot, exchange, answer).await);
    }
    None
}

/// Has the request answered by an endpoint, if the route's limits let it in.
async fn admitted(run: &Run<'_>, client: &mut Stream, exchange: &mut Exchange, client_address: IpAddr) -> Next {
    if let Some(refusal) = quarantine::enter(run, client, exchange).await {
        return respond::own(run.worker, run.listener, Some(run.route), client, run.slot, exchange, refusal).await;
    }
    let permit = match admission::admit(run, client, exchange).await {
        Ok(permit) => permit,
        Err(Refused::Because(error)) => return attempts::give_up(run, client, exchange, error).await,
        Err(Refused::ClientGone) => return respond::abandoned(run, exchange),
    };
    let key = routing::hash_key(run.route, exchange, client_address);
    mirror::begin(run, exchange);
    let next = attempts::run(run, client, exchange, key).await;
    mirror::body(run, exchange, true);
    permit.finish(exchange);
    next
}

/// The settings by which connections of the route's service are kept.
pub(crate) fn connections<'a>(run: &Run<'a>) -> &'a crate::spec::Connections {
    &run.route.service.state.spec.connections
}

/// Gives a connection back to its endpoint's pool.
pub(crate) fn keep(run: &Run<'_>, index: usize, connection: Box<pool::Connection>) {
    // What has begun with a client's PROXY header belongs to that client.
    if run.route.service.state.spec.send_proxy.is_some() {
        return;
    }
    if let Some(endpoint) = run.route.service.endpoints.get(index) {
        endpoint.pool.give(connection, run.worker.now(), connections(run));
    }
}

//! One request: its route, its attempts one after another, its answer.

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use mainstay_core::backoff;
use mainstay_core::grpc::Status;
use mainstay_core::retry::{self, Failure, Situation, Verdict};
use mainstay_core::time::Moment;

use super::attempt::{self, Failed, Sent};
use super::connection::Next;
use super::grpc::{self, Call};
use super::identity;
use super::record::{self, Attempt, Ending, Outcome};
use super::{respond, routing};
use crate::explain::trace::{self, Trace};
use crate::http1::field::Name;
use crate::http1::{request, response};
use crate::mirror::{self, Copied};
use crate::peer::Peer;
use crate::proxy_protocol;
use crate::relay::Relay;
use crate::spec::Http;
use crate::stream::{Buffer, Stream};
use crate::worker::deadline::Slot;
use crate::worker::table::{Listener, Route, raise};
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
    peer_address: Option<SocketAddr>,
    /// Where the client connected to, if that is known.
    destination: Option<SocketAddr>,
    pub(crate) attempts: Vec<Attempt>,
    tried: Vec<usize>,
    /// What is chosen and decided, for [`crate::explain`].
    pub(crate) trace: Trace,
    /// What became of the copy for the route's mirror.
    pub(crate) copied: Copied,
    pub(crate) started: Moment,
    /// The gRPC call that the request is, if it is one.
    pub(crate) call: Option<Call>,
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
            peer_address: None,
            destination: None,
            attempts: Vec::new(),
            tried: Vec::new(),
            trace: Trace::default(),
            copied: Copied::No,
            started: Moment::ZERO,
            call: None,
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
        self.output.clear();
        self.attempts.clear();
        self.tried.clear();
        self.trace.begin();
        self.copied = Copied::No;
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
        self.request_id.clone_from(&other.request_id);
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
    exchange.call = Call::of(&exchange.head, exchange.head_bytes());
    if let Some(port) = http.redirect_https {
        return respond::redirect(worker, listener, client, slot, exchange, port).await;
    }
    if exchange.head.max_forwards == Some(0) {
        let answer = respond::last_hop(exchange.head.method.get(exchange.head_bytes()));
        return respond::own(worker, listener, None, client, slot, exchange, answer).await;
    }
    let Some(route) = routing::route(listener, exchange) else {
        return respond::own(worker, listener, None, client, slot, exchange, respond::NO_ROUTE).await;
    };
    let route = Rc::clone(route);
    route.state.shards.of(worker.index).started.add(1);
    worker.deposit(&route.service);
    let peer = exchange.peer_address.map_or(client_address, |peer| peer.ip());
    let asked = exchange.call.and_then(|call| call.timeout).unwrap_or(Duration::MAX);
    let timeout = route.state.spec.timeout.min(asked);
    let run = Run {
        worker,
        listener,
        route: &route,
        http,
        slot,
        deadline: exchange.started.after(timeout),
        is_trusted: identity::is_trusted(peer, &http.trusted_proxies),
    };
    let key = routing::hash_key(&route, exchange, client_address);
    mirror::begin(&run, exchange);
    let next = attempts(&run, client, exchange, key).await;
    mirror::body(&run, exchange, true);
    next
}

/// Attempts until one is answered or none is left.
async fn attempts(run: &Run<'_>, client: &mut Stream, exchange: &mut Exchange, key: Option<u64>) -> Next {
    let mut last = respond::NO_ENDPOINT;
    // Where one idle connection was stale, so may be the others: the next attempt opens a new one.
    let mut fresh = false;
    loop {
        // A call may arrive when its time is over already, or run out of it between attempts.
        if exchange.call.is_some() && run.worker.now() >= run.deadline {
            return give_up(run, client, exchange, respond::TIMEOUT).await;
        }
        let Some(index) = choose(run, exchange, key, fresh) else {
            if last.reason == respond::NO_ENDPOINT.reason {
                raise(&run.route.service.state.empty);
            }
            return give_up(run, client, exchange, last).await;
        };
        let started = run.worker.now();
        exchange.trace.started(started);
        let result = attempt::run(run, index, fresh, client, exchange).await;
        let duration = run.worker.now().since(started);
        mirror::body(run, exchange, false);
        let failed = match result {
            Ok(answered) => {
                let outcome = Outcome::Answered(exchange.response.status);
                exchange.attempts.push(Attempt { endpoint: index, outcome, duration, reused: answered.reused() });
                grpc::read_head(exchange);
                run.worker.endpoint_answered(&run.route.service, index, exchange);
                if let Some(failure) = retry_answer(run, index, exchange).await {
                    last = respond::after(failure);
                    continue;
                }
                return respond::relay(run, index, answered, client, exchange).await;
            }
            Err(failed) => failed,
        };
        match failed {
            Failed::Endpoint { failure, reused, sent } => {
                let outcome = Outcome::Failed(failure);
                exchange.attempts.push(Attempt { endpoint: index, outcome, duration, reused });
                run.worker.endpoint_failed(&run.route.service, index, failure);
                last = respond::after(failure);
                fresh |= failure == Failure::StaleConnection;
                exchange.tried.push(index);
                if !retry(run, exchange, failure, sent).await {
                    return give_up(run, client, exchange, last).await;
                }
            }
            Failed::Deadline => {
                let outcome = Outcome::Failed(Failure::Timeout);
                exchange.attempts.push(Attempt { endpoint: index, outcome, duration, reused: false });
                run.worker.endpoint_failed(&run.route.service, index, Failure::Timeout);
                return give_up(run, client, exchange, respond::TIMEOUT).await;
            }
            Failed::Body(error) => {
                let outcome = Outcome::Abandoned;
                exchange.attempts.push(Attempt { endpoint: index, outcome, duration, reused: false });
                return give_up(run, client, exchange, error).await;
            }
            Failed::ClientGone => {
                let outcome = Outcome::Abandoned;
                exchange.attempts.push(Attempt { endpoint: index, outcome, duration, reused: false });
                let ending = Ending { status: 0, error: None, client_gone: true };
                record::finish(run.worker, run.listener, Some(run.route), exchange, ending, (exchange.up.bytes, 0));
                return Next::Reset;
            }
        }
    }
}

/// Chooses an endpoint that was not tried yet. After a stale connection one that was tried will do if there is no other:
/// nothing was wrong with the endpoint.
fn choose(run: &Run<'_>, exchange: &mut Exchange, key: Option<u64>, after_stale: bool) -> Option<usize> {
    let (service, drawn) = (&run.route.service, RefCell::default());
    let pick = |excluded: &[usize]| run.worker.with_rng(|rng| service.pick(key, excluded, rng, &drawn));
    let chosen = pick(&exchange.tried).or_else(|| if after_stale { pick(&[]) } else { None });
    exchange.trace.choice(service.view(), drawn.into_inner());
    chosen
}

async fn give_up(run: &Run<'_>, client: &mut Stream, exchange: &mut Exchange, error: respond::OwnError) -> Next {
    respond::own(run.worker, run.listener, Some(run.route), client, run.slot, exchange, error).await
}

/// Why a response that says that the endpoint cannot serve is dropped for another attempt. If it is not, the client gets it.
async fn retry_answer(run: &Run<'_>, index: usize, exchange: &mut Exchange) -> Option<Failure> {
    let failure = match (exchange.response.status, exchange.call.and_then(|call| call.status)) {
        (_, Some(Status::UNAVAILABLE)) => Failure::Unavailable,
        (status @ 500..=599, _) if run.route.state.spec.retry.on_5xx => Failure::Status(status),
        _answer => return None,
    };
    // The endpoint's own words are worth more than ours if there is nobody else to ask.
    let eligible = run.route.service.state.eligible();
    let is_new = |other: usize| other != index && !exchange.tried.contains(&other);
    if !eligible.iter().enumerate().any(|(other, is_eligible)| *is_eligible && is_new(other)) {
        exchange.trace.next(trace::Next::End);
        return None;
    }
    if !retry(run, exchange, failure, Sent::Something).await {
        return None;
    }
    exchange.tried.push(index);
    if let Some(attempt) = exchange.attempts.last_mut() {
        attempt.outcome = Outcome::Failed(failure);
    }
    Some(failure)
}

/// Decides whether another attempt follows, charges the budget for it and waits for as long as the backoff says.
async fn retry(run: &Run<'_>, exchange: &mut Exchange, failure: Failure, sent: Sent) -> bool {
    let policy = &run.route.state.spec.retry;
    let bytes = exchange.head_bytes();
    let made = exchange.attempts.len() as u32;
    let situation = Situation {
        failure,
        made,
        idempotent: exchange.head.is_idempotent(bytes),
        replayable: sent == Sent::Nothing || exchange.up.retains || !exchange.head.framing.has_body(),
        answered: false,
        retried_upstream: run.is_trusted && exchange.head.find(Name::Attempt).is_some(),
    };
    let wait = match retry::decide(policy, &situation) {
        Verdict::GiveUp => {
            exchange.trace.next(retry::refusal(policy, &situation).map_or(trace::Next::End, trace::Next::Refused));
            return false;
        }
        Verdict::RetryNow => Duration::ZERO,
        Verdict::RetryAfterBackoff
            if failure == Failure::Unavailable && exchange.call.is_some_and(Call::is_pushed_back) =>
        {
            exchange.trace.next(trace::Next::Refused(retry::Refusal::Pushback));
            return false;
        }
        Verdict::RetryAfterBackoff => match exchange.call.and_then(Call::asked_wait) {
            Some(wait) => wait,
            None => run.worker.with_rng(|rng| backoff::delay(&policy.backoff, made.saturating_sub(1), rng)),
        },
    };
    let now = run.worker.now();
    if now.after(wait) >= run.deadline {
        exchange.trace.next(trace::Next::Deadline);
        return false;
    }
    if !run.worker.may_retry(&run.route.service) {
        exchange.trace.next(trace::Next::Budget);
        return false;
    }
    exchange.trace.next(trace::Next::Retry(wait));
    if !wait.is_zero() {
        run.slot.set(now.after(wait));
        let _waited = run.slot.within(std::future::pending::<()>()).await;
    }
    run.route.state.shards.of(run.worker.index).retries.add(1);
    exchange.input.rewind(exchange.head.length);
    exchange.output.clear();
    true
}

/// The settings by which connections of the route's service are kept.
pub(crate) fn connections<'a>(run: &Run<'a>) -> &'a crate::spec::Connections {
    &run.route.service.state.spec.connections
}

/// Gives a connection back to its endpoint's pool.
pub(crate) fn keep(run: &Run<'_>, index: usize, connection: pool::Connection) {
    // What has begun with a client's PROXY header belongs to that client.
    if run.route.service.state.spec.send_proxy.is_some() {
        return;
    }
    if let Some(endpoint) = run.route.service.endpoints.get(index) {
        endpoint.pool.give(connection, run.worker.now(), connections(run));
    }
}

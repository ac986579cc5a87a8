//! One attempt: a connection to the chosen endpoint, the request on it, and the head of its response.

use std::future::poll_fn;
use std::task::{Context, Poll};

use mainstay_core::retry::Failure;
use mainstay_core::time::Moment;
use mainstay_http2::Closed;

use super::exchange::{Exchange, Run, connections};
use super::respond::{self, OwnError};
use crate::http1::field::{self, Name};
use crate::http1::request::{Limits, Progress};
use crate::http1::write::{self, Forward, Identity, Respond};
use crate::http1::{body::Framing, response};
use crate::http2::{self, stream::H2Stream};
use crate::relay::{RelayError, Side};
use crate::stream::{MAX_HEAD_BYTES, Stream};
use crate::worker::deadline::Expired;
use crate::worker::pool::{self, Connection, InFlight};

/// Interim responses to one request that are relayed. More than a few are an attack or a bug.
const MAX_INTERIM: u32 = 16;
/// Headers that a response may have.
const MAX_RESPONSE_HEADERS: usize = crate::http1::request::MAX_HEADERS;

/// The endpoint answers: the head of its final response stands in the exchange.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) connection: Connection,
    pub(crate) in_flight: InFlight,
    /// The endpoint stopped reading the request, so that the connection cannot be used again.
    pub(crate) request_broke: bool,
}

impl Answered {
    pub(crate) const fn reused(&self) -> bool {
        self.connection.reused
    }
}

/// Whether anything of the request may have reached the endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    Nothing,
    Something,
}

/// Why there is no response to relay.
#[derive(Debug)]
pub(crate) enum Failed {
    /// The endpoint's fault.
    Endpoint { failure: Failure, reused: bool, sent: Sent },
    /// The whole request has run out of time.
    Deadline,
    /// The request's own body is at fault.
    Body(OwnError),
    /// Nobody waits for the answer any more.
    ClientGone,
}

/// Makes one attempt at endpoint `index`, on a `fresh` connection or on any.
pub(crate) async fn run(
    run: &Run<'_>,
    index: usize,
    fresh: bool,
    client: &mut Stream,
    exchange: &mut Exchange,
) -> Result<Answered, Failed> {
    let endpoint = run.route.service.endpoints.get(index).ok_or(Failed::Body(respond::NO_ENDPOINT))?;
    endpoint.state.shards.of(run.worker.index).attempts.add(1);
    let in_flight = InFlight::new(endpoint);
    let now = run.worker.now();
    let deadline =
        run.route.state.spec.attempt_timeout.map_or(run.deadline, |limit| now.after(limit).min(run.deadline));
    let idempotent = exchange.head.is_idempotent(exchange.head_bytes());
    let kept = if fresh { None } else { endpoint.pool.take(now, connections(run), !idempotent) };
    let mut connection = match kept.or_else(|| pool::share(endpoint, run.worker.index, now)) {
        Some(connection) => connection,
        // Boxed because it is rare: the memory of a connection's task is sized for its largest part.
        None => Box::pin(connect(run, index, &exchange.introduction(run), now, deadline)).await?,
    };
    if exchange.head.wants_upgrade && connection.stream.http2().is_some_and(H2Stream::refuses_extended_connect) {
        return Err(Failed::Body(respond::NO_UPGRADE));
    }
    prepare(run, exchange, idempotent, client, &mut connection);
    let mut sending = Sending {
        upstream: connection,
        request_broke: false,
        watches_client: true,
        listens_to_client: false,
        interim: Vec::new(),
        interim_sent: 0,
        interims: 0,
        limits: Limits { bytes: MAX_HEAD_BYTES, headers: MAX_RESPONSE_HEADERS },
    };
    match send(run, &mut sending, client, exchange, deadline).await {
        Ok(result) => result?,
        Err(Expired) if !exchange.up.has_ended() && exchange.up.waits_for == Side::Source => {
            return Err(Failed::Body(respond::BODY_TIMEOUT));
        }
        Err(Expired) if run.worker.now() >= run.deadline => return Err(Failed::Deadline),
        Err(Expired) => return Err(sending.failure(exchange, Failure::Timeout)),
    }
    Ok(Answered { request_broke: sending.request_broke, connection: sending.upstream, in_flight })
}

/// Sends until the endpoint answers. While a body moves, each piece gives it `body_timeout` more; `deadline` bounds it all.
async fn send(
    run: &Run<'_>,
    sending: &mut Sending,
    client: &mut Stream,
    exchange: &mut Exchange,
    deadline: Moment,
) -> Result<Result<(), Failed>, Expired> {
    let mut ended = exchange.up.has_ended();
    let mut progress = 0;
    let body_deadline = || run.worker.now().after(run.http.body_timeout).min(deadline);
    run.slot.set(if ended { deadline } else { body_deadline() });
    poll_fn(|cx| {
        if let Poll::Ready(result) = sending.poll(cx, client, exchange) {
            return Poll::Ready(Ok(result));
        }
        if !ended && exchange.up.has_ended() {
            ended = true;
            run.slot.set(deadline);
        } else if !ended && progress != exchange.up.progress {
            progress = exchange.up.progress;
            run.slot.set(body_deadline());
        } else if run.slot.has_expired() {
            return Poll::Ready(Err(Expired));
        }
        run.slot.register(cx);
        Poll::Pending
    })
    .await
}

async fn connect(
    run: &Run<'_>,
    index: usize,
    header: &[u8],
    now: Moment,
    deadline: Moment,
) -> Result<Connection, Failed> {
    run.slot.set(now.after(connections(run).connect_timeout).min(deadline));
    match run.slot.within(pool::open(run.worker, &run.route.service, index, header, now)).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(error)) => {
            tracing::debug!(service = run.route.state.spec.service, endpoint = index, %error, "connect failed");
            Err(Failed::Endpoint { failure: Failure::Connect, reused: false, sent: Sent::Nothing })
        }
        Err(Expired) if run.worker.now() >= run.deadline => Err(Failed::Deadline),
        Err(Expired) => Err(Failed::Endpoint { failure: Failure::Connect, reused: false, sent: Sent::Nothing }),
    }
}

/// Writes the head for the endpoint and starts on the body.
fn prepare(run: &Run<'_>, exchange: &mut Exchange, idempotent: bool, client: &Stream, connection: &mut Connection) {
    let bytes = exchange.input.all().get(..exchange.head.length).unwrap_or_default();
    let spec = &run.route.state.spec;
    let prefix = match &spec.matches.path {
        mainstay_core::route::Path::Prefix(prefix) => prefix.trim_end_matches('/').len(),
        mainstay_core::route::Path::Exact(path) => path.len(),
    };
    exchange.up.pending.clear();
    let forward = Forward {
        identity: Identity {
            peer: &exchange.peer,
            is_trusted: run.is_trusted,
            scheme: if run.listener.tls.is_some() { "https" } else { "http" },
            request_id: &exchange.request_id,
        },
        rewrite: spec.rewrite_prefix.as_deref().map(|replacement| (prefix, replacement)),
        ops: &run.route.request_ops,
        attempt: exchange.attempts.len() as u32,
    };
    write::request(&mut exchange.up.pending, &exchange.head, bytes, &forward);
    let from = client.body_framing(exchange.head.framing);
    let Some(stream) = connection.stream.http2() else {
        // What has no length from HTTP/2 goes in chunks.
        let chunked = matches!(exchange.head.framing, Framing::Chunked | Framing::UntilClose);
        return exchange.up.start(from, chunked, exchange.head.length, idempotent);
    };
    let scheme = if run.route.service.tls.is_some() { "https" } else { "http" };
    // A stream that has ended meanwhile says so when its answer is read.
    let _ended = stream.request(&exchange.up.pending, scheme, exchange.head.is_head_method(exchange.head_bytes()));
    exchange.up.pending.clear();
    exchange.up.start(from, false, exchange.head.length, idempotent);
    exchange.up.head_is_out();
    if exchange.head.wants_upgrade {
        exchange.up.hold_open();
    }
}

/// The time between the first byte to the endpoint and its final head.
struct Sending {
    upstream: Connection,
    request_broke: bool,
    /// The client is watched for leaving, until it sends something or closes its half.
    watches_client: bool,
    /// The task is woken when the client sends or leaves.
    listens_to_client: bool,
    interim: Vec<u8>,
    interim_sent: usize,
    interims: u32,
    limits: Limits,
}

impl Sending {
    fn poll(&mut self, cx: &mut Context<'_>, client: &mut Stream, exchange: &mut Exchange) -> Poll<Result<(), Failed>> {
        if !exchange.up.is_done() && !self.request_broke {
            self.poll_request(cx, client, exchange)?;
        }
        // Registered in the same poll that ends the request: nothing else would wake this task when the client leaves.
        if self.watches_client && (exchange.up.is_done() || self.request_broke) {
            self.poll_client(cx, client, exchange)?;
        }
        loop {
            if let Some(stream) = client.http2()
                && !self.interim.is_empty()
            {
                let _ended = stream.respond(&self.interim);
                self.interim.clear();
            }
            while self.interim_sent < self.interim.len() {
                match client.poll_write(cx, &self.interim[self.interim_sent..]) {
                    Poll::Ready(Ok(written)) if written > 0 => self.interim_sent += written,
                    Poll::Ready(_gone) => return Poll::Ready(Err(Failed::ClientGone)),
                    Poll::Pending => return Poll::Pending,
                }
            }
            if !self.interim.is_empty() {
                let Poll::Ready(_flushed) = client.poll_flush(cx) else { return Poll::Pending };
                self.interim.clear();
                self.interim_sent = 0;
            }
            let is_final = match self.upstream.stream.http2() {
                Some(_) => std::task::ready!(self.poll_http2(cx, exchange))?,
                None => self.parse(exchange)?,
            };
            if is_final {
                return Poll::Ready(Ok(()));
            }
            if !self.interim.is_empty() || self.upstream.stream.http2().is_some() {
                continue;
            }
            match std::task::ready!(exchange.output.poll_fill(cx, &mut self.upstream.stream)) {
                Ok(read) if read > 0 => {}
                _closed => return Poll::Ready(Err(self.closed(exchange))),
            }
        }
    }

    /// Sends what there is of the request.
    fn poll_request(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Stream,
        exchange: &mut Exchange,
    ) -> Result<(), Failed> {
        match exchange.up.poll(cx, client, &mut exchange.input, &mut self.upstream.stream) {
            Poll::Pending | Poll::Ready(Ok(())) => Ok(()),
            Poll::Ready(Err(RelayError::SourceMalformed(_))) => Err(Failed::Body(respond::BAD_BODY)),
            Poll::Ready(Err(RelayError::Source(_) | RelayError::SourceClosed)) => Err(Failed::ClientGone),
            Poll::Ready(Err(RelayError::Sink(_))) if exchange.up.has_sent() => {
                // The endpoint may have answered before it stopped reading; that answer is still to be had.
                self.request_broke = true;
                Ok(())
            }
            Poll::Ready(Err(RelayError::Sink(_))) => Err(self.failure(exchange, Failure::Connect)),
        }
    }

    /// Notices a client that leaves while the endpoint works. What it sends meanwhile is the next request.
    fn poll_client(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Stream,
        exchange: &mut Exchange,
    ) -> Result<(), Failed> {
        if let Some(stream) = client.http2() {
            return if stream.poll_closed(cx).is_ready() { Err(Failed::ClientGone) } else { Ok(()) };
        }
        if !exchange.input.has_room() || exchange.input.data().len() > crate::stream::MAX_HEAD_BYTES / 4 {
            self.watches_client = false;
            return Ok(());
        }
        // Most turns are about the endpoint.
        if self.listens_to_client && !client.is_readable() {
            return Ok(());
        }
        match exchange.input.poll_fill(cx, client) {
            Poll::Pending => {
                self.listens_to_client = true;
                Ok(())
            }
            Poll::Ready(Ok(_closed_half_or_pipelined)) => {
                self.watches_client = false;
                Ok(())
            }
            Poll::Ready(Err(_reset)) => Err(Failed::ClientGone),
        }
    }

    /// Looks at what the endpoint has sent. `true` if the final head is there.
    fn parse(&mut self, exchange: &mut Exchange) -> Result<bool, Failed> {
        loop {
            if exchange.output.is_empty() {
                return Ok(false);
            }
            let to_head = exchange.head.is_head_method(exchange.head_bytes());
            match response::parse(exchange.output.data(), self.limits, to_head, &mut exchange.response) {
                Ok(Progress::Partial) => return Ok(false),
                Err(response::Malformed) => return Err(self.failure(exchange, Failure::Malformed)),
                Ok(Progress::Complete) => {}
            }
            let status = exchange.response.status;
            if status == 101 {
                let expected = exchange.head.wants_upgrade && exchange.response.upgrades && is_asked_for(exchange);
                return if expected { Ok(true) } else { Err(self.failure(exchange, Failure::Malformed)) };
            }
            if status >= 200 {
                return Ok(true);
            }
            if self.interim(exchange)? {
                return Ok(false);
            }
        }
    }

    /// Takes the interim response whose head stands in the exchange. `true` if the client is to have it.
    fn interim(&mut self, exchange: &mut Exchange) -> Result<bool, Failed> {
        self.interims += 1;
        if self.interims > MAX_INTERIM {
            return Err(self.failure(exchange, Failure::Malformed));
        }
        let status = exchange.response.status;
        let wanted = !exchange.head.is_http10 && (status != 100 || exchange.head.expects_continue);
        if wanted {
            let respond = Respond {
                framing: Framing::None,
                connection: write::Connection::Open,
                ops: &crate::http1::write::Ops::default(),
                request_id: &exchange.request_id,
                date: None,
                keep_length: false,
            };
            write::response(&mut self.interim, &exchange.response, exchange.output.data(), &respond);
        }
        exchange.output.consume(exchange.response.length);
        exchange.output.compact(0);
        Ok(wanted)
    }

    /// Takes the next head of a response in HTTP/2. `true` if it is the final one.
    fn poll_http2(&mut self, cx: &Context<'_>, exchange: &mut Exchange) -> Poll<Result<bool, Failed>> {
        let Some(stream) = self.upstream.stream.http2() else { return Poll::Ready(Ok(false)) };
        let fields = match std::task::ready!(stream.poll_head(cx)) {
            Ok(fields) => fields,
            Err(closed) => return Poll::Ready(Err(self.failure(exchange, self.cause(closed)))),
        };
        let to_head = exchange.head.is_head_method(exchange.head_bytes());
        let ended = stream.has_no_body();
        http2::head::response(&fields, ended, to_head, &mut exchange.output, &mut exchange.response);
        stream.give_back(fields);
        if exchange.response.status < 200 {
            return Poll::Ready(self.interim(exchange).map(|_relayed| false));
        }
        if exchange.head.wants_upgrade && exchange.response.status == 200 && !ended {
            let bytes = exchange.input.all().get(..exchange.head.length).unwrap_or_default();
            http2::head::switch_protocols(&exchange.head, bytes, &mut exchange.output, &mut exchange.response);
        }
        Poll::Ready(Ok(true))
    }

    /// Why a stream ended without a head.
    fn cause(&self, closed: Closed) -> Failure {
        match closed {
            Closed::Refused => Failure::Refused,
            Closed::ByUs(_) => Failure::Malformed,
            Closed::Lost if self.upstream.reused && self.interims == 0 => Failure::StaleConnection,
            Closed::Lost | Closed::ByPeer(_) => Failure::Reset,
        }
    }

    /// The endpoint closed before its final head.
    fn closed(&self, exchange: &Exchange) -> Failed {
        let failure = if !exchange.output.is_empty() {
            Failure::Malformed
        } else if self.upstream.reused && self.interims == 0 {
            Failure::StaleConnection
        } else {
            Failure::Reset
        };
        self.failure(exchange, failure)
    }

    fn failure(&self, exchange: &Exchange, failure: Failure) -> Failed {
        let sent = if exchange.up.has_sent() { Sent::Something } else { Sent::Nothing };
        Failed::Endpoint { failure, reused: self.upstream.reused, sent }
    }
}

/// Whether the endpoint switches to protocols that the client named, and to no other (RFC 9110, section 7.8).
fn is_asked_for(exchange: &Exchange) -> bool {
    let (asked, answered) = (exchange.head_bytes(), exchange.output.data());
    let wanted = |protocol: &[u8]| {
        let lines = exchange.head.fields.iter().filter(|it| it.known == Name::Upgrade);
        lines.flat_map(|it| field::members(it.value.get(asked))).any(|it| it.eq_ignore_ascii_case(protocol))
    };
    let lines = exchange.response.fields.iter().filter(|it| it.known == Name::Upgrade);
    lines.flat_map(|it| field::members(it.value.get(answered))).all(wanted)
}

//! What the client gets: the endpoint's response, or one that the gateway makes itself and marks as its own.

pub(crate) mod held;
mod pending;

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use mainstay_core::retry::Failure;

use super::attempt::Answered;
use super::attempts;
use super::connection::Next;
use super::exchange::{self, Exchange, Run};
use super::grpc;
use super::quarantine;
use super::record::{self, Ending};
use super::retrying;
use super::{sticky, tunnel};
use crate::fallback;
use crate::http1::body::Framing;
use crate::http1::field::Name;
use crate::http1::write::{self, Respond};
use crate::relay::{RelayError, Side};
use crate::stream::Stream;
use crate::worker::Worker;
use crate::worker::deadline::Slot;
use crate::worker::pool::Connection;
use crate::worker::table::{Listener, Route};

pub(super) use pending::send_pending;

/// An answer of the gateway's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OwnError {
    pub(crate) status: u16,
    pub(crate) reason: &'static str,
}

pub(crate) const NO_ROUTE: OwnError = OwnError { status: 404, reason: "no-route" };
pub(crate) const NO_ENDPOINT: OwnError = OwnError { status: 503, reason: "no-healthy-endpoint" };
pub(crate) const NO_SHARD: OwnError = OwnError { status: 503, reason: "shard-unavailable" };
pub(crate) const NO_TENANT: OwnError = OwnError { status: 400, reason: "no-tenant" };
pub(crate) const BREAKER_OPEN: OwnError = OwnError { status: 503, reason: "breaker-open" };
pub(crate) const TIMEOUT: OwnError = OwnError { status: 504, reason: "timeout" };
pub(crate) const BODY_TIMEOUT: OwnError = OwnError { status: 408, reason: "body-timeout" };
pub(crate) const NO_UPGRADE: OwnError = OwnError { status: 501, reason: "upgrade-unsupported" };
pub(crate) const BAD_BODY: OwnError = OwnError { status: 400, reason: "bad-framing" };

/// After how long a client may try again when no endpoint is eligible: about the time of two health checks.
pub(crate) const RETRY_NO_ENDPOINT: Duration = Duration::from_secs(5);

/// What the client is told when the last attempt failed this way.
pub(crate) const fn after(failure: Failure) -> OwnError {
    match failure {
        Failure::Connect => OwnError { status: 502, reason: "connect-failed" },
        Failure::Unavailable => OwnError { status: 503, reason: "upstream-unavailable" },
        Failure::Refused => OwnError { status: 503, reason: "upstream-refused" },
        Failure::StaleConnection | Failure::Reset => OwnError { status: 502, reason: "upstream-reset" },
        Failure::Timeout => TIMEOUT,
        Failure::Malformed => OwnError { status: 502, reason: "upstream-malformed" },
        Failure::Status(status) => OwnError { status, reason: "upstream-status" },
    }
}

/// What answers OPTIONS and TRACE whose `Max-Forwards` ends here. Nobody is told what TRACE would show.
pub(crate) fn last_hop(method: &[u8]) -> OwnError {
    OwnError { status: if method == b"OPTIONS" { 200 } else { 405 }, reason: "max-forwards" }
}

/// Refuses a request that never became one.
pub(crate) async fn reject(
    worker: &Rc<Worker>,
    listener: &Rc<Listener>,
    client: &mut Stream,
    slot: &Rc<Slot>,
    exchange: &mut Exchange,
    status: u16,
    reason: &'static str,
) -> Next {
    worker.write_request_id(&mut exchange.request_id);
    send_own(worker, client, slot, exchange, OwnError { status, reason }, b"", false).await;
    let ending = Ending { status, error: Some(reason), client_gone: false };
    record::finish(worker, listener, None, exchange, ending, (0, 0));
    Next::Linger
}

/// Answers with an error of the gateway's own.
pub(crate) async fn own(
    worker: &Rc<Worker>,
    listener: &Rc<Listener>,
    route: Option<&Route>,
    client: &mut Stream,
    slot: &Rc<Slot>,
    exchange: &mut Exchange,
    error: OwnError,
) -> Next {
    // After a body that was not read the next request cannot be found.
    let keep = exchange.head.keep_alive && !exchange.head.framing.has_body() && !worker.is_draining();
    let sent = send_own(worker, client, slot, exchange, error, b"", keep).await;
    let ending = Ending { status: error.status, error: Some(error.reason), client_gone: !sent };
    record::finish(worker, listener, route, exchange, ending, (exchange.up.bytes, 0));
    match (sent, keep) {
        (false, _) => Next::Close,
        (true, true) => Next::KeepAlive,
        (true, false) => Next::Linger,
    }
}

/// The client has left before there was an answer.
pub(crate) fn abandoned(run: &Run<'_>, exchange: &Exchange) -> Next {
    let ending = Ending { status: 0, error: None, client_gone: true };
    record::finish(run.worker, run.listener, Some(run.route), exchange, ending, (exchange.up.bytes, 0));
    Next::Reset
}

/// Sends the client to the same place over TLS.
pub(crate) async fn redirect(
    worker: &Rc<Worker>,
    listener: &Rc<Listener>,
    client: &mut Stream,
    slot: &Rc<Slot>,
    exchange: &mut Exchange,
    port: u16,
) -> Next {
    let bytes = exchange.head_bytes();
    let mut location = b"location: https://".to_vec();
    location.extend_from_slice(exchange.head.host.get(bytes));
    if port != 443 {
        location.push(b':');
        write::decimal(&mut location, u64::from(port));
    }
    location.extend_from_slice(exchange.head.target_prefix(bytes));
    location.extend_from_slice(exchange.head.target.get(bytes));
    location.extend_from_slice(b"\r\n");
    let keep = exchange.head.keep_alive && !exchange.head.framing.has_body() && !worker.is_draining();
    let error = OwnError { status: 308, reason: "https-required" };
    let sent = send_own(worker, client, slot, exchange, error, &location, keep).await;
    let ending = Ending { status: 308, error: Some(error.reason), client_gone: !sent };
    record::finish(worker, listener, None, exchange, ending, (0, 0));
    if sent && keep { Next::KeepAlive } else { Next::Linger }
}

/// Writes an own response. Answers whether the client took it.
async fn send_own(
    worker: &Worker,
    client: &mut Stream,
    slot: &Slot,
    exchange: &mut Exchange,
    error: OwnError,
    extra: &[u8],
    keep: bool,
) -> bool {
    let out = &mut exchange.down.pending;
    out.clear();
    if exchange.call.is_some() {
        grpc::own_head(out, error);
    } else {
        out.extend_from_slice(b"HTTP/1.1 ");
        write::decimal(out, u64::from(error.status));
        out.push(b' ');
        out.extend_from_slice(write::phrase(error.status).as_bytes());
        out.extend_from_slice(b"\r\ncontent-type: text/plain\r\ncontent-length: ");
        write::decimal(out, error.reason.len() as u64 + 1);
        out.extend_from_slice(b"\r\n");
    }
    write::connection(out, connection(exchange.head.is_http10, keep));
    write::field(out, b"x-mainstay-error", error.reason.as_bytes());
    write::field(out, b"x-request-id", &exchange.request_id);
    write::field(out, b"date", &worker.http_date());
    if error.status == 405 {
        out.extend_from_slice(b"allow: GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH\r\n");
    }
    let is_limit = matches!(error.status, 429 | 503) && exchange.attempts.is_empty() && error != NO_ENDPOINT;
    retrying::write(out, exchange.no_retry, is_limit, exchange.call.is_some());
    retrying::write_wait(out, exchange.retry_after);
    out.extend_from_slice(extra);
    out.extend_from_slice(b"\r\n");
    let head = out.len();
    let to_head =
        exchange.head.length > 0 && exchange.input.all().get(exchange.head.method.range()) == Some(b"HEAD".as_slice());
    if !to_head && exchange.call.is_none() {
        out.extend_from_slice(error.reason.as_bytes());
        out.push(b'\n');
    }
    send_pending(worker, client, slot, exchange, head).await
}

/// What the client is told about its connection.
pub(crate) const fn connection(is_http10: bool, keep: bool) -> write::Connection {
    match (keep, is_http10) {
        (false, _) => write::Connection::Close,
        (true, true) => write::Connection::KeepAlive,
        (true, false) => write::Connection::Open,
    }
}

/// Relays the response whose head stands in the exchange.
pub(crate) async fn relay(
    run: &Run<'_>,
    index: usize,
    answered: Answered,
    client: &mut Stream,
    exchange: &mut Exchange,
) -> Next {
    sticky::bind(run, index, exchange).await;
    let keep = begin(run, index, &answered.connection, client, exchange);
    go_on(run, index, answered, keep, client, exchange).await
}

/// Relays a response that has begun.
async fn go_on(
    run: &Run<'_>,
    index: usize,
    answered: Answered,
    keep: bool,
    client: &mut Stream,
    exchange: &mut Exchange,
) -> Next {
    let Answered { mut connection, in_flight, request_broke } = answered;
    let is_tunnel = exchange.response.status == 101;
    let keep_upstream = exchange.response.keep_alive && !request_broke;
    let result = both(run, client, &mut connection, exchange, request_broke).await;
    grpc::read_trailers(run, index, exchange, result.is_ok());
    if matches!(result, Err(Broken::Upstream)) && exchange.response.status < 500 {
        attempts::belie(run, index);
    }
    match &result {
        Ok(()) => quarantine::answered(run, exchange),
        Err(Broken::Upstream) => drop(quarantine::reset(run, exchange, index)),
        Err(Broken::Client | Broken::Timeout) => {}
    }
    let ending = match &result {
        Ok(()) => Ending { status: exchange.response.status, error: None, client_gone: false },
        Err(broken) => broken.ending(exchange.response.status),
    };
    if is_tunnel && result.is_ok() {
        let upgraded = (connection, in_flight);
        return Box::pin(tunnel::run(run, client, upgraded, exchange)).await;
    }
    record::finish(
        run.worker,
        run.listener,
        Some(run.route),
        exchange,
        ending,
        (exchange.up.bytes, exchange.down.bytes),
    );
    if result.is_err() {
        return Next::Reset;
    }
    if keep_upstream && exchange.up.is_done() && exchange.output.is_empty() {
        exchange::keep(run, index, connection);
    }
    match (keep, exchange.up.has_ended()) {
        (true, _) => Next::KeepAlive,
        (false, true) => Next::Close,
        (false, false) => Next::Linger,
    }
}

/// Starts on the response. Answers whether the client's connection stays open afterwards.
fn begin(run: &Run<'_>, index: usize, upstream: &Connection, client: &Stream, exchange: &mut Exchange) -> bool {
    exchange.head.keep_alive &= !run.worker.is_relieved(client);
    let (keep, _framing) = write_head(run, upstream, exchange);
    sticky::write(run, exchange, index);
    if let Some(stream) = client.http2() {
        // A stream that has ended meanwhile says so again when the body is sent.
        let _ended = stream.respond(&exchange.down.pending);
        exchange.down.head_is_out();
    }
    keep
}

/// Writes the head for the client and starts on the body. Answers whether the client's connection stays open afterwards, and
/// how the body is framed.
fn write_head(run: &Run<'_>, upstream: &Connection, exchange: &mut Exchange) -> (bool, Framing) {
    let response = &exchange.response;
    let (is_tunnel, from) = (response.status == 101, response.framing);
    // HTTP/1.0 knows no chunks; what has no length there ends with the connection. HTTP/2 needs none: it has frames.
    let to = match from {
        Framing::Chunked | Framing::UntilClose if exchange.head.is_http10 || exchange.head.is_http2 => {
            Framing::UntilClose
        }
        Framing::UntilClose => Framing::Chunked,
        framing => framing,
    };
    // A request body that is still coming is not waited for: the connection closes after the response.
    let keep = exchange.head.keep_alive
        && exchange.up.has_ended()
        && to != Framing::UntilClose
        && !run.worker.is_draining()
        && !is_tunnel;
    let respond = Respond {
        framing: to,
        connection: if is_tunnel {
            write::Connection::Upgrade
        } else {
            self::connection(exchange.head.is_http10, keep)
        },
        ops: &run.route.response_ops,
        request_id: &exchange.request_id,
        date: (!is_tunnel && response.find(Name::Date).is_none()).then(|| run.worker.http_date()),
        keep_length: from == Framing::None && !is_tunnel,
        marks: [
            exchange.fallback.map_or(b"", fallback::mark),
            exchange.cache.forward.unwrap_or(b""),
            retrying::mark(exchange),
        ],
    };
    exchange.down.pending.clear();
    write::response(&mut exchange.down.pending, response, exchange.output.data(), &respond);
    exchange.down.start(upstream.stream.body_framing(from), to == Framing::Chunked, 0, false);
    exchange.down.is_last = !keep && !is_tunnel;
    if is_tunnel {
        exchange.down.hold_open();
    }
    exchange.output.consume(response.length);
    (keep, to)
}

/// Why a response broke off after its head was chosen.
#[derive(Clone, Copy, Debug)]
enum Broken {
    Client,
    Upstream,
    Timeout,
}

impl Broken {
    const fn ending(self, status: u16) -> Ending {
        match self {
            Self::Client => Ending { status, error: None, client_gone: true },
            Self::Upstream => Ending { status, error: Some("upstream-broke-off"), client_gone: false },
            Self::Timeout => Ending { status, error: Some("timeout"), client_gone: false },
        }
    }
}

/// Moves the response and what is left of the request, until the response is through. Each piece that moves gives both
/// `body_timeout` more; the request's deadline bounds it all.
async fn both(
    run: &Run<'_>,
    client: &mut Stream,
    upstream: &mut Connection,
    exchange: &mut Exchange,
    request_broke: bool,
) -> Result<(), Broken> {
    let mut progress = 0;
    let rest = if exchange.call.is_some() { Duration::MAX } else { run.http.body_timeout };
    let mut request_over = request_broke;
    let poll = poll_fn(|cx: &mut Context<'_>| {
        if !request_over && !exchange.up.is_done() {
            match exchange.up.poll(cx, client, &mut exchange.input, &mut upstream.stream) {
                Poll::Pending | Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(RelayError::Source(_))) => return Poll::Ready(Err(Broken::Client)),
                // The response stands whatever becomes of the rest of the request.
                Poll::Ready(Err(_)) => request_over = true,
            }
        }
        match exchange.down.poll(cx, &mut upstream.stream, &mut exchange.output, client) {
            Poll::Ready(Ok(())) => return Poll::Ready(Ok(())),
            Poll::Ready(Err(RelayError::Sink(_))) => return Poll::Ready(Err(Broken::Client)),
            Poll::Ready(Err(_)) => return Poll::Ready(Err(Broken::Upstream)),
            Poll::Pending => {}
        }
        let moved = exchange.up.progress + exchange.down.progress;
        if moved != progress || progress == 0 {
            progress = moved.max(1);
            run.slot.set(run.worker.now().after(rest).min(run.deadline));
        } else if run.slot.has_expired() {
            let stuck_at_client = exchange.down.waits_for == Side::Sink && run.worker.now() < run.deadline;
            return Poll::Ready(Err(if stuck_at_client { Broken::Client } else { Broken::Timeout }));
        }
        run.slot.register(cx);
        Poll::Pending
    });
    match poll.await {
        Err(Broken::Timeout) => {
            tracing::debug!(route = run.route.state.spec.name, "response ran out of time");
            Err(Broken::Timeout)
        }
        other => other,
    }
}

//! One attempt: a connection to the chosen endpoint, the request on it, and the head of its response.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use mainstay_core::retry::Failure;
use mainstay_core::time::Moment;

use super::exchange::{Exchange, Run, connections};
use super::record::Outcome;
use super::respond::{self, OwnError};
use super::sending::Sending;
use crate::admission;
use crate::http1::body::Framing;
use crate::http1::write::{self, Forward, Identity, Validate};
use crate::http2::stream::H2Stream;
use crate::mirror::Copied;
use crate::relay::Side;
use crate::stream::Stream;
use crate::telemetry::context;
use crate::worker::deadline::Expired;
use crate::worker::pool::{self, Connection, InFlight};

/// The endpoint answers: the head of its final response stands in the exchange.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) connection: Box<Connection>,
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

impl Failed {
    /// What the record of the attempt says. `is_cut` tells that the time was not the route's but a stranger's, who may leave
    /// as little as he likes.
    pub(crate) const fn outcome(&self, is_cut: bool) -> Outcome {
        match self {
            Self::Deadline if is_cut => Outcome::Abandoned,
            Self::Endpoint { failure, .. } => Outcome::Failed(*failure),
            Self::Deadline => Outcome::Failed(Failure::Timeout),
            Self::Body(_) | Self::ClientGone => Outcome::Abandoned,
        }
    }

    /// Whether the connection had carried a request before, as far as that is known.
    pub(crate) const fn reused(&self) -> bool {
        matches!(self, Self::Endpoint { reused: true, .. })
    }
}

/// Makes one attempt at endpoint `index`, on a `fresh` connection or on any.
pub(crate) async fn run(
    run: &Run<'_>,
    index: usize,
    fresh: bool,
    client: &mut Stream,
    exchange: &mut Exchange,
) -> Result<Answered, Failed> {
    let mut begun = begin(run, index, fresh, client, exchange).await?;
    begun.wait(run, client, exchange).await?;
    Ok(begun.into_answered())
}

/// An attempt that has a connection, and whose request is on its way.
pub(crate) struct Begun {
    sending: Sending,
    in_flight: InFlight,
    deadline: Moment,
}

/// Begins an attempt at endpoint `index`.
pub(crate) async fn begin(
    run: &Run<'_>,
    index: usize,
    fresh: bool,
    client: &Stream,
    exchange: &mut Exchange,
) -> Result<Begun, Failed> {
    let endpoint = run.route.service.endpoints.get(index).ok_or(Failed::Body(respond::NO_ENDPOINT))?;
    let in_flight = InFlight::new(endpoint, run.worker.index);
    let now = run.worker.now();
    let deadline =
        run.route.state.spec.attempt_timeout.map_or(run.deadline, |limit| now.after(limit).min(run.deadline));
    let idempotent = exchange.head.is_idempotent(exchange.head_bytes());
    let retains = idempotent || exchange.call.is_some();
    // What cannot be told from an endpoint that dies of the request must not happen.
    let careful = !idempotent || run.route.state.guard.is_some();
    let kept = if fresh { None } else { endpoint.pool.take(now, connections(run), careful) };
    let mut connection = match kept.or_else(|| pool::share(endpoint, run.worker.index, now)) {
        Some(connection) => connection,
        // Boxed because it is rare: the memory of a connection's task is sized for its largest part.
        None => Box::pin(connect(run, index, &exchange.introduction(run), now, deadline)).await?,
    };
    if exchange.head.wants_upgrade && connection.stream.http2().is_some_and(H2Stream::refuses_extended_connect) {
        return Err(Failed::Body(respond::NO_UPGRADE));
    }
    prepare(run, index, exchange, retains, client, &mut connection);
    Ok(Begun { sending: Sending::new(connection), in_flight, deadline })
}

impl Begun {
    /// Waits for the answer.
    pub(crate) async fn wait(
        &mut self,
        run: &Run<'_>,
        client: &mut Stream,
        exchange: &mut Exchange,
    ) -> Result<(), Failed> {
        match send(run, &mut self.sending, client, exchange, self.deadline).await {
            Ok(result) => result,
            Err(Expired) if !exchange.up.has_ended() && exchange.up.waits_for == Side::Source => {
                Err(Failed::Body(respond::BODY_TIMEOUT))
            }
            Err(Expired) if run.worker.now() >= run.deadline => Err(Failed::Deadline),
            Err(Expired) => Err(self.sending.failure(exchange, Failure::Timeout)),
        }
    }

    /// Waits for the answer to a request without a body, until `at` at the latest; `None` if it has not come by then.
    pub(crate) async fn wait_until(
        &mut self,
        run: &Run<'_>,
        client: &mut Stream,
        exchange: &mut Exchange,
        at: Moment,
    ) -> Option<Result<(), Failed>> {
        if at >= self.deadline {
            return Some(self.wait(run, client, exchange).await);
        }
        send(run, &mut self.sending, client, exchange, at).await.ok()
    }

    /// Whether its connection had carried a request before.
    pub(crate) const fn reused(&self) -> bool {
        self.sending.upstream.reused
    }

    /// The attempt once it is answered.
    pub(crate) fn into_answered(self) -> Answered {
        let Self { sending, mut in_flight, .. } = self;
        in_flight.is_answered();
        Answered { request_broke: sending.request_broke, connection: sending.upstream, in_flight }
    }
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
    // A stream of messages may rest for as long as the call may last.
    let rest = if exchange.call.is_some() { Duration::MAX } else { run.http.body_timeout };
    let body_deadline = || run.worker.now().after(rest).min(deadline);
    run.slot.set(if ended { deadline } else { body_deadline() });
    poll_fn(|cx| {
        if let Poll::Ready(result) = sending.poll(cx, client, exchange) {
            return Poll::Ready(Ok(result));
        }
        if !ended && exchange.up.has_ended() {
            ended = true;
            run.slot.set(deadline);
        } else if !ended && progress != exchange.up.progress {
            if progress == 0 {
                client.acknowledge();
            }
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
) -> Result<Box<Connection>, Failed> {
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
fn prepare(
    run: &Run<'_>,
    index: usize,
    exchange: &mut Exchange,
    retains: bool,
    client: &Stream,
    connection: &mut Connection,
) {
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
        passed: admission::passed(run, exchange),
        validate: exchange.cache.plan.as_ref().map(|plan| {
            let stored = exchange.cache.stale.as_ref().filter(|_stored| plan.validates);
            Validate {
                etag: stored.and_then(|stored| stored.etag()),
                modified: stored.and_then(|stored| stored.modified()),
            }
        }),
        time_left: exchange.call.and_then(|call| call.timeout).map(|_asked| run.deadline.since(run.worker.now())),
        context: context::passed(run, exchange, index),
    };
    write::request(&mut exchange.up.pending, &exchange.head, bytes, &forward);
    let from = client.body_framing(exchange.head.framing);
    let retains = retains || exchange.copied == Copied::Waits;
    let Some(stream) = connection.stream.http2() else {
        // What has no length from HTTP/2 goes in chunks.
        let chunked = matches!(exchange.head.framing, Framing::Chunked | Framing::UntilClose);
        return exchange.up.start(from, chunked, exchange.head.length, retains);
    };
    let scheme = if run.route.service.tls.is_some() { "https" } else { "http" };
    // A stream that has ended meanwhile says so when its answer is read.
    let _ended = stream.request(&exchange.up.pending, scheme, exchange.head.is_head_method(exchange.head_bytes()));
    exchange.up.start(from, false, exchange.head.length, retains);
    exchange.up.head_is_out();
    if exchange.head.wants_upgrade {
        exchange.up.hold_open();
    }
}

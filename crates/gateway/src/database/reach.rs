//! A server for a connection: chosen, connected to and, where the protocol lets one see it, found willing. While there is
//! none the connection waits, up to limits; a change of roles is acted on at once.

use std::future::{Future, pending, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use mainstay_core::random::Rng;
use mainstay_core::roles::{Role, Target};
use mainstay_core::time::Moment;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Case, Refused};
use crate::postgres::{error, startup};
use crate::spec::Engine;
use crate::state::Seat;
use crate::stream::{Buffer, Socket, Stream};

/// Servers that are tried before there is a pause. A client has not been told of any of them, so that trying is safe.
const ATTEMPTS: usize = 3;
/// Pauses between tries of a server that refuses: from the first to the second, twice as long each time.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(500));
/// So much of what a client sends is taken while it waits.
const TAKEN_BYTES: usize = 16 * 1024;

/// A connection to a server.
pub(super) struct Reached {
    pub(super) stream: Stream,
    pub(super) target: Target,
    pub(super) seat: Seat,
    /// What was known when the server was chosen.
    pub(super) epoch: u64,
}

/// What a wait came to an end by.
enum Woken<T> {
    Done(T),
    /// Roles have changed.
    Changed,
    /// The client has left.
    Left,
    Expired,
}

/// Counts a connection that waits for as long as this lives.
struct Held<'a> {
    case: &'a Case<'a>,
    holding: &'a AtomicUsize,
}

impl<'a> Held<'a> {
    fn take(case: &'a Case<'a>) -> Result<Self, Refused> {
        let holding = &*case.listener.state.holding;
        if holding.fetch_add(1, Ordering::AcqRel) >= case.spec.hold_max {
            holding.fetch_sub(1, Ordering::AcqRel);
            return Err(Refused::QueueFull);
        }
        case.counters().held.add(1);
        Ok(Self { case, holding })
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.holding.fetch_sub(1, Ordering::AcqRel);
        self.case.counters().released.add(1);
    }
}

/// Connects to a server. It is sent `greeting`, if there is one, and what it answers first is put into `answer`.
/// What the client sends meanwhile is kept in `input`.
pub(super) async fn reach(
    case: &Case<'_>,
    client: &mut Stream,
    buffers: (&mut Buffer, &mut Buffer),
    greeting: &[u8],
) -> Result<Reached, Refused> {
    let begun = case.now();
    let mut held = None;
    let reached = seek(case, client, buffers, greeting, &mut held).await;
    // Where the server has nothing to answer only a wait says something: whoever checks a port is connected and goes.
    if held.is_some() || !greeting.is_empty() {
        case.counters().duration.record(case.now().since(begun));
    }
    reached
}

async fn seek<'a>(
    case: &'a Case<'a>,
    client: &mut Stream,
    (input, answer): (&mut Buffer, &mut Buffer),
    greeting: &[u8],
    held: &mut Option<Held<'a>>,
) -> Result<Reached, Refused> {
    let deadline = case.now().after(case.spec.hold);
    let mut pause = PAUSES.0;
    loop {
        let epoch = case.group.epoch();
        let mut tried = Vec::new();
        while let Some(target) = choose(case, &tried).filter(|_target| tried.len() < ATTEMPTS) {
            let seat = Seat::new(&case.group.database, target.address);
            let until = case.now().after(case.spec.connect_timeout);
            let mut attempt = wait(case, (&mut *client, &mut *input), epoch, until, dial(case, target.address)).await;
            if let Woken::Done(Ok(stream)) = &mut attempt
                && !greeting.is_empty()
            {
                // Whoever may wait for a server may as well wait for its answer.
                let until = until.max(deadline);
                let greeted = greet(stream, greeting, answer);
                match wait(case, (&mut *client, &mut *input), epoch, until, greeted).await {
                    Woken::Done(Ok(())) => {}
                    Woken::Done(Err(error)) => attempt = Woken::Done(Err(error)),
                    Woken::Changed => attempt = Woken::Changed,
                    Woken::Left => attempt = Woken::Left,
                    Woken::Expired => attempt = Woken::Expired,
                }
            }
            match attempt {
                Woken::Done(Ok(stream)) => {
                    count(case, &target);
                    return Ok(Reached { stream, target, seat, epoch });
                }
                Woken::Done(Err(error)) => {
                    tracing::debug!(group = case.spec.group, server = %target.address, %error, "database: not reached");
                    tried.push(target.address);
                }
                Woken::Expired => tried.push(target.address),
                Woken::Changed => break,
                Woken::Left => return Err(Refused::ClientLeft),
            }
            answer.clear();
        }
        answer.clear();
        if case.worker.closes_tunnels() {
            return Err(Refused::Leaving);
        }
        if case.group.epoch() != epoch {
            pause = PAUSES.0;
            continue;
        }
        if case.now() >= deadline || case.group.is_left() {
            return Err(Refused::NoServer);
        }
        if held.is_none() {
            *held = Some(Held::take(case)?);
        }
        // Without a server only a change helps.
        let jitter = case.worker.with_rng(Rng::unit).mul_add(0.5, 0.75);
        let next = if tried.is_empty() { deadline } else { case.now().after(pause.mul_f64(jitter)).min(deadline) };
        match wait(case, (&mut *client, &mut *input), epoch, next, pending::<()>()).await {
            Woken::Left => return Err(Refused::ClientLeft),
            Woken::Changed => pause = PAUSES.0,
            Woken::Expired | Woken::Done(()) => pause = (pause * 2).min(PAUSES.1),
        }
    }
}

fn choose(case: &Case<'_>, tried: &[SocketAddr]) -> Option<Target> {
    if case.group.is_left() {
        return None;
    }
    let (roles, database) = (case.group.roles(), &case.group.database);
    let count = |address| database.count(address);
    case.worker.with_rng(|rng| roles.choose(case.spec.access, tried, count, rng))
}

fn count(case: &Case<'_>, target: &Target) {
    match target.role {
        Role::Primary => {
            case.counters().to_primary.add(1);
            case.group.database.note_routed(target.term);
        }
        Role::Replica => case.counters().to_replicas.add(1),
    }
}

/// Waits for `work`, but not after roles have changed, the client has left, or `until`.
async fn wait<T>(
    case: &Case<'_>,
    (client, input): (&mut Stream, &mut Buffer),
    epoch: u64,
    until: Moment,
    work: impl Future<Output = T>,
) -> Woken<T> {
    case.wait_until(until);
    let mut work = pin!(work);
    poll_fn(|cx| {
        if let Poll::Ready(done) = work.as_mut().poll(cx) {
            return Poll::Ready(Woken::Done(done));
        }
        if case.group.epoch() != epoch {
            return Poll::Ready(Woken::Changed);
        }
        if poll_has_left(case, cx, client, input) {
            return Poll::Ready(Woken::Left);
        }
        if case.slot.has_expired() {
            return Poll::Ready(Woken::Expired);
        }
        case.slot.register(cx);
        Poll::Pending
    })
    .await
}

/// Takes in what the client sends, which is how its end is noticed.
fn poll_has_left(case: &Case<'_>, cx: &mut Context<'_>, client: &mut Stream, input: &mut Buffer) -> bool {
    while input.data().len() < TAKEN_BYTES && input.has_room() {
        match input.poll_fill(cx, client) {
            // Who has sent its commands and ended its half may still read the answers. PostgreSQL's clients never do that.
            Poll::Ready(Ok(0)) => return case.spec.engine == Engine::Postgres || input.is_empty(),
            Poll::Ready(Ok(_more)) => {}
            Poll::Ready(Err(_reset)) => return true,
            Poll::Pending => break,
        }
    }
    false
}

/// Opens a connection to a server, TLS included.
pub(super) async fn dial(case: &Case<'_>, address: SocketAddr) -> io::Result<Stream> {
    let mut tcp = TcpStream::connect(address).await?;
    tcp.set_nodelay(true)?;
    let Some(config) = &case.listener.upstream_tls else { return Ok(Stream::Plain(tcp)) };
    if case.spec.engine == Engine::Postgres {
        tcp.write_all(&startup::SSL_REQUEST).await?;
        let mut said = [0];
        // One byte and no more: what follows belongs to TLS.
        tcp.read_exact(&mut said).await?;
        if said != *b"S" {
            return Err(io::Error::other("the server does not speak TLS (ssl = off)"));
        }
    }
    let configured = case.spec.upstream_tls.as_ref().and_then(|tls| tls.server_name.clone());
    let name = ServerName::try_from(configured.unwrap_or_else(|| address.ip().to_string()))
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    let tls = tokio_rustls::TlsConnector::from(std::sync::Arc::clone(config)).connect(name, Socket(tcp)).await?;
    Ok(Stream::TlsClient(Box::new(tls)))
}

/// Sends a packet to the server and waits for the first of its answer.
///
/// # Errors
/// If the server has left, or says that it cannot serve now, which another try a little later may find otherwise.
pub(super) async fn greet(stream: &mut Stream, packet: &[u8], answer: &mut Buffer) -> io::Result<()> {
    let mut sent = 0;
    poll_fn(|cx| -> Poll<io::Result<()>> {
        while let Some(rest) = packet.get(sent..).filter(|rest| !rest.is_empty()) {
            match ready!(stream.poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => sent += written,
            }
        }
        ready!(stream.poll_flush(cx))?;
        match ready!(answer.poll_fill(cx, stream))? {
            0 => Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            _some => Poll::Ready(Ok(())),
        }
    })
    .await?;
    if error::is_cannot_connect_now(answer.data()) {
        return Err(io::Error::other("the server starts or stops"));
    }
    Ok(())
}

//! A client's connection while it is busy: its requests one after another.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use mainstay_http2::PREFACE;

use super::client::{Left, Purpose, Visit};
use super::exchange::{self, Exchange};
use super::respond;
use crate::http1::request::{self, Limits, Progress, Reject};
use crate::http2;
use crate::peer::Peer;
use crate::spec::{Http, Protocol};
use crate::stream::{MAX_HEAD_BYTES, Stream};
use crate::worker::Worker;
use crate::worker::deadline::Slot;
use crate::worker::listen::Cell;

/// What becomes of a connection after an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// The next request may come.
    KeepAlive,
    /// Everything was said: close.
    Close,
    /// The client may still be sending: read on for a while, so that the close does not reset what it has yet to read.
    Linger,
    /// The response broke off: the client must not take it for complete.
    Reset,
    /// What the client began is HTTP/2.
    Http2,
}

/// How long a client that is still sending is listened to after the last response.
const LINGER: Duration = Duration::from_secs(1);
/// How much of it.
const LINGER_BYTES: usize = 1024 * 1024;

/// Serves a connection until it closes or has nothing more to do, which leaves it open.
pub(crate) async fn serve(visit: Visit) -> Left {
    let Visit { worker, cell, mut stream, peer, slot, purpose } = visit;
    let Purpose::Serve { mut first } = purpose else {
        close(&mut stream, &slot, &worker).await;
        return None;
    };
    let mut exchange = worker.store.take_exchange();
    let next = busy(&worker, &cell, &mut stream, &peer, &slot, &mut exchange, &mut first).await;
    let input = (next == Next::Http2).then(|| std::mem::take(&mut exchange.input));
    worker.store.give_exchange(exchange);
    match next {
        Next::KeepAlive => return Some((stream, peer, first)),
        Next::Close => close(&mut stream, &slot, &worker).await,
        Next::Linger => Box::pin(linger(stream, &slot, &worker)).await,
        Next::Reset => stream.reset_on_close(),
        Next::Http2 => {
            let input = input.unwrap_or_default();
            Box::pin(http2::serve::serve(worker, cell, stream, peer, slot, input)).await;
        }
    }
    None
}

/// Serves requests for as long as their bytes keep coming, pipelined ones included.
async fn busy(
    worker: &Rc<Worker>,
    cell: &Cell,
    stream: &mut Stream,
    peer: &Peer,
    slot: &Rc<Slot>,
    exchange: &mut Exchange,
    first: &mut bool,
) -> Next {
    exchange.input.clear();
    exchange.set_peer(peer);
    loop {
        // Each request is served by the configuration of its moment.
        let listener = cell.current();
        let Protocol::Http(http) = &listener.state.spec.protocol else { return Next::Close };
        exchange.begin(worker.now());
        slot.set(exchange.started.after(http.head_timeout));
        // Only a plain connection that says nothing else first can be one of prior knowledge (RFC 9113, section 3.3).
        let may_be_http2 = *first && http.http2.is_some() && matches!(stream, Stream::Plain(_));
        match read_head(stream, slot, exchange, http, may_be_http2).await {
            Head::Complete => *first = false,
            Head::Nothing => return Next::Close,
            Head::Quiet => return Next::KeepAlive,
            Head::Http2 => return Next::Http2,
            Head::Rejected(status, reason) => {
                return respond::reject(worker, &listener, stream, slot, exchange, status, reason).await;
            }
        }
        if cell.is_closed() || worker.is_relieved(stream) {
            exchange.head.keep_alive = false;
        }
        let next = exchange::run(worker, &listener, http, stream, slot, exchange).await;
        // Requests that were sent ahead are not answered any more; closing on them unread would reset the last response.
        if next == Next::Close && !exchange.input.is_empty() {
            return Next::Linger;
        }
        if next != Next::KeepAlive {
            return next;
        }
        exchange.input.compact(0);
        if exchange.input.is_empty() {
            return Next::KeepAlive;
        }
    }
}

enum Head {
    Complete,
    /// The connection closed before a request began, or inside one that cannot be answered.
    Nothing,
    /// What woke the connection was not a request.
    Quiet,
    /// The preface of HTTP/2.
    Http2,
    Rejected(u16, &'static str),
}

/// Reads until a head is complete.
async fn read_head(stream: &mut Stream, slot: &Slot, exchange: &mut Exchange, http: &Http, may_be_http2: bool) -> Head {
    let limits = Limits { bytes: http.max_head_bytes.min(MAX_HEAD_BYTES), headers: http.max_headers };
    let mut parsed_at = usize::MAX;
    let result = slot
        .within(poll_fn(|cx| {
            loop {
                skip_empty_line(exchange);
                let preface = if may_be_http2 { preface(exchange.input.data()) } else { Preface::No };
                if preface == Preface::Complete {
                    return Poll::Ready(Head::Http2);
                }
                if preface == Preface::No
                    && !matches!(exchange.input.data(), [] | b"\r")
                    && exchange.input.data().len() != parsed_at
                {
                    parsed_at = exchange.input.data().len();
                    match request::parse(exchange.input.data(), limits, &mut exchange.head) {
                        Ok(Progress::Complete) => return Poll::Ready(Head::Complete),
                        Ok(Progress::Partial) => {}
                        Err(reject) => return Poll::Ready(rejected(exchange, reject)),
                    }
                }
                match exchange.input.poll_fill(cx, stream) {
                    Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Head::Nothing),
                    Poll::Ready(Ok(_read)) => {}
                    // A wake-up without a byte (a TLS record of another kind): give the buffer back and wait on.
                    Poll::Pending if exchange.input.is_empty() => return Poll::Ready(Head::Quiet),
                    Poll::Pending => {
                        stream.acknowledge();
                        return Poll::Pending;
                    }
                }
            }
        }))
        .await;
    match result {
        Ok(Head::Complete) => {
            // Spans count from the start of the head, which stands at the front of the input.
            exchange.input.consume(exchange.head.length);
            Head::Complete
        }
        Ok(other) => other,
        Err(_expired) => {
            exchange.head.length = 0;
            Head::Rejected(408, "head-timeout")
        }
    }
}

/// How much of HTTP/2's preface stands at the start of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Preface {
    No,
    Partial,
    Complete,
}

fn preface(data: &[u8]) -> Preface {
    match data.len() {
        // No method of HTTP/1.1 begins like it in more than this.
        0..4 => Preface::No,
        length if length < PREFACE.len() && PREFACE.starts_with(data) => Preface::Partial,
        _more if data.starts_with(PREFACE) => Preface::Complete,
        _other => Preface::No,
    }
}

fn rejected(exchange: &mut Exchange, reject: Reject) -> Head {
    // The spans of a head that was refused half-way are not to be used.
    exchange.head.length = 0;
    Head::Rejected(reject.status(), reject.reason())
}

/// A server ignores an empty line before a request (RFC 9112, section 2.2): one, from clients that end bodies with one.
fn skip_empty_line(exchange: &mut Exchange) {
    if exchange.input.start() == 0 && exchange.input.data().starts_with(b"\r\n") {
        exchange.input.consume(2);
        exchange.input.compact(0);
    }
}

/// Ends the connection in good order. On a plain one that takes no time; dropping it alone would take the last bytes back
/// if the client had sent something more.
async fn close(stream: &mut Stream, slot: &Slot, worker: &Worker) {
    if matches!(stream, Stream::Plain(_)) {
        let _gone = stream.socket().map(|socket| mainstay_runtime::socket::end_sending(&socket));
    } else {
        shutdown(stream, slot, worker).await;
    }
}

async fn shutdown(stream: &mut Stream, slot: &Slot, worker: &Worker) {
    slot.set(worker.now().after(LINGER));
    let _gone = slot.within(poll_fn(|cx| stream.poll_shutdown(cx))).await;
}

/// Says that nothing more will come, then reads what the client is still sending, within bounds.
pub(crate) async fn linger(mut stream: Stream, slot: &Slot, worker: &Worker) {
    shutdown(&mut stream, slot, worker).await;
    let mut scrap = [0u8; 4096];
    let mut left = LINGER_BYTES;
    slot.set(worker.now().after(LINGER));
    while let Ok(Ok(read)) = slot.within(poll_fn(|cx| stream.poll_read(cx, &mut scrap))).await {
        left = left.saturating_sub(read);
        if read == 0 || left == 0 {
            return;
        }
    }
}

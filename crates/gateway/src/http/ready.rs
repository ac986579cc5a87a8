//! Answers that stand in memory: the ones that a route falls back on, and those of the cache.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use super::connection::Next;
use super::exchange::{Exchange, Run};
use super::record::{self, Ending};
use super::respond;
use crate::http1::write;
use crate::stream::Stream;

/// An answer that needs nobody to give it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ready<'a> {
    pub(crate) status: u16,
    /// Its fields, as lines; neither its length nor anything about the connection.
    pub(crate) fields: &'a [u8],
    /// Lines of the gateway's own, which no configuration removes.
    pub(crate) marks: &'a [u8],
    pub(crate) body: &'a [u8],
    /// Whether `fields` say when it was made.
    pub(crate) has_date: bool,
    /// Why there is this answer and no other, for the log.
    pub(crate) error: Option<&'static str>,
}

/// A client that takes nothing for this long has left, unless its listener is more patient.
const PATIENCE: Duration = Duration::from_secs(10);

/// Sends it and records the request.
pub(crate) async fn send(run: &Run<'_>, client: &mut Stream, exchange: &mut Exchange, ready: Ready<'_>) -> Next {
    // After a body that was not read the next request cannot be found.
    let keep = exchange.head.keep_alive && !exchange.head.framing.has_body() && !run.worker.is_draining();
    let to_head = exchange.head.is_head_method(exchange.head_bytes());
    begin(run, exchange, &ready, keep);
    let body = if to_head { b"" } else { ready.body };
    let sent = transfer(run, client, exchange, body).await;
    let bytes_out = if sent { body.len() as u64 } else { 0 };
    let ending = Ending { status: ready.status, error: ready.error, client_gone: !sent };
    record::finish(run.worker, run.listener, Some(run.route), exchange, ending, (0, bytes_out));
    match (sent, keep) {
        (false, _) => Next::Reset,
        (true, true) => Next::KeepAlive,
        (true, false) => Next::Linger,
    }
}

/// Writes the head.
fn begin(run: &Run<'_>, exchange: &mut Exchange, ready: &Ready<'_>, keep: bool) {
    let ops = &run.route.response_ops;
    let out = &mut exchange.down.pending;
    out.clear();
    out.extend_from_slice(b"HTTP/1.1 ");
    write::decimal(out, u64::from(ready.status));
    out.push(b' ');
    out.extend_from_slice(write::phrase(ready.status).as_bytes());
    out.extend_from_slice(b"\r\n");
    if ops.removes_nothing() {
        out.extend_from_slice(ready.fields);
    } else {
        for line in ready.fields.split_inclusive(|byte| *byte == b'\n') {
            let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
            if !ops.removes(name) {
                out.extend_from_slice(line);
            }
        }
    }
    if !matches!(ready.status, 204 | 304) {
        out.extend_from_slice(b"content-length: ");
        write::decimal(out, ready.body.len() as u64);
        out.extend_from_slice(b"\r\n");
    }
    write::connection(out, respond::connection(exchange.head.is_http10, keep));
    if !ready.has_date {
        write::field(out, b"date", &run.worker.http_date());
    }
    write::field(out, b"x-request-id", &exchange.request_id);
    out.extend_from_slice(&ops.set);
    out.extend_from_slice(ready.marks);
    out.extend_from_slice(b"\r\n");
}

/// Writes head and body. Answers whether the client took them. Each piece that it takes gives it more time; the request's
/// deadline bounds it all, unless it is over already.
async fn transfer(run: &Run<'_>, client: &mut Stream, exchange: &mut Exchange, body: &[u8]) -> bool {
    let mut head_sent = 0;
    let head = &exchange.down.pending;
    if let Some(stream) = client.http2() {
        if stream.respond(head).is_err() {
            return false;
        }
        head_sent = head.len();
    }
    let begun = run.worker.now();
    let patience = run.http.body_timeout.max(PATIENCE);
    let limit = run.deadline.max(begun.after(PATIENCE));
    run.slot.set(begun.after(patience).min(limit));
    let mut body_sent = 0;
    let written = poll_fn(|cx| {
        while head_sent < head.len() || body_sent < body.len() {
            let head = head.get(head_sent..).unwrap_or_default();
            let rest = body.get(body_sent..).unwrap_or_default();
            match client.poll_write_both(cx, head, rest) {
                Poll::Ready(Ok(written)) if written > 0 => {
                    let of_head = written.min(head.len());
                    head_sent += of_head;
                    body_sent += written - of_head;
                    run.slot.set(run.worker.now().after(patience).min(limit));
                }
                Poll::Ready(_gone) => return Poll::Ready(false),
                Poll::Pending if run.slot.has_expired() => return Poll::Ready(false),
                Poll::Pending => {
                    run.slot.register(cx);
                    return Poll::Pending;
                }
            }
        }
        let finished = client.poll_finish(cx, b"");
        match finished {
            Poll::Ready(finished) => Poll::Ready(finished.is_ok()),
            Poll::Pending if run.slot.has_expired() => Poll::Ready(false),
            Poll::Pending => {
                run.slot.register(cx);
                Poll::Pending
            }
        }
    });
    written.await
}

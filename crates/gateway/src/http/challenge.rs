//! Answers to an authority that asks over HTTP whether this node answers for a name (RFC 8555, section 8.3). They come before
//! routes and redirections. A token that is not waited for is a path like any other: endpoints may have authorities of
//! their own.

use std::rc::Rc;
use std::sync::Arc;

use mainstay_runtime::tls::ACME_PATH;

use super::connection::Next;
use super::exchange::Exchange;
use super::record::{self, Ending};
use super::respond;
use crate::http1::write;
use crate::stream::Stream;
use crate::worker::Worker;
use crate::worker::deadline::Slot;
use crate::worker::table::Listener;

/// What the request is to be answered, if it is such a question.
pub(super) fn asked(listener: &Listener, exchange: &Exchange) -> Option<Arc<[u8]>> {
    let issued = listener.challenges.as_ref()?;
    let bytes = exchange.head_bytes();
    let token = exchange.head.path.get(bytes).strip_prefix(ACME_PATH)?;
    if !matches!(exchange.head.method.get(bytes), b"GET" | b"HEAD") {
        return None;
    }
    issued.content(token)
}

/// Answers it.
pub(super) async fn answer(
    worker: &Rc<Worker>,
    listener: &Rc<Listener>,
    client: &mut Stream,
    slot: &Rc<Slot>,
    exchange: &mut Exchange,
    content: &[u8],
) -> Next {
    let keep = exchange.head.keep_alive && !exchange.head.framing.has_body() && !worker.is_draining();
    let to_head = exchange.head.is_head_method(exchange.head_bytes());
    let out = &mut exchange.down.pending;
    out.clear();
    out.extend_from_slice(b"HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\ncontent-length: ");
    write::decimal(out, content.len() as u64);
    out.extend_from_slice(b"\r\n");
    write::connection(out, respond::connection(exchange.head.is_http10, keep));
    write::field(out, b"cache-control", b"no-store");
    write::field(out, b"x-request-id", &exchange.request_id);
    write::field(out, b"date", &worker.http_date());
    out.extend_from_slice(b"\r\n");
    let head = out.len();
    if !to_head {
        out.extend_from_slice(content);
    }
    let sent = respond::send_pending(worker, client, slot, exchange, head).await;
    let ending = Ending { status: 200, error: None, client_gone: !sent };
    record::finish(worker, listener, None, exchange, ending, (0, content.len() as u64));
    match (sent, keep) {
        (false, _) => Next::Close,
        (true, true) => Next::KeepAlive,
        (true, false) => Next::Linger,
    }
}

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use crate::http::exchange::Exchange;
use crate::stream::Stream;
use crate::worker::Worker;
use crate::worker::deadline::Slot;

/// Writes a short answer that stands in the exchange; its head is so long. Answers whether the client took it.
pub(in crate::http) async fn send_pending(
    worker: &Worker,
    client: &mut Stream,
    slot: &Slot,
    exchange: &Exchange,
    head: usize,
) -> bool {
    let mut sent = 0;
    if let Some(stream) = client.http2() {
        if stream.respond(exchange.down.pending.get(..head).unwrap_or_default()).is_err() {
            return false;
        }
        sent = head;
    }
    slot.set(worker.now().after(Duration::from_secs(10)));
    let written = slot.within(poll_fn(|cx| {
        while sent < exchange.down.pending.len() {
            match std::task::ready!(client.poll_write(cx, &exchange.down.pending[sent..])) {
                Ok(written) if written > 0 => sent += written,
                _gone => return Poll::Ready(false),
            }
        }
        client.poll_finish(cx, b"").map(|finished| finished.is_ok())
    }));
    written.await == Ok(true)
}

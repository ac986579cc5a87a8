//! Responses whose body is read into memory before the client gets their head.

use super::{go_on, write_head};
use crate::http::attempt::Answered;
use crate::http::connection::Next;
use crate::http::exchange::{Exchange, Run};
use crate::http1::body::Framing;
use crate::stream::Stream;
use crate::worker::pool::Connection;

/// A response whose head is written and not sent.
#[derive(Debug)]
pub(crate) struct Begun {
    keep: bool,
    chunked: bool,
    head: Vec<u8>,
}

/// Writes the head of a response whose body is read into memory first.
pub(crate) fn prepare(run: &Run<'_>, upstream: &Connection, exchange: &mut Exchange) -> Begun {
    let (keep, to) = write_head(run, upstream, exchange);
    exchange.down.unchunked();
    Begun { keep, chunked: to == Framing::Chunked, head: std::mem::take(&mut exchange.down.pending) }
}

/// Relays a response after all that was to be read into memory; `taken` has been.
pub(crate) async fn resume(
    run: &Run<'_>,
    index: usize,
    answered: Answered,
    begun: Begun,
    taken: &[u8],
    client: &mut Stream,
    exchange: &mut Exchange,
) -> Next {
    let Begun { keep, chunked, mut head } = begun;
    if let Some(stream) = client.http2() {
        // A stream that has ended meanwhile says so again when the body is sent.
        let _ended = stream.respond(&head);
        head.clear();
    }
    exchange.down.resume(&head, taken, chunked);
    go_on(run, index, answered, keep, client, exchange).await
}

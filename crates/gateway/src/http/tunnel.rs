//! After a 101: bytes both ways until either side ends. The connection never returns to a pool.

use std::future::poll_fn;
use std::time::Duration;

use super::connection::Next;
use super::exchange::{Exchange, Run};
use super::record::{self, Ending};
use crate::http1::field::Name;
use crate::http1::websocket::{Frames, GOING_AWAY};
use crate::splice::{self, Ended};
use crate::stream::Stream;
use crate::worker::pool::{Connection, InFlight};

/// How long a client may take to accept the frame that says goodbye.
const GOODBYE: Duration = Duration::from_millis(200);

/// Carries bytes both ways. What either side sent behind its head goes first.
pub(crate) async fn run(
    run: &Run<'_>,
    client: &mut Stream,
    (mut connection, in_flight): (Box<Connection>, InFlight),
    exchange: &mut Exchange,
) -> Next {
    let limit = run.route.state.spec.tunnel_timeout;
    let bytes = exchange.head_bytes();
    let is_websocket =
        exchange.head.find(Name::Upgrade).is_some_and(|it| it.value.get(bytes).eq_ignore_ascii_case(b"websocket"));
    let mut frames = is_websocket.then(Frames::default);
    let buffers = (&mut exchange.input, &mut exchange.output);
    let moved = splice::run(run.worker, run.slot, client, &mut connection.stream, buffers, limit, &mut frames).await;
    drop(in_flight);
    let error = match moved.ended {
        Ended::Closed | Ended::Over => None,
        Ended::Idle => Some("tunnel-timeout"),
        Ended::Draining => Some("shutting-down"),
    };
    let ending = Ending { status: 101, error, client_gone: false };
    let bytes = (moved.to_upstream, moved.to_client);
    record::finish(run.worker, run.listener, Some(run.route), exchange, ending, bytes);
    let is_between = frames.is_some_and(|frames| frames.is_between_frames()) && exchange.output.is_empty();
    if moved.ended == Ended::Draining && is_between {
        // A frame in the middle of another one would be garbage, so that only a quiet WebSocket is told.
        run.slot.set(run.worker.now().after(GOODBYE));
        let _client_left = run.slot.within(poll_fn(|cx| client.poll_write(cx, &GOING_AWAY))).await;
        return Next::Linger;
    }
    Next::Close
}

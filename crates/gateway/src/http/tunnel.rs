//! After a 101: bytes both ways until either side ends. The connection never returns to a pool.

use mainstay_core::time::Moment;

use super::connection::Next;
use super::exchange::{Exchange, Run};
use super::record::{self, Ending};
use crate::splice::{self, Ended};
use crate::stream::Stream;
use crate::worker::pool::{Connection, InFlight};

/// Carries bytes both ways. What either side sent behind its head goes first.
pub(crate) async fn run(
    run: &Run<'_>,
    client: &mut Stream,
    (mut connection, in_flight): (Connection, InFlight),
    exchange: &mut Exchange,
) -> Next {
    let limit = run.route.state.spec.tunnel_timeout;
    let (up, down) = (&mut exchange.input, &mut exchange.output);
    let moved =
        splice::run(run.worker, run.slot, client, &mut connection.stream, (up, down), limit, Moment::NEVER).await;
    drop(in_flight);
    let error = match moved.ended {
        Ended::Closed => None,
        Ended::Idle => Some("tunnel-timeout"),
        Ended::Draining => Some("shutting-down"),
    };
    let ending = Ending { status: 101, error, client_gone: false };
    record::finish(run.worker, run.listener, Some(run.route), exchange, ending, (moved.to_upstream, moved.to_client));
    Next::Close
}

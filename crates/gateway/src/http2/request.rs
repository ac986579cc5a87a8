//! A request on a client's HTTP/2 connection, as a task of its own. The task is small; what serves it is the worker's.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use mainstay_http2::Role;

use super::head;
use super::link::Link;
use super::stream::H2Stream;
use crate::http::connection::Next;
use crate::http::{attendant, exchange, respond};
use crate::peer::Peer;
use crate::spec::Protocol;
use crate::stream::Stream;
use crate::worker::Worker;
use crate::worker::deadline::{Slot, Wheel};
use crate::worker::listen::Cell;

/// A request whose head has come.
pub(crate) struct Visit {
    worker: Rc<Worker>,
    cell: Rc<Cell>,
    stream: H2Stream,
    peer: Peer,
}

/// Who serves a request. The place in the wheel is the attendant's: the next request has it, too.
pub(crate) type Attendant = attendant::Attendant<Visit, ()>;

impl Attendant {
    /// One with a place in `wheel`.
    pub(crate) fn with_slot(wheel: &Rc<Wheel>) -> Self {
        let slot = wheel.slot();
        Self::new(move |visit| serve(visit, Rc::clone(&slot)))
    }
}

/// The task.
pub(super) struct Request {
    worker: Rc<Worker>,
    stage: Stage,
}

enum Stage {
    Asked(Visit),
    Busy(Attendant),
    Over,
}

impl Request {
    /// The request on stream `id`.
    pub(super) fn new(worker: &Rc<Worker>, cell: &Rc<Cell>, link: &Rc<Link>, id: u32, peer: &Peer) -> Self {
        let visit = Visit {
            worker: Rc::clone(worker),
            cell: Rc::clone(cell),
            stream: H2Stream::new(Rc::clone(link), id, Role::Server),
            peer: peer.clone(),
        };
        Self { worker: Rc::clone(worker), stage: Stage::Asked(visit) }
    }

    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match &mut self.stage {
                Stage::Asked(_) => self.begin(),
                Stage::Busy(attendant) => {
                    ready!(attendant.poll(cx));
                    if let Stage::Busy(attendant) = std::mem::replace(&mut self.stage, Stage::Over) {
                        self.worker.store.give_stream_attendant(attendant);
                    }
                }
                Stage::Over => return Poll::Ready(()),
            }
        }
    }

    fn begin(&mut self) {
        let Stage::Asked(visit) = std::mem::replace(&mut self.stage, Stage::Over) else { return };
        if visit.stream.is_reset() {
            // The client takes back what it has just asked for, many times a second if it is hostile: that must cost as little
            // as it costs the client, and no backend anything.
            return;
        }
        let attendant = self.worker.store.take_stream_attendant(&self.worker.wheel);
        attendant.take(visit);
        self.stage = Stage::Busy(attendant);
    }
}

impl Future for Request {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let request = self.get_mut();
        let worker = Rc::clone(&request.worker);
        worker.turn(|| request.poll_turn(cx))
    }
}

async fn serve(visit: Visit, slot: Rc<Slot>) {
    let Visit { worker, cell, stream, peer } = visit;
    let listener = cell.current();
    let Protocol::Http(http) = &listener.state.spec.protocol else { return };
    // The head came before this task.
    let Some(fields) = stream.take_head() else { return };
    let mut exchange = worker.store.take_exchange();
    exchange.set_peer(&peer);
    exchange.begin(worker.now());
    let key = fields.protocol().map(|_websocket| worker.websocket_key()).unwrap_or_default();
    let (input, head) = (&mut exchange.input, &mut exchange.head);
    let laid = head::request(&fields, stream.has_no_body(), &key, input, head);
    stream.give_back(fields);
    let mut client = Stream::Http2(stream);
    let next = match laid {
        Ok(()) => {
            let length = exchange.head.length;
            exchange.input.consume(length);
            exchange::run(&worker, &listener, http, &mut client, &slot, &mut exchange).await
        }
        Err(reject) => {
            exchange.head.length = 0;
            let (status, reason) = (reject.status(), reject.reason());
            respond::reject(&worker, &listener, &mut client, &slot, &mut exchange, status, reason).await
        }
    };
    if next == Next::Reset {
        client.reset_on_close();
    }
    worker.store.give_exchange(exchange);
    slot.rest();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_task_of_a_request_is_small() {
        // It is allocated for every request, and moved on its way to the runtime.
        assert!(size_of::<Request>() <= 128, "{} bytes", size_of::<Request>());
    }
}

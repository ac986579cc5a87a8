//! Requests on clients' HTTP/2 connections. Each is served by a task, which belongs to the worker and serves one request after
//! another: to make a task and to end it would cost a tenth of what a request does.

use std::cell::{Cell as Place, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use mainstay_http2::Role;
use mainstay_runtime::task::{self, Kind};

use super::head;
use super::link::{Link, register};
use super::stream::H2Stream;
use crate::http::connection::Next;
use crate::http::{attendant, exchange, respond};
use crate::peer::Peer;
use crate::spec::Protocol;
use crate::stream::Stream;
use crate::worker::Worker;
use crate::worker::deadline::Slot;
use crate::worker::listen::Cell;

/// A request whose head has come.
pub(crate) struct Visit {
    worker: Rc<Worker>,
    cell: Rc<Cell>,
    stream: H2Stream,
    peer: Peer,
}

/// Where a task that serves requests is given the next one.
#[derive(Default)]
pub(crate) struct Seat {
    visit: Place<Option<Visit>>,
    /// The task, once it has waited here.
    waker: RefCell<Option<Waker>>,
}

/// The task.
struct Server {
    worker: Rc<Worker>,
    seat: Rc<Seat>,
    /// Comes with the first request that is to be served.
    attendant: Option<Attendant>,
    is_busy: bool,
}

/// Who serves requests. The place in the wheel is the attendant's: the next request has it, too.
type Attendant = attendant::Attendant<Visit, ()>;

/// Has the request on stream `id` served.
pub(super) fn begin(worker: &Rc<Worker>, cell: &Rc<Cell>, link: &Rc<Link>, id: u32, peer: &Peer) {
    let visit = Visit {
        worker: Rc::clone(worker),
        cell: Rc::clone(cell),
        stream: H2Stream::new(Rc::clone(link), id, Role::Server),
        peer: peer.clone(),
    };
    if let Some(seat) = worker.store.take_seat() {
        seat.visit.set(Some(visit));
        if let Some(waker) = &*seat.waker.borrow() {
            waker.wake_by_ref();
        }
        return;
    }
    let seat = Rc::new(Seat { visit: Place::new(Some(visit)), waker: RefCell::default() });
    task::spawn_local(Kind::Connection, Server { worker: Rc::clone(worker), seat, attendant: None, is_busy: false });
}

impl Server {
    fn attendant(&mut self) -> &mut Attendant {
        self.attendant.get_or_insert_with(|| {
            let slot = self.worker.wheel.slot();
            Attendant::new(move |visit| serve(visit, Rc::clone(&slot)))
        })
    }

    /// Ready when there are enough tasks that wait.
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.is_busy {
                ready!(self.attendant().poll(cx));
                self.is_busy = false;
            } else if let Some(visit) = self.seat.visit.take() {
                if !visit.stream.is_reset() {
                    self.attendant().take(visit);
                    self.is_busy = true;
                    continue;
                }
                // The client takes back what it has just asked for, many times a second if it is hostile: that must cost as
                // little as it costs the client, and no backend anything.
            } else {
                register(&mut self.seat.waker.borrow_mut(), cx);
                return Poll::Pending;
            }
            if !self.worker.store.give_seat(&self.seat) {
                return Poll::Ready(());
            }
        }
    }
}

impl Future for Server {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let server = self.get_mut();
        let worker = Rc::clone(&server.worker);
        worker.turn(|| server.poll_turn(cx))
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

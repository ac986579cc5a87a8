//! A client's connection as a task: waiting for a request, or served by an attendant. What serving takes is some ten times
//! as large as what waiting takes, and most connections wait most of the time; so attendants belong to the worker, and a
//! connection has one only while it is busy.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use super::attendant;
use crate::peer::Peer;
use crate::spec::Protocol;
use crate::stream::Stream;
use crate::worker::Worker;
use crate::worker::deadline::Slot;
use crate::worker::listen::{Cell, Open};

/// A connection with something to do.
pub(crate) struct Visit {
    pub(crate) worker: Rc<Worker>,
    pub(crate) cell: Rc<Cell>,
    pub(crate) stream: Stream,
    pub(crate) peer: Peer,
    pub(crate) slot: Rc<Slot>,
    pub(crate) purpose: Purpose,
}

/// What there is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Bytes have come: the first ones of the connection, or later ones.
    Serve { first: bool },
    /// Nothing has come for too long.
    Close,
}

/// What a visit leaves: the connection, if it stays open, and whether its first request is still to come.
pub(crate) type Left = Option<(Stream, Peer, bool)>;

/// Who serves a connection while it is busy.
pub(crate) type Attendant = attendant::Attendant<Visit, Left>;

/// The task of a connection.
pub(crate) struct Client {
    open: Open,
    slot: Rc<Slot>,
    stage: Stage,
}

enum Stage {
    Waiting { stream: Stream, peer: Peer, first: bool },
    Busy(Attendant),
    Over,
}

impl Client {
    /// A connection on which nothing has come yet.
    pub(crate) fn new(open: Open, slot: Rc<Slot>, stream: Stream, peer: Peer) -> Self {
        let mut client = Self { open, slot, stage: Stage::Over };
        client.wait(stream, peer, true);
        client
    }

    /// Waits for a request, or the next one, without holding anything for it.
    fn wait(&mut self, stream: Stream, peer: Peer, first: bool) {
        let worker = &self.open.worker;
        let listener = self.open.cell.current();
        let Protocol::Http(http) = &listener.state.spec.protocol else { return };
        let limit = if first { http.head_timeout } else { http.keep_alive_timeout };
        let now = worker.now();
        self.slot.set(now.after(limit));
        self.slot.idle.set(true);
        if worker.is_draining() {
            self.slot.hasten(worker.idle_close_at(now));
        }
        self.stage = Stage::Waiting { stream, peer, first };
    }

    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match &mut self.stage {
                Stage::Over => return Poll::Ready(()),
                Stage::Waiting { stream, first, .. } => {
                    let purpose = match stream.poll_readable(cx) {
                        Poll::Ready(Ok(())) => Purpose::Serve { first: *first },
                        Poll::Ready(Err(_gone)) => Purpose::Close,
                        Poll::Pending if self.slot.has_expired() => Purpose::Close,
                        Poll::Pending => {
                            let worker = &self.open.worker;
                            if worker.is_relieved(stream) {
                                self.slot.hasten(worker.relief_close_at(worker.now()));
                            }
                            self.slot.register(cx);
                            return Poll::Pending;
                        }
                    };
                    self.visit(purpose);
                }
                Stage::Busy(attendant) => {
                    let left = ready!(attendant.poll(cx));
                    if let Stage::Busy(attendant) = std::mem::replace(&mut self.stage, Stage::Over) {
                        self.open.worker.store.give_attendant(attendant);
                    }
                    if let Some((stream, peer, first)) = left {
                        self.wait(stream, peer, first);
                    }
                }
            }
        }
    }

    /// Goes to an attendant.
    fn visit(&mut self, purpose: Purpose) {
        self.slot.idle.set(false);
        let Stage::Waiting { stream, peer, .. } = std::mem::replace(&mut self.stage, Stage::Over) else { return };
        // A plain connection on which nothing is under way is simply dropped.
        if purpose == Purpose::Close && matches!(stream, Stream::Plain(_)) {
            return;
        }
        let (worker, cell) = (Rc::clone(&self.open.worker), Rc::clone(&self.open.cell));
        let attendant = worker.store.take_attendant();
        let visit = Visit { worker, cell, stream, peer, slot: Rc::clone(&self.slot), purpose };
        attendant.take(visit);
        self.stage = Stage::Busy(attendant);
    }
}

impl Future for Client {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let client = self.get_mut();
        let worker = Rc::clone(&client.open.worker);
        worker.turn(|| client.poll_turn(cx))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_waiting_connection_is_small() {
        // Tokio adds about 100 bytes and rounds up to multiples of 128.
        assert!(size_of::<Client>() <= 152, "{} bytes", size_of::<Client>());
    }
}

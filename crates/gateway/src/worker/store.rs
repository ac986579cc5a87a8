//! What busy connections borrow from their worker, with all its memory used again.

use std::cell::RefCell;
use std::rc::Rc;

use crate::http::client::Attendant;
use crate::http::connection;
use crate::http::exchange::Exchange;
use crate::http2::request::Seat;

/// Of each kind so many are kept for the next busy connection; beyond them memory goes back.
const KEPT: usize = 256;

/// Things to borrow, the one used last on top.
#[derive(Default)]
pub(crate) struct Store {
    #[expect(clippy::vec_box, reason = "an exchange is large; it moves in and out of the store as a pointer")]
    exchanges: RefCell<Vec<Box<Exchange>>>,
    attendants: RefCell<Vec<Attendant>>,
    seats: RefCell<Vec<Rc<Seat>>>,
}

impl Store {
    /// An exchange for a connection that becomes busy.
    pub(crate) fn take_exchange(&self) -> Box<Exchange> {
        let kept = self.exchanges.borrow_mut().pop();
        kept.unwrap_or_else(|| Box::new(Exchange::new()))
    }

    /// Takes it back.
    pub(crate) fn give_exchange(&self, mut exchange: Box<Exchange>) {
        // The output's storage goes back last, so that the next one to read an answer finds it warm.
        exchange.input.clear();
        exchange.output.clear();
        let mut exchanges = self.exchanges.borrow_mut();
        if exchanges.len() < KEPT {
            exchanges.push(exchange);
        }
    }

    /// Somebody to serve a connection that becomes busy.
    pub(crate) fn take_attendant(&self) -> Attendant {
        let kept = self.attendants.borrow_mut().pop();
        kept.unwrap_or_else(|| Attendant::new(connection::serve))
    }

    /// Takes them back.
    pub(crate) fn give_attendant(&self, attendant: Attendant) {
        let mut attendants = self.attendants.borrow_mut();
        if attendants.len() < KEPT {
            attendants.push(attendant);
        }
    }

    /// A task that waits for a request on an HTTP/2 connection.
    pub(crate) fn take_seat(&self) -> Option<Rc<Seat>> {
        self.seats.borrow_mut().pop()
    }

    /// Takes it back, when it has served the request. `false` if enough tasks wait.
    pub(crate) fn give_seat(&self, seat: &Rc<Seat>) -> bool {
        let mut seats = self.seats.borrow_mut();
        let has_room = seats.len() < KEPT;
        if has_room {
            seats.push(Rc::clone(seat));
        }
        has_room
    }
}

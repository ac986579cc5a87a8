//! Sessions that are kept in a table: which endpoint it names, and telling it of those that are new or move.

use super::super::exchange::{Exchange, Run};
use super::super::identity;
use super::{Pin, Session, Written, binds, serves};
use crate::sessions::{Bound, Desk, Known, SessionId};

/// Looks the session of the request up.
pub(crate) async fn enter(run: &Run<'_>, desk: &Desk, exchange: &mut Exchange) {
    let service = &run.route.service;
    let Some(spec) = service.state.spec.sticky.as_ref() else { return };
    let cookie = identity::cookie(&exchange.head, exchange.head_bytes(), &spec.cookie);
    let pin = match cookie.map(SessionId::read) {
        None => Pin { session: Session::New, ..Pin::default() },
        Some(None) => Pin { session: Session::Ignored, ..Pin::default() },
        Some(Some(id)) => match desk.find(id).await {
            // An id that the table does not know is not taken over: whoever has chosen it could wait for others to use it.
            Known::Nowhere => Pin { session: Session::Ignored, ..Pin::default() },
            Known::Away => Pin { session: Session::Away, ..Pin::default() },
            Known::At(name) => match desk.index(&name).filter(|index| serves(service, *index)) {
                Some(index) => Pin { session: Session::Kept, bound: Some(index), id: Some(id), ..Pin::default() },
                None => Pin { session: Session::Moved, id: Some(id), ..Pin::default() },
            },
        },
    };
    exchange.isolation.pin = pin;
}

/// The endpoint at `index` has answered: binds the session to it, unless it is, and waits until that is safe.
pub(crate) async fn bind(run: &Run<'_>, desk: &Desk, index: usize, exchange: &mut Exchange) {
    let pin = exchange.isolation.pin;
    if !binds(exchange) || pin.session == Session::Away || pin.bound == Some(index) {
        return;
    }
    let Some(id) = pin.id.or_else(SessionId::draw) else { return };
    if pin.bound.is_some() {
        exchange.isolation.pin.session = Session::Moved;
    }
    exchange.isolation.pin.id = Some(id);
    exchange.isolation.pin.is_drawn = pin.id.is_none();
    let begun = run.worker.now();
    let bound = desk.bind(id, index).await;
    let (start, duration) = (begun.since(exchange.started), run.worker.now().since(begun));
    exchange.isolation.pin.written = Some(Written { start, duration, bound });
    if bound == Bound::Unsafe {
        run.route.state.shards.of(run.worker.index).isolation.sessions_unsafe.add(1);
    }
}

//! The cell of the request's account: the same route, to another service.

use std::rc::Rc;
use std::sync::Arc;

use mainstay_core::cell::{NAME_BYTES_MAX, Place};
use mainstay_core::random;

use super::exchange::Exchange;
use super::isolation;
use super::respond::OwnError;
use crate::cells::Stay;
use crate::spec::{Missing, TenantKey};
use crate::stream::Stream;
use crate::worker::table::Route;
use crate::worker::{Worker, hexadecimal};

pub(crate) const FULL: OwnError = OwnError { status: 503, reason: "cells-full" };
pub(crate) const MOVING: OwnError = OwnError { status: 503, reason: "account-moving" };
pub(crate) const NO_ACCOUNT: OwnError = OwnError { status: 400, reason: "no-account" };
/// What requests without an account are called together.
const DEFAULT: &str = "default";

/// The route to the cell of the request's account. What is answered with it stands for the account in its cell, for as long as
/// it lives.
pub(crate) fn enter(
    worker: &Worker,
    route: &Route,
    client: &Stream,
    exchange: &mut Exchange,
) -> Result<(Rc<Route>, Stay), OwnError> {
    let cells = route.state.spec.cells.as_ref().zip(worker.cells()).ok_or(NO_ACCOUNT)?;
    let (spec, cells) = cells;
    let account = account(&spec.account.key, client, exchange);
    let account: Box<str> = match account {
        Some(account) => account,
        None if spec.account.missing == Missing::Refuse => return Err(NO_ACCOUNT),
        None => DEFAULT.into(),
    };
    let found = cells.enter(worker.now(), &account, |place, known| match place {
        Place::In(number) => {
            let name = known.get(number).map(|cell| cell.name.as_str());
            route.cells.iter().position(|(cell, _route)| Some(cell.as_str()) == name).ok_or(None)
        }
        Place::Moving(rest) => Err(Some((MOVING, Some(rest)))),
        Place::Full => Err(Some((FULL, None))),
        Place::BadName => Err(Some((NO_ACCOUNT, None))),
    });
    match found {
        Err(Some((error, wait))) => {
            exchange.retry_after = wait;
            Err(error)
        }
        // A reload is under way, and this worker does not know the cell yet, or no more.
        Err(None) => {
            cells.leave(worker.now(), &account);
            Err(MOVING)
        }
        Ok(number) => {
            let stay = Stay { cells: Arc::clone(&cells), account, clock: worker.clock };
            let to = route.cells.get(number).map(|(_name, route)| Rc::clone(route)).ok_or(MOVING)?;
            exchange.isolation.cell = Some(number);
            Ok((to, stay))
        }
    }
}

/// The account's name. Secrets and what cannot be a name go by a hash of it.
fn account(key: &TenantKey, client: &Stream, exchange: &Exchange) -> Option<Box<str>> {
    let name = isolation::named(key, client, exchange).filter(|name| !name.is_empty())?;
    let hash = || random::hash(name);
    let hashed = |hash: u64| format!("key-{}", String::from_utf8_lossy(&hexadecimal(hash))).into();
    let text = std::str::from_utf8(name).ok().filter(|text| {
        text.len() <= NAME_BYTES_MAX && !text.chars().any(char::is_control) && !matches!(key, TenantKey::ApiKey(_))
    });
    Some(text.map_or_else(|| hashed(hash()), Box::from))
}

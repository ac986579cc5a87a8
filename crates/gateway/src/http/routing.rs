//! Where a request goes: its route, and the key by which its service may choose an endpoint.

use std::net::IpAddr;
use std::rc::Rc;

use mainstay_core::{random, route};

use super::exchange::Exchange;
use super::identity;
use crate::spec::HashKey;
use crate::worker::table::{Listener, Route};

/// The route that takes the request.
pub(crate) fn route<'a>(listener: &'a Listener, exchange: &Exchange) -> Option<&'a Rc<Route>> {
    let bytes = exchange.head_bytes();
    let head = &exchange.head;
    let host = head.host.text(bytes);
    let host = host.strip_suffix('.').unwrap_or(host);
    let mut lower = [0u8; 256];
    let host = match lower.get_mut(..host.len()) {
        Some(room) if host.bytes().any(|byte| byte.is_ascii_uppercase()) => {
            room.copy_from_slice(host.as_bytes());
            room.make_ascii_lowercase();
            std::str::from_utf8(room).unwrap_or_default()
        }
        _lower_already_or_too_long => host,
    };
    let wanted = route::Request { host, path: head.routed_path(bytes), method: head.method.text(bytes) };
    let index = listener.routes.lookup(wanted, |header| identity::has_header(head, bytes, header))?;
    listener.targets.get(index)
}

/// The hashed key of the request, if its service goes by one.
pub(crate) fn hash_key(route: &Route, exchange: &Exchange, client: IpAddr) -> Option<u64> {
    let balance = &route.service.state.spec.balance;
    if balance.policy != mainstay_core::balance::Policy::Hash {
        return None;
    }
    let bytes = exchange.head_bytes();
    match &balance.key {
        HashKey::Source => Some(match client {
            IpAddr::V4(address) => random::hash(&address.octets()),
            IpAddr::V6(address) => random::hash(&address.octets()),
        }),
        HashKey::Header(name) => identity::header(&exchange.head, bytes, name).map(random::hash),
        HashKey::Cookie(name) => identity::cookie(&exchange.head, bytes, name).map(random::hash),
    }
}

/// A segment of the path, counted from 1. As it was sent: `%61` and `a` are two names.
pub(crate) fn segment(path: &[u8], number: usize) -> Option<&[u8]> {
    path.split(|byte| *byte == b'/').nth(number)
}

//! What a request asks of the cache.

use mainstay_core::cache::{Credentials, RequestControl, selecting};

use super::Cache;
use crate::http::exchange::{Exchange, Run};
use crate::http::identity;
use crate::http1::field::Name;

/// A request that may be answered from the cache.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question {
    pub(crate) control: RequestControl,
    pub(crate) credentials: Credentials,
    /// It is HEAD: what is stored for GET answers it, but it brings nothing to store.
    pub(crate) to_head: bool,
}

/// Whom a request concerns.
pub(crate) enum Asks {
    Store(Question),
    /// It cannot be answered from the cache.
    Endpoint,
    /// It has nothing to do with the cache.
    Nothing,
}

/// The request's fields.
pub(crate) fn fields(exchange: &Exchange) -> impl Iterator<Item = (&[u8], &[u8])> + Clone {
    let bytes = exchange.head_bytes();
    exchange.head.fields.iter().map(move |field| (field.name.get(bytes), field.value.get(bytes)))
}

/// Who the request says that it is from.
pub(crate) fn credentials(exchange: &Exchange) -> Credentials {
    match (exchange.head.find(Name::Authorization), exchange.head.find(Name::Cookie)) {
        (Some(_), _) => Credentials::Authorization,
        (None, Some(_)) => Credentials::Cookie,
        (None, None) => Credentials::None,
    }
}

impl Question {
    /// Reads a request and writes the key of its URL.
    pub(crate) fn read(run: &Run<'_>, cache: &Cache, exchange: &mut Exchange) -> Asks {
        let head = &exchange.head;
        let to_head = match head.method.get(exchange.head_bytes()) {
            b"GET" => false,
            b"HEAD" => true,
            _other => return Asks::Nothing,
        };
        if head.wants_upgrade {
            return Asks::Nothing;
        }
        if head.framing.has_body() || exchange.call.is_some() {
            return Asks::Endpoint;
        }
        let mut control = RequestControl::default();
        let (mut has_control, mut is_special, mut pragma) = (false, false, None);
        for (name, value) in fields(exchange) {
            let is = |text: &str| name.eq_ignore_ascii_case(text.as_bytes());
            match name.len() {
                5 => is_special |= is("range"),
                6 if is("pragma") => pragma = Some(value),
                8 => is_special |= is("if-match") || is("if-range"),
                13 if is("cache-control") => {
                    has_control = true;
                    control.read(value);
                }
                19 => is_special |= is("if-unmodified-since"),
                _other => {}
            }
        }
        // Parts of a response, and requests that want to be refused if it has changed, are for the origin.
        if is_special || control.no_store {
            return Asks::Endpoint;
        }
        if let Some(pragma) = pragma.filter(|_pragma| !has_control) {
            control.read_pragma(pragma);
        }
        if !cache.spec.obeys_clients {
            control = RequestControl { only_if_cached: control.only_if_cached, ..RequestControl::default() };
        }
        write_key(run, exchange);
        let credentials = credentials(exchange);
        Asks::Store(Self { control, credentials, to_head })
    }

    /// What tells apart requests that do not wait for each other.
    pub(crate) fn flight(&self, cache: &Cache, exchange: &Exchange) -> Vec<u8> {
        let key = &exchange.cache.key;
        let mut flight = Vec::with_capacity(key.len() + 32);
        flight.extend_from_slice(key);
        flight.push(0);
        flight.push(self.credentials as u8);
        flight.extend_from_slice(&cache.zone.to_ne_bytes());
        if let Some(resource) = cache.store.get(key) {
            selecting(resource.varies_on(cache.zone), fields(exchange), &mut flight);
        }
        flight
    }
}

/// Writes the key of the request's URL: scheme, authority in lower case without the scheme's own port, path and query. Where
/// a trusted proxy says what the client used, that counts: the origin is told the same.
pub(crate) fn write_key(run: &Run<'_>, exchange: &mut Exchange) {
    let mut key = std::mem::take(&mut exchange.cache.key);
    let (head, bytes) = (&exchange.head, exchange.head_bytes());
    let trusted = |name| head.find(name).filter(|_field| run.is_trusted).map(|field| field.value.get(bytes));
    let own: &[u8] = if run.listener.tls.is_some() { b"https" } else { b"http" };
    let scheme = trusted(Name::ForwardedProto).unwrap_or(own);
    let authority = head.authority.get(bytes);
    let port: &[u8] = if scheme.eq_ignore_ascii_case(b"https") { b":443" } else { b":80" };
    key.clear();
    key.extend_from_slice(scheme);
    key.push(b' ');
    key.extend_from_slice(authority.strip_suffix(port).unwrap_or(authority));
    if let Some(host) = trusted(Name::ForwardedHost) {
        key.push(b',');
        key.extend_from_slice(host);
    }
    key.make_ascii_lowercase();
    key.push(b' ');
    key.extend_from_slice(head.target_prefix(bytes));
    key.extend_from_slice(head.target.get(bytes));
    exchange.cache.key = key;
}

/// The lines of a field of the request.
pub(crate) fn lines<'a>(exchange: &'a Exchange, name: &'static str) -> impl Iterator<Item = &'a [u8]> {
    let is_named = move |field: &(&[u8], &[u8])| field.0.eq_ignore_ascii_case(name.as_bytes());
    fields(exchange).filter(is_named).map(|(_name, value)| value)
}

/// The first line of a field of the request.
pub(crate) fn line<'a>(exchange: &'a Exchange, name: &'static str) -> Option<&'a [u8]> {
    identity::header(&exchange.head, exchange.head_bytes(), name)
}

//! Who a client is: the peer itself, or whom a trusted proxy names.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use crate::http1::field::{self, Name};
use crate::http1::request;

/// Whether `peer` is one of the proxies that are believed.
pub(crate) fn is_trusted(peer: IpAddr, proxies: &[IpNet]) -> bool {
    let peer = peer.to_canonical();
    proxies.iter().any(|network| network.contains(&peer))
}

/// The client's address: walks `X-Forwarded-For` from right to left past trusted hops, starting at a trusted peer.
pub(crate) fn client(peer: SocketAddr, proxies: &[IpNet], head: &request::Head, bytes: &[u8]) -> IpAddr {
    let mut client = peer.ip().to_canonical();
    if proxies.is_empty() || !is_trusted(client, proxies) {
        return client;
    }
    for line in head.fields.iter().rev().filter(|field| field.known == Name::ForwardedFor) {
        let value = line.value.get(bytes);
        for hop in value.rsplit(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            let Some(address) = std::str::from_utf8(hop).ok().and_then(|text| text.parse::<IpAddr>().ok()) else {
                return client;
            };
            client = address.to_canonical();
            if !is_trusted(client, proxies) {
                return client;
            }
        }
    }
    client
}

/// The value of cookie `name` in the request, for hashing (RFC 6265, section 4.2).
pub(crate) fn cookie<'a>(head: &request::Head, bytes: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let lines = head.fields.iter().filter(|field| field.known == Name::Cookie);
    lines.flat_map(|line| line.value.get(bytes).split(|byte| *byte == b';')).find_map(|pair| {
        let pair = pair.trim_ascii();
        let equals = memchr::memchr(b'=', pair)?;
        (&pair[..equals] == name.as_bytes()).then(|| &pair[equals + 1..])
    })
}

/// Whether the request carries the header that a route asks for.
pub(crate) fn has_header(head: &request::Head, bytes: &[u8], wanted: &mainstay_core::route::Header) -> bool {
    head.fields.iter().any(|it| {
        it.name.get(bytes).eq_ignore_ascii_case(wanted.name.as_bytes())
            && wanted.value.as_ref().is_none_or(|value| value.as_bytes() == it.value.get(bytes))
    })
}

/// The value of the first header `name`.
pub(crate) fn header<'a>(head: &request::Head, bytes: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let field = head.fields.iter().find(|it| it.name.get(bytes).eq_ignore_ascii_case(name.as_bytes()))?;
    Some(field.value.get(bytes))
}

/// Whether `id` may be taken over as a request id: short, and nothing that could upset a log.
pub(crate) fn is_request_id(id: &[u8]) -> bool {
    (1..=128).contains(&id.len()) && id.iter().all(|byte| field::is_token(*byte) || matches!(byte, b':' | b'/' | b'='))
}

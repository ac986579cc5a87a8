//! Heads that are written in HTTP/1.1, in the compressed form of HTTP/2 (RFC 9113, section 8.3). What belongs to a connection
//! of HTTP/1.1 is left out; an upgrade becomes an extended `CONNECT` (RFC 8441).

use mainstay_http2::hpack::{Encoder, Indexing, indexing_for};

use crate::http1::field::Name;

/// The lines of a head: the first one, then the fields.
fn lines(head: &[u8]) -> impl Iterator<Item = &[u8]> {
    memchr::memchr_iter(b'\n', head)
        .scan(0, |start, end| {
            let line = head.get(*start..end).unwrap_or_default();
            *start = end + 1;
            Some(line.strip_suffix(b"\r").unwrap_or(line))
        })
        .take_while(|line| !line.is_empty())
}

fn name_and_value(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = memchr::memchr(b':', line)?;
    Some((line.get(..colon)?, line.get(colon + 1..)?.trim_ascii()))
}

/// Encodes the fields that may stand in HTTP/2, their names in lower case.
fn fields<'a>(
    encoder: &mut Encoder,
    out: &mut Vec<u8>,
    lines: impl Iterator<Item = &'a [u8]>,
    keep: impl Fn(&[u8], Name) -> bool,
) {
    let mut lowered = [0u8; 256];
    for (name, value) in lines.filter_map(name_and_value) {
        let known = Name::of(name);
        let is_of_connection = match known {
            Name::Connection | Name::TransferEncoding | Name::Upgrade | Name::Host => true,
            Name::HopByHop => !name.eq_ignore_ascii_case(b"trailer"),
            _end_to_end => false,
        };
        if is_of_connection || !keep(name, known) {
            continue;
        }
        let Some(lower) = lowered.get_mut(..name.len()) else { continue };
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        encoder.field(out, lower, value, indexing_for(lower));
    }
}

/// Encodes a response's head. A 101 becomes a 200: in HTTP/2 that is the answer that opens a tunnel.
pub(crate) fn response(encoder: &mut Encoder, out: &mut Vec<u8>, head: &[u8]) {
    let mut lines = lines(head);
    let digits = lines.next().and_then(|line| line.get(9..12)).unwrap_or(b"502");
    let status = digits.iter().fold(0, |status, digit| status * 10 + u16::from(digit.wrapping_sub(b'0')));
    let opens_tunnel = status == 101;
    encoder.status(out, if opens_tunnel { 200 } else { status });
    fields(encoder, out, lines, |name, _known| !(opens_tunnel && name.eq_ignore_ascii_case(b"sec-websocket-accept")));
}

/// Encodes a request's head.
pub(crate) fn request(encoder: &mut Encoder, out: &mut Vec<u8>, head: &[u8], scheme: &'static str) {
    let find =
        |wanted: Name| lines(head).skip(1).filter_map(name_and_value).find(|(name, _value)| Name::of(name) == wanted);
    let mut start = lines(head).next().unwrap_or_default().split(|byte| *byte == b' ');
    let (method, target) = (start.next().unwrap_or_default(), start.next().unwrap_or_default());
    let upgrade = find(Name::Upgrade).map(|(_name, protocol)| protocol);
    encoder.field(out, b":method", if upgrade.is_some() { b"CONNECT" } else { method }, Indexing::Index);
    if let Some(protocol) = upgrade {
        encoder.field(out, b":protocol", protocol, Indexing::Index);
    }
    encoder.field(out, b":scheme", scheme.as_bytes(), Indexing::Index);
    if let Some((_name, authority)) = find(Name::Host).filter(|(_name, authority)| !authority.is_empty()) {
        encoder.field(out, b":authority", authority, Indexing::Index);
    }
    encoder.field(out, b":path", target, Indexing::Without);
    let is_tunnel = upgrade.is_some();
    fields(encoder, out, lines(head).skip(1), |name, _known| {
        !(is_tunnel && name.eq_ignore_ascii_case(b"sec-websocket-key"))
    });
}

#[cfg(test)]
mod tests {
    use mainstay_http2::hpack::{Decoder, Limits};

    use super::*;

    fn decoded(encode: impl FnOnce(&mut Encoder, &mut Vec<u8>)) -> Vec<(String, String)> {
        let mut block = Vec::new();
        let mut encoder = Encoder::new();
        encoder.begin(&mut block);
        encode(&mut encoder, &mut block);
        let mut fields = Vec::new();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
        Decoder::new(4096)
            .decode(&block, Limits { list_bytes: 65536 }, |name, value| fields.push((text(name), text(value))))
            .expect("a valid block");
        fields
    }

    fn pairs(fields: &[(&str, &str)]) -> Vec<(String, String)> {
        fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_response_loses_what_belongs_to_the_connection() {
        let head = b"HTTP/1.1 200 OK\r\nContent-Type: a\r\nConnection: close\r\ntransfer-encoding: chunked\r\n\r\n";
        let fields = decoded(|encoder, out| response(encoder, out, head));
        assert_eq!(fields, pairs(&[(":status", "200"), ("content-type", "a")]));
    }

    #[test]
    fn a_request_gets_pseudo_header_fields() {
        let head = b"POST /a?b HTTP/1.1\r\nhost: x.test:1\r\nTE: trailers\r\nconnection: te\r\nX-A: b\r\n\r\n";
        let fields = decoded(|encoder, out| request(encoder, out, head, "https"));
        let expected = [
            (":method", "POST"),
            (":scheme", "https"),
            (":authority", "x.test:1"),
            (":path", "/a?b"),
            ("te", "trailers"),
            ("x-a", "b"),
        ];
        assert_eq!(fields, pairs(&expected));
    }

    #[test]
    fn an_upgrade_becomes_an_extended_connect_and_its_answer_200() {
        let head = b"GET /ws HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nsec-websocket-key: k\r\nsec-websocket-version: 13\r\n\r\n";
        let fields = decoded(|encoder, out| request(encoder, out, head, "http"));
        let expected = [
            (":method", "CONNECT"),
            (":protocol", "websocket"),
            (":scheme", "http"),
            (":authority", "x"),
            (":path", "/ws"),
            ("sec-websocket-version", "13"),
        ];
        assert_eq!(fields, pairs(&expected));
        let head = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nsec-websocket-accept: a\r\n\r\n";
        assert_eq!(decoded(|encoder, out| response(encoder, out, head)), pairs(&[(":status", "200")]));
    }
}

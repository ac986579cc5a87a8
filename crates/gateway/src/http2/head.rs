//! Heads that came in HTTP/2, laid out as those of HTTP/1.1 are: bytes in a buffer, and spans of them.

use mainstay_http2::Fields;

use crate::http1::body::Framing;
use crate::http1::field::{self, Field, Name, Span};
use crate::http1::request::{self, Reject};
use crate::http1::{response, websocket};
use crate::stream::Buffer;

fn span(span: mainstay_http2::Span) -> Span {
    Span::new(span.start, span.end)
}

fn list(fields: &Fields, into: &mut Vec<Field>) {
    into.clear();
    into.extend(fields.list().iter().map(|field| Field {
        name: span(field.name),
        value: span(field.value),
        known: Name::of(field.name.get(fields.bytes())),
    }));
}

/// Appends `bytes` to the head and answers where they stand.
fn append(input: &mut Buffer, bytes: &[u8]) -> Result<Span, Reject> {
    let start = input.all().len() as u32;
    if !input.append(bytes) {
        return Err(Reject::TooLarge);
    }
    Ok(Span::new(start, start + bytes.len() as u32))
}

/// Lays out a request. `ended` says that no body follows; `key` is the `Sec-WebSocket-Key` for an endpoint that needs one.
///
/// # Errors
/// If the request cannot be served, whatever its route.
pub(crate) fn request(
    fields: &Fields,
    ended: bool,
    key: &[u8; 24],
    input: &mut Buffer,
    head: &mut request::Head,
) -> Result<(), Reject> {
    input.clear();
    if fields.is_too_large() {
        return Err(Reject::TooLarge);
    }
    append(input, fields.bytes())?;
    list(fields, &mut head.fields);
    head.nominated.clear();
    head.is_http10 = false;
    head.is_http2 = true;
    head.keep_alive = true;
    head.method = fields.method().map(span).unwrap_or_default();
    head.wants_upgrade = false;
    if let Some(protocol) = fields.protocol() {
        if !protocol.get(fields.bytes()).eq_ignore_ascii_case(b"websocket") {
            return Err(Reject::Protocol);
        }
        // For everything behind it is the upgrade that it would be in HTTP/1.1 (RFC 8441, section 5).
        head.wants_upgrade = true;
        head.method = append(input, b"GET")?;
        for (name, value) in [(&b"upgrade"[..], &b"websocket"[..]), (b"sec-websocket-key", key)] {
            let field = Field { name: append(input, name)?, value: append(input, value)?, known: Name::of(name) };
            head.fields.push(field);
        }
    }
    head.framing = match fields.content_length() {
        _ if head.wants_upgrade => Framing::None,
        Some(0) => Framing::Empty,
        Some(length) => Framing::Length(length),
        None if ended => Framing::None,
        None => Framing::UntilClose,
    };
    head.length = input.all().len();
    let bytes = input.all();
    let value = |name: Name| head.fields.iter().find(|field| field.known == name).map(|field| field.value);
    head.accepts_trailers = value(Name::Te).is_some();
    head.expects_continue = match value(Name::Expect) {
        Some(expect) if expect.get(bytes).eq_ignore_ascii_case(b"100-continue") => head.framing.has_body(),
        Some(_) => return Err(Reject::Expectation),
        None => false,
    };
    head.max_forwards = match value(Name::MaxForwards) {
        Some(hops) if matches!(head.method.get(bytes), b"OPTIONS" | b"TRACE") => {
            Some(field::hops(hops.get(bytes)).ok_or(Reject::Malformed)?)
        }
        _other => None,
    };
    head.authority = match fields.authority().map(span).or_else(|| value(Name::Host)) {
        Some(authority) => authority,
        None => return Err(Reject::Host),
    };
    let target = fields.path().map(span).unwrap_or_default();
    request::read_target(head.method.text(bytes), target, bytes, head)
}

/// Makes of a 200 to an extended `CONNECT` the 101 that opens the same tunnel in HTTP/1.1 (RFC 8441, section 5).
pub(crate) fn switch_protocols(
    request: &request::Head,
    request_bytes: &[u8],
    output: &mut Buffer,
    head: &mut response::Head,
) {
    head.status = 101;
    head.framing = Framing::None;
    let key = request.fields.iter().find(|it| it.name.get(request_bytes).eq_ignore_ascii_case(b"sec-websocket-key"));
    let accept = websocket::accept(key.map_or(&b""[..], |key| key.value.get(request_bytes)));
    for (name, value) in [(&b"upgrade"[..], &b"websocket"[..]), (b"sec-websocket-accept", accept.as_bytes())] {
        if let (Ok(at), Ok(value)) = (append(output, name), append(output, value)) {
            head.fields.push(Field { name: at, value, known: Name::of(name) });
        }
    }
    head.length = output.all().len();
}

/// Lays out a response. `ended` says that no body follows; `to_head` that the request was HEAD.
pub(crate) fn response(fields: &Fields, ended: bool, to_head: bool, output: &mut Buffer, head: &mut response::Head) {
    output.clear();
    // A list of fields is far smaller than a buffer; one that were not would be cut, and its spans be empty.
    let _fits = output.append(fields.bytes());
    list(fields, &mut head.fields);
    head.nominated.clear();
    head.length = output.all().len();
    head.status = fields.status();
    head.reason = Span::default();
    head.upgrades = false;
    head.keep_alive = true;
    head.framing = match fields.content_length() {
        _ if to_head || head.status < 200 || matches!(head.status, 204 | 304) => Framing::None,
        Some(0) => Framing::Empty,
        Some(length) => Framing::Length(length),
        None if ended => Framing::Empty,
        None => Framing::UntilClose,
    };
}

//! Heads written anew, field by field: nothing of a received head is ever forwarded as raw bytes.

use std::io::Write;
use std::time::Duration;

use mainstay_core::grpc;

use super::body::Framing;
use super::field::{Field, Name, Span};
pub(crate) use super::ops::Ops;
use super::{request, response};
use crate::admission::Passed;
use crate::telemetry::context;

/// Who the client is, for the headers that tell the endpoint.
#[derive(Debug)]
pub(crate) struct Identity<'a> {
    /// The peer's address, as text.
    pub(crate) peer: &'a str,
    /// The peer is a proxy whose forwarding headers are believed.
    pub(crate) is_trusted: bool,
    pub(crate) scheme: &'static str,
    pub(crate) request_id: &'a [u8],
}

/// What is written besides the fields themselves.
#[derive(Debug)]
pub(crate) struct Forward<'a> {
    pub(crate) identity: Identity<'a>,
    /// Length of the path prefix that is replaced, and what replaces it.
    pub(crate) rewrite: Option<(usize, &'a str)>,
    pub(crate) ops: &'a Ops,
    /// 0 for the first attempt, which goes without the header.
    pub(crate) attempt: u32,
    /// What the endpoint is told of the request's deadline and criticality.
    pub(crate) passed: Passed<'a>,
    /// The cache asks for its own sake: whether what it has stored is still good, or for the whole of it.
    pub(crate) validate: Option<Validate<'a>>,
    /// What is left of a gRPC call's time.
    pub(crate) time_left: Option<Duration>,
    /// What the endpoint is told of the trace; without it what came goes on as it is.
    pub(crate) context: Option<context::Passed>,
}

/// The conditions under which the cache wants a response, in place of the client's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Validate<'a> {
    pub(crate) etag: Option<&'a [u8]>,
    pub(crate) modified: Option<&'a [u8]>,
}

/// Writes the conditions of the cache, if it asks.
fn conditions(out: &mut Vec<u8>, validate: Option<Validate<'_>>) {
    let Some(Validate { etag, modified }) = validate else { return };
    etag.into_iter().for_each(|etag| field(out, b"if-none-match", etag));
    modified.into_iter().for_each(|modified| field(out, b"if-modified-since", modified));
}

/// Whether this is a condition that the cache replaces.
fn is_condition(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"if-none-match") || name.eq_ignore_ascii_case(b"if-modified-since")
}

/// Writes `name: value`.
pub(crate) fn field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Writes an integer in decimal without going through formatting.
pub(crate) fn decimal(out: &mut Vec<u8>, value: u64) {
    let digit = |place: u64| b'0' + (value / place % 10) as u8;
    // Statuses, lengths and times mostly have few digits, and a slice of known length is written without a call.
    match value {
        0..=9 => out.push(digit(1)),
        10..=99 => out.extend_from_slice(&[digit(10), digit(1)]),
        100..=999 => out.extend_from_slice(&[digit(100), digit(10), digit(1)]),
        1000..=9999 => out.extend_from_slice(&[digit(1000), digit(100), digit(10), digit(1)]),
        _longer => {
            let mut digits = [0u8; 20];
            let mut at = digits.len();
            let mut rest = value;
            while rest > 0 {
                at -= 1;
                digits[at] = b'0' + (rest % 10) as u8;
                rest /= 10;
            }
            out.extend_from_slice(&digits[at..]);
        }
    }
}

/// Writes how the body that follows is framed.
fn framing(out: &mut Vec<u8>, framing: Framing) {
    match framing {
        Framing::None | Framing::UntilClose => {}
        Framing::Empty => out.extend_from_slice(b"content-length: 0\r\n"),
        Framing::Length(length) => {
            out.extend_from_slice(b"content-length: ");
            decimal(out, length);
            out.extend_from_slice(b"\r\n");
        }
        Framing::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
    }
}

/// Whether the sender wants the field to go no further than here.
pub(crate) fn is_nominated(nominated: &[Span], bytes: &[u8], field: &Field) -> bool {
    !nominated.is_empty() && {
        let name = field.name.get(bytes);
        field.known.may_be_nominated(name) && nominated.iter().any(|it| it.get(bytes).eq_ignore_ascii_case(name))
    }
}

/// Writes the head that goes to the endpoint.
pub(crate) fn request(out: &mut Vec<u8>, head: &request::Head, bytes: &[u8], forward: &Forward<'_>) {
    out.extend_from_slice(head.method.get(bytes));
    out.push(b' ');
    target(out, head, bytes, forward.rewrite);
    out.extend_from_slice(b" HTTP/1.1\r\n");
    field(out, b"host", head.authority.get(bytes));
    for it in &head.fields {
        let name = it.name.get(bytes);
        let keep = passes(it.known, name, head, forward);
        let is_replaced = forward.validate.is_some() && is_condition(name);
        if keep && !is_replaced && !is_nominated(&head.nominated, bytes, it) && !forward.ops.removes(name) {
            field(out, name, it.value.get(bytes));
        }
    }
    conditions(out, forward.validate);
    // A body whose length is not known, from HTTP/2, goes in chunks.
    framing(out, if head.framing == Framing::UntilClose { Framing::Chunked } else { head.framing });
    identity(out, head, bytes, &forward.identity);
    if !forward.ops.removes(b"via") {
        out.extend_from_slice(match (head.is_http2, head.is_http10) {
            (true, _) => b"via: 2.0 mainstay\r\n",
            (false, true) => b"via: 1.0 mainstay\r\n",
            (false, false) => b"via: 1.1 mainstay\r\n",
        });
    }
    if let Some(hops) = head.max_forwards {
        out.extend_from_slice(b"max-forwards: ");
        decimal(out, hops.saturating_sub(1));
        out.extend_from_slice(b"\r\n");
    }
    hop(out, head, bytes);
    if let Some(left) = forward.time_left {
        out.extend_from_slice(b"grpc-timeout: ");
        grpc::write_timeout(left, out);
        out.extend_from_slice(b"\r\n");
    }
    forward.passed.write(out);
    if let Some(context) = &forward.context {
        context.write(out, head, bytes, forward.ops);
    }
    if forward.attempt > 0 {
        out.extend_from_slice(b"x-mainstay-attempt: ");
        decimal(out, u64::from(forward.attempt));
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(&forward.ops.set);
    out.extend_from_slice(b"\r\n");
}

/// Whether a field of the request goes further than here, apart from what its sender and the configuration say.
fn passes(known: Name, name: &[u8], head: &request::Head, forward: &Forward<'_>) -> bool {
    match known {
        Name::Host
        | Name::ContentLength
        | Name::TransferEncoding
        | Name::Connection
        | Name::Upgrade
        | Name::Te
        | Name::HopByHop
        | Name::RequestId
        | Name::OwnError
        | Name::ForwardedFor
        | Name::Forwarded => false,
        // Only a forward.identity.is_trusted layer in front of us may say that this is a retry already; the header names the chain's count.
        Name::Attempt => forward.identity.is_trusted && forward.attempt == 0,
        Name::ForwardedProto | Name::ForwardedHost | Name::ForwardedOther | Name::Mirror => forward.identity.is_trusted,
        Name::MaxForwards => head.max_forwards.is_none(),
        Name::GrpcTimeout => forward.time_left.is_none(),
        Name::TraceParent | Name::TraceState | Name::B3 => forward.context.is_none(),
        Name::Expect | Name::IdempotencyKey | Name::Cookie | Name::Authorization | Name::Date | Name::ContentType => {
            true
        }
        Name::Other | Name::LoadReport => !forward.passed.replaces(name),
    }
}

fn target(out: &mut Vec<u8>, head: &request::Head, bytes: &[u8], rewrite: Option<(usize, &str)>) {
    let Some((prefix, replacement)) = rewrite else {
        out.extend_from_slice(head.target_prefix(bytes));
        return out.extend_from_slice(head.target.get(bytes));
    };
    let rest = head.target.skip(prefix).get(bytes);
    let start = out.len();
    out.extend_from_slice(replacement.as_bytes());
    // `/a` rewritten to `/` leaves `/` and `/rest`, never `//rest` nor an empty path.
    if replacement.ends_with('/') && rest.first() == Some(&b'/') {
        out.pop();
    }
    if out.len() == start && rest.first() != Some(&b'/') {
        out.push(b'/');
    }
    out.extend_from_slice(rest);
}

/// Writes who the client is: appended to what a trusted proxy said, in place of what anybody else claimed.
fn identity(out: &mut Vec<u8>, head: &request::Head, bytes: &[u8], identity: &Identity<'_>) {
    let trusted = |name| head.fields.iter().filter(move |it| identity.is_trusted && it.known == name);
    out.extend_from_slice(b"x-forwarded-for: ");
    for it in trusted(Name::ForwardedFor) {
        out.extend_from_slice(it.value.get(bytes));
        out.extend_from_slice(b", ");
    }
    out.extend_from_slice(identity.peer.as_bytes());
    out.extend_from_slice(b"\r\n");
    if trusted(Name::ForwardedProto).next().is_none() {
        field(out, b"x-forwarded-proto", identity.scheme.as_bytes());
    }
    if trusted(Name::ForwardedHost).next().is_none() {
        field(out, b"x-forwarded-host", head.authority.get(bytes));
    }
    if head.find(Name::Forwarded).is_some() {
        out.extend_from_slice(b"forwarded: ");
        for it in trusted(Name::Forwarded) {
            out.extend_from_slice(it.value.get(bytes));
            out.extend_from_slice(b", ");
        }
        // An IPv6 address stands in brackets and quotes (RFC 7239, section 6).
        let (open, close) = if identity.peer.contains(':') { ("\"[", "]\"") } else { ("", "") };
        let host = head.authority.text(bytes);
        // Writing to a vector cannot fail.
        let _written = write!(out, "for={open}{}{close};proto={};host=\"{host}\"\r\n", identity.peer, identity.scheme);
    }
    field(out, b"x-request-id", identity.request_id);
}

/// Writes what concerns the next hop: an upgrade, or the wish for trailers.
fn hop(out: &mut Vec<u8>, head: &request::Head, bytes: &[u8]) {
    if head.wants_upgrade {
        out.extend_from_slice(b"connection: upgrade\r\n");
        for it in head.fields.iter().filter(|it| it.known == Name::Upgrade) {
            field(out, b"upgrade", it.value.get(bytes));
        }
    } else if head.accepts_trailers {
        out.extend_from_slice(b"connection: te\r\nte: trailers\r\n");
    }
}

/// How a response head is written for the client.
#[derive(Debug)]
pub(crate) struct Respond<'a> {
    pub(crate) framing: Framing,
    pub(crate) connection: Connection,
    pub(crate) ops: &'a Ops,
    pub(crate) request_id: &'a [u8],
    /// The present, if the endpoint did not say when it answered.
    pub(crate) date: Option<[u8; 29]>,
    /// The answer to HEAD and 304 keep the length that a body would have had.
    pub(crate) keep_length: bool,
    /// Lines of the gateway's own.
    pub(crate) marks: [&'a [u8]; 3],
}

/// What the client is told about its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Connection {
    /// It stays open, which HTTP/1.1 takes for granted.
    Open,
    /// It stays open, which HTTP/1.0 must be told.
    KeepAlive,
    /// It closes after this response.
    Close,
    /// It becomes a tunnel.
    Upgrade,
}

/// Writes a final or interim response head for the client. `informational` heads carry no framing and no connection.
pub(crate) fn response(out: &mut Vec<u8>, head: &response::Head, bytes: &[u8], respond: &Respond<'_>) {
    out.extend_from_slice(b"HTTP/1.1 ");
    decimal(out, u64::from(head.status));
    out.push(b' ');
    // HTTP/2 has no reason phrases, and some clients of HTTP/1.1 do not bear an empty one.
    let reason = head.reason.get(bytes);
    out.extend_from_slice(if reason.is_empty() { phrase(head.status).as_bytes() } else { reason });
    out.extend_from_slice(b"\r\n");
    let informational = head.status < 200 && head.status != 101;
    for it in &head.fields {
        let name = it.name.get(bytes);
        let keep = match it.known {
            Name::TransferEncoding
            | Name::Connection
            | Name::Te
            | Name::HopByHop
            | Name::RequestId
            | Name::OwnError => false,
            Name::Upgrade => respond.connection == Connection::Upgrade,
            Name::ContentLength => respond.keep_length,
            _end_to_end => true,
        };
        if keep && !is_nominated(&head.nominated, bytes, it) && !respond.ops.removes(name) {
            field(out, name, it.value.get(bytes));
        }
    }
    if !informational {
        if !respond.keep_length {
            framing(out, respond.framing);
        }
        connection(out, respond.connection);
        if let Some(date) = &respond.date {
            field(out, b"date", date);
        }
        field(out, b"x-request-id", respond.request_id);
        out.extend_from_slice(&respond.ops.set);
        respond.marks.iter().for_each(|mark| out.extend_from_slice(mark));
    }
    out.extend_from_slice(b"\r\n");
}

/// The reason phrase of a status (RFC 9110, section 15).
pub(crate) const fn phrase(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        103 => "Early Hints",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        206 => "Partial Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        417 => "Expectation Failed",
        422 => "Unprocessable Content",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _other => "Other",
    }
}

/// Writes the `connection` header, if one is due.
pub(crate) fn connection(out: &mut Vec<u8>, connection: Connection) {
    out.extend_from_slice(match connection {
        Connection::Open => b"",
        Connection::KeepAlive => b"connection: keep-alive\r\n",
        Connection::Close => b"connection: close\r\n",
        Connection::Upgrade => b"connection: upgrade\r\n",
    });
}

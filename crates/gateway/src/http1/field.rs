//! Header fields as ranges of the buffer that they arrived in, with the names that matter to a proxy told apart once.

use std::ops::Range;

/// A range of bytes in a head. Heads are far below 4 GiB, so 32 bits do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// The place of `part` inside `whole`, of which it must be a slice; an empty span otherwise.
    pub(crate) fn of(part: &[u8], whole: &[u8]) -> Self {
        let start = (part.as_ptr() as usize).wrapping_sub(whole.as_ptr() as usize);
        if start.checked_add(part.len()).is_none_or(|end| end > whole.len()) {
            return Self::default();
        }
        Self { start: start as u32, end: (start + part.len()) as u32 }
    }

    /// The bytes from `start` to before `end`.
    pub(crate) const fn new(start: u32, end: u32) -> Self {
        Self { start, end }
    }

    /// The bytes in `head`, which must be the head that the span was made from.
    pub(crate) fn get<'a>(&self, head: &'a [u8]) -> &'a [u8] {
        head.get(self.range()).unwrap_or_default()
    }

    /// As text. Everything that a span is made of has been checked to be ASCII where text is asked for.
    pub(crate) fn text<'a>(&self, head: &'a [u8]) -> &'a str {
        std::str::from_utf8(self.get(head)).unwrap_or_default()
    }

    pub(crate) fn range(&self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// The span without its first `by` bytes.
    pub(crate) fn skip(self, by: usize) -> Self {
        Self { start: self.start.saturating_add(by as u32).min(self.end), end: self.end }
    }

    /// The first `length` bytes of the span.
    pub(crate) fn take(self, length: usize) -> Self {
        Self { start: self.start, end: self.start.saturating_add(length as u32).min(self.end) }
    }
}

/// Field names that the gateway acts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    Host,
    ContentLength,
    TransferEncoding,
    Connection,
    Upgrade,
    Te,
    Expect,
    /// `Keep-Alive`, `Trailer`, `Proxy-*`: meant for this hop alone and of no use to us.
    HopByHop,
    Forwarded,
    ForwardedFor,
    ForwardedProto,
    ForwardedHost,
    /// Other `X-Forwarded-*`.
    ForwardedOther,
    RequestId,
    Attempt,
    /// The header by which the gateway marks copies of requests.
    Mirror,
    /// The header by which the gateway marks its own errors; nobody else may set it.
    OwnError,
    IdempotencyKey,
    ContentType,
    GrpcTimeout,
    Cookie,
    Authorization,
    Date,
    MaxForwards,
    TraceParent,
    TraceState,
    /// `b3` and `x-b3-*`, which name a trace as well.
    B3,
    /// What an endpoint says of its own load.
    LoadReport,
    Other,
}

impl Name {
    /// Tells a name by its length and its first letter, so that most fields cost one comparison or none.
    pub(crate) fn of(name: &[u8]) -> Self {
        let is = |text: &str| name.eq_ignore_ascii_case(text.as_bytes());
        let first = name.first().map_or(0, u8::to_ascii_lowercase);
        match (name.len(), first) {
            (2, b't') if is("te") => Self::Te,
            (2, b'b') if is("b3") => Self::B3,
            (4, b'h') if is("host") => Self::Host,
            (4, b'd') if is("date") => Self::Date,
            (6, b'c') if is("cookie") => Self::Cookie,
            (6, b'e') if is("expect") => Self::Expect,
            (7, b'u') if is("upgrade") => Self::Upgrade,
            (7, b't') if is("trailer") => Self::HopByHop,
            (9, b'f') if is("forwarded") => Self::Forwarded,
            (10, b'c') if is("connection") => Self::Connection,
            (10, b'k') if is("keep-alive") => Self::HopByHop,
            (10, b't') if is("tracestate") => Self::TraceState,
            (10, b'x') if is("x-b3-flags") => Self::B3,
            (11, b't') if is("traceparent") => Self::TraceParent,
            (11, b'x') if is("x-b3-spanid") => Self::B3,
            (12, b'x') if is("x-request-id") => Self::RequestId,
            (12, b'c') if is("content-type") => Self::ContentType,
            (12, b'g') if is("grpc-timeout") => Self::GrpcTimeout,
            (12, b'm') if is("max-forwards") => Self::MaxForwards,
            (12, b'x') if is("x-b3-traceid") || is("x-b3-sampled") => Self::B3,
            (13, b'a') if is("authorization") => Self::Authorization,
            (14, b'c') if is("content-length") => Self::ContentLength,
            (15, b'x') if is("x-forwarded-for") => Self::ForwardedFor,
            (15, b'i') if is("idempotency-key") => Self::IdempotencyKey,
            (16, b'x') if is("x-forwarded-host") => Self::ForwardedHost,
            (16, b'x') if is("x-mainstay-error") => Self::OwnError,
            (17, b't') if is("transfer-encoding") => Self::TransferEncoding,
            (17, b'x') if is("x-forwarded-proto") => Self::ForwardedProto,
            (17, b'x') if is("x-mainstay-mirror") => Self::Mirror,
            (17, b'x') if is("x-b3-parentspanid") => Self::B3,
            (18, b'x') if is("x-mainstay-attempt") => Self::Attempt,
            (21, b'e') if is("endpoint-load-metrics") => Self::LoadReport,
            (_, b'p') if starts_with(name, b"proxy-") => Self::HopByHop,
            (_, b'x') if starts_with(name, b"x-forwarded-") => Self::ForwardedOther,
            _other => Self::Other,
        }
    }

    /// Whether a client may name the field in `Connection` and so have it removed.
    pub(crate) fn may_be_nominated(self, name: &[u8]) -> bool {
        let is_end_to_end = matches!(
            self,
            Self::Other | Self::IdempotencyKey | Self::Date | Self::TraceParent | Self::TraceState | Self::B3
        );
        is_end_to_end && !starts_with(name, b"content-")
    }
}

fn starts_with(name: &[u8], prefix: &[u8]) -> bool {
    name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

/// A header field: two spans of the head it came in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field {
    pub(crate) name: Span,
    pub(crate) value: Span,
    pub(crate) known: Name,
}

/// The comma-separated members of a list field, trimmed, without empty ones (RFC 9110, section 5.6.1).
pub(crate) fn members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|member| !member.is_empty())
}

/// What `Connection` says (RFC 9110, section 7.6.1), over all its lines.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ConnectionOptions {
    pub(crate) close: bool,
    pub(crate) keep_alive: bool,
    pub(crate) upgrade: bool,
}

impl ConnectionOptions {
    /// Takes in one line of the field; other fields that it names go to `nominated`. `false` if it is malformed.
    pub(crate) fn read(&mut self, value: &[u8], bytes: &[u8], nominated: &mut Vec<Span>) -> bool {
        for member in members(value) {
            if !member.iter().copied().all(is_token) {
                return false;
            } else if member.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if member.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
            } else if member.eq_ignore_ascii_case(b"upgrade") {
                self.upgrade = true;
            } else {
                nominated.push(Span::of(member, bytes));
            }
        }
        true
    }

    /// Whether the connection stays open after the message.
    pub(crate) const fn keeps_alive(self, is_http10: bool) -> bool {
        !self.close && (!is_http10 || self.keep_alive)
    }
}

/// Whether `byte` may stand in a token (RFC 9110, section 5.6.2).
pub(crate) const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
        )
}

/// Reads a `Content-Length`: digits only, within 63 bits.
pub(crate) fn content_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 18 || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(value.iter().fold(0, |length, digit| length * 10 + u64::from(digit - b'0')))
}

/// Reads a `Max-Forwards`: digits only; more than anybody can count is as good as the most.
pub(crate) fn hops(value: &[u8]) -> Option<u64> {
    let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    digits.then(|| content_length(value).unwrap_or(u64::MAX))
}

/// Where a head ends, found without parsing it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeadEnd {
    /// Not there yet.
    Missing,
    /// After this many bytes, the empty line included.
    At(usize),
    /// A line ended in LF without CR: some servers would take it as a line end and others not.
    BareLineFeed,
}

/// What may be parsed in the hope that it holds a whole head. Few bytes are parsed as they are; many only once the end of
/// the head is found, since a head that comes in small pieces would be parsed from its start at each of them.
pub(crate) fn worth_parsing(bytes: &[u8]) -> Option<&[u8]> {
    const FEW: usize = 4096;
    match bytes.len() {
        ..=FEW => Some(bytes),
        _many => match head_end(bytes) {
            HeadEnd::At(length) => bytes.get(..length),
            HeadEnd::Missing | HeadEnd::BareLineFeed => None,
        },
    }
}

/// Whether a line of a head that is known to be whole ends in LF without CR.
pub(crate) fn has_bare_line_feed(head: &[u8]) -> bool {
    let pairs = head.iter().zip(head.iter().skip(1));
    // Without an early exit, so that the compiler looks at many bytes at once.
    pairs.fold(head.first() == Some(&b'\n'), |bare, (before, byte)| bare | ((*byte == b'\n') & (*before != b'\r')))
}

/// Looks for the empty line that ends a head and, on the way, at how lines end.
pub(crate) fn head_end(bytes: &[u8]) -> HeadEnd {
    let mut line = 0;
    for newline in memchr::memchr_iter(b'\n', bytes) {
        if newline == 0 || bytes[newline - 1] != b'\r' {
            return HeadEnd::BareLineFeed;
        }
        if newline == line + 1 {
            return HeadEnd::At(newline + 1);
        }
        line = newline + 1;
    }
    HeadEnd::Missing
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_apart_in_any_case() {
        for (name, known) in [
            ("TE", Name::Te),
            ("Host", Name::Host),
            ("CONNECTION", Name::Connection),
            ("Keep-Alive", Name::HopByHop),
            ("Proxy-Authorization", Name::HopByHop),
            ("Transfer-Encoding", Name::TransferEncoding),
            ("X-B3-Sampled", Name::B3),
            ("X-Request-Id", Name::RequestId),
            ("X-FORWARDED-FOR", Name::ForwardedFor),
            ("X-Forwarded-Port", Name::ForwardedOther),
            ("Endpoint-Load-Metrics", Name::LoadReport),
            ("x-forwarded", Name::Other),
            ("hose", Name::Other),
            ("", Name::Other),
        ] {
            assert_eq!(Name::of(name.as_bytes()), known, "{name}");
            assert_eq!(Name::of(name.to_ascii_lowercase().as_bytes()), known, "{name}");
        }
    }

    #[test]
    fn both_looks_at_line_ends_come_to_the_same() {
        // Every text of up to nine bytes over what matters.
        for number in 0..3_u32.pow(9) {
            for length in 0..=9 {
                let text: Vec<u8> = (0..length).map(|at| b"a\r\n"[(number / 3_u32.pow(at) % 3) as usize]).collect();
                match head_end(&text) {
                    HeadEnd::At(end) => assert!(!has_bare_line_feed(&text[..end]), "{text:?}"),
                    HeadEnd::BareLineFeed => assert!(has_bare_line_feed(&text), "{text:?}"),
                    HeadEnd::Missing => {}
                }
            }
        }
    }

    #[test]
    fn long_heads_are_parsed_once_they_are_whole() {
        let line = b"x: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n";
        let head = line.repeat(100);
        assert_eq!(worth_parsing(&head[..4096]), Some(&head[..4096]));
        assert_eq!(worth_parsing(&head), None);
        let whole = [&head[..], b"\r\n"].concat();
        assert_eq!(worth_parsing(&[&whole[..], b"body"].concat()), Some(&whole[..]));
    }
}

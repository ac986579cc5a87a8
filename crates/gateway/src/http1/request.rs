//! Request heads: parsed by `httparse`, then held against everything that could make two servers read them differently
//! (RFC 9112, sections 2, 3, 6 and 11.2). What passes is framed unambiguously; what does not is refused, never repaired.

use super::body::Framing;
use super::field::{self, Field, HeadEnd, Name, Span};

/// Most headers that a head can have, whatever the configuration says.
pub(crate) const MAX_HEADERS: usize = 256;

/// Bounds of a head.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) bytes: usize,
    pub(crate) headers: usize,
}

/// Why a head is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Reject {
    #[error("malformed-head")]
    Malformed,
    #[error("bad-framing")]
    Framing,
    #[error("bad-host")]
    Host,
    #[error("bad-target")]
    Target,
    #[error("head-too-large")]
    TooLarge,
    #[error("target-too-long")]
    TargetTooLong,
    #[error("unsupported-version")]
    Version,
    #[error("unsupported-expectation")]
    Expectation,
    #[error("upgrade-with-body")]
    UpgradeWithBody,
    #[error("connect-refused-method")]
    Connect,
    #[error("unsupported-coding")]
    Coding,
    #[error("unsupported-protocol")]
    Protocol,
}

impl Reject {
    /// The status that answers it.
    pub(crate) const fn status(self) -> u16 {
        match self {
            Self::Malformed | Self::Framing | Self::Host | Self::Target | Self::UpgradeWithBody => 400,
            Self::Connect => 405,
            Self::TargetTooLong => 414,
            Self::Expectation => 417,
            Self::TooLarge => 431,
            Self::Coding | Self::Protocol => 501,
            Self::Version => 505,
        }
    }

    /// The reason as it stands in headers, metrics and logs.
    pub(crate) const fn reason(self) -> &'static str {
        match self {
            Self::Malformed => "malformed-head",
            Self::Framing => "bad-framing",
            Self::Host => "bad-host",
            Self::Target => "bad-target",
            Self::TooLarge => "head-too-large",
            Self::TargetTooLong => "target-too-long",
            Self::Version => "unsupported-version",
            Self::Expectation => "unsupported-expectation",
            Self::UpgradeWithBody => "upgrade-with-body",
            Self::Connect => "connect-refused-method",
            Self::Coding => "unsupported-coding",
            Self::Protocol => "unsupported-protocol",
        }
    }
}

/// How much of a head is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// More bytes are needed.
    Partial,
    /// The head is complete and stands in the first bytes.
    Complete,
}

/// A checked request head. All spans lie in the bytes that it was parsed from; the allocation is used again.
#[derive(Clone, Debug, Default)]
pub(crate) struct Head {
    /// Bytes of the head, the empty line included.
    pub(crate) length: usize,
    pub(crate) method: Span,
    /// Path and query, in origin form, or `*`.
    pub(crate) target: Span,
    /// The path without the query.
    pub(crate) path: Span,
    /// Host with port, as sent.
    pub(crate) authority: Span,
    /// Host without port.
    pub(crate) host: Span,
    pub(crate) fields: Vec<Field>,
    /// Names that `Connection` lists besides `close`, `keep-alive` and `upgrade`.
    pub(crate) nominated: Vec<Span>,
    pub(crate) framing: Framing,
    pub(crate) is_http10: bool,
    pub(crate) is_http2: bool,
    pub(crate) keep_alive: bool,
    pub(crate) expects_continue: bool,
    pub(crate) wants_upgrade: bool,
    pub(crate) accepts_trailers: bool,
    /// Over how many proxies an OPTIONS or TRACE may still go, this one included, if it says.
    pub(crate) max_forwards: Option<u64>,
}

impl Head {
    /// The first field known by `name`.
    pub(crate) fn find(&self, name: Name) -> Option<&Field> {
        self.fields.iter().find(|field| field.known == name)
    }

    /// The protocol's name and version, as logs give it.
    pub(crate) const fn protocol(&self) -> &'static [u8] {
        match (self.is_http2, self.is_http10) {
            (true, _) => b"HTTP/2",
            (false, true) => b"HTTP/1.0",
            (false, false) => b"HTTP/1.1",
        }
    }

    /// What stands before `target` when it is written: `/` if an absolute form came without a path.
    pub(crate) fn target_prefix(&self, bytes: &[u8]) -> &'static [u8] {
        if matches!(self.target.get(bytes).first(), Some(b'/' | b'*')) { b"" } else { b"/" }
    }

    /// The path that routes are matched by. `OPTIONS *` counts as `/`.
    pub(crate) fn routed_path<'a>(&self, bytes: &'a [u8]) -> &'a str {
        match self.path.text(bytes) {
            "" | "*" => "/",
            path => path,
        }
    }

    /// Whether a repetition of the request has the same effect as one (RFC 9110, section 9.2.2), or its sender says so.
    pub(crate) fn is_idempotent(&self, bytes: &[u8]) -> bool {
        matches!(self.method.get(bytes), b"GET" | b"HEAD" | b"OPTIONS" | b"PUT" | b"DELETE" | b"TRACE")
            || self.find(Name::IdempotencyKey).is_some()
    }

    pub(crate) fn is_head_method(&self, bytes: &[u8]) -> bool {
        self.method.get(bytes) == b"HEAD"
    }
}

/// Parses the request head at the start of `bytes` into `head`, whose allocations are used again.
pub(crate) fn parse(bytes: &[u8], limits: Limits, head: &mut Head) -> Result<Progress, Reject> {
    let first = bytes.first().copied().unwrap_or(b'G');
    if !field::is_token(first) {
        return Err(Reject::Malformed);
    }
    let mut storage = [const { std::mem::MaybeUninit::uninit() }; MAX_HEADERS];
    let headers = &mut storage[..limits.headers.min(MAX_HEADERS)];
    let mut parsed = httparse::Request::new(&mut []);
    let status = match field::worth_parsing(bytes) {
        Some(bytes) => parsed.parse_with_uninit_headers(bytes, headers),
        None => Ok(httparse::Status::Partial),
    };
    let length = match status {
        // Nearly every head comes whole and well formed.
        Ok(httparse::Status::Complete(length))
            if length <= limits.bytes && !field::has_bare_line_feed(&bytes[..length]) =>
        {
            length
        }
        _partial_or_refused => return why_not(bytes, limits, status),
    };
    let bytes = &bytes[..length];
    let (Some(method), Some(target), Some(version)) = (parsed.method, parsed.path, parsed.version) else {
        return Err(Reject::Malformed);
    };
    head.length = length;
    head.method = Span::of(method.as_bytes(), bytes);
    head.is_http10 = version == 0;
    head.is_http2 = false;
    head.fields.clear();
    for header in parsed.headers.iter() {
        head.fields.push(Field {
            name: Span::of(header.name.as_bytes(), bytes),
            value: Span::of(header.value.trim_ascii(), bytes),
            known: Name::of(header.name.as_bytes()),
        });
    }
    read_fields(bytes, head)?;
    read_target(method, Span::of(target.as_bytes(), bytes), bytes, head)?;
    if head.wants_upgrade && head.framing != Framing::None {
        return Err(Reject::UpgradeWithBody);
    }
    Ok(Progress::Complete)
}

/// What is wrong with a head that did not parse, or whether more of it may come.
fn why_not(bytes: &[u8], limits: Limits, status: httparse::Result<usize>) -> Result<Progress, Reject> {
    let length = match field::head_end(bytes) {
        HeadEnd::BareLineFeed => return Err(Reject::Malformed),
        HeadEnd::Missing if bytes.len() < limits.bytes => return Ok(Progress::Partial),
        HeadEnd::Missing => return Err(over_limit(bytes)),
        HeadEnd::At(length) if length > limits.bytes => {
            return Err(over_limit(bytes.get(..limits.bytes).unwrap_or(bytes)));
        }
        HeadEnd::At(length) => length,
    };
    match status {
        Err(httparse::Error::TooManyHeaders) => Err(Reject::TooLarge),
        Err(httparse::Error::Version) if names_a_version(bytes.get(..length).unwrap_or(bytes)) => Err(Reject::Version),
        Ok(_) | Err(_) => Err(Reject::Malformed),
    }
}

/// Whether the request line is whole and only its version is one that we do not speak.
fn names_a_version(bytes: &[u8]) -> bool {
    let line = bytes.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let mut parts = line.split(|byte| *byte == b' ');
    let version = parts.nth(2).unwrap_or_default();
    let is_version = matches!(version, [b'H', b'T', b'T', b'P', b'/', major, b'.', minor] if major.is_ascii_digit() && minor.is_ascii_digit());
    is_version && parts.next().is_none()
}

fn over_limit(bytes: &[u8]) -> Reject {
    if memchr::memchr(b'\n', bytes).is_none() { Reject::TargetTooLong } else { Reject::TooLarge }
}

/// Takes from the fields what decides framing, routing and the fate of the connection.
fn read_fields(bytes: &[u8], head: &mut Head) -> Result<(), Reject> {
    let mut host = None;
    let mut length = None;
    let mut coding = None;
    let mut options = field::ConnectionOptions::default();
    let mut has_upgrade = false;
    head.nominated.clear();
    head.expects_continue = false;
    head.accepts_trailers = false;
    head.max_forwards = None;
    // Other methods may carry the field, where it means nothing (RFC 9110, section 7.6.2).
    let counts_hops = matches!(head.method.get(bytes), b"OPTIONS" | b"TRACE");
    for field in &head.fields {
        let value = field.value.get(bytes);
        match field.known {
            Name::Host if host.replace(field.value).is_some() => return Err(Reject::Host),
            Name::ContentLength if length.replace(value).is_some() => return Err(Reject::Framing),
            Name::TransferEncoding if coding.replace(value).is_some() => return Err(Reject::Framing),
            Name::Upgrade => has_upgrade = true,
            Name::Te => head.accepts_trailers |= field::members(value).any(|it| it.eq_ignore_ascii_case(b"trailers")),
            Name::Expect if value.eq_ignore_ascii_case(b"100-continue") => head.expects_continue = true,
            Name::Expect => return Err(Reject::Expectation),
            Name::MaxForwards if counts_hops => head.max_forwards = Some(field::hops(value).ok_or(Reject::Malformed)?),
            Name::Connection if !options.read(value, bytes, &mut head.nominated) => return Err(Reject::Malformed),
            _ => {}
        }
    }
    head.framing = match (length, coding) {
        (Some(_), Some(_)) => return Err(Reject::Framing),
        (None, None) => Framing::None,
        (Some(value), None) => match field::content_length(value).ok_or(Reject::Framing)? {
            0 => Framing::Empty,
            length => Framing::Length(length),
        },
        (None, Some(_)) if head.is_http10 => return Err(Reject::Framing),
        (None, Some(value)) if value.eq_ignore_ascii_case(b"chunked") => Framing::Chunked,
        (None, Some(value)) if ends_in_chunked(value) => return Err(Reject::Coding),
        (None, Some(_)) => return Err(Reject::Framing),
    };
    head.keep_alive = options.keeps_alive(head.is_http10);
    head.expects_continue &= !head.is_http10 && head.framing.has_body();
    head.wants_upgrade = has_upgrade && options.upgrade && !head.is_http10;
    head.authority = match host {
        Some(value) => value,
        None if head.is_http10 => Span::default(),
        None => return Err(Reject::Host),
    };
    Ok(())
}

/// A list of codings that ends in a single `chunked` is valid HTTP that we do not decode; any other is an attack.
fn ends_in_chunked(value: &[u8]) -> bool {
    let chunked = |coding: &&[u8]| coding.eq_ignore_ascii_case(b"chunked");
    field::members(value).last().is_some_and(|last| chunked(&last))
        && field::members(value).filter(chunked).count() == 1
}

/// Brings the target into origin form and checks host and path.
pub(crate) fn read_target(method: &str, target: Span, bytes: &[u8], head: &mut Head) -> Result<(), Reject> {
    if method == "CONNECT" {
        return Err(Reject::Connect);
    }
    let text = target.get(bytes);
    if !text.iter().all(|byte| (0x21..0x7f).contains(byte)) || text.contains(&b'#') {
        return Err(Reject::Target);
    }
    head.target = if text.starts_with(b"/") || (text == b"*" && method == "OPTIONS") {
        target
    } else {
        absolute_form(target, bytes, head)?
    };
    head.host = match host_without_port(head.authority.get(bytes)) {
        Some(length) => head.authority.take(length),
        None if head.authority.is_empty() && head.is_http10 => Span::default(),
        None => return Err(Reject::Host),
    };
    let target = head.target.get(bytes);
    head.path = head.target.take(memchr::memchr(b'?', target).unwrap_or(target.len()));
    if has_dot_segment(head.path.get(bytes)) {
        return Err(Reject::Target);
    }
    Ok(())
}

/// `http://host/path`: the authority must be the one in `Host`, and what is forwarded is the path.
fn absolute_form(target: Span, bytes: &[u8], head: &mut Head) -> Result<Span, Reject> {
    let text = target.get(bytes);
    let scheme = [&b"http://"[..], b"https://"]
        .into_iter()
        .find(|scheme| text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)))
        .ok_or(Reject::Target)?;
    let rest = target.skip(scheme.len());
    let end = rest.get(bytes).iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.get(bytes).len());
    let authority = rest.take(end);
    if head.authority.is_empty() {
        head.authority = authority;
    } else if !authority.get(bytes).eq_ignore_ascii_case(head.authority.get(bytes)) {
        return Err(Reject::Host);
    }
    let path = rest.skip(end);
    match path.get(bytes).first() {
        // Without a path there is no slash in the head to point at: `Head::target_prefix` supplies it.
        None | Some(b'/' | b'?') => Ok(path),
        Some(_) => Err(Reject::Target),
    }
}

/// How many bytes of `authority` are the host, if host and port are well formed.
fn host_without_port(authority: &[u8]) -> Option<usize> {
    let host = if authority.first() == Some(&b'[') {
        let end = memchr::memchr(b']', authority)? + 1;
        std::str::from_utf8(authority.get(1..end - 1)?).ok()?.parse::<std::net::Ipv6Addr>().ok()?;
        end
    } else {
        let end = memchr::memchr(b':', authority).unwrap_or(authority.len());
        let valid = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'~');
        if end == 0 || !authority[..end].iter().all(valid) {
            return None;
        }
        end
    };
    match authority.get(host..)? {
        [] => Some(host),
        [b':'] => Some(host),
        [b':', port @ ..] if port.len() <= 5 && port.iter().all(u8::is_ascii_digit) => {
            std::str::from_utf8(port).ok()?.parse::<u16>().ok().map(|_port| host)
        }
        _garbage => None,
    }
}

/// Whether the path has a segment `.` or `..`, plainly or percent-encoded. Clients resolve them before they send; what is
/// left tries to reach another path at the server than the one that was routed by.
fn has_dot_segment(path: &[u8]) -> bool {
    if memchr::memchr2(b'.', b'%', path).is_none() {
        return false;
    }
    // One pass, whatever the path holds: anything that starts over at each encoded slash can be made to take for ever.
    let mut rest = path;
    let mut dots = Some(0_u32);
    loop {
        rest = match rest {
            [] => return matches!(dots, Some(1 | 2)),
            // An encoded slash may end the segment for the server behind us.
            [b'/' | b'\\', rest @ ..] | [b'%', b'2', b'f' | b'F', rest @ ..] | [b'%', b'5', b'c' | b'C', rest @ ..] => {
                if matches!(dots, Some(1 | 2)) {
                    return true;
                }
                dots = Some(0);
                rest
            }
            [b'.', rest @ ..] | [b'%', b'2', b'e' | b'E', rest @ ..] => {
                dots = dots.map(|dots| dots.saturating_add(1));
                rest
            }
            [_name, rest @ ..] => {
                dots = None;
                rest
            }
        };
    }
}

#[cfg(test)]
mod tests;

//! Response heads from endpoints, held to the same strictness as requests: an endpoint that frames its answers ambiguously
//! could be made to answer the wrong client.

use super::body::Framing;
use super::field::{self, Field, HeadEnd, Name, Span};
use super::request::{Limits, MAX_HEADERS, Progress};

/// The head is not valid HTTP/1, or too large.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("upstream-malformed")]
pub(crate) struct Malformed;

/// A checked response head; spans lie in the bytes that it was parsed from.
#[derive(Debug, Default)]
pub(crate) struct Head {
    /// Bytes of the head, the empty line included.
    pub(crate) length: usize,
    pub(crate) status: u16,
    pub(crate) reason: Span,
    pub(crate) fields: Vec<Field>,
    pub(crate) nominated: Vec<Span>,
    /// How the body is framed, if the request lets the response have one.
    pub(crate) framing: Framing,
    pub(crate) keep_alive: bool,
    /// `Connection: upgrade` and `Upgrade` came with it.
    pub(crate) upgrades: bool,
}

impl Head {
    /// The first field known by `name`.
    pub(crate) fn find(&self, name: Name) -> Option<&Field> {
        self.fields.iter().find(|field| field.known == name)
    }
}

/// Parses the response head at the start of `bytes`. `to_head` says that the request was HEAD, whose answers have no body.
pub(crate) fn parse(bytes: &[u8], limits: Limits, to_head: bool, head: &mut Head) -> Result<Progress, Malformed> {
    // Garbage without line ends must not be waited on until it fills the buffer.
    if !bytes.iter().zip(b"HTTP/1.").all(|(byte, expected)| byte == expected) {
        return Err(Malformed);
    }
    let mut storage = [const { std::mem::MaybeUninit::uninit() }; MAX_HEADERS];
    let mut parsed = httparse::Response::new(&mut []);
    let parser = httparse::ParserConfig::default();
    let status = match field::worth_parsing(bytes) {
        Some(bytes) => parser.parse_response_with_uninit_headers(&mut parsed, bytes, &mut storage),
        None => Ok(httparse::Status::Partial),
    };
    let length = match status {
        // Nearly every head comes whole and well formed.
        Ok(httparse::Status::Complete(length))
            if length <= limits.bytes && !field::has_bare_line_feed(&bytes[..length]) =>
        {
            length
        }
        _partial_or_refused => {
            // A head that is not there in full is only refused for what no more bytes can mend.
            let may_come = field::head_end(bytes) == HeadEnd::Missing && bytes.len() < limits.bytes;
            return if may_come { Ok(Progress::Partial) } else { Err(Malformed) };
        }
    };
    let bytes = &bytes[..length];
    let (Some(version), Some(code)) = (parsed.version, parsed.code) else { return Err(Malformed) };
    if !(100..=999).contains(&code) {
        return Err(Malformed);
    }
    head.length = length;
    head.status = code;
    head.reason = parsed.reason.map_or_else(Span::default, |reason| Span::of(reason.as_bytes(), bytes));
    head.fields.clear();
    for header in parsed.headers.iter() {
        head.fields.push(Field {
            name: Span::of(header.name.as_bytes(), bytes),
            value: Span::of(header.value.trim_ascii(), bytes),
            known: Name::of(header.name.as_bytes()),
        });
    }
    read_fields(bytes, version == 0, to_head, head)?;
    Ok(Progress::Complete)
}

fn read_fields(bytes: &[u8], is_http10: bool, to_head: bool, head: &mut Head) -> Result<(), Malformed> {
    let mut length = None;
    let mut coding = None;
    let mut options = field::ConnectionOptions::default();
    let mut has_upgrade = false;
    head.nominated.clear();
    for field in &head.fields {
        let value = field.value.get(bytes);
        match field.known {
            Name::ContentLength if length.replace(value).is_some() => return Err(Malformed),
            Name::TransferEncoding if coding.replace(value).is_some() => return Err(Malformed),
            Name::Upgrade => has_upgrade = true,
            Name::Connection if !options.read(value, bytes, &mut head.nominated) => return Err(Malformed),
            _ => {}
        }
    }
    head.upgrades = head.status == 101 && has_upgrade && options.upgrade;
    head.framing = match (length, coding) {
        (Some(_), Some(_)) => return Err(Malformed),
        (_, Some(_)) if is_http10 => return Err(Malformed),
        (None, Some(value)) if value.eq_ignore_ascii_case(b"chunked") => Framing::Chunked,
        (None, Some(_)) => return Err(Malformed),
        (Some(value), None) => match field::content_length(value).ok_or(Malformed)? {
            0 => Framing::Empty,
            length => Framing::Length(length),
        },
        (None, None) => Framing::UntilClose,
    };
    if to_head || head.status < 200 || matches!(head.status, 204 | 304) {
        head.framing = Framing::None;
    }
    head.keep_alive = options.keeps_alive(is_http10) && head.framing != Framing::UntilClose;
    Ok(())
}

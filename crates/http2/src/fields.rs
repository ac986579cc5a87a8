//! A decoded header block, checked as it comes (RFC 9113, section 8): what passes can be written as HTTP/1.1 without harm.

/// A range of [`Fields::bytes`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// Behind the last byte.
    pub end: u32,
}

impl Span {
    /// The bytes in `all`, which must be the bytes of the same block.
    pub fn get(self, all: &[u8]) -> &[u8] {
        all.get(self.start as usize..self.end as usize).unwrap_or_default()
    }
}

/// A name and a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// In lower case.
    pub name: Span,
    /// Without surrounding whitespace, NUL, CR and LF.
    pub value: Span,
}

/// What a header block belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Section {
    #[default]
    Request,
    Response,
    Trailers,
}

/// Pseudo-header fields, in the order of [`PSEUDO`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pseudo {
    Method,
    Scheme,
    Authority,
    Path,
    Protocol,
    Status,
}

const PSEUDO: [(&[u8], Pseudo, Section); 6] = [
    (b":method", Pseudo::Method, Section::Request),
    (b":scheme", Pseudo::Scheme, Section::Request),
    (b":authority", Pseudo::Authority, Section::Request),
    (b":path", Pseudo::Path, Section::Request),
    (b":protocol", Pseudo::Protocol, Section::Request),
    (b":status", Pseudo::Status, Section::Response),
];

/// The fields of one header block. The allocations are used again for the next one.
#[derive(Debug, Default)]
pub struct Fields {
    bytes: Vec<u8>,
    list: Vec<Field>,
    pseudo: [Option<Span>; 6],
    section: Section,
    content_length: Option<u64>,
    cookies: usize,
    max_fields: usize,
    /// Why the message is malformed: the first thing that was wrong.
    wrong: Option<&'static str>,
    pub(crate) too_large: bool,
}

impl Fields {
    /// All names and values, back to back; what spans are ranges of.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The regular fields in their order.
    pub fn list(&self) -> &[Field] {
        &self.list
    }

    /// `:method`.
    pub fn method(&self) -> Option<Span> {
        self.pseudo[Pseudo::Method as usize]
    }

    /// `:scheme`.
    pub fn scheme(&self) -> Option<Span> {
        self.pseudo[Pseudo::Scheme as usize]
    }

    /// `:authority`.
    pub fn authority(&self) -> Option<Span> {
        self.pseudo[Pseudo::Authority as usize]
    }

    /// `:path`.
    pub fn path(&self) -> Option<Span> {
        self.pseudo[Pseudo::Path as usize]
    }

    /// `:protocol` of an extended `CONNECT` (RFC 8441).
    pub fn protocol(&self) -> Option<Span> {
        self.pseudo[Pseudo::Protocol as usize]
    }

    /// `:status`, from 100 to 999; 0 if this is no response.
    pub fn status(&self) -> u16 {
        let digits = self.pseudo[Pseudo::Status as usize].map_or(&b""[..], |span| span.get(&self.bytes));
        digits.iter().fold(0, |status, digit| status * 10 + u16::from(digit.wrapping_sub(b'0')))
    }

    /// `content-length`, if there is one.
    pub fn content_length(&self) -> Option<u64> {
        self.content_length
    }

    /// The list was larger than allowed, so that the rest is missing.
    pub fn is_too_large(&self) -> bool {
        self.too_large
    }

    pub(crate) fn begin(&mut self, section: Section, max_fields: usize) {
        self.bytes.clear();
        self.list.clear();
        self.pseudo = [None; 6];
        self.section = section;
        self.content_length = None;
        self.cookies = 0;
        self.max_fields = max_fields;
        self.wrong = None;
        self.too_large = false;
    }

    /// Takes in a field. After a fault the rest is not looked at: the block is only decoded to its end.
    pub(crate) fn push(&mut self, name: &[u8], value: &[u8]) {
        if self.wrong.is_some() || self.too_large {
            return;
        }
        let checked = if name.first() == Some(&b':') { self.pseudo(name, value) } else { self.regular(name, value) };
        self.wrong = checked.err();
    }

    fn store(&mut self, bytes: &[u8]) -> Span {
        let start = self.bytes.len() as u32;
        self.bytes.extend_from_slice(bytes);
        Span { start, end: self.bytes.len() as u32 }
    }

    fn pseudo(&mut self, name: &[u8], value: &[u8]) -> Result<(), &'static str> {
        if !self.list.is_empty() {
            return Err("a pseudo-header field after a regular one");
        }
        let known = PSEUDO.iter().find(|(known, _pseudo, section)| *known == name && *section == self.section);
        let Some((_name, pseudo, _section)) = known else { return Err("an unknown pseudo-header field") };
        if self.pseudo[*pseudo as usize].is_some() {
            return Err("a pseudo-header field twice");
        }
        if !value.iter().all(|byte| (0x21..0x7f).contains(byte)) {
            return Err("a character in a pseudo-header field that may not stand there");
        }
        self.pseudo[*pseudo as usize] = Some(self.store(value));
        Ok(())
    }

    fn regular(&mut self, name: &[u8], value: &[u8]) -> Result<(), &'static str> {
        if name.is_empty() || !name.iter().all(|byte| is_name(*byte)) {
            return Err("a field name with a character that may not stand there");
        }
        if !value.iter().all(|byte| is_value(*byte)) {
            return Err("a field value with a control character");
        }
        if matches!(value, [b' ' | b'\t', ..] | [.., b' ' | b'\t']) {
            return Err("a field value with whitespace around it");
        }
        match name {
            b"connection" | b"proxy-connection" | b"keep-alive" | b"transfer-encoding" | b"upgrade" => {
                return Err("a field that belongs to a connection");
            }
            b"te" if !value.eq_ignore_ascii_case(b"trailers") => return Err("TE other than trailers"),
            b"content-length" if self.section != Section::Trailers => {
                let length = content_length(value).ok_or("a content-length that is none")?;
                if self.content_length.replace(length).is_some() {
                    return Err("content-length twice");
                }
            }
            b"cookie" => self.cookies += 1,
            _other => {}
        }
        if self.list.len() >= self.max_fields {
            self.too_large = true;
            return Ok(());
        }
        let (name, value) = (self.store(name), self.store(value));
        self.list.push(Field { name, value });
        Ok(())
    }

    /// Checks the block as a whole. The error says what is wrong with the message.
    pub(crate) fn finish(&mut self) -> Result<(), &'static str> {
        if let Some(wrong) = self.wrong {
            return Err(wrong);
        }
        if self.too_large {
            return Ok(());
        }
        match self.section {
            Section::Request => self.check_request()?,
            Section::Response => {
                let status = self.pseudo[Pseudo::Status as usize].map_or(&b""[..], |span| span.get(&self.bytes));
                if status.len() != 3 || !status.iter().all(u8::is_ascii_digit) || status[0] == b'0' {
                    return Err("no valid :status");
                }
            }
            Section::Trailers => {}
        }
        if self.cookies > 1 {
            self.join_cookies();
        }
        Ok(())
    }

    fn check_request(&self) -> Result<(), &'static str> {
        let get = |span: Option<Span>| span.map_or(&b""[..], |span| span.get(&self.bytes));
        if get(self.method()).is_empty() || !get(self.method()).iter().all(|byte| is_name(byte.to_ascii_lowercase())) {
            return Err("no valid :method");
        }
        let is_connect = get(self.method()) == b"CONNECT";
        if self.protocol().is_some() && !is_connect {
            return Err(":protocol without CONNECT");
        }
        if is_connect && self.protocol().is_none() {
            return match (self.scheme(), self.path(), self.authority()) {
                (None, None, Some(_)) => Ok(()),
                _other => Err("CONNECT with :scheme or :path, or without :authority"),
            };
        }
        if get(self.scheme()).is_empty() || get(self.path()).is_empty() {
            return Err("no :scheme or no :path");
        }
        let path = get(self.path());
        if path[0] != b'/' && !(path == b"*" && get(self.method()) == b"OPTIONS") {
            return Err(":path is no path");
        }
        let hosts = || self.list.iter().filter(|field| field.name.get(&self.bytes) == b"host");
        if hosts().count() > 1 {
            return Err("host twice");
        }
        let host = hosts().next().map(|field| field.value.get(&self.bytes));
        match (self.authority().map(|span| span.get(&self.bytes)), host) {
            (Some(authority), Some(host)) if !authority.eq_ignore_ascii_case(host) => Err("host other than :authority"),
            (Some(b""), _) => Err("an empty :authority"),
            _consistent => Ok(()),
        }
    }

    /// Cookies may come in pieces, which HTTP/1.1 wants as one (RFC 9113, section 8.2.3).
    fn join_cookies(&mut self) {
        let is_cookie = |bytes: &[u8], field: &Field| field.name.get(bytes) == b"cookie";
        let start = self.bytes.len() as u32;
        let mut first = true;
        for at in 0..self.list.len() {
            let field = self.list[at];
            if is_cookie(&self.bytes, &field) {
                if !std::mem::take(&mut first) {
                    self.bytes.extend_from_slice(b"; ");
                }
                self.bytes.extend_from_within(field.value.start as usize..field.value.end as usize);
            }
        }
        let joined = Span { start, end: self.bytes.len() as u32 };
        let bytes = &self.bytes;
        let mut kept = false;
        self.list.retain_mut(|field| {
            if !is_cookie(bytes, field) {
                return true;
            }
            field.value = joined;
            !std::mem::replace(&mut kept, true)
        });
    }

    /// Writes the fields as lines of HTTP/1.1, for trailers.
    pub(crate) fn write_lines(&self, out: &mut Vec<u8>) {
        for field in &self.list {
            out.extend_from_slice(field.name.get(&self.bytes));
            out.extend_from_slice(b": ");
            out.extend_from_slice(field.value.get(&self.bytes));
            out.extend_from_slice(b"\r\n");
        }
    }
}

/// Token characters without capitals (RFC 9113, section 8.2.1; RFC 9110, section 5.6.2).
const fn is_name(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'
        | b'_' | b'`' | b'|' | b'~')
}

const fn is_value(byte: u8) -> bool {
    matches!(byte, b'\t' | b' '..=b'~' | 0x80..)
}

fn content_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 18 || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(value.iter().fold(0, |length, digit| length * 10 + u64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(fields: &[(&str, &str)]) -> Result<Fields, &'static str> {
        let mut block = Fields::default();
        block.begin(Section::Request, 100);
        for (name, value) in fields {
            block.push(name.as_bytes(), value.as_bytes());
        }
        block.finish().map(|()| block)
    }

    const GOOD: [(&str, &str); 4] =
        [(":method", "GET"), (":scheme", "http"), (":authority", "a.test"), (":path", "/x?y")];

    fn with(extra: &[(&'static str, &'static str)]) -> Result<Fields, &'static str> {
        let all: Vec<(&str, &str)> = GOOD.iter().chain(extra).copied().collect();
        request(&all)
    }

    #[test]
    fn a_request_is_taken_apart() {
        let block = with(&[("accept", "*/*"), ("content-length", "12")]).expect("well formed");
        assert_eq!(block.path().expect("a path").get(block.bytes()), b"/x?y");
        assert_eq!(block.content_length(), Some(12));
        assert_eq!(block.list().len(), 2);
    }

    #[test]
    fn cookies_are_joined() {
        let block = with(&[("cookie", "a=1"), ("accept", "*/*"), ("cookie", "b=2")]).expect("well formed");
        let cookies: Vec<&[u8]> = block
            .list()
            .iter()
            .filter(|field| field.name.get(block.bytes()) == b"cookie")
            .map(|field| field.value.get(block.bytes()))
            .collect();
        assert_eq!(cookies, [b"a=1; b=2"]);
    }

    #[test]
    fn malformed_requests_are_refused() {
        for extra in [
            ("Accept", "x"),
            ("a b", "x"),
            ("", "x"),
            ("a", "x\r\nb: c"),
            ("a", "x\0"),
            ("a", " x"),
            ("a", "x "),
            ("connection", "close"),
            ("keep-alive", "1"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "websocket"),
            ("te", "gzip"),
            ("content-length", "-1"),
            ("host", "other.test"),
            (":path", "/again"),
            (":status", "200"),
            (":protocol", "websocket"),
            (":nonsense", "x"),
        ] {
            assert!(with(&[extra]).is_err(), "{extra:?} passed");
        }
        assert!(with(&[("a", "b"), (":path", "/")]).is_err());
        assert!(with(&[("content-length", "1"), ("content-length", "1")]).is_err());
        for (missing, _value) in GOOD {
            let some: Vec<_> = GOOD.iter().filter(|(name, _value)| *name != missing).copied().collect();
            // Without :authority a request may still carry host.
            assert_eq!(request(&some).is_ok(), missing == ":authority", "without {missing}");
        }
        assert!(request(&[(":method", "CONNECT"), (":authority", "a:1")]).is_ok());
        assert!(request(&[(":method", "CONNECT"), (":authority", "a:1"), (":path", "/")]).is_err());
    }
}

//! HTTP/1 as the tests read it: strict, independent of the gateway's own parser, and able to say what was wrong.

use std::io::{self, Read};

/// A head, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The request or status line.
    pub line: String,
    /// Headers in order; names as they came.
    pub headers: Vec<(String, String)>,
}

impl Head {
    /// Reads a head strictly: CRLF only, names are tokens, no folding, no control characters.
    ///
    /// # Errors
    /// What is malformed.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let text = bytes.strip_suffix(b"\r\n\r\n").ok_or("a head must end with an empty line")?;
        let count = text.split(|byte| *byte == b'\n').count();
        let mut clean = Vec::new();
        for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
            let line = if index + 1 == count { line } else { line.strip_suffix(b"\r").ok_or("a bare LF")? };
            if line.iter().any(|byte| (*byte < 0x20 && *byte != b'\t') || *byte == 0x7f) {
                return Err(format!("a control character in {:?}", String::from_utf8_lossy(line)));
            }
            clean.push(String::from_utf8_lossy(line).into_owned());
        }
        let mut clean = clean.into_iter();
        let line = clean.next().unwrap_or_default();
        let headers = clean.map(|line| field(&line)).collect::<Result<_, _>>()?;
        Ok(Self { line, headers })
    }

    /// The first value of a header, whatever the case of its name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Every value of a header.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str()).collect()
    }

    /// Whether a list header contains a word.
    pub fn has(&self, name: &str, word: &str) -> bool {
        self.all(name).iter().flat_map(|value| value.split(',')).any(|item| item.trim().eq_ignore_ascii_case(word))
    }

    /// How the body of a request ends.
    ///
    /// # Errors
    /// If the head leaves that open to interpretation.
    pub fn request_framing(&self) -> Result<Framing, String> {
        self.framing(Framing::Length(0))
    }

    /// How the body of a response ends that has one.
    ///
    /// # Errors
    /// If the head leaves that open to interpretation.
    pub fn response_framing(&self) -> Result<Framing, String> {
        self.framing(Framing::Close)
    }

    fn framing(&self, without: Framing) -> Result<Framing, String> {
        let (lengths, encodings) = (self.all("content-length"), self.all("transfer-encoding"));
        match (lengths.as_slice(), encodings.as_slice()) {
            ([], []) => Ok(without),
            ([], [one]) if one.eq_ignore_ascii_case("chunked") => Ok(Framing::Chunked),
            ([one], []) if !one.is_empty() && one.bytes().all(|byte| byte.is_ascii_digit()) => {
                one.parse().map(Framing::Length).map_err(|_too_big| format!("content-length {one}"))
            }
            _other => Err(format!("ambiguous framing: content-length {lengths:?}, transfer-encoding {encodings:?}")),
        }
    }
}

fn field(line: &str) -> Result<(String, String), String> {
    let (name, value) = line.split_once(':').ok_or_else(|| format!("no colon in {line:?}"))?;
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(token) {
        return Err(format!("{name:?} is not a header's name"));
    }
    Ok((name.to_owned(), value.trim_matches([' ', '\t']).to_owned()))
}

/// How a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// After so many bytes.
    Length(u64),
    /// With a chunk of size zero and trailers.
    Chunked,
    /// With the connection.
    Close,
}

/// A body that was read to its end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Body {
    /// Its bytes, as far as they were kept.
    pub bytes: Vec<u8>,
    /// How many there were.
    pub length: u64,
    /// Trailers of a chunked body.
    pub trailers: Vec<(String, String)>,
}

/// Buffers a stream and cuts messages out of it.
#[derive(Debug)]
pub struct Reader<S> {
    stream: S,
    buffer: Vec<u8>,
    start: usize,
    scratch: Vec<u8>,
}

impl<S: Read> Reader<S> {
    /// A reader with nothing read yet.
    pub fn new(stream: S) -> Self {
        Self { stream, buffer: Vec::new(), start: 0, scratch: vec![0; 64 * 1024] }
    }

    /// The stream, for writing.
    pub fn stream(&mut self) -> &mut S {
        &mut self.stream
    }

    /// The stream, without what was read of it and not taken.
    pub fn into_stream(self) -> S {
        self.stream
    }

    /// The stream, for settings.
    pub fn stream_ref(&self) -> &S {
        &self.stream
    }

    /// Bytes that were read and not taken.
    pub fn buffered(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    /// Forgets what was read and not taken.
    pub fn discard(&mut self) {
        self.start = self.buffer.len();
    }

    /// Reads once. Zero means the end.
    ///
    /// # Errors
    /// As the stream's `read`.
    pub fn fill(&mut self) -> io::Result<usize> {
        if self.start == self.buffer.len() {
            self.buffer.clear();
            self.start = 0;
        }
        let count = self.stream.read(&mut self.scratch)?;
        self.buffer.extend_from_slice(&self.scratch[..count]);
        Ok(count)
    }

    fn fill_some(&mut self) -> io::Result<()> {
        match self.fill()? {
            0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed in the middle of a message")),
            _some => Ok(()),
        }
    }

    /// The bytes of the next head; `None` if the stream ends before its first byte.
    ///
    /// # Errors
    /// As the stream's `read`, or if it ends in the middle, or if the head is larger than 1 MiB.
    pub fn head(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut searched = 0;
        loop {
            let bytes = self.buffered();
            if let Some(end) = bytes[searched..].windows(4).position(|window| window == b"\r\n\r\n") {
                let head = bytes[..searched + end + 4].to_vec();
                self.start += head.len();
                return Ok(Some(head));
            }
            searched = bytes.len().saturating_sub(3);
            if bytes.len() > 1024 * 1024 {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a head of more than 1 MiB"));
            }
            if self.fill()? == 0 {
                let none = self.buffered().is_empty();
                return if none { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
        }
    }

    /// Reads a body, keeping at most `keep` bytes of it.
    ///
    /// # Errors
    /// If the stream ends or fails before the body does, or a chunk is malformed.
    pub fn body(&mut self, framing: Framing, keep: usize) -> io::Result<Body> {
        let mut body = Body::default();
        match framing {
            Framing::Length(length) => self.take(length, keep, &mut body)?,
            Framing::Chunked => loop {
                let line = self.line()?;
                let digits = line.split(';').next().unwrap_or_default();
                let hex = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
                let size = hex.then(|| u64::from_str_radix(digits, 16).ok()).flatten();
                let size = size.ok_or_else(|| invalid(format!("chunk size {line:?}")))?;
                if size == 0 {
                    body.trailers = self.trailers()?;
                    break;
                }
                self.take(size, keep, &mut body)?;
                let end = self.line()?;
                if !end.is_empty() {
                    return Err(invalid(format!("{end:?} after a chunk")));
                }
            },
            Framing::Close => loop {
                let left = self.buffered().len() as u64;
                self.take(left, keep, &mut body)?;
                if self.fill()? == 0 {
                    break;
                }
            },
        }
        Ok(body)
    }

    fn trailers(&mut self) -> io::Result<Vec<(String, String)>> {
        let mut trailers = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(trailers);
            }
            trailers.push(field(&line).map_err(invalid)?);
        }
    }

    fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.buffered().iter().position(|byte| *byte == b'\n') {
                let line = self.buffered()[..end].to_vec();
                self.start += end + 1;
                let line = line.strip_suffix(b"\r").ok_or_else(|| invalid("a bare LF".to_owned()))?;
                return Ok(String::from_utf8_lossy(line).into_owned());
            }
            self.fill_some()?;
        }
    }

    fn take(&mut self, length: u64, keep: usize, body: &mut Body) -> io::Result<()> {
        let mut left = length;
        while left > 0 {
            if self.buffered().is_empty() {
                self.fill_some()?;
            }
            let count = self.buffered().len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let room = keep.saturating_sub(body.bytes.len()).min(count);
            body.bytes.extend_from_slice(&self.buffer[self.start..self.start + room]);
            self.start += count;
            left -= count as u64;
            body.length += count as u64;
        }
        Ok(())
    }
}

fn invalid(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

//! As much of HTTP/1.1 as a check needs: one request on a connection, and its answer.

use std::io;
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::json::Finding;
use crate::{Failed, Get, Passed, Stage};

/// A response head that is longer is no answer to a health check.
const HEAD_MAX: usize = 16 * 1024;
const HEADERS_MAX: usize = 100;
/// How much of a body that nobody asked for is taken, and for how long, so that the endpoint does not log a broken connection
/// each time.
const SKIPPED_MAX: usize = 64 * 1024;
const BODY_WAIT: Duration = Duration::from_millis(250);

/// Sends the request and judges the response by its head and, if there are rules for it, its body.
pub(crate) async fn get<S>(mut stream: S, get: &Get, started: Instant, stage: &mut Stage) -> Result<Passed, Failed>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let head = Request { method: "GET", target: &get.path, host: &get.host, headers: &[], body: b"" };
    stream.write_all(&head.bytes()).await.map_err(Failed::Closed)?;
    stream.flush().await.map_err(Failed::Closed)?;
    let mut answer = Incoming::head(&mut stream, false).await?;
    let latency = started.elapsed();
    let verdict = if get.expect.accepts(answer.status) {
        Ok(())
    } else {
        Err(Failed::Status { status: answer.status, expected: get.expect.clone() })
    };
    let Some(rules) = &get.json else {
        answer.skip(&mut stream).await;
        return verdict.map(|()| Passed { latency, degraded: None });
    };
    verdict?;
    *stage = Stage::Body;
    answer.body(&mut stream, rules.body_max).await?;
    match rules.judge(&answer.body) {
        Finding::Well => Ok(Passed { latency, degraded: None }),
        Finding::Degraded(reason) => Ok(Passed { latency, degraded: Some(reason) }),
        Finding::Failed(reason) => Err(Failed::Body(reason)),
    }
}

/// What is sent. The connection is not used again.
pub(crate) struct Request<'a> {
    pub(crate) method: &'a str,
    pub(crate) target: &'a str,
    pub(crate) host: &'a str,
    /// Further ones, whose names and values have been checked.
    pub(crate) headers: &'a [(String, String)],
    pub(crate) body: &'a [u8],
}

impl Request<'_> {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let Self { method, target, host, headers, body } = self;
        let mut head = format!("{method} {target} HTTP/1.1\r\nhost: {host}\r\n");
        for (name, value) in [("user-agent", "mainstay-probe"), ("accept", "*/*")] {
            if !headers.iter().any(|(given, _value)| given.eq_ignore_ascii_case(name)) {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
        }
        for (name, value) in *headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() || matches!(*method, "POST" | "PUT" | "PATCH") {
            head.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        head.push_str("connection: close\r\n\r\n");
        [head.as_bytes(), body].concat()
    }
}

/// An answer, and what of it is still to come.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    framing: Framing,
    /// Read but not looked at.
    rest: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Length(usize),
    Chunked,
    UntilClose,
}

impl Incoming {
    /// Reads up to the end of the final head. `no_body` if the request was a `HEAD`.
    pub(crate) async fn head<S: AsyncRead + Unpin>(stream: &mut S, no_body: bool) -> Result<Self, Failed> {
        let mut buffer = Vec::with_capacity(1024);
        loop {
            match parse(&buffer, no_body)? {
                // Interim responses (100, 103) precede the answer.
                Some((length, incoming)) if (100..200).contains(&incoming.status) && incoming.status != 101 => {
                    buffer.drain(..length);
                    continue;
                }
                Some((length, mut incoming)) => {
                    incoming.rest = buffer.split_off(length);
                    return Ok(incoming);
                }
                None if buffer.len() >= HEAD_MAX => return Err(Failed::Malformed("the head is too long")),
                None => {}
            }
            let room = HEAD_MAX - buffer.len();
            let read = (&mut *stream).take(room as u64).read_buf(&mut buffer).await.map_err(Failed::Closed)?;
            if read == 0 && buffer.is_empty() {
                return Err(Failed::Closed(io::ErrorKind::UnexpectedEof.into()));
            }
            if read == 0 {
                return Err(Failed::Malformed("it ends within the head"));
            }
        }
    }

    /// Reads the whole body, of at most `most` bytes.
    pub(crate) async fn body<S: AsyncRead + Unpin>(&mut self, stream: &mut S, most: usize) -> Result<(), Failed> {
        let too_long = || Failed::Body(format!("the body is longer than {most} bytes"));
        match self.framing {
            Framing::Length(length) if length > most => return Err(too_long()),
            Framing::Length(length) => {
                while self.rest.len() < length {
                    self.more(stream).await?.then_some(()).ok_or(Failed::Malformed("it ends within the body"))?;
                }
                self.rest.truncate(length);
                self.body = std::mem::take(&mut self.rest);
            }
            Framing::UntilClose => {
                while self.rest.len() <= most && self.more(stream).await? {}
                self.body = std::mem::take(&mut self.rest);
            }
            Framing::Chunked => {
                while let Some(length) = self.chunk(stream).await? {
                    if length > most.saturating_sub(self.body.len()) {
                        return Err(too_long());
                    }
                    while self.rest.len() < length + 2 {
                        self.more(stream).await?.then_some(()).ok_or(Failed::Malformed("it ends within a chunk"))?;
                    }
                    self.body.extend(self.rest.drain(..length));
                    if self.rest.drain(..2).as_slice() != b"\r\n" {
                        return Err(Failed::Malformed("a chunk is malformed"));
                    }
                }
            }
        }
        if self.body.len() > most { Err(too_long()) } else { Ok(()) }
    }

    /// Takes what comes of a body that nobody looks at. How it ends changes nothing.
    pub(crate) async fn skip<S: AsyncRead + Unpin>(&mut self, stream: &mut S) {
        let _courtesy = tokio::time::timeout(BODY_WAIT, self.body(stream, SKIPPED_MAX)).await;
    }

    /// Takes a chunk's head; `None` for that of the last one. What comes after that is of no interest.
    async fn chunk<S: AsyncRead + Unpin>(&mut self, stream: &mut S) -> Result<Option<usize>, Failed> {
        loop {
            match httparse::parse_chunk_size(&self.rest) {
                Ok(httparse::Status::Complete((_head, 0))) => return Ok(None),
                Ok(httparse::Status::Complete((head, length))) => {
                    self.rest.drain(..head);
                    return Ok(Some(usize::try_from(length).unwrap_or(usize::MAX)));
                }
                Ok(httparse::Status::Partial) if self.rest.len() < 1024 => {
                    self.more(stream).await?.then_some(()).ok_or(Failed::Malformed("it ends within a chunk"))?;
                }
                Ok(httparse::Status::Partial) | Err(_) => return Err(Failed::Malformed("a chunk is malformed")),
            }
        }
    }

    /// Reads once more; `false` at the end.
    async fn more<S: AsyncRead + Unpin>(&mut self, stream: &mut S) -> Result<bool, Failed> {
        self.rest.reserve(4096);
        Ok(stream.read_buf(&mut self.rest).await.map_err(Failed::Closed)? > 0)
    }
}

/// Length of the head, and what it says; `None` while it is incomplete.
fn parse(buffer: &[u8], no_body: bool) -> Result<Option<(usize, Incoming)>, Failed> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let length = match response.parse(buffer) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(Failed::Malformed("too many headers")),
        Err(_malformed) => return Err(Failed::Malformed("the head is malformed")),
    };
    let status = response.code.ok_or(Failed::Malformed("there is no status"))?;
    let value = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    let headers = response.headers.iter().map(|header| (header.name.to_ascii_lowercase(), value(header.value)));
    let headers: Vec<(String, String)> = headers.collect();
    let said = |name: &str| headers.iter().find(|(given, _value)| given == name).map(|(_name, value)| value.as_str());
    let framing = if no_body || matches!(status, 204 | 304) {
        Framing::Length(0)
    } else if said("transfer-encoding").is_some_and(|codings| codings.to_ascii_lowercase().ends_with("chunked")) {
        Framing::Chunked
    } else {
        said("content-length").and_then(|text| text.parse().ok()).map_or(Framing::UntilClose, Framing::Length)
    };
    Ok(Some((length, Incoming { status, headers, body: Vec::new(), framing, rest: Vec::new() })))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(future)
    }

    fn read(answer: &[u8], most: usize) -> Result<Vec<u8>, String> {
        block(async {
            // In pieces of three bytes, as the worst network would have it.
            let mut stream = Pieces(answer.to_vec());
            let mut incoming = Incoming::head(&mut stream, false).await.map_err(|failed| failed.to_string())?;
            incoming.body(&mut stream, most).await.map_err(|failed| failed.to_string())?;
            Ok(incoming.body)
        })
    }

    struct Pieces(Vec<u8>);

    impl AsyncRead for Pieces {
        fn poll_read(
            mut self: std::pin::Pin<&mut Self>,
            _context: &mut std::task::Context<'_>,
            into: &mut tokio::io::ReadBuf<'_>,
        ) -> std::task::Poll<io::Result<()>> {
            let length = self.0.len().min(3).min(into.remaining());
            into.put_slice(&self.0.drain(..length).collect::<Vec<u8>>());
            std::task::Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn bodies_end_where_their_framing_says() {
        for (answer, expected) in [
            ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhellomore", "hello"),
            ("HTTP/1.1 200 OK\r\n\r\nhello", "hello"),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\n\r\n", "hello"),
            ("HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", "ok"),
            ("HTTP/1.1 204 No Content\r\n\r\n", ""),
        ] {
            assert_eq!(read(answer.as_bytes(), 5), Ok(expected.as_bytes().to_vec()), "{answer}");
        }
    }

    #[test]
    fn bodies_that_are_too_long_or_broken_fail() {
        let head = "HTTP/1.1 200 OK\r\n";
        let chunked = "transfer-encoding: chunked\r\n\r\n";
        let long = "the body is longer than 5 bytes";
        for (rest, expected) in [
            ("content-length: 6\r\n\r\nabcdef".to_owned(), long),
            ("\r\nabcdef".to_owned(), long),
            (format!("{chunked}6\r\nabcdef\r\n0\r\n\r\n"), long),
            (format!("{chunked}ffffffffffffffff\r\nabc"), long),
            ("content-length: 5\r\n\r\nabc".to_owned(), "not an HTTP response: it ends within the body"),
            (format!("{chunked}3\r\nabc"), "not an HTTP response: it ends within a chunk"),
            (format!("{chunked}3\r\nabcde"), "not an HTTP response: a chunk is malformed"),
            (format!("{chunked}x\r\n"), "not an HTTP response: a chunk is malformed"),
        ] {
            assert_eq!(read(format!("{head}{rest}").as_bytes(), 5), Err(expected.to_owned()), "{rest}");
        }
    }
}

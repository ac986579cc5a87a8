use std::io;
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::{Failed, Get, Passed};

/// A response head that is longer is no answer to a health check.
const HEAD_MAX: usize = 16 * 1024;
const HEADERS_MAX: usize = 100;
/// How much of the body is taken, and for how long, so that the endpoint does not log a broken connection each time.
const BODY_MAX: usize = 64 * 1024;
const BODY_WAIT: Duration = Duration::from_millis(250);

/// Sends the request and judges the response by its head.
pub(crate) async fn get<S>(mut stream: S, get: &Get, started: Instant) -> Result<Passed, Failed>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let request = format!(
        "GET {} HTTP/1.1\r\nhost: {}\r\nuser-agent: mainstay-probe\r\naccept: */*\r\nconnection: close\r\n\r\n",
        get.path, get.host
    );
    stream.write_all(request.as_bytes()).await.map_err(Failed::Closed)?;
    stream.flush().await.map_err(Failed::Closed)?;
    let head = read_head(&mut stream).await?;
    let latency = started.elapsed();
    if let Some(length) = head.body_left {
        // The verdict stands; how the body ends changes nothing.
        let _courtesy = tokio::time::timeout(BODY_WAIT, skip(&mut stream, length)).await;
    }
    if get.expect.accepts(head.status) {
        Ok(Passed { latency })
    } else {
        Err(Failed::Status { status: head.status, expected: get.expect.clone() })
    }
}

struct Head {
    status: u16,
    /// Bytes of body to expect after what came with the head; `None` if there are none.
    body_left: Option<usize>,
}

async fn read_head<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Head, Failed> {
    let mut buffer = Vec::with_capacity(1024);
    loop {
        match parse(&buffer)? {
            // Interim responses (100, 103) precede the answer.
            Some((length, status, _body)) if (100..200).contains(&status) && status != 101 => {
                buffer.drain(..length);
                continue;
            }
            Some((length, status, body)) => {
                let left = body.saturating_sub(buffer.len() - length).min(BODY_MAX);
                return Ok(Head { status, body_left: (left > 0).then_some(left) });
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

/// Length of the head, status and length of the body ([`BODY_MAX`] if it is not said); `None` while the head is incomplete.
fn parse(buffer: &[u8]) -> Result<Option<(usize, u16, usize)>, Failed> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let length = match response.parse(buffer) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(Failed::Malformed("too many headers")),
        Err(_malformed) => return Err(Failed::Malformed("the head is malformed")),
    };
    let status = response.code.ok_or(Failed::Malformed("there is no status"))?;
    let said = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let said = said.and_then(|header| std::str::from_utf8(header.value).ok()?.trim().parse().ok());
    let body = if matches!(status, 204 | 304) { 0 } else { said.unwrap_or(BODY_MAX) };
    Ok(Some((length, status, body)))
}

async fn skip<S: AsyncRead + Unpin>(stream: &mut S, length: usize) -> io::Result<()> {
    let mut left = length;
    let mut buffer = [0; 4096];
    while left > 0 {
        let wanted = left.min(buffer.len());
        match stream.read(&mut buffer[..wanted]).await? {
            0 => return Ok(()),
            read => left -= read,
        }
    }
    Ok(())
}

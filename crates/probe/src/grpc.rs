//! The standard health check of gRPC (grpc.health.v1.Health/Check): one unary call over HTTP/2.

use std::time::Instant;

use mainstay_http2::hpack::{Encoder, Indexing};
use mainstay_http2::{Closed, Code, Connection, Fields, Notify, Read, Role, Settings};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::{Check, Failed, Passed};

/// A response that is longer is no answer to a health check.
const BODY_MAX: usize = 1024;
/// The value of `ServingStatus` that passes.
const SERVING: u64 = 1;

/// The conversation is one task's: nobody has to be woken.
#[derive(Default)]
struct Nobody;

impl Notify for Nobody {
    fn readable(&mut self) {}
    fn writable(&mut self) {}
}

/// Makes the call and judges its answer.
pub(crate) async fn check<S>(mut stream: S, check: &Check, scheme: &str, started: Instant) -> Result<Passed, Failed>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut engine = Connection::<Nobody>::new(Role::Client, Settings::default(), 0);
    let id = engine.open().ok_or(Failed::Malformed("no stream to be had"))?;
    let gone = |_closed: Closed| Failed::Malformed("the stream was closed");
    engine.send_head(id, |encoder, out| head(encoder, out, check, scheme)).map_err(gone)?;
    let _whole: mainstay_http2::Sent = engine.send(id, &message(&check.service));
    engine.finish(id, b"").map_err(gone)?;
    let mut answer = Answer::default();
    let mut input = Vec::with_capacity(1024);
    loop {
        write(&mut stream, &mut engine).await?;
        if let Some(verdict) = answer.take(&mut engine, id)? {
            // The verdict stands; whether the endpoint hears the goodbye changes nothing.
            engine.leave_finally();
            let _courtesy = write(&mut stream, &mut engine).await;
            verdict?;
            return Ok(Passed { latency: started.elapsed(), degraded: None });
        }
        if stream.read_buf(&mut input).await.map_err(Failed::Closed)? == 0 {
            return Err(Failed::Closed(std::io::ErrorKind::UnexpectedEof.into()));
        }
        let mut consumed = 0;
        while let Some((length, _event)) =
            engine.receive(0, &input[consumed..]).map_err(|error| Failed::Malformed(error.reason))?
        {
            consumed += length;
        }
        input.drain(..consumed);
    }
}

async fn write<S: AsyncWrite + Unpin>(stream: &mut S, engine: &mut Connection<Nobody>) -> Result<(), Failed> {
    let output = engine.output().to_vec();
    engine.advance(output.len());
    stream.write_all(&output).await.map_err(Failed::Closed)?;
    stream.flush().await.map_err(Failed::Closed)
}

fn head(encoder: &mut Encoder, out: &mut Vec<u8>, check: &Check, scheme: &str) {
    let fields = [
        (":method", "POST"),
        (":scheme", scheme),
        (":path", "/grpc.health.v1.Health/Check"),
        (":authority", &check.authority),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        ("user-agent", "mainstay-probe"),
    ];
    for (name, value) in fields {
        encoder.field(out, name.as_bytes(), value.as_bytes(), Indexing::Without);
    }
}

/// `HealthCheckRequest { string service = 1 }` behind its length, uncompressed.
fn message(service: &str) -> Vec<u8> {
    // Names are far shorter than what one byte of length can say; what is not is cut by the configuration.
    let length = service.len().min(127) as u8;
    let field: &[u8] = if length == 0 { &[] } else { &[0x0a, length] };
    let whole = field.len() as u8 + length;
    [&[0, 0, 0, 0, whole], field, &service.as_bytes()[..usize::from(length)]].concat()
}

#[derive(Default)]
struct Answer {
    body: Vec<u8>,
    status: Option<u32>,
    has_head: bool,
}

impl Answer {
    /// Takes what has come. The verdict, once all has.
    fn take(&mut self, engine: &mut Connection<Nobody>, id: u32) -> Result<Option<Result<(), Failed>>, Failed> {
        while let Ok(Some(head)) = engine.take_head(id) {
            if head.status() >= 200 {
                self.has_head = true;
                self.status = field(&head, b"grpc-status").or(self.status);
                if head.status() != 200 {
                    return Ok(Some(Err(Failed::Grpc(format!("HTTP status {}", head.status())))));
                }
            }
        }
        let mut into = [0; 256];
        loop {
            match engine.read(id, &mut into) {
                Read::Bytes(read) => self.body.extend_from_slice(&into[..read]),
                Read::Pending => return Ok(None),
                Read::End => break,
                Read::Closed(Closed::ByPeer(Code(code))) => {
                    return Ok(Some(Err(Failed::Grpc(format!("the call was reset (code {code})")))));
                }
                Read::Closed(_) => return Err(Failed::Malformed("the stream was closed")),
            }
            if self.body.len() > BODY_MAX {
                return Err(Failed::Malformed("the answer is too long"));
            }
        }
        let trailers = engine.trailers(id);
        let line = trailers.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"grpc-status: "));
        self.status = line.and_then(|value| number(value.trim_ascii())).or(self.status);
        Ok(Some(self.verdict()))
    }

    fn verdict(&self) -> Result<(), Failed> {
        match (self.has_head, self.status) {
            (true, Some(0)) => {}
            (true, Some(5)) => return Err(Failed::Grpc("the endpoint knows no such service".to_owned())),
            (true, Some(12)) => return Err(Failed::Grpc("the endpoint has no grpc.health.v1.Health".to_owned())),
            (true, Some(status)) => return Err(Failed::Grpc(format!("grpc-status {status}"))),
            _none => return Err(Failed::Malformed("no grpc-status")),
        }
        match serving_status(&self.body) {
            Some(SERVING) => Ok(()),
            Some(2) => Err(Failed::Grpc("NOT_SERVING".to_owned())),
            Some(3) => Err(Failed::Grpc("SERVICE_UNKNOWN".to_owned())),
            Some(other) => Err(Failed::Grpc(format!("serving status {other}"))),
            None => Err(Failed::Malformed("not a HealthCheckResponse")),
        }
    }
}

fn field(head: &Fields, name: &[u8]) -> Option<u32> {
    let bytes = head.bytes();
    head.list().iter().find(|field| field.name.get(bytes) == name).and_then(|field| number(field.value.get(bytes)))
}

fn number(digits: &[u8]) -> Option<u32> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// `HealthCheckResponse { ServingStatus status = 1 }`; a field that is left out is 0.
fn serving_status(body: &[u8]) -> Option<u64> {
    let (head, message) = body.split_at_checked(5)?;
    let length = u32::from_be_bytes(*head.last_chunk::<4>()?) as usize;
    match (head[0], message) {
        (0, []) if length == 0 => Some(0),
        (0, [0x08, status]) if length == 2 && *status < 128 => Some(u64::from(*status)),
        _other => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_those_of_protobuf() {
        assert_eq!(message(""), [0, 0, 0, 0, 0]);
        assert_eq!(message("ab"), [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        assert_eq!(serving_status(&[0, 0, 0, 0, 2, 8, 1]), Some(SERVING));
        assert_eq!(serving_status(&[0, 0, 0, 0, 0]), Some(0));
        for wrong in [&[][..], &[0, 0, 0], &[1, 0, 0, 0, 2, 8, 1], &[0, 0, 0, 0, 9, 8, 1], &[0, 0, 0, 0, 2, 9, 1]] {
            assert_eq!(serving_status(wrong), None, "{wrong:?}");
        }
    }
}

//! One stream of an HTTP/2 connection, read and written like a connection of its own: bodies only, heads apart.

use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};

use mainstay_http2::{Closed, Code, Fields, Read, Role, Sent};

use super::link::{Link, register};
use super::text;

/// A stream, owned. Dropping it ends it: what was not said is never said.
#[derive(Debug)]
pub(crate) struct H2Stream {
    link: Rc<Link>,
    id: u32,
    role: Role,
    /// Sent when the stream is dropped before both sides were through.
    on_drop: Code,
}

impl Drop for H2Stream {
    fn drop(&mut self) {
        self.link.engine().release(self.id, self.on_drop);
        self.link.wake_driver();
    }
}

fn error(closed: Closed) -> io::Error {
    match closed {
        Closed::Lost => io::ErrorKind::ConnectionAborted.into(),
        Closed::ByPeer(_) | Closed::ByUs(_) | Closed::Refused => io::ErrorKind::ConnectionReset.into(),
    }
}

impl H2Stream {
    pub(crate) fn new(link: Rc<Link>, id: u32, role: Role) -> Self {
        let on_drop = if role == Role::Client { Code::CANCEL } else { Code::INTERNAL_ERROR };
        Self { link, id, role, on_drop }
    }

    /// The name that the client asked for in the TLS handshake.
    pub(crate) fn server_name(&self) -> Option<&str> {
        self.link.server_name()
    }

    /// The next head, or how the stream ended without one.
    pub(crate) fn poll_head(&self, cx: &Context<'_>) -> Poll<Result<Box<Fields>, Closed>> {
        let mut engine = self.link.engine();
        match engine.take_head(self.id) {
            Ok(Some(head)) => Poll::Ready(Ok(head)),
            Err(closed) => Poll::Ready(Err(closed)),
            Ok(None) => {
                if let Some(waiters) = engine.user(self.id) {
                    register(&mut waiters.reader, cx);
                }
                Poll::Pending
            }
        }
    }

    /// The next head, if it has come.
    pub(crate) fn take_head(&self) -> Option<Box<Fields>> {
        self.link.engine().take_head(self.id).ok().flatten()
    }

    /// Whether it has ended before its time.
    pub(crate) fn is_reset(&self) -> bool {
        self.link.engine().closed(self.id).is_some()
    }

    pub(crate) fn give_back(&self, head: Box<Fields>) {
        self.link.engine().give_back(head);
    }

    /// Whether nothing follows the head that was taken.
    pub(crate) fn has_no_body(&self) -> bool {
        self.link.engine().has_no_body(self.id)
    }

    /// Whether the peer has said what it understands, and `CONNECT` with `:protocol` was not part of it.
    pub(crate) fn refuses_extended_connect(&self) -> bool {
        let engine = self.link.engine();
        engine.is_settled() && !engine.allows_extended_connect()
    }

    /// Ready when the stream has ended before its time.
    pub(crate) fn poll_closed(&self, cx: &Context<'_>) -> Poll<()> {
        let mut engine = self.link.engine();
        if engine.closed(self.id).is_some() {
            return Poll::Ready(());
        }
        if let Some(waiters) = engine.user(self.id) {
            register(&mut waiters.reader, cx);
        }
        Poll::Pending
    }

    pub(crate) fn poll_read(&self, cx: &Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut engine = self.link.engine();
        match engine.read(self.id, into) {
            Read::Bytes(read) => {
                // A window that was widened is for the driver to announce.
                if !engine.output().is_empty() {
                    drop(engine);
                    self.link.wake_driver();
                }
                Poll::Ready(Ok(read))
            }
            Read::End => Poll::Ready(Ok(0)),
            Read::Closed(closed) => Poll::Ready(Err(error(closed))),
            Read::Pending => {
                if let Some(waiters) = engine.user(self.id) {
                    register(&mut waiters.reader, cx);
                }
                Poll::Pending
            }
        }
    }

    pub(crate) fn poll_write(&self, cx: &Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        if from.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let mut engine = self.link.engine();
        match engine.send(self.id, from) {
            Sent::Bytes(sent) => {
                drop(engine);
                self.link.wake_driver();
                Poll::Ready(Ok(sent))
            }
            Sent::Closed(closed) => Poll::Ready(Err(error(closed))),
            Sent::Pending => {
                if let Some(waiters) = engine.user(self.id) {
                    register(&mut waiters.writer, cx);
                }
                Poll::Pending
            }
        }
    }

    /// Ends our half, with trailers as lines of HTTP/1.1.
    pub(crate) fn finish(&self, trailers: &[u8]) -> io::Result<()> {
        let finished = self.link.engine().finish(self.id, trailers);
        self.link.wake_driver();
        finished.map_err(error)
    }

    /// The trailers that came behind the body, as lines of HTTP/1.1.
    pub(crate) fn trailers(&self) -> Vec<u8> {
        self.link.engine().trailers(self.id)
    }

    /// Sends a response's head, or an interim one, that is written in HTTP/1.1.
    pub(crate) fn respond(&self, head: &[u8]) -> io::Result<()> {
        let sent = self.link.engine().send_head(self.id, |encoder, out| text::response(encoder, out, head));
        self.link.wake_driver();
        sent.map_err(error)
    }

    /// Sends a request's head that is written in HTTP/1.1.
    pub(crate) fn request(&self, head: &[u8], scheme: &'static str, to_head: bool) -> io::Result<()> {
        let mut engine = self.link.engine();
        if to_head {
            engine.expect_no_body(self.id);
        }
        let sent = engine.send_head(self.id, |encoder, out| text::request(encoder, out, head, scheme));
        drop(engine);
        self.link.wake_driver();
        sent.map_err(error)
    }

    /// Makes the end a reset.
    pub(crate) fn reset(&self) {
        let code = if self.role == Role::Client { Code::CANCEL } else { Code::INTERNAL_ERROR };
        self.link.engine().reset(self.id, code);
        self.link.wake_driver();
    }
}

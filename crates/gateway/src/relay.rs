//! Moves one body from one connection to the other: decoded, checked, framed anew, with back-pressure. Holds at most what
//! the buffer holds, whatever the size of the body and however slow its receiver.

use std::io::{self, Write};
use std::task::{Context, Poll};

use crate::http1::body::{Decoder, Framing, Malformed, Piece, may_trail};
use crate::stream::{Buffer, Stream};

/// Why a body did not get through.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RelayError {
    #[error("reading failed")]
    Source(#[source] io::Error),
    #[error("closed before the end of the body")]
    SourceClosed,
    #[error("malformed body")]
    SourceMalformed(#[from] Malformed),
    #[error("writing failed")]
    Sink(#[source] io::Error),
}

/// Which side is waited for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Side {
    #[default]
    Source,
    Sink,
}

/// Pieces up to this size are copied behind the head, so that a small message is one write.
const COPY_BYTES: usize = 8 * 1024;
/// A vector that is larger is not kept for the next message.
const SHED_BYTES: usize = 128 * 1024;
/// No more is gathered before it is written.
const GATHER_BYTES: usize = 16 * 1024;

/// One direction of an exchange. Its allocations are used again.
#[derive(Debug, Default)]
pub(crate) struct Relay {
    decoder: Decoder,
    chunked: bool,
    /// Framing and small data on their way out; starts with the head.
    pub(crate) pending: Vec<u8>,
    sent: usize,
    /// Data at the front of the input that goes out as it is, after `pending`.
    raw: usize,
    /// All data goes out as it is: there is no head in `pending` that small pieces could go out with.
    is_direct: bool,
    /// The CRLF after a chunk is still owed.
    owes_crlf: bool,
    ended: bool,
    flushed: bool,
    /// Bytes of the body that went through.
    pub(crate) bytes: u64,
    /// Rises whenever anything moves.
    pub(crate) progress: u64,
    pub(crate) waits_for: Side,
    /// Where a body starts in the input: what stands before is kept.
    floor: usize,
    /// The body's bytes are kept in the input, so that it can be sent again.
    pub(crate) retains: bool,
    /// Nothing follows on the connection that it goes to, whose end is announced at once.
    pub(crate) is_last: bool,
    /// The sink stays open when the message has gone: a tunnel follows.
    holds_open: bool,
    /// Trailers that go on, where the sink takes them apart from the body.
    trailers: Vec<u8>,
}

impl Relay {
    /// Starts on a message whose head the caller has put into `pending`. The body is framed by `framing` where it comes
    /// from and by chunks where it goes if `chunked`.
    pub(crate) fn start(&mut self, framing: Framing, chunked: bool, floor: usize, retains: bool) {
        self.decoder.start(framing);
        self.chunked = chunked;
        self.sent = 0;
        self.raw = 0;
        self.is_direct = false;
        self.owes_crlf = false;
        self.ended = !framing.has_body();
        self.flushed = false;
        self.bytes = 0;
        self.progress = 0;
        self.waits_for = Side::Source;
        self.floor = floor;
        self.retains = retains;
        self.is_last = false;
        self.holds_open = false;
        self.trailers.clear();
    }

    /// The body is taken as it is, without chunks.
    pub(crate) const fn unchunked(&mut self) {
        self.chunked = false;
    }

    /// The trailers that came with the message, as far as they go on.
    pub(crate) fn trailers(&self) -> &[u8] {
        &self.trailers
    }

    /// The head went another way than through here, so that a body, unless it comes in chunks that are better gathered, need
    /// not be copied behind it.
    pub(crate) fn head_is_out(&mut self) {
        self.progress = 1;
        self.pending.clear();
        self.is_direct = !self.decoder.is_chunked();
    }

    /// Leaves the sink open after the message.
    pub(crate) const fn hold_open(&mut self) {
        self.holds_open = true;
    }

    /// Whether the whole body was read, even if not all of it was written.
    pub(crate) const fn has_ended(&self) -> bool {
        self.ended
    }

    /// Whether everything was written.
    pub(crate) const fn is_done(&self) -> bool {
        self.flushed
    }

    /// Whether the head, at least, went out in part.
    pub(crate) const fn has_sent(&self) -> bool {
        self.progress > 0
    }

    /// Moves what can be moved.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Stream,
        input: &mut Buffer,
        to: &mut Stream,
    ) -> Poll<Result<(), RelayError>> {
        loop {
            if self.sent < self.pending.len() || self.raw > 0 {
                std::task::ready!(self.poll_drain(cx, input, to))?;
                continue;
            }
            self.pending.clear();
            self.sent = 0;
            if self.ended {
                self.waits_for = Side::Sink;
                let finished = if self.holds_open { to.poll_flush(cx) } else { to.poll_finish(cx, &self.trailers) };
                std::task::ready!(finished).map_err(RelayError::Sink)?;
                self.flushed = true;
                return Poll::Ready(Ok(()));
            }
            if self.gather(input)? {
                continue;
            }
            std::task::ready!(self.poll_source(cx, from, input, to))?;
        }
    }

    /// Takes the body into memory: what has come goes behind `into`, as long as `has_room` for so many bytes in all. `false`
    /// if there is no room for what came last, which stays here for [`Self::resume`].
    pub(crate) fn poll_collect(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Stream,
        input: &mut Buffer,
        into: &mut Vec<u8>,
        mut has_room: impl FnMut(u64) -> bool,
    ) -> Poll<Result<bool, RelayError>> {
        loop {
            let size = self.pending.len() + self.raw;
            if size > 0 {
                if !has_room((into.len() + size) as u64) {
                    return Poll::Ready(Ok(false));
                }
                into.append(&mut self.pending);
                into.extend_from_slice(input.data().get(..self.raw).unwrap_or_default());
                input.consume(self.raw);
                self.raw = 0;
                continue;
            }
            if self.ended {
                self.flushed = true;
                return Poll::Ready(Ok(true));
            }
            if !self.gather(input)? {
                std::task::ready!(self.poll_source(cx, from, input, &mut Stream::Nobody))?;
            }
        }
    }

    /// Lets the body go on to a sink, after `head`, with what was taken of it first.
    pub(crate) fn resume(&mut self, head: &[u8], taken: &[u8], chunked: bool) {
        let mut pending = Vec::with_capacity(head.len() + taken.len() + self.pending.len() + 32);
        pending.extend_from_slice(head);
        let size = taken.len() + self.pending.len() + self.raw;
        if chunked && size > 0 {
            // Writing to a vector cannot fail.
            let _written = write!(pending, "{size:x}\r\n");
        }
        pending.extend_from_slice(taken);
        pending.append(&mut self.pending);
        self.chunked = chunked;
        self.owes_crlf = chunked && size > 0;
        self.pending = pending;
        self.sent = 0;
        // What stands raw in the input is part of the chunk.
        if self.ended && chunked {
            self.finish_chunks();
        }
    }

    /// Gives memory back that a body took on its way past the cache.
    pub(crate) fn shed(&mut self) {
        if self.pending.capacity() > SHED_BYTES {
            self.pending = Vec::new();
        }
    }

    /// Writes pending and raw bytes once.
    fn poll_drain(
        &mut self,
        cx: &mut Context<'_>,
        input: &mut Buffer,
        to: &mut Stream,
    ) -> Poll<Result<(), RelayError>> {
        // A body that is already here, and the head before it, go out together.
        if self.raw == 0 && !self.ended && self.sent == 0 {
            self.gather(input)?;
        }
        self.waits_for = Side::Sink;
        let head = self.pending.get(self.sent..).unwrap_or_default();
        let raw = input.data().get(..self.raw).unwrap_or_default();
        let written = if self.is_last && self.ended && raw.is_empty() {
            to.poll_write_last(cx, head)
        } else {
            to.poll_write_both(cx, head, raw)
        };
        match std::task::ready!(written) {
            Ok(0) => return Poll::Ready(Err(RelayError::Sink(io::ErrorKind::WriteZero.into()))),
            Ok(written) => {
                let of_head = written.min(head.len());
                self.sent += of_head;
                self.raw -= written - of_head;
                input.consume(written - of_head);
                self.progress += written as u64;
            }
            Err(error) => return Poll::Ready(Err(RelayError::Sink(error))),
        }
        Poll::Ready(Ok(()))
    }

    /// Takes what the input holds, until something is to be written. Answers whether something is.
    fn gather(&mut self, input: &mut Buffer) -> Result<bool, RelayError> {
        while !self.ended && self.raw == 0 && self.pending.len() < GATHER_BYTES {
            match self.decoder.next(input.data())? {
                Piece::Starved => break,
                Piece::Framing { length } => input.consume(length),
                Piece::End { length } => {
                    input.consume(length);
                    self.end();
                }
                Piece::Data { length } => self.data(input, length),
            }
            if self.decoder.is_done() && !self.ended {
                self.end();
            }
        }
        Ok(self.raw > 0 || !self.pending.is_empty() || self.ended)
    }

    fn data(&mut self, input: &mut Buffer, length: usize) {
        self.bytes += length as u64;
        if self.chunked {
            let crlf = if self.owes_crlf { "\r\n" } else { "" };
            // Writing to a vector cannot fail.
            let _written = write!(self.pending, "{crlf}{length:x}\r\n");
            self.owes_crlf = true;
        }
        if length <= COPY_BYTES && !self.is_direct {
            self.pending.extend_from_slice(input.data().get(..length).unwrap_or_default());
            input.consume(length);
        } else {
            self.raw = length;
        }
    }

    fn end(&mut self) {
        // The last piece of data must have gone before the end can be announced; the loop comes back for it.
        if self.raw > 0 {
            return;
        }
        self.ended = true;
        for line in self.decoder.trailers.split_inclusive(|byte| *byte == b'\n') {
            let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
            if may_trail(name) {
                self.trailers.extend_from_slice(line);
            }
        }
        if self.chunked {
            self.finish_chunks();
        }
    }

    /// Ends a body that goes out in chunks.
    fn finish_chunks(&mut self) {
        if self.owes_crlf {
            self.pending.extend_from_slice(b"\r\n");
        }
        self.pending.extend_from_slice(b"0\r\n");
        self.pending.extend_from_slice(&self.trailers);
        self.pending.extend_from_slice(b"\r\n");
    }

    /// Reads once.
    fn poll_source(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Stream,
        input: &mut Buffer,
        to: &mut Stream,
    ) -> Poll<Result<(), RelayError>> {
        self.waits_for = Side::Source;
        if self.retains && !input.has_room() {
            self.retains = false;
        }
        if !self.retains {
            input.compact_if_useful(self.floor);
        }
        if !input.has_room() {
            return Poll::Ready(Err(RelayError::SourceMalformed(Malformed)));
        }
        match input.poll_fill(cx, from) {
            Poll::Ready(Ok(0)) if self.decoder.ends_at_close() => {
                if let Some(stream) = from.http2() {
                    self.decoder.trailers = stream.trailers();
                }
                self.end();
            }
            Poll::Ready(Ok(0)) => return Poll::Ready(Err(RelayError::SourceClosed)),
            Poll::Ready(Ok(read)) => self.progress += read as u64,
            Poll::Ready(Err(error)) => return Poll::Ready(Err(RelayError::Source(error))),
            Poll::Pending => {
                // What TLS has buffered must not wait for the next piece of the body.
                if let Poll::Ready(Err(error)) = to.poll_flush(cx) {
                    return Poll::Ready(Err(RelayError::Sink(error)));
                }
                return Poll::Pending;
            }
        }
        Poll::Ready(Ok(()))
    }
}

//! What goes out: heads, bodies, ends.

use super::{Connection, Leaving, OUTPUT_BYTES, Role};
use crate::frame::{self, Code, END_HEADERS, END_STREAM, Kind};
use crate::hpack::{Encoder, indexing_for};
use crate::stream::{Closed, Notify, Sent, Stream};

/// Bytes that one stream sends before another gets its turn.
const TURN_BYTES: usize = 32 * 1024;

impl<T: Notify> Connection<T> {
    /// Opens a stream of ours. `None` if [`Self::can_open`] says no.
    pub fn open(&mut self) -> Option<u32> {
        if !self.can_open() {
            return None;
        }
        let id = self.next_own;
        self.next_own += 2;
        self.streams.insert(id, Stream::new(self.peer.stream_window, self.settings.stream_window));
        Some(id)
    }

    /// Sends a head: `encode` writes its fields with the encoder, pseudo-header fields first, names in lower case.
    ///
    /// # Errors
    /// If the stream has ended.
    pub fn send_head(&mut self, id: u32, encode: impl FnOnce(&mut Encoder, &mut Vec<u8>)) -> Result<(), Closed> {
        let Some(stream) = self.streams.get_mut(&id) else { return Err(Closed::Lost) };
        if let Some(closed) = stream.closed {
            return Err(closed);
        }
        let start = self.out.len();
        frame::head(&mut self.out, 0, Kind::Headers, END_HEADERS, id);
        self.encoder.begin(&mut self.out);
        encode(&mut self.encoder, &mut self.out);
        let length = self.out.len() - start - frame::HEAD_BYTES;
        if length > self.peer.max_frame {
            self.split(start, id);
        } else if let Some(bytes) = self.out.get_mut(start..start + 3) {
            bytes.copy_from_slice(&(length as u32).to_be_bytes()[1..]);
            self.tail = Some((id, start, self.out.len()));
        }
        Ok(())
    }

    /// Cuts a header block that does not fit into one frame.
    fn split(&mut self, start: usize, id: u32) {
        let block = self.out.split_off(start + frame::HEAD_BYTES);
        self.out.truncate(start);
        let mut kind = Kind::Headers;
        let mut pieces = block.chunks(self.peer.max_frame).peekable();
        while let Some(piece) = pieces.next() {
            let flags = if pieces.peek().is_none() { END_HEADERS } else { 0 };
            frame::head(&mut self.out, piece.len(), kind, flags, id);
            self.out.extend_from_slice(piece);
            kind = Kind::Continuation;
        }
    }

    /// Sends of `data` what the windows and the output have room for.
    pub fn send(&mut self, id: u32, data: &[u8]) -> Sent {
        let Some(stream) = self.streams.get_mut(&id) else { return Sent::Closed(Closed::Lost) };
        if let Some(closed) = stream.closed {
            return Sent::Closed(closed);
        }
        let room = OUTPUT_BYTES.saturating_sub(self.out.len() - self.written).min(self.send_window.available());
        let length = data.len().min(stream.send_window.available()).min(room).min(TURN_BYTES);
        if length == 0 {
            // For its own window it is told when that grows; for what all share it waits in line.
            if room == 0 && !stream.is_queued {
                stream.is_queued = true;
                self.queue.push_back(id);
            }
            return Sent::Pending;
        }
        stream.send_window.take(length);
        self.send_window.take(length);
        // Larger frames than this would let one stream hold up the others.
        for piece in data[..length].chunks(self.peer.max_frame.min(frame::MAX_FRAME)) {
            let start = self.out.len();
            frame::head(&mut self.out, piece.len(), Kind::Data, 0, id);
            self.out.extend_from_slice(piece);
            self.tail = Some((id, start, self.out.len()));
        }
        self.flood.moved();
        Sent::Bytes(length)
    }

    /// Ends our half, with trailers (lines of HTTP/1.1) if there are any.
    ///
    /// # Errors
    /// If the stream has ended already.
    pub fn finish(&mut self, id: u32, trailers: &[u8]) -> Result<(), Closed> {
        let Some(stream) = self.streams.get_mut(&id) else { return Err(Closed::Lost) };
        if let Some(closed) = stream.closed {
            return Err(closed);
        }
        if stream.send_ended {
            return Ok(());
        }
        stream.send_ended = true;
        if !trailers.is_empty() {
            self.send_head(id, |encoder, out| encode_lines(encoder, out, trailers))?;
        }
        // The flag goes onto the frame that was put into the output last, if that has not begun to be written.
        match self.tail {
            Some((stream, start, end)) if stream == id && end == self.out.len() && start >= self.written => {
                if let Some(flags) = self.out.get_mut(start + 4) {
                    *flags |= END_STREAM;
                }
            }
            _other => frame::head(&mut self.out, 0, Kind::Data, END_STREAM, id),
        }
        Ok(())
    }

    /// Tells the streams that wait for the connection's window or for room in the output. They ask again in the order in
    /// which they came to wait, and those that are still not satisfied wait again behind the others.
    pub(super) fn wake_queue(&mut self) {
        if self.send_window.available() == 0 || self.output().len() >= OUTPUT_BYTES {
            return;
        }
        for id in std::mem::take(&mut self.queue) {
            if let Some(stream) = self.streams.get_mut(&id) {
                stream.is_queued = false;
                stream.user.writable();
            }
        }
    }

    /// Refuses or ends streams that were announced as not to be served.
    pub(super) fn is_beyond_last(&self, id: u32) -> bool {
        matches!(self.leaving, Leaving::Final(last) if self.role == Role::Server && id > last)
    }

    /// Ends a stream because the peer broke the protocol on it.
    pub(super) fn stream_error(&mut self, id: u32, code: Code) {
        if self.streams.get(&id).is_some_and(|stream| stream.closed.is_none()) {
            self.reset(id, code);
        } else {
            self.recent.add(id);
            frame::rst_stream(&mut self.out, id, code);
        }
    }
}

/// Encodes lines `name: value CRLF`, whose names are lowered.
fn encode_lines(encoder: &mut Encoder, out: &mut Vec<u8>, lines: &[u8]) {
    let mut lowered = [0u8; 256];
    for line in lines.split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        let Some(lower) = lowered.get_mut(..name.len()) else { continue };
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        encoder.field(out, lower, value, indexing_for(lower));
    }
}

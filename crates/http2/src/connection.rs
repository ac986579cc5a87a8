//! A connection: its streams, its windows, and the bytes that wait to be written.

mod control;
mod ids;
mod receive;
mod send;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasherDefault;

use self::ids::{IdHasher, Recent};
use crate::ConnectionError;
use crate::fields::Fields;
use crate::flood::Flood;
use crate::flow::{ReceiveWindow, SendWindow};
use crate::frame::{self, Code};
use crate::hpack;
use crate::settings::{PeerSettings, Settings};
use crate::stream::{Closed, Notify, Read, Stream};

/// Which side of the connection we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// We answer.
    Server,
    /// We ask.
    Client,
}

/// What a frame meant to whoever drives the connection. Owners of streams are told by [`Notify`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Nothing that concerns the driver.
    Nothing,
    /// A request has come: its head is to be had from [`Connection::take_head`].
    Request(u32),
    /// The peer goes away: no more streams can be opened.
    GoAway,
}

/// How far our own leaving has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaving {
    No,
    /// GOAWAY with the largest id was sent, so that requests that are on their way are still taken.
    Announced,
    /// The last stream that is served was named.
    Final(u32),
}

/// A header block that has begun and not ended.
#[derive(Clone, Copy, Debug)]
struct Block {
    stream: u32,
    ends_stream: bool,
    continuations: u32,
}

/// The payload of the PING whose answer says that a whole round trip has passed since GOAWAY was announced.
const LEAVING_PING: [u8; 8] = *b"goingawy";
/// Output beyond this makes streams wait.
const OUTPUT_BYTES: usize = 128 * 1024;
/// Output that a connection keeps room for while nothing happens.
const REST_BYTES: usize = 2048;
/// Fields storage kept for the next block.
const SPARE_FIELDS: usize = 64;

/// One HTTP/2 connection.
pub struct Connection<T> {
    role: Role,
    settings: Settings,
    peer: PeerSettings,
    decoder: hpack::Decoder,
    encoder: hpack::Encoder,
    streams: HashMap<u32, Stream<T>, BuildHasherDefault<IdHasher>>,
    /// Streams that wait for the connection's window or for room in the output, longest first.
    queue: VecDeque<u32>,
    send_window: SendWindow,
    receive_window: ReceiveWindow,
    out: Vec<u8>,
    /// How much of `out` was written.
    written: usize,
    /// The frame at the end of `out` that END_STREAM can still be put on: its stream, start and end.
    tail: Option<(u32, usize, usize)>,
    preface: bool,
    settled: bool,
    block: Option<Block>,
    /// The header block so far, if it takes more than one frame.
    gathered: Vec<u8>,
    fields: Box<Fields>,
    #[expect(clippy::vec_box, reason = "fields are large; they move in and out of the store as a pointer")]
    spare: Vec<Box<Fields>>,
    /// Highest id of a stream that the peer has opened.
    last_peer: u32,
    /// Next id for a stream of ours.
    next_own: u32,
    leaving: Leaving,
    /// Streams of ours above this are not processed by the peer.
    peer_last: Option<u32>,
    recent: Recent,
    flood: Flood,
    ended: Option<ConnectionError>,
}

impl<T> std::fmt::Debug for Connection<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("role", &self.role)
            .field("streams", &self.streams.len())
            .finish_non_exhaustive()
    }
}

impl<T: Notify> Connection<T> {
    /// A new connection; its first output is the preface with our settings. `now` is in milliseconds, from any origin.
    pub fn new(role: Role, settings: Settings, now: u64) -> Self {
        let mut out = Vec::new();
        if role == Role::Client {
            out.extend_from_slice(frame::PREFACE);
        }
        settings.write(&mut out, role == Role::Client);
        let extra = settings.connection_window.saturating_sub(65_535);
        if extra > 0 {
            frame::window_update(&mut out, 0, extra);
        }
        Self {
            role,
            settings,
            peer: PeerSettings::new(),
            decoder: hpack::Decoder::new(4096),
            encoder: hpack::Encoder::new(),
            streams: HashMap::default(),
            queue: VecDeque::new(),
            send_window: SendWindow::new(65_535),
            receive_window: ReceiveWindow::new(settings.connection_window.max(65_535)),
            out,
            written: 0,
            tail: None,
            preface: role == Role::Client,
            settled: false,
            block: None,
            gathered: Vec::new(),
            fields: Box::default(),
            spare: Vec::new(),
            last_peer: 0,
            next_own: 1,
            leaving: Leaving::No,
            peer_last: None,
            recent: Recent::default(),
            flood: Flood::new(now),
            ended: None,
        }
    }

    /// Bytes that are to be written.
    pub fn output(&self) -> &[u8] {
        self.out.get(self.written..).unwrap_or_default()
    }

    /// `bytes` of the output were written. Streams that waited for room are told once all of it is.
    pub fn advance(&mut self, bytes: usize) {
        self.written += bytes;
        if self.written >= self.out.len() {
            self.out.clear();
            // A burst should not be paid for by every connection for ever.
            self.out.shrink_to(OUTPUT_BYTES);
            self.written = 0;
            self.tail = None;
            self.wake_queue();
        }
    }

    /// Gives memory back. To be called once nothing has happened for a while: what follows has to allocate it anew.
    pub fn rest(&mut self) {
        // A header block may have begun: what was gathered of it must stay.
        if self.block.is_none() && self.streams.is_empty() && self.out.is_empty() {
            // A connection whose requests come one by one rests between any two: what they need is left to them.
            self.out.shrink_to(REST_BYTES);
            self.gathered = Vec::new();
            self.spare.truncate(2);
            self.streams.shrink_to(8);
            self.queue.shrink_to(8);
        }
    }

    /// Whether the peer takes too little of what we answer: no more is to be read from it meanwhile.
    pub fn is_congested(&self) -> bool {
        self.output().len() > 2 * OUTPUT_BYTES
    }

    /// Streams whose owners have not let go of them.
    pub fn streams(&self) -> usize {
        self.streams.len()
    }

    /// Why the connection has ended, if it has.
    pub fn error(&self) -> Option<ConnectionError> {
        self.ended
    }

    /// Whether the peer has sent its settings.
    pub fn is_settled(&self) -> bool {
        self.settled
    }

    /// Whether the peer understands `CONNECT` with `:protocol`.
    pub fn allows_extended_connect(&self) -> bool {
        self.peer.extended_connect
    }

    /// Whether a stream can be opened now: the peer allows more, stays, and ids are left.
    pub fn can_open(&self) -> bool {
        self.role == Role::Client
            && self.ended.is_none()
            && self.peer_last.is_none()
            && self.leaving == Leaving::No
            && self.next_own < 0x7fff_0000
            && (self.streams.len() as u64) < u64::from(self.peer.max_streams)
    }

    /// Whether no stream can ever be opened again.
    pub fn is_closing(&self) -> bool {
        self.ended.is_some() || self.peer_last.is_some() || self.leaving != Leaving::No || self.next_own >= 0x7fff_0000
    }

    /// Whether our leaving is complete: the last stream was named and all are over.
    pub fn has_left(&self) -> bool {
        matches!(self.leaving, Leaving::Final(_)) && self.streams.is_empty()
    }

    /// The owner's part of a stream.
    pub fn user(&mut self, stream: u32) -> Option<&mut T> {
        self.streams.get_mut(&stream).map(|stream| &mut stream.user)
    }

    /// Takes the next head of a stream: the request's, or an interim or final response's.
    pub fn take_head(&mut self, stream: u32) -> Result<Option<Box<Fields>>, Closed> {
        let Some(stream) = self.streams.get_mut(&stream) else { return Err(Closed::Lost) };
        match (stream.heads.pop(), stream.closed) {
            (Some(head), _) => Ok(Some(head)),
            (None, Some(closed)) => Err(closed),
            (None, None) => Ok(None),
        }
    }

    /// Gives the storage of a head back.
    pub fn give_back(&mut self, fields: Box<Fields>) {
        if self.spare.len() < SPARE_FIELDS {
            self.spare.push(fields);
        }
    }

    /// Whether nothing follows the head: the message has ended, and there is neither body nor trailers to be read.
    pub fn has_no_body(&self, stream: u32) -> bool {
        let is_empty = |stream: &Stream<T>| stream.read == stream.body.len() && stream.trailers.is_empty();
        self.streams.get(&stream).is_none_or(|stream| stream.receive_ended && is_empty(stream))
    }

    /// How the stream ended before its time, if it did.
    pub fn closed(&self, stream: u32) -> Option<Closed> {
        match self.streams.get(&stream) {
            Some(stream) => stream.closed,
            None => Some(Closed::Lost),
        }
    }

    /// The response to this request has no body, whatever its `content-length` says.
    pub fn expect_no_body(&mut self, stream: u32) {
        if let Some(stream) = self.streams.get_mut(&stream) {
            stream.is_bodyless = true;
        }
    }

    /// Reads from a stream's body. What was read is granted to the peer anew.
    pub fn read(&mut self, id: u32, into: &mut [u8]) -> Read {
        let Some(stream) = self.streams.get_mut(&id) else { return Read::Closed(Closed::Lost) };
        let rest = stream.body.get(stream.read..).unwrap_or_default();
        if rest.is_empty() {
            // The peer may end a stream whose message is complete in any way it likes (RFC 9113, section 8.1).
            return match stream.closed {
                _ if stream.receive_ended && !matches!(stream.closed, Some(Closed::ByUs(_))) => Read::End,
                Some(closed) => Read::Closed(closed),
                None => Read::Pending,
            };
        }
        let length = rest.len().min(into.len());
        into[..length].copy_from_slice(&rest[..length]);
        stream.read += length;
        if stream.read == stream.body.len() {
            stream.body.clear();
            stream.read = 0;
        }
        if !stream.receive_ended
            && stream.closed.is_none()
            && let Some(by) = stream.receive_window.release(length)
        {
            frame::window_update(&mut self.out, id, by);
        }
        self.release_connection(length);
        Read::Bytes(length)
    }

    /// The trailers of a stream whose body has ended, as lines of HTTP/1.1.
    pub fn trailers(&self, stream: u32) -> Vec<u8> {
        self.streams.get(&stream).map(|stream| stream.trailers.clone()).unwrap_or_default()
    }

    fn release_connection(&mut self, bytes: usize) {
        if let Some(by) = self.receive_window.release(bytes) {
            frame::window_update(&mut self.out, 0, by);
        }
    }

    /// The owner lets go of a stream. One that is not over is reset with `code`.
    pub fn release(&mut self, id: u32, code: Code) {
        let Some(stream) = self.streams.get(&id) else { return };
        let has_answered = stream.send_ended && self.role == Role::Server;
        if stream.closed.is_none() && stream.is_over() {
            self.flood.finished();
        } else if stream.closed.is_none() && has_answered && stream.expected == Some(0) {
            // The body is complete. To a client that is about to send the frame which says so, a reset looks like a failure.
            self.flood.finished();
            self.recent.add(id);
        } else if stream.closed.is_none() {
            // A server that has answered in full may stop reading the request (RFC 9113, section 8.1).
            self.reset(id, if has_answered { Code::NO_ERROR } else { code });
        }
        if let Some(mut stream) = self.streams.remove(&id) {
            self.release_connection(stream.body.len() - stream.read);
            while let Some(fields) = stream.heads.pop() {
                self.give_back(fields);
            }
        }
    }

    /// Resets a stream.
    pub fn reset(&mut self, id: u32, code: Code) {
        if let Some(stream) = self.streams.get_mut(&id)
            && stream.closed.is_none()
        {
            stream.close(Closed::ByUs(code));
            self.recent.add(id);
            frame::rst_stream(&mut self.out, id, code);
        }
    }

    /// Announces that we leave: requests that are on their way are still taken (RFC 9113, section 6.8).
    pub fn leave(&mut self) {
        if self.leaving == Leaving::No && self.ended.is_none() {
            self.leaving = Leaving::Announced;
            frame::go_away(&mut self.out, 0x7fff_ffff, Code::NO_ERROR, "");
            frame::ping(&mut self.out, false, LEAVING_PING);
        }
    }

    /// Names the last stream that is served; done by itself when the peer has answered to [`Self::leave`].
    pub fn leave_finally(&mut self) {
        if !matches!(self.leaving, Leaving::Final(_)) && self.ended.is_none() {
            self.leaving = Leaving::Final(self.last_peer);
            frame::go_away(&mut self.out, self.last_peer, Code::NO_ERROR, "");
        }
    }

    /// Asks the peer whether it is there; its answer is received like any frame.
    pub fn ping(&mut self) {
        frame::ping(&mut self.out, false, *b"mainstay");
    }

    /// The socket is gone: every stream ends.
    pub fn lose(&mut self) {
        for stream in self.streams.values_mut() {
            stream.close(Closed::Lost);
        }
        if self.ended.is_none() {
            self.ended = Some(ConnectionError { code: Code::NO_ERROR, reason: "the connection was closed" });
        }
    }

    fn fail(&mut self, error: ConnectionError) {
        if self.ended.is_none() {
            frame::go_away(&mut self.out, self.last_peer, error.code, error.reason);
            self.lose();
            self.ended = Some(error);
        }
    }
}

//! What comes in: one frame at a time, each held against the state that it meets.

use super::{Block, Connection, Event, Role};
use crate::fields::Section;
use crate::flood::MAX_CONTINUATIONS;
use crate::frame::{self, ACK, Code, END_HEADERS, END_STREAM, Head, Kind, PADDED, PRIORITY};
use crate::stream::{Notify, Stream};
use crate::{ConnectionError, broken, hpack};

/// Interim responses to one request. More than a few are an attack or a bug.
const MAX_INTERIM: u32 = 16;

impl<T: Notify> Connection<T> {
    /// Takes in the first frame of `input`. Answers how many bytes that were and what it meant; `None` if the frame is not
    /// all there. After an error the output ends in a GOAWAY that says why, and nothing more is to be received.
    ///
    /// # Errors
    /// If the peer broke the protocol, or floods us.
    pub fn receive(&mut self, now: u64, input: &[u8]) -> Result<Option<(usize, Event)>, ConnectionError> {
        if let Some(error) = self.ended {
            return Err(error);
        }
        let result = self.step(now, input);
        if let Err(error) = result {
            self.fail(error);
        }
        result
    }

    fn step(&mut self, now: u64, input: &[u8]) -> Result<Option<(usize, Event)>, ConnectionError> {
        if !self.preface {
            let length = input.len().min(frame::PREFACE.len());
            if input[..length] != frame::PREFACE[..length] {
                return broken(Code::PROTOCOL_ERROR, "no connection preface");
            }
            if length < frame::PREFACE.len() {
                return Ok(None);
            }
            self.preface = true;
            return Ok(Some((length, Event::Nothing)));
        }
        let Some(head) = Head::read(input) else { return Ok(None) };
        if head.length > frame::MAX_FRAME {
            return broken(Code::FRAME_SIZE_ERROR, "a frame larger than allowed");
        }
        if !self.settled && (head.kind != Kind::Settings || head.has(ACK)) {
            return broken(Code::PROTOCOL_ERROR, "the first frame is not SETTINGS");
        }
        let Some(payload) = input.get(frame::HEAD_BYTES..frame::HEAD_BYTES + head.length) else { return Ok(None) };
        let consumed = frame::HEAD_BYTES + head.length;
        let event = match (self.block, head.kind) {
            (Some(block), Kind::Continuation) if block.stream == head.stream => {
                self.continuation(now, block, head, payload)?
            }
            (Some(_), _) => return broken(Code::PROTOCOL_ERROR, "a header block was not continued"),
            (None, Kind::Continuation) => return broken(Code::PROTOCOL_ERROR, "CONTINUATION of nothing"),
            (None, _) => self.frame(now, head, payload)?,
        };
        Ok(Some((consumed, event)))
    }

    fn frame(&mut self, now: u64, head: Head, payload: &[u8]) -> Result<Event, ConnectionError> {
        match head.kind {
            Kind::Data => self.data(now, head, payload)?,
            Kind::Headers => return self.headers(now, head, payload),
            Kind::Priority => {
                if head.stream == 0 {
                    return broken(Code::PROTOCOL_ERROR, "PRIORITY on stream 0");
                }
                self.flood.idle(now)?;
                if head.length != 5 {
                    self.check_idle_for_reset(head.stream)?;
                    self.stream_error(head.stream, Code::FRAME_SIZE_ERROR);
                }
            }
            Kind::RstStream => self.rst_stream(now, head, payload)?,
            Kind::Settings => self.settings(now, head, payload)?,
            Kind::PushPromise => return broken(Code::PROTOCOL_ERROR, "PUSH_PROMISE is not allowed"),
            Kind::Ping => self.pinged(now, head, payload)?,
            Kind::GoAway => return self.go_away(now, head, payload),
            Kind::WindowUpdate => self.window_update(now, head, payload)?,
            Kind::Continuation => {}
            Kind::Unknown => self.flood.idle(now)?,
        }
        Ok(Event::Nothing)
    }

    /// A stream error cannot be sent for an idle stream: that makes it one of the connection.
    fn check_idle_for_reset(&self, id: u32) -> Result<(), ConnectionError> {
        if self.is_idle(id) {
            broken(Code::FRAME_SIZE_ERROR, "a frame of the wrong size on an idle stream")
        } else {
            Ok(())
        }
    }

    /// Whether the stream was never opened.
    pub(super) fn is_idle(&self, id: u32) -> bool {
        let is_peers = (id % 2 == 1) == (self.role == Role::Server);
        if is_peers { id > self.last_peer } else { id >= self.next_own || self.role == Role::Server }
    }

    fn data(&mut self, now: u64, head: Head, payload: &[u8]) -> Result<(), ConnectionError> {
        if head.stream == 0 {
            return broken(Code::PROTOCOL_ERROR, "DATA on stream 0");
        }
        if self.is_idle(head.stream) {
            return broken(Code::PROTOCOL_ERROR, "DATA on an idle stream");
        }
        let data = unpad(head, payload)?;
        if self.receive_window.receive(payload.len()).is_err() {
            return broken(Code::FLOW_CONTROL_ERROR, "more DATA than the connection's window allows");
        }
        let ends = head.has(END_STREAM);
        if data.is_empty() && !ends {
            self.flood.idle(now)?;
        } else {
            self.flood.moved();
        }
        let Some(stream) = self.streams.get_mut(&head.stream).filter(|stream| stream.closed.is_none()) else {
            self.release_connection(payload.len());
            return self.late(now, head.stream);
        };
        let problem = if stream.receive_ended {
            Some(Code::STREAM_CLOSED)
        } else if self.role == Role::Client && !stream.has_head {
            Some(Code::PROTOCOL_ERROR)
        } else if stream.receive_window.receive(payload.len()).is_err() {
            Some(Code::FLOW_CONTROL_ERROR)
        } else {
            stream.receive(data, ends).err().map(|_wrong| Code::PROTOCOL_ERROR)
        };
        let padding = payload.len() - data.len();
        match problem {
            Some(code) => {
                // What was stored before the fault was found is released with the stream.
                let stored = code == Code::PROTOCOL_ERROR && self.was_stored(head.stream, data.len());
                self.release_connection(if stored { padding } else { payload.len() });
                self.flood.reset(now)?;
                self.stream_error(head.stream, code);
            }
            None if padding > 0 => {
                if let Some(by) = self.streams.get_mut(&head.stream).and_then(|it| it.receive_window.release(padding)) {
                    frame::window_update(&mut self.out, head.stream, by);
                }
                self.release_connection(padding);
            }
            None => {}
        }
        Ok(())
    }

    /// Whether the last `length` bytes of the stream's body are those of the frame that turned out to be wrong.
    fn was_stored(&self, id: u32, length: usize) -> bool {
        self.streams.get(&id).is_some_and(|stream| stream.receive_ended && stream.body.len() >= length)
    }

    /// A frame for a stream that is over: ignored if we have just reset it, else the peer should know better.
    fn late(&mut self, now: u64, id: u32) -> Result<(), ConnectionError> {
        self.flood.idle(now)?;
        if !self.recent.has(id) && !self.is_beyond_last(id) {
            self.flood.reset(now)?;
            self.stream_error(id, Code::STREAM_CLOSED);
            self.recent.add(id);
        }
        Ok(())
    }

    fn headers(&mut self, now: u64, head: Head, payload: &[u8]) -> Result<Event, ConnectionError> {
        if head.stream == 0 {
            return broken(Code::PROTOCOL_ERROR, "HEADERS on stream 0");
        }
        if self.role == Role::Server && head.stream.is_multiple_of(2) {
            return broken(Code::PROTOCOL_ERROR, "a stream with an even id");
        }
        if self.role == Role::Client && self.is_idle(head.stream) {
            return broken(Code::PROTOCOL_ERROR, "HEADERS on an idle stream");
        }
        let mut block = unpad(head, payload)?;
        if head.has(PRIORITY) {
            block = match block.get(5..) {
                Some(rest) => rest,
                None => return broken(Code::FRAME_SIZE_ERROR, "HEADERS too short for its priority"),
            };
        }
        let ends_stream = head.has(END_STREAM);
        if head.has(END_HEADERS) {
            return self.block(now, head.stream, ends_stream, block);
        }
        self.gathered.clear();
        self.gathered.extend_from_slice(block);
        self.block = Some(Block { stream: head.stream, ends_stream, continuations: 0 });
        Ok(Event::Nothing)
    }

    fn continuation(
        &mut self,
        now: u64,
        mut block: Block,
        head: Head,
        payload: &[u8],
    ) -> Result<Event, ConnectionError> {
        block.continuations += 1;
        // A block is never longer than what it decodes to, but for padding of integers and Huffman codes.
        let most = self.settings.max_header_list as usize * 2 + frame::MAX_FRAME;
        if block.continuations > MAX_CONTINUATIONS || self.gathered.len() + payload.len() > most {
            return broken(Code::ENHANCE_YOUR_CALM, "a header block without end");
        }
        self.gathered.extend_from_slice(payload);
        if !head.has(END_HEADERS) {
            self.block = Some(block);
            return Ok(Event::Nothing);
        }
        self.block = None;
        let gathered = std::mem::take(&mut self.gathered);
        let result = self.block(now, block.stream, block.ends_stream, &gathered);
        self.gathered = gathered;
        result
    }

    /// A whole header block. It is decoded whatever becomes of its stream: the table must stay in step.
    fn block(&mut self, now: u64, id: u32, ends: bool, block: &[u8]) -> Result<Event, ConnectionError> {
        let is_new = self.role == Role::Server && id > self.last_peer;
        let section = match self.streams.get(&id) {
            Some(stream) if self.role == Role::Server || stream.has_head => Section::Trailers,
            Some(_) => Section::Response,
            None if self.role == Role::Server => Section::Request,
            None => Section::Trailers,
        };
        self.fields.begin(section, self.settings.max_fields);
        let fields = &mut self.fields;
        let limit = self.settings.max_header_list as usize;
        match self.decoder.decode(block, hpack::Limits { list_bytes: limit }, |name, value| fields.push(name, value)) {
            Ok(hpack::Outcome::Complete) => {}
            Ok(hpack::Outcome::TooLarge) => self.fields.too_large = true,
            Err(_error) => return broken(Code::COMPRESSION_ERROR, "a header block that cannot be decoded"),
        }
        if is_new {
            return self.request(now, id, ends);
        }
        let Some(stream) = self.streams.get_mut(&id).filter(|stream| stream.closed.is_none()) else {
            if self.recent.has(id) || self.is_beyond_last(id) || self.role == Role::Client {
                self.flood.idle(now)?;
                return Ok(Event::Nothing);
            }
            return broken(Code::STREAM_CLOSED, "HEADERS on a stream that is over");
        };
        if stream.receive_ended {
            self.flood.reset(now)?;
            self.stream_error(id, Code::STREAM_CLOSED);
            return Ok(Event::Nothing);
        }
        if self.fields.finish().is_err() || self.fields.too_large {
            self.flood.reset(now)?;
            self.stream_error(id, Code::PROTOCOL_ERROR);
            return Ok(Event::Nothing);
        }
        let is_wrong =
            if section == Section::Trailers { self.take_trailers(id, ends) } else { self.response(id, ends) };
        if is_wrong {
            self.flood.reset(now)?;
            self.stream_error(id, Code::PROTOCOL_ERROR);
        }
        Ok(Event::Nothing)
    }

    /// Opens the stream of a new request.
    fn request(&mut self, now: u64, id: u32, ends: bool) -> Result<Event, ConnectionError> {
        if self.is_beyond_last(id) {
            self.flood.idle(now)?;
            self.last_peer = id;
            return Ok(Event::Nothing);
        }
        self.last_peer = id;
        if self.streams.len() as u64 >= u64::from(self.settings.max_streams) {
            self.flood.reset(now)?;
            self.stream_error(id, Code::REFUSED_STREAM);
            return Ok(Event::Nothing);
        }
        if self.fields.finish().is_err() {
            self.flood.reset(now)?;
            self.stream_error(id, Code::PROTOCOL_ERROR);
            return Ok(Event::Nothing);
        }
        let mut stream = Stream::new(self.peer.stream_window, self.settings.stream_window);
        stream.expected = self.fields.content_length();
        stream.has_head = true;
        let is_short = ends && stream.end().is_err();
        if is_short {
            self.flood.reset(now)?;
            self.stream_error(id, Code::PROTOCOL_ERROR);
            return Ok(Event::Nothing);
        }
        let next = self.spare.pop().unwrap_or_default();
        stream.heads.push(std::mem::replace(&mut self.fields, next));
        self.streams.insert(id, stream);
        Ok(Event::Request(id))
    }

    /// A response's head. `true` if it is wrong.
    fn response(&mut self, id: u32, ends: bool) -> bool {
        let Some(stream) = self.streams.get_mut(&id) else { return true };
        let status = self.fields.status();
        if status == 101 {
            return true;
        }
        if status < 200 {
            stream.interims += 1;
            if ends || stream.interims > MAX_INTERIM {
                return true;
            }
        } else {
            stream.has_head = true;
            stream.is_bodyless |= matches!(status, 204 | 304);
            stream.expected = self.fields.content_length();
        }
        // A head that promises a body which never comes is not handed on.
        if ends && stream.end().is_err() {
            return true;
        }
        let next = self.spare.pop().unwrap_or_default();
        stream.heads.push(std::mem::replace(&mut self.fields, next));
        stream.user.readable();
        false
    }

    /// A block behind the body. `true` if it is wrong.
    fn take_trailers(&mut self, id: u32, ends: bool) -> bool {
        let Some(stream) = self.streams.get_mut(&id) else { return true };
        if !ends {
            return true;
        }
        self.fields.write_lines(&mut stream.trailers);
        stream.end().is_err()
    }
}

/// The payload without its padding.
fn unpad(head: Head, payload: &[u8]) -> Result<&[u8], ConnectionError> {
    if !head.has(PADDED) {
        return Ok(payload);
    }
    let unpadded = payload.split_first().and_then(|(padding, rest)| {
        rest.len().checked_sub(usize::from(*padding)).and_then(|length| rest.get(..length))
    });
    match unpadded {
        Some(data) => Ok(data),
        None => broken(Code::PROTOCOL_ERROR, "more padding than payload"),
    }
}

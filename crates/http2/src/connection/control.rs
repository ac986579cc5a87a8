//! Frames that come in and steer: resets, settings, pings, windows, goodbyes.

use super::{Connection, Event, LEAVING_PING, Leaving, Role};
use crate::frame::{self, ACK, Code, Head, Kind};
use crate::stream::{Closed, Notify};
use crate::{ConnectionError, broken};

impl<T: Notify> Connection<T> {
    pub(super) fn rst_stream(&mut self, now: u64, head: Head, payload: &[u8]) -> Result<(), ConnectionError> {
        if head.stream == 0 || self.is_idle(head.stream) {
            return broken(Code::PROTOCOL_ERROR, "RST_STREAM on stream 0 or an idle stream");
        }
        let Some(code) = frame::number(payload).filter(|_code| payload.len() == 4) else {
            return broken(Code::FRAME_SIZE_ERROR, "RST_STREAM of a length other than 4");
        };
        let role = self.role;
        match self.streams.get_mut(&head.stream) {
            Some(stream) if stream.closed.is_none() => {
                let closed = match Code(code) {
                    Code::REFUSED_STREAM if role == Role::Client && !stream.has_head => Closed::Refused,
                    code => Closed::ByPeer(code),
                };
                let was_over = stream.is_over();
                stream.close(closed);
                if role == Role::Server && !was_over {
                    self.flood.reset(now)?;
                }
            }
            _gone => self.flood.idle(now)?,
        }
        Ok(())
    }

    pub(super) fn settings(&mut self, now: u64, head: Head, payload: &[u8]) -> Result<(), ConnectionError> {
        if head.stream != 0 {
            return broken(Code::PROTOCOL_ERROR, "SETTINGS on a stream");
        }
        if head.has(ACK) {
            if !payload.is_empty() {
                return broken(Code::FRAME_SIZE_ERROR, "SETTINGS ACK with a payload");
            }
            return self.flood.idle(now);
        }
        if self.settled {
            self.flood.idle(now)?;
        }
        let before = self.peer.stream_window;
        let table = self.peer.header_table;
        self.peer.read(payload, self.role == Role::Client)?;
        self.settled = true;
        if table != self.peer.header_table {
            self.encoder.set_max_table(self.peer.header_table as usize);
        }
        let by = i64::from(self.peer.stream_window) - i64::from(before);
        if by != 0 {
            for stream in self.streams.values_mut() {
                if stream.send_window.change(by).is_err() {
                    return broken(Code::FLOW_CONTROL_ERROR, "a stream's window over 2^31-1");
                }
                stream.user.writable();
            }
        }
        frame::head(&mut self.out, 0, Kind::Settings, ACK, 0);
        Ok(())
    }

    pub(super) fn pinged(&mut self, now: u64, head: Head, payload: &[u8]) -> Result<(), ConnectionError> {
        if head.stream != 0 {
            return broken(Code::PROTOCOL_ERROR, "PING on a stream");
        }
        let Some(payload) = payload.first_chunk::<8>().filter(|_eight| payload.len() == 8) else {
            return broken(Code::FRAME_SIZE_ERROR, "PING of a length other than 8");
        };
        self.flood.idle(now)?;
        if !head.has(ACK) {
            frame::ping(&mut self.out, true, *payload);
        } else if self.leaving == Leaving::Announced && *payload == LEAVING_PING {
            self.leave_finally();
        }
        Ok(())
    }

    pub(super) fn go_away(&mut self, now: u64, head: Head, payload: &[u8]) -> Result<Event, ConnectionError> {
        if head.stream != 0 {
            return broken(Code::PROTOCOL_ERROR, "GOAWAY on a stream");
        }
        let Some(last) = frame::number(payload).filter(|_last| payload.len() >= 8) else {
            return broken(Code::FRAME_SIZE_ERROR, "GOAWAY shorter than 8");
        };
        self.flood.idle(now)?;
        let last = last & 0x7fff_ffff;
        if self.peer_last.is_some_and(|before| last > before) {
            return broken(Code::PROTOCOL_ERROR, "GOAWAY names a later stream than before");
        }
        self.peer_last = Some(last);
        if self.role == Role::Client {
            for (id, stream) in &mut self.streams {
                if *id > last {
                    stream.close(Closed::Refused);
                }
            }
        }
        Ok(Event::GoAway)
    }

    pub(super) fn window_update(&mut self, now: u64, head: Head, payload: &[u8]) -> Result<(), ConnectionError> {
        let Some(by) = frame::number(payload).filter(|_by| payload.len() == 4) else {
            return broken(Code::FRAME_SIZE_ERROR, "WINDOW_UPDATE of a length other than 4");
        };
        let by = by & 0x7fff_ffff;
        self.flood.idle(now)?;
        if head.stream == 0 {
            if by == 0 {
                return broken(Code::PROTOCOL_ERROR, "WINDOW_UPDATE by 0");
            }
            if self.send_window.change(i64::from(by)).is_err() {
                return broken(Code::FLOW_CONTROL_ERROR, "the connection's window over 2^31-1");
            }
            self.wake_queue();
            return Ok(());
        }
        if self.is_idle(head.stream) {
            return broken(Code::PROTOCOL_ERROR, "WINDOW_UPDATE on an idle stream");
        }
        let Some(stream) = self.streams.get_mut(&head.stream).filter(|stream| stream.closed.is_none()) else {
            return Ok(());
        };
        if by == 0 {
            self.flood.reset(now)?;
            self.stream_error(head.stream, Code::PROTOCOL_ERROR);
        } else if stream.send_window.change(i64::from(by)).is_err() {
            self.flood.reset(now)?;
            self.stream_error(head.stream, Code::FLOW_CONTROL_ERROR);
        } else {
            stream.user.writable();
        }
        Ok(())
    }
}

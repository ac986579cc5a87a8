//! Settings: what we announce, and what the peer has announced (RFC 9113, section 6.5; RFC 8441, section 3).

use crate::frame::{self, Code, Kind};
use crate::{ConnectionError, broken};

/// What we announce. Frames of more than [`frame::MAX_FRAME`] bytes and server push are never allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Streams that the peer may have open at once.
    pub max_streams: u32,
    /// Bytes that the peer may send on a stream ahead of our reading; at most 2^31-1.
    pub stream_window: u32,
    /// The same for the connection as a whole; from 65,535 to 2^31-1.
    pub connection_window: u32,
    /// Largest header list, counted as RFC 9113 counts it: 32 bytes more for each field.
    pub max_header_list: u32,
    /// Largest number of fields in a list.
    pub max_fields: usize,
    /// Whether `CONNECT` with `:protocol` is understood.
    pub extended_connect: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_streams: 100,
            stream_window: 256 * 1024,
            connection_window: 1024 * 1024,
            max_header_list: 64 * 1024,
            max_fields: 100,
            extended_connect: true,
        }
    }
}

const HEADER_TABLE_SIZE: u16 = 0x1;
const ENABLE_PUSH: u16 = 0x2;
const MAX_CONCURRENT_STREAMS: u16 = 0x3;
const INITIAL_WINDOW_SIZE: u16 = 0x4;
const MAX_FRAME_SIZE: u16 = 0x5;
const MAX_HEADER_LIST_SIZE: u16 = 0x6;
const ENABLE_CONNECT_PROTOCOL: u16 = 0x8;

impl Settings {
    /// Writes them as a frame.
    pub(crate) fn write(&self, out: &mut Vec<u8>, is_client: bool) {
        let list: [Option<(u16, u32)>; 5] = [
            is_client.then_some((ENABLE_PUSH, 0)),
            (!is_client).then_some((MAX_CONCURRENT_STREAMS, self.max_streams)),
            Some((INITIAL_WINDOW_SIZE, self.stream_window)),
            Some((MAX_HEADER_LIST_SIZE, self.max_header_list)),
            (self.extended_connect && !is_client).then_some((ENABLE_CONNECT_PROTOCOL, 1)),
        ];
        frame::head(out, list.iter().flatten().count() * 6, Kind::Settings, 0, 0);
        for (id, value) in list.into_iter().flatten() {
            out.extend_from_slice(&id.to_be_bytes());
            out.extend_from_slice(&value.to_be_bytes());
        }
    }
}

/// What the peer has announced, with the protocol's defaults until it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PeerSettings {
    pub(crate) header_table: u32,
    pub(crate) max_streams: u32,
    pub(crate) stream_window: u32,
    pub(crate) max_frame: usize,
    pub(crate) extended_connect: bool,
}

impl PeerSettings {
    pub(crate) const fn new() -> Self {
        Self {
            header_table: 4096,
            max_streams: u32::MAX,
            stream_window: 65_535,
            max_frame: frame::MAX_FRAME,
            extended_connect: false,
        }
    }

    /// Takes in the payload of a SETTINGS frame. Unknown settings are ignored.
    pub(crate) fn read(&mut self, payload: &[u8], peer_is_server: bool) -> Result<(), ConnectionError> {
        if !payload.len().is_multiple_of(6) {
            return broken(Code::FRAME_SIZE_ERROR, "SETTINGS of a length that is no multiple of 6");
        }
        for entry in payload.chunks_exact(6) {
            let [i0, i1, v0, v1, v2, v3] = *entry else { continue };
            let value = u32::from_be_bytes([v0, v1, v2, v3]);
            match u16::from_be_bytes([i0, i1]) {
                HEADER_TABLE_SIZE => self.header_table = value,
                ENABLE_PUSH if value > 1 || (value == 1 && peer_is_server) => {
                    return broken(Code::PROTOCOL_ERROR, "invalid SETTINGS_ENABLE_PUSH");
                }
                MAX_CONCURRENT_STREAMS => self.max_streams = value,
                INITIAL_WINDOW_SIZE if value > i32::MAX as u32 => {
                    return broken(Code::FLOW_CONTROL_ERROR, "SETTINGS_INITIAL_WINDOW_SIZE over 2^31-1");
                }
                INITIAL_WINDOW_SIZE => self.stream_window = value,
                MAX_FRAME_SIZE if !(16_384..=16_777_215).contains(&value) => {
                    return broken(Code::PROTOCOL_ERROR, "SETTINGS_MAX_FRAME_SIZE out of range");
                }
                MAX_FRAME_SIZE => self.max_frame = value as usize,
                ENABLE_CONNECT_PROTOCOL if value > 1 || (value == 0 && self.extended_connect) => {
                    return broken(Code::PROTOCOL_ERROR, "invalid SETTINGS_ENABLE_CONNECT_PROTOCOL");
                }
                ENABLE_CONNECT_PROTOCOL => self.extended_connect = value == 1,
                _unknown_or_advisory => {}
            }
        }
        Ok(())
    }
}

//! A client of HTTP/2 that sends exactly the frames it is given, right or wrong, and reads what comes back.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use mainstay_http2::hpack::{DEFAULT_TABLE_BYTES, Decoder, Encoder, Indexing, Limits};

/// What a connection begins with (RFC 9113, section 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Kinds of frames.
pub mod kind {
    #![allow(missing_docs, reason = "they are called what the RFC calls them")]
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PUSH_PROMISE: u8 = 5;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// Flags of frames.
pub mod flag {
    #![allow(missing_docs, reason = "they are called what the RFC calls them")]
    pub const ACK: u8 = 0x1;
    pub const END_STREAM: u8 = 0x1;
    pub const END_HEADERS: u8 = 0x4;
    pub const PADDED: u8 = 0x8;
    pub const PRIORITY: u8 = 0x20;
}

/// Error codes.
pub mod code {
    #![allow(missing_docs, reason = "they are called what the RFC calls them")]
    pub const NO_ERROR: u32 = 0x0;
    pub const PROTOCOL_ERROR: u32 = 0x1;
    pub const FLOW_CONTROL_ERROR: u32 = 0x3;
    pub const STREAM_CLOSED: u32 = 0x5;
    pub const FRAME_SIZE_ERROR: u32 = 0x6;
    pub const REFUSED_STREAM: u32 = 0x7;
    pub const CANCEL: u32 = 0x8;
    pub const COMPRESSION_ERROR: u32 = 0x9;
    pub const ENHANCE_YOUR_CALM: u32 = 0xb;
}

/// A frame as bytes.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// What the server said.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are called what the RFC calls them")]
pub enum Said {
    /// The head of a response, interim ones and trailers included; the last has no status.
    Head { stream: u32, status: Option<u16>, fields: Vec<(String, String)>, ends: bool },
    /// A piece of a body.
    Data { stream: u32, bytes: Vec<u8>, ends: bool },
    /// RST_STREAM.
    Reset { stream: u32, code: u32 },
    /// GOAWAY.
    GoAway { last: u32, code: u32, reason: String },
    /// The answer to a PING.
    Pong([u8; 8]),
    /// The answer to our SETTINGS.
    Acknowledged,
    /// Its settings.
    Settings(Vec<(u16, u32)>),
    /// A frame that concerns nobody here: the kind.
    Other(u8),
    /// The connection is over.
    Closed,
}

/// A frame that has come.
struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

/// A connection.
#[derive(Debug)]
pub struct H2<S> {
    stream: S,
    unread: Vec<u8>,
    decoder: Decoder,
    encoder: Encoder,
    /// Header tables of SETTINGS that we sent and that were not acknowledged yet.
    tables: VecDeque<Option<usize>>,
    /// A header block that goes on.
    block: Option<(u32, bool, Vec<u8>)>,
}

impl H2<TcpStream> {
    /// Connects without TLS and sends nothing yet.
    ///
    /// # Errors
    /// If there is no connection.
    pub fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.set_write_timeout(Some(Duration::from_secs(10)))?;
        Ok(Self::over(stream))
    }

    /// Sends FIN; reading goes on.
    pub fn finish(&mut self) {
        let _gone_already = self.stream.shutdown(Shutdown::Write);
    }
}

impl<S: Read + Write> H2<S> {
    /// A client over a stream that stands and on which nothing was said.
    pub fn over(stream: S) -> Self {
        Self {
            stream,
            unread: Vec::new(),
            decoder: Decoder::new(DEFAULT_TABLE_BYTES),
            encoder: Encoder::new(),
            tables: VecDeque::new(),
            block: None,
        }
    }

    /// The stream.
    pub fn stream(&mut self) -> &mut S {
        &mut self.stream
    }

    /// Sends the preface and these settings.
    ///
    /// # Errors
    /// If the connection is gone.
    pub fn open(&mut self, settings: &[(u16, u32)]) -> io::Result<()> {
        self.send(PREFACE)?;
        let frame = self.settings(settings);
        self.send(&frame)
    }

    /// SETTINGS as bytes. What they say of the header table holds once they are acknowledged.
    pub fn settings(&mut self, settings: &[(u16, u32)]) -> Vec<u8> {
        self.tables.push_back(settings.iter().rev().find(|(id, _)| *id == 1).map(|(_, value)| *value as usize));
        let entries = settings.iter().flat_map(|(id, value)| {
            let (id, value) = (id.to_be_bytes(), value.to_be_bytes());
            [id[0], id[1], value[0], value[1], value[2], value[3]]
        });
        frame(kind::SETTINGS, 0, 0, &entries.collect::<Vec<u8>>())
    }

    /// A header block with these fields, none of them stored in a table.
    pub fn block<'a>(&mut self, fields: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<u8> {
        let mut block = Vec::new();
        for (name, value) in fields {
            self.encoder.field(&mut block, name.as_bytes(), value.as_bytes(), Indexing::Without);
        }
        block
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// If the connection is gone.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.flush()
    }

    /// Sends GET without anything special and waits for the whole response: its status, if one came.
    pub fn get(&mut self, stream: u32, path: &str) -> Option<u16> {
        let block = self.block([(":method", "GET"), (":scheme", "http"), (":authority", "a.test"), (":path", path)]);
        let flags = flag::END_HEADERS | flag::END_STREAM;
        self.send(&frame(kind::HEADERS, flags, stream, &block)).ok()?;
        self.status(stream)
    }

    /// Waits for the whole response on a stream: its status, if one came.
    pub fn status(&mut self, stream: u32) -> Option<u16> {
        let mut final_status = None;
        let end = Instant::now() + Duration::from_secs(20);
        while Instant::now() < end {
            match self.hear().ok()? {
                Said::Head { stream: id, status, ends, .. } if id == stream => {
                    final_status = status.or(final_status);
                    if ends {
                        return final_status;
                    }
                }
                Said::Data { stream: id, ends: true, .. } if id == stream => return final_status,
                Said::Reset { stream: id, .. } if id == stream => return None,
                Said::Closed => return None,
                _other => {}
            }
        }
        None
    }

    /// The next thing that the server says. SETTINGS and PING are answered.
    ///
    /// # Errors
    /// If nothing comes in time, or what comes breaks the protocol.
    pub fn hear(&mut self) -> io::Result<Said> {
        loop {
            let Some(frame) = self.frame()? else { return Ok(Said::Closed) };
            if let Some(said) = self.said(frame)? {
                return Ok(said);
            }
        }
    }

    fn said(&mut self, Frame { kind, flags, stream, payload }: Frame) -> io::Result<Option<Said>> {
        let number = |at: usize| {
            let bytes = payload.get(at..at + 4).and_then(|bytes| bytes.first_chunk::<4>());
            bytes.map(|bytes| u32::from_be_bytes(*bytes)).ok_or_else(|| invalid("a frame that is too short"))
        };
        let said = match kind {
            kind::DATA => Said::Data { stream, ends: flags & flag::END_STREAM != 0, bytes: payload },
            kind::HEADERS | kind::CONTINUATION => return self.headers(kind, flags, stream, payload),
            kind::RST_STREAM => Said::Reset { stream, code: number(0)? },
            kind::SETTINGS if flags & flag::ACK != 0 => {
                if let Some(Some(table)) = self.tables.pop_front() {
                    self.decoder.set_max_table(table);
                }
                Said::Acknowledged
            }
            kind::SETTINGS => {
                let entries = payload.chunks_exact(6).map(|entry| {
                    let value = u32::from_be_bytes([entry[2], entry[3], entry[4], entry[5]]);
                    (u16::from_be_bytes([entry[0], entry[1]]), value)
                });
                let entries = entries.collect();
                // It may have closed meanwhile, which is seen when reading.
                let _gone = self.send(&frame(kind::SETTINGS, flag::ACK, 0, b""));
                Said::Settings(entries)
            }
            kind::PING => {
                let payload = *payload.first_chunk::<8>().ok_or_else(|| invalid("a short PING"))?;
                if flags & flag::ACK == 0 {
                    let _gone = self.send(&frame(kind::PING, flag::ACK, 0, &payload));
                    return Ok(None);
                }
                Said::Pong(payload)
            }
            kind::GOAWAY => {
                let reason = String::from_utf8_lossy(payload.get(8..).unwrap_or_default()).into_owned();
                Said::GoAway { last: number(0)?, code: number(4)?, reason }
            }
            other => Said::Other(other),
        };
        Ok(Some(said))
    }

    fn headers(&mut self, kind: u8, flags: u8, stream: u32, payload: Vec<u8>) -> io::Result<Option<Said>> {
        let (id, ends, block) = match self.block.take() {
            None if kind == kind::HEADERS && flags & (flag::PADDED | flag::PRIORITY) == 0 => {
                (stream, flags & flag::END_STREAM != 0, payload)
            }
            Some((id, ends, so_far)) if kind == kind::CONTINUATION && id == stream => {
                (id, ends, [so_far, payload].concat())
            }
            _other => return Err(invalid("a header block in pieces that do not fit together")),
        };
        if flags & flag::END_HEADERS == 0 {
            self.block = Some((id, ends, block));
            return Ok(None);
        }
        let mut fields = Vec::new();
        let decoded = self.decoder.decode(&block, Limits { list_bytes: 1 << 20 }, |name, value| {
            fields.push((String::from_utf8_lossy(name).into_owned(), String::from_utf8_lossy(value).into_owned()));
        });
        decoded.map_err(|error| invalid(&error.to_string()))?;
        let status = fields.iter().find(|(name, _)| name == ":status").and_then(|(_, value)| value.parse().ok());
        Ok(Some(Said::Head { stream: id, status, fields, ends }))
    }

    /// The next frame. `None` at the end of the connection.
    fn frame(&mut self) -> io::Result<Option<Frame>> {
        loop {
            if let Some([a, b, c, kind, flags, s0, s1, s2, s3]) = self.unread.first_chunk::<9>().copied() {
                let end = 9 + (usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c));
                if self.unread.len() >= end {
                    let payload = self.unread[9..end].to_vec();
                    self.unread.drain(..end);
                    let stream = u32::from_be_bytes([s0, s1, s2, s3]);
                    return Ok(Some(Frame { kind, flags, stream, payload }));
                }
            }
            let mut bytes = [0; 16_384];
            match self.stream.read(&mut bytes) {
                Ok(0) => return Ok(None),
                Ok(count) => self.unread.extend_from_slice(&bytes[..count]),
                Err(error) if is_gone(error.kind()) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }
}

fn is_gone(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(kind, BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

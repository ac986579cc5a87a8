//! Bodies: decoding what frames them on one side. All state, no I/O; the decoder sees bytes in whatever pieces they arrive.

use super::field;

/// How a body is delimited on the wire (RFC 9112, section 6.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Framing {
    /// There is no body, and no header says so.
    #[default]
    None,
    /// `Content-Length: 0`.
    Empty,
    /// `Content-Length`, more than 0.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
    /// Everything until the connection closes; responses only.
    UntilClose,
}

impl Framing {
    /// Whether bytes of a body follow the head.
    pub(crate) const fn has_body(self) -> bool {
        matches!(self, Self::Length(_) | Self::Chunked | Self::UntilClose)
    }
}

/// The body breaks its framing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("bad chunked framing")]
pub(crate) struct Malformed;

/// What the decoder found at the start of its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// The first `length` bytes are data of the body.
    Data { length: usize },
    /// The first `length` bytes were framing.
    Framing { length: usize },
    /// The body is complete, after `length` bytes of framing.
    End { length: usize },
    /// Nothing can be said without more bytes.
    Starved,
}

/// Bytes of chunk extensions in one chunk that are read past. Nobody needs more, and each costs a byte of attention.
const MAX_EXTENSION: usize = 256;
/// Bytes of a trailer section.
const MAX_TRAILERS: usize = 8 * 1024;

/// Reads one body.
#[derive(Clone, Debug, Default)]
pub(crate) struct Decoder {
    state: State,
    /// Trailer lines as they came, each with its CRLF; filtered by whoever forwards them.
    pub(crate) trailers: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Done,
    Length(u64),
    UntilClose,
    Size {
        value: u64,
        digits: u8,
    },
    Extension {
        value: u64,
        seen: usize,
    },
    SizeLineFeed {
        value: u64,
    },
    ChunkData(u64),
    DataReturn,
    DataLineFeed,
    TrailerLine,
}

impl Decoder {
    /// Starts on a body that is framed by `framing`; the allocation for trailers is used again.
    pub(crate) fn start(&mut self, framing: Framing) {
        self.trailers.clear();
        self.state = match framing {
            Framing::None | Framing::Empty => State::Done,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Size { value: 0, digits: 0 },
            Framing::UntilClose => State::UntilClose,
        };
    }

    /// Whether the body has ended.
    pub(crate) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Whether the body comes in chunks, of which some are still to come.
    pub(crate) fn is_chunked(&self) -> bool {
        !matches!(self.state, State::Done | State::Length(_) | State::UntilClose)
    }

    /// Whether the end of the connection is the end of the body, rather than a loss.
    pub(crate) fn ends_at_close(&self) -> bool {
        self.state == State::UntilClose
    }

    /// Says what stands at the start of `input`. The caller consumes what was named before it asks again.
    pub(crate) fn next(&mut self, input: &[u8]) -> Result<Piece, Malformed> {
        match self.state {
            State::Done => Ok(Piece::End { length: 0 }),
            State::UntilClose if input.is_empty() => Ok(Piece::Starved),
            State::UntilClose => Ok(Piece::Data { length: input.len() }),
            State::Length(left) => {
                Ok(self.data(input, left, |left| if left == 0 { State::Done } else { State::Length(left) }))
            }
            State::ChunkData(left) => {
                Ok(self.data(input, left, |left| if left == 0 { State::DataReturn } else { State::ChunkData(left) }))
            }
            State::TrailerLine => self.trailer_line(input),
            State::Size { .. }
            | State::Extension { .. }
            | State::SizeLineFeed { .. }
            | State::DataReturn
            | State::DataLineFeed => self.chunk_framing(input),
        }
    }

    fn data(&mut self, input: &[u8], left: u64, after: impl Fn(u64) -> State) -> Piece {
        if input.is_empty() {
            return Piece::Starved;
        }
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
        self.state = after(left - length as u64);
        Piece::Data { length }
    }

    /// `CRLF size [; extension] CRLF`, byte by byte: strict, and indifferent to how the bytes were cut.
    fn chunk_framing(&mut self, input: &[u8]) -> Result<Piece, Malformed> {
        for (at, byte) in input.iter().copied().enumerate() {
            self.state = match (self.state, byte) {
                (State::Size { value, digits }, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') if digits < 15 => {
                    let digit = (byte as char).to_digit(16).unwrap_or_default();
                    State::Size { value: value << 4 | u64::from(digit), digits: digits + 1 }
                }
                (State::Size { value, digits: 1.. }, b'\r') => State::SizeLineFeed { value },
                (State::Size { value, digits: 1.. }, b';') => State::Extension { value, seen: 0 },
                (State::Extension { value, .. }, b'\r') => State::SizeLineFeed { value },
                (State::Extension { value, seen }, b'\t' | b' '..=b'~' | 0x80..) if seen < MAX_EXTENSION => {
                    State::Extension { value, seen: seen + 1 }
                }
                (State::SizeLineFeed { value: 0 }, b'\n') => State::TrailerLine,
                (State::SizeLineFeed { value }, b'\n') => State::ChunkData(value),
                (State::DataReturn, b'\r') => State::DataLineFeed,
                (State::DataLineFeed, b'\n') => State::Size { value: 0, digits: 0 },
                _unexpected => return Err(Malformed),
            };
            if matches!(self.state, State::TrailerLine | State::ChunkData(_)) {
                return Ok(Piece::Framing { length: at + 1 });
            }
        }
        if input.is_empty() { Ok(Piece::Starved) } else { Ok(Piece::Framing { length: input.len() }) }
    }

    /// Takes whole lines only, so that a line can be checked as one.
    fn trailer_line(&mut self, input: &[u8]) -> Result<Piece, Malformed> {
        let Some(newline) = memchr::memchr(b'\n', input) else {
            return if input.len() > MAX_TRAILERS { Err(Malformed) } else { Ok(Piece::Starved) };
        };
        let line = input.get(..newline).and_then(|line| line.strip_suffix(b"\r")).ok_or(Malformed)?;
        if line.is_empty() {
            self.state = State::Done;
            return Ok(Piece::End { length: newline + 1 });
        }
        let colon = memchr::memchr(b':', line).ok_or(Malformed)?;
        let (name, value) = line.split_at(colon);
        let is_text = |byte: &u8| matches!(byte, b'\t' | b' '..=b'~' | 0x80..);
        if name.is_empty() || !name.iter().copied().all(field::is_token) || !value.iter().all(is_text) {
            return Err(Malformed);
        }
        if self.trailers.len() + newline + 1 > MAX_TRAILERS {
            return Err(Malformed);
        }
        self.trailers.extend_from_slice(&input[..=newline]);
        Ok(Piece::Framing { length: newline + 1 })
    }
}

/// Whether a trailer may be forwarded: nothing that frames, routes, authenticates or belongs to one hop (RFC 9110, 6.5.1).
pub(crate) fn may_trail(name: &[u8]) -> bool {
    use field::Name;
    match Name::of(name) {
        Name::Other => {
            const REFUSED: [&[u8]; 6] =
                [b"set-cookie", b"cache-control", b"www-authenticate", b"age", b"expires", b"vary"];
            let content = name.get(..8).is_some_and(|start| start.eq_ignore_ascii_case(b"content-"));
            // Digests are what trailers were made for.
            let digest = name.eq_ignore_ascii_case(b"content-md5") || name.eq_ignore_ascii_case(b"content-digest");
            (!content || digest) && !REFUSED.iter().any(|refused| name.eq_ignore_ascii_case(refused))
        }
        Name::LoadReport => true,
        _known => false,
    }
}

#[cfg(test)]
mod tests;

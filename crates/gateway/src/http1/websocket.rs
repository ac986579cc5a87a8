//! Where WebSocket frames begin and end (RFC 6455, section 5.2): so that a gateway that leaves can say so between two frames.
//! And the handshake's key and its answer, for when only one side speaks HTTP/1.1 and needs them.

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// What a server appends to the key before it hashes it (section 1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A `Sec-WebSocket-Key` from 16 random bytes (section 4.1).
pub(crate) fn key(a: [u8; 8], b: [u8; 8]) -> [u8; 24] {
    let mut key = [b'='; 24];
    // 16 bytes are 24 digits exactly.
    let _fits = STANDARD.encode_slice([a, b].as_flattened(), &mut key);
    key
}

/// The `Sec-WebSocket-Accept` to a key (section 4.2.2).
pub(crate) fn accept(key: &[u8]) -> String {
    let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &[key, GUID].concat());
    STANDARD.encode(hash)
}

/// A close frame with status 1001, "going away", as a server sends it (section 7.4.1).
pub(crate) const GOING_AWAY: [u8; 4] = [0x88, 0x02, 0x03, 0xe9];

/// Follows the frames of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Frames {
    header: [u8; 14],
    /// Bytes of the header that have come.
    seen: usize,
    /// Bytes of the payload that are still to come.
    left: u64,
}

impl Frames {
    /// Takes in the next bytes.
    pub(crate) fn advance(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while let Some((first, after)) = rest.split_first() {
            if self.left > 0 {
                let skipped = usize::try_from(self.left).unwrap_or(usize::MAX).min(rest.len());
                self.left -= skipped as u64;
                rest = &rest[skipped..];
                continue;
            }
            self.header[self.seen] = *first;
            self.seen += 1;
            rest = after;
            if self.seen >= 2 && self.seen == self.header_length() {
                self.left = self.payload_length();
                self.seen = 0;
            }
        }
    }

    /// Whether the last byte was the last one of a frame.
    pub(crate) const fn is_between_frames(&self) -> bool {
        self.seen == 0 && self.left == 0
    }

    fn header_length(&self) -> usize {
        let extended = match self.header[1] & 0x7f {
            126 => 2,
            127 => 8,
            _short => 0,
        };
        2 + extended + if self.header[1] & 0x80 == 0 { 0 } else { 4 }
    }

    fn payload_length(&self) -> u64 {
        let big_endian = |bytes: &[u8]| bytes.iter().fold(0, |length, byte| length << 8 | u64::from(*byte));
        match self.header[1] & 0x7f {
            126 => big_endian(&self.header[2..4]),
            127 => big_endian(&self.header[2..10]),
            short => u64::from(short),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Offsets between frames, found one byte at a time and in pieces of `size`.
    fn boundaries(bytes: &[u8], size: usize) -> Vec<usize> {
        let mut frames = Frames::default();
        let mut found = Vec::new();
        for (index, piece) in bytes.chunks(size).enumerate() {
            frames.advance(piece);
            if frames.is_between_frames() {
                found.push(index * size + piece.len());
            }
        }
        found
    }

    #[test]
    fn frames_of_every_kind_of_length_are_followed() {
        let short = [0x81, 2, b'h', b'i'].to_vec();
        let empty = [0x89, 0].to_vec();
        let masked = [0x81, 0x81, 1, 2, 3, 4, b'x'].to_vec();
        let medium = [vec![0x82, 126, 1, 0], vec![0; 256]].concat();
        let long = [vec![0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0], vec![0; 65536]].concat();
        let whole = [short, empty, masked, medium, long].concat();
        assert_eq!(boundaries(&whole, 1), [4, 6, 13, 273, whole.len()]);
        assert_eq!(boundaries(&whole, 2), [4, 6, whole.len()]);
        assert_eq!(boundaries(&whole, whole.len()), [whole.len()]);
    }
}

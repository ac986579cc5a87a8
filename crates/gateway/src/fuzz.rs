//! Entrances for fuzzing. Nothing else may use them.

use crate::http1::body::{Decoder, Framing, Piece};
use crate::http1::request::{self, Limits};
use crate::http1::response;
use crate::proxy_protocol;

const LIMITS: Limits = Limits { bytes: 64 * 1024, headers: 100 };

/// Parses a request head; what passes must be framed one way only.
pub fn request_head(bytes: &[u8]) {
    let mut head = request::Head::default();
    if request::parse(bytes, LIMITS, &mut head) == Ok(request::Progress::Complete) {
        assert!(head.length <= bytes.len());
        assert!(!head.routed_path(bytes).is_empty());
    }
}

/// Parses a response head.
pub fn response_head(bytes: &[u8]) {
    let mut head = response::Head::default();
    if response::parse(bytes, LIMITS, false, &mut head) == Ok(request::Progress::Complete) {
        assert!(head.length <= bytes.len());
    }
}

/// Reads a PROXY header whole and in pieces: it must settle at one point, the same way however it goes on.
pub fn proxy_header(bytes: &[u8]) {
    let mut settled = Ok(proxy_protocol::Progress::Partial);
    // Steps grow, so that a long input does not take quadratic time.
    let mut end = 0;
    while end < bytes.len() {
        end = (end + 1 + end / 16).min(bytes.len());
        let now = proxy_protocol::parse(bytes.get(..end).unwrap_or_default());
        if settled == Ok(proxy_protocol::Progress::Partial) {
            settled = now;
        }
        assert_eq!(settled, now);
        if let Ok(proxy_protocol::Progress::Complete(_, length)) = now {
            assert!(length <= end && length <= proxy_protocol::MAX_BYTES);
        }
    }
}

/// Decodes a chunked body in one piece and in two: both must come to the same data and the same verdict.
pub fn chunked(bytes: &[u8]) {
    let whole = decode(&[bytes]);
    let (first, second) = bytes.split_at(bytes.len() / 2);
    assert_eq!(whole, decode(&[first, second]));
}

fn decode(pieces: &[&[u8]]) -> Option<(Vec<u8>, bool)> {
    let mut decoder = Decoder::default();
    decoder.start(Framing::Chunked);
    let mut data = Vec::new();
    let mut input = Vec::new();
    for piece in pieces {
        input.extend_from_slice(piece);
        loop {
            match decoder.next(&input).ok()? {
                Piece::Starved => break,
                Piece::End { .. } => return Some((data, true)),
                Piece::Framing { length } => drop(input.drain(..length)),
                Piece::Data { length } => data.extend(input.drain(..length)),
            }
        }
    }
    Some((data, false))
}

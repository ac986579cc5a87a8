//! Entrances for fuzzing. Nothing else may use them.

use mainstay_core::time::Moment;

use crate::http1::body::{Decoder, Framing, Piece};
use crate::http1::request::{self, Limits};
use crate::http1::response;
use crate::postgres::{self, startup};
use crate::proxy_protocol;
use crate::redis;

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

/// Reads what clients of databases begin with, whole and in pieces, and follows both directions of a session: what is found
/// must not depend on how it was cut.
pub fn database(bytes: &[u8]) {
    let mut settled = Ok(startup::Progress::Partial);
    let mut end = 0;
    while end < bytes.len() {
        end = (end + 1 + end / 16).min(bytes.len());
        let now = startup::parse(bytes.get(..end).unwrap_or_default());
        if settled == Ok(startup::Progress::Partial) {
            settled = now;
        }
        assert_eq!(settled, now);
        if let Ok(startup::Progress::Complete(_, length)) = now {
            assert!(length <= end && length <= startup::MAX_BYTES);
        }
    }
    let size = usize::from(bytes.first().copied().unwrap_or(0)) + 1;
    assert_eq!(follow_postgres(bytes, bytes.len().max(1)), follow_postgres(bytes, size));
    assert_eq!(follow_redis(bytes, bytes.len().max(1)), follow_redis(bytes, size));
}

fn follow_postgres(bytes: &[u8], size: usize) -> (postgres::dialogue::Pause, Vec<Vec<u8>>) {
    let mut dialogue = postgres::dialogue::Dialogue::new();
    let mut keys = Vec::new();
    let (up, down) = bytes.split_at(bytes.len() / 3);
    up.chunks(size).for_each(|piece| dialogue.up(piece, Moment::ZERO));
    down.chunks(size).for_each(|piece| dialogue.down(piece, Moment::ZERO, |key| keys.push(key.to_vec()), |_took| {}));
    (dialogue.pause(), keys)
}

fn follow_redis(bytes: &[u8], size: usize) -> bool {
    let mut dialogue = redis::dialogue::Dialogue::new();
    let (up, down) = bytes.split_at(bytes.len() / 3);
    up.chunks(size).for_each(|piece| dialogue.up(piece, Moment::ZERO));
    down.chunks(size).for_each(|piece| dialogue.down(piece, Moment::ZERO, |_took| {}));
    dialogue.is_quiet()
}

//! The bytes between nodes. All numbers are big-endian.
//!
//! ```text
//! request:  length u32 | service u8 | limit u32, in ms | message      length counts what follows it
//! answer:   length u32 | verdict u8 | message, or the reason of a refusal
//! ```
//!
//! One request at a time is under way on a connection, so that nothing needs a number to be told apart by.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt};

use super::{MESSAGE_BYTES_MAX, Service};

/// Bytes of a request before its message, the length left out.
const REQUEST_HEAD: usize = 5;
/// Bytes of an answer before its message, the length left out.
const ANSWER_HEAD: usize = 1;
/// Bytes that are made room for before any of them has come: a length is only a claim.
const ROOM_FIRST: usize = 64 * 1024;

const ANSWERED: u8 = 0;
const REFUSED: u8 = 1;

/// What is wrong with bytes from a peer.
#[derive(Debug, Error)]
pub enum WireError {
    /// The frame is longer than allowed.
    #[error("a message of {length} bytes was announced; at most {most} are allowed")]
    TooLong {
        /// Its length.
        length: usize,
        /// What is allowed.
        most: usize,
    },
    /// The frame is shorter than its head.
    #[error("a message is shorter than its head")]
    TooShort,
    /// Nobody knows this service. A newer node may.
    #[error("service {0} is not known here; do the nodes run different versions?")]
    Service(u8),
    /// No verdict has this number.
    #[error("verdict {0} is not known here; do the nodes run different versions?")]
    Verdict(u8),
    /// The connection ended or broke.
    #[error("the connection broke: {0}")]
    Io(#[from] std::io::Error),
}

/// A request as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What it is about.
    pub service: Service,
    /// How long the sender waits.
    pub limit: Duration,
    /// For the service.
    pub message: Bytes,
}

impl Request {
    /// As bytes. The limit is rounded down to milliseconds.
    ///
    /// # Errors
    /// If the message is too long.
    pub fn encode(&self) -> Result<Bytes, WireError> {
        let length = frame_length(REQUEST_HEAD, self.message.len())?;
        let mut bytes = BytesMut::with_capacity(4 + REQUEST_HEAD + self.message.len());
        bytes.put_u32(length);
        bytes.put_u8(self.service as u8);
        bytes.put_u32(u32::try_from(self.limit.as_millis()).unwrap_or(u32::MAX));
        bytes.put_slice(&self.message);
        Ok(bytes.freeze())
    }

    /// From the bytes after the length.
    ///
    /// # Errors
    /// If they are none.
    pub fn decode(mut frame: Bytes) -> Result<Self, WireError> {
        if frame.len() < REQUEST_HEAD {
            return Err(WireError::TooShort);
        }
        let head = frame.split_to(REQUEST_HEAD);
        let service = Service::from_number(head[0]).ok_or(WireError::Service(head[0]))?;
        let limit = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
        Ok(Self { service, limit: Duration::from_millis(u64::from(limit)), message: frame })
    }
}

/// An answer: a message, or why there is none.
pub type Answer = Result<Bytes, String>;

/// An answer as bytes.
///
/// # Errors
/// If it is too long.
pub fn encode_answer(answer: &Answer) -> Result<Bytes, WireError> {
    let (verdict, message): (u8, &[u8]) = match answer {
        Ok(message) => (ANSWERED, message),
        Err(reason) => (REFUSED, reason.as_bytes()),
    };
    let length = frame_length(ANSWER_HEAD, message.len())?;
    let mut bytes = BytesMut::with_capacity(4 + ANSWER_HEAD + message.len());
    bytes.put_u32(length);
    bytes.put_u8(verdict);
    bytes.put_slice(message);
    Ok(bytes.freeze())
}

/// An answer from the bytes after the length.
///
/// # Errors
/// If they are none.
pub fn decode_answer(mut frame: Bytes) -> Result<Answer, WireError> {
    if frame.len() < ANSWER_HEAD {
        return Err(WireError::TooShort);
    }
    let verdict = frame.split_to(ANSWER_HEAD)[0];
    match verdict {
        ANSWERED => Ok(Ok(frame)),
        REFUSED => Ok(Err(String::from_utf8_lossy(&frame).into_owned())),
        other => Err(WireError::Verdict(other)),
    }
}

/// Reads what follows a length. `None`: the connection ended before a further frame began.
///
/// # Errors
/// If the frame is longer than `most` or cut off.
pub async fn read_frame<R: AsyncRead + Unpin>(from: &mut R, most: usize) -> Result<Option<Bytes>, WireError> {
    match first_byte(from).await? {
        Some(first) => rest_of_frame(from, first, most).await.map(Some),
        None => Ok(None),
    }
}

/// Waits for the first byte of a frame. `None`: the connection ended.
///
/// # Errors
/// If the connection broke.
pub async fn first_byte<R: AsyncRead + Unpin>(from: &mut R) -> Result<Option<u8>, WireError> {
    let mut first = [0; 1];
    Ok((from.read(&mut first).await? > 0).then_some(first[0]))
}

/// Reads what follows the first byte, and answers what follows the length.
///
/// # Errors
/// As [`read_frame`].
pub async fn rest_of_frame<R: AsyncRead + Unpin>(from: &mut R, first: u8, most: usize) -> Result<Bytes, WireError> {
    let mut rest = [0; 3];
    from.read_exact(&mut rest).await?;
    let length = u32::from_be_bytes([first, rest[0], rest[1], rest[2]]) as usize;
    let most = most.saturating_add(REQUEST_HEAD);
    if length > most {
        return Err(WireError::TooLong { length, most });
    }
    let mut frame = BytesMut::with_capacity(length.min(ROOM_FIRST));
    while frame.len() < length {
        let mut part = (&mut *from).take((length - frame.len()) as u64);
        if part.read_buf(&mut frame).await? == 0 {
            return Err(WireError::Io(std::io::ErrorKind::UnexpectedEof.into()));
        }
    }
    Ok(frame.freeze())
}

fn frame_length(head: usize, message: usize) -> Result<u32, WireError> {
    let too_long = WireError::TooLong { length: message, most: MESSAGE_BYTES_MAX };
    if message > MESSAGE_BYTES_MAX {
        return Err(too_long);
    }
    u32::try_from(head + message).map_err(|_longer| too_long)
}

#[cfg(test)]
mod tests {
    use mainstay_runtime::thread::run_here;
    use proptest::prelude::*;

    use super::*;

    fn read(bytes: &[u8], most: usize) -> Result<Option<Bytes>, WireError> {
        run_here(async { read_frame(&mut &*bytes, most).await }).unwrap()
    }

    #[test]
    fn long_and_cut_frames_are_refused() {
        assert!(read(&[], 10).unwrap().is_none());
        assert!(matches!(read(&[0, 0], 10), Err(WireError::Io(_))));
        assert!(matches!(read(&[0, 0, 0, 9, 1], 10), Err(WireError::Io(_))));
        assert!(matches!(read(&[0xff; 4], MESSAGE_BYTES_MAX), Err(WireError::TooLong { .. })));
        assert!(matches!(Request::decode(Bytes::from_static(&[1, 0, 0])), Err(WireError::TooShort)));
        assert!(matches!(Request::decode(Bytes::from_static(&[0, 0, 0, 0, 0])), Err(WireError::Service(0))));
        assert!(matches!(decode_answer(Bytes::new()), Err(WireError::TooShort)));
        assert!(matches!(decode_answer(Bytes::from_static(&[9])), Err(WireError::Verdict(9))));
        let message = Bytes::from(vec![0; MESSAGE_BYTES_MAX + 1]);
        let request = Request { service: Service::Raft, limit: Duration::ZERO, message };
        assert!(matches!(request.encode(), Err(WireError::TooLong { .. })));
    }

    proptest! {
        #[test]
        fn what_is_sent_arrives(number in 1_u8..=6, millis in any::<u32>(), message in proptest::collection::vec(any::<u8>(), 0..2_000)) {
            let limit = Duration::from_millis(u64::from(millis));
            let request = Request { service: Service::from_number(number).unwrap(), limit, message: message.into() };
            let frame = read(&request.encode().unwrap(), MESSAGE_BYTES_MAX).unwrap().unwrap();
            prop_assert_eq!(Request::decode(frame).unwrap(), request.clone());
            let answers = [Ok(request.message), Err("no".to_owned())];
            for answer in answers {
                let frame = read(&encode_answer(&answer).unwrap(), MESSAGE_BYTES_MAX).unwrap().unwrap();
                prop_assert_eq!(decode_answer(frame).unwrap(), answer);
            }
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(Some(frame)) = read(&bytes, 200) {
                let _either = Request::decode(frame.clone());
                let _either = decode_answer(frame);
            }
        }
    }
}

//! Entrances for fuzzing. Nothing else may use them.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

#[cfg(test)]
use bytes::Bytes;

use crate::allotments;
use crate::membership::JoinReply;
use crate::opinions::Report;
use crate::peer::wire::{Request, decode_answer, encode_answer, read_frame};
use crate::sessions::wire::{Question, Reply, decode};
use crate::{embedded, membership};

/// What a frame may hold here: more than any input of a fuzzer.
const MOST: usize = 1 << 20;
/// Of a frame before a request's message: its length, service and limit.
const HEAD: usize = 4 + 5;

/// Reads bytes as they come from a peer: one frame after the other, each as a request and as an answer, and their messages as
/// those of every service. What is read is written again as it came.
pub fn peer_frames(mut bytes: &[u8]) {
    loop {
        let before = bytes.len();
        let frame = match now(read_frame(&mut bytes, MOST)) {
            Ok(Some(frame)) => frame,
            Ok(None) => return assert_eq!(before, 0),
            Err(_reason) => return,
        };
        assert!(frame.len() + 4 == before - bytes.len() && frame.len() <= MOST + HEAD);
        if let Ok(request) = Request::decode(frame.clone()) {
            let again = request.encode().unwrap_or_default();
            assert_eq!(again.get(4..), Some(&*frame), "a request is written as it was read");
            messages(&request.message);
        }
        if let Ok(answer) = decode_answer(frame.clone()) {
            let again = encode_answer(&answer).unwrap_or_default();
            // A reason that is no text is read as one, and then is another.
            assert!(answer.is_err() || again.get(4..) == Some(&*frame), "an answer is written as it was read");
            messages(frame.get(1..).unwrap_or_default());
        }
    }
}

/// Reads a message as what any service could take it for. None may panic, or take more memory than its bytes justify.
fn messages(bytes: &[u8]) {
    embedded::fuzz(bytes);
    membership::fuzz(bytes);
    let _reply = JoinReply::decode(bytes);
    let _opinions = Report::decode(bytes);
    let _limits = allotments::fuzz(bytes);
    let _question = decode::<Question>(bytes);
    let _answer = decode::<Reply>(bytes);
}

/// What comes of a future that never waits.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => done,
        Poll::Pending => unreachable!("bytes in memory are there"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::peer::Service;

    fn frames() -> impl Strategy<Value = Vec<u8>> {
        let message = prop::collection::vec(any::<u8>(), 0..200);
        let request = (0u8..10, message.clone()).prop_map(|(service, message)| {
            let service = Service::from_number(service).unwrap_or(Service::Raft);
            let request = Request { service, limit: Duration::from_millis(7), message: Bytes::from(message) };
            request.encode().unwrap().to_vec()
        });
        let answer = message.clone().prop_map(|message| encode_answer(&Ok(Bytes::from(message))).unwrap().to_vec());
        prop_oneof![2 => message, 3 => request, 2 => answer]
    }

    proptest! {
        #[test]
        fn no_bytes_of_a_peer_do_harm(parts in prop::collection::vec(frames(), 0..6)) {
            peer_frames(&parts.concat());
        }
    }

    #[test]
    fn a_frame_that_claims_to_be_long_takes_no_memory() {
        peer_frames(&[0, 15, 0, 0, 1, 0, 0]);
        peer_frames(&[255, 255, 255, 255, 1]);
        // MessagePack: an array, and a map, of four thousand million entries of which none is there.
        for claim in [0xdd, 0xdf] {
            messages(&[claim, 255, 255, 255, 255]);
        }
    }
}

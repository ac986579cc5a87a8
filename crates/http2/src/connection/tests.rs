//! Two engines that talk to each other, and one that is talked to in raw frames.

use super::*;
use crate::hpack::{Encoder, Indexing};
use crate::stream::Sent;

#[derive(Default)]
struct Calls {
    readable: usize,
    writable: usize,
}

impl Notify for Calls {
    fn readable(&mut self) {
        self.readable += 1;
    }
    fn writable(&mut self) {
        self.writable += 1;
    }
}

type Engine = Connection<Calls>;

/// Hands all output of one to the other; answers the requests that came.
fn carry(from: &mut Engine, to: &mut Engine) -> Vec<u32> {
    let mut requests = Vec::new();
    let output = from.output().to_vec();
    from.advance(output.len());
    let mut at = 0;
    while let Ok(Some((length, event))) = to.receive(0, &output[at..]) {
        at += length;
        if let Event::Request(id) = event {
            requests.push(id);
        }
    }
    assert!(at == output.len() || to.error().is_some(), "everything is taken in");
    requests
}

fn pair() -> (Engine, Engine) {
    let mut client = Engine::new(Role::Client, Settings::default(), 0);
    let mut server = Engine::new(Role::Server, Settings::default(), 0);
    carry(&mut client, &mut server);
    carry(&mut server, &mut client);
    carry(&mut client, &mut server);
    (client, server)
}

fn get(encoder: &mut Encoder, out: &mut Vec<u8>) {
    for (name, value) in [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/")] {
        encoder.field(out, name.as_bytes(), value.as_bytes(), Indexing::Index);
    }
}

#[test]
fn a_request_and_its_response_with_trailers() {
    let (mut client, mut server) = pair();
    let id = client.open().expect("room for a stream");
    client.send_head(id, get).expect("open");
    assert_eq!(client.send(id, b"ping"), Sent::Bytes(4));
    client.finish(id, b"").expect("open");
    assert_eq!(carry(&mut client, &mut server), [1]);
    let head = server.take_head(1).expect("open").expect("a head");
    assert_eq!(head.path().expect("a path").get(head.bytes()), b"/");
    let mut body = [0; 16];
    assert_eq!(server.read(1, &mut body), Read::Bytes(4));
    assert_eq!(server.read(1, &mut body), Read::End);
    server.send_head(1, |encoder, out| encoder.status(out, 200)).expect("open");
    assert_eq!(server.send(1, b"pong"), Sent::Bytes(4));
    server.finish(1, b"X-Sum: 1\r\n").expect("open");
    carry(&mut server, &mut client);
    assert_eq!(client.take_head(1).expect("open").expect("a head").status(), 200);
    assert_eq!(client.read(1, &mut body), Read::Bytes(4));
    assert_eq!(client.read(1, &mut body), Read::End);
    assert_eq!(client.trailers(1), b"x-sum: 1\r\n");
    client.release(1, Code::CANCEL);
    server.release(1, Code::CANCEL);
    assert_eq!((client.output().len(), server.output().len()), (0, 0), "a stream that is over needs no more frames");
}

#[test]
fn an_answer_to_a_body_that_is_complete_does_not_cross_its_end() {
    for (length, resets) in [("4", 0), ("5", 1)] {
        let (mut client, mut server) = pair();
        let id = client.open().expect("room");
        client
            .send_head(id, |encoder, out| {
                get(encoder, out);
                encoder.field(out, b"content-length", length.as_bytes(), Indexing::Index);
            })
            .expect("open");
        assert_eq!(client.send(id, b"ping"), Sent::Bytes(4));
        carry(&mut client, &mut server);
        server.send_head(id, |encoder, out| encoder.status(out, 200)).expect("open");
        server.finish(id, b"").expect("open");
        server.release(id, Code::CANCEL);
        carry(&mut server, &mut client);
        let reset = client.finish(id, b"").is_err();
        assert_eq!(u32::from(reset), resets, "{length} bytes promised, 4 sent");
        carry(&mut client, &mut server);
        assert_eq!((server.error(), server.output().len()), (None, 0), "the end that comes late is no fault");
    }
}

#[test]
fn an_end_goes_onto_the_frame_before_it() {
    let (mut client, mut server) = pair();
    let id = client.open().expect("room");
    client.send_head(id, get).expect("open");
    let head = client.output().len();
    client.finish(id, b"").expect("open");
    assert_eq!(client.output().len(), head);
    carry(&mut client, &mut server);
    assert!(server.has_no_body(id));
}

#[test]
fn windows_hold_a_sender_back_and_reading_lets_it_go_on() {
    let (mut client, mut server) = pair();
    let id = client.open().expect("room");
    client.send_head(id, get).expect("open");
    let body = vec![7; 3_000_000];
    let (mut sent, mut got, mut turns) = (0, 0, 0);
    let mut into = vec![0; 65_536];
    while got < body.len() {
        turns += 1;
        assert!(turns < 10_000, "no progress after {got} bytes");
        while let Sent::Bytes(bytes) = client.send(id, &body[sent..])
            && bytes > 0
        {
            sent += bytes;
        }
        assert!(sent <= got + 256 * 1024, "no more than the window is sent");
        carry(&mut client, &mut server);
        while let Read::Bytes(bytes) = server.read(id, &mut into) {
            got += bytes;
        }
        carry(&mut server, &mut client);
    }
}

#[test]
fn leaving_takes_a_round_trip_and_then_names_the_last_stream() {
    let (mut client, mut server) = pair();
    let first = client.open().expect("room");
    client.send_head(first, get).expect("open");
    server.leave();
    // The request was on its way when the server announced that it leaves: it is served.
    assert_eq!(carry(&mut client, &mut server), [first]);
    carry(&mut server, &mut client);
    assert!(!client.can_open());
    carry(&mut client, &mut server);
    assert!(!server.has_left(), "a stream is still open");
    server.send_head(first, |encoder, out| encoder.status(out, 200)).expect("open");
    server.finish(first, b"").expect("open");
    client.finish(first, b"").expect("open");
    carry(&mut client, &mut server);
    server.release(first, Code::CANCEL);
    assert!(server.has_left());
}

#[test]
fn what_the_peer_does_not_serve_is_refused() {
    let (mut client, mut server) = pair();
    server.leave_finally();
    let id = client.open().expect("room");
    client.send_head(id, get).expect("open");
    assert_eq!(carry(&mut client, &mut server), [0; 0]);
    carry(&mut server, &mut client);
    assert_eq!(client.closed(id), Some(Closed::Refused));
}

#[test]
fn more_streams_than_allowed_are_refused() {
    let mut server = Engine::new(Role::Server, Settings { max_streams: 2, ..Settings::default() }, 0);
    let mut client = Engine::new(Role::Client, Settings::default(), 0);
    let ids: Vec<u32> = (0..3).map(|_stream| client.open().expect("not told yet")).collect();
    for id in &ids {
        client.send_head(*id, get).expect("open");
    }
    assert_eq!(carry(&mut client, &mut server), ids[..2]);
    carry(&mut server, &mut client);
    assert_eq!(client.closed(ids[2]), Some(Closed::Refused));
    assert!(!client.can_open());
}

#[test]
fn rapid_resets_end_the_connection() {
    let (mut client, mut server) = pair();
    for round in 0.. {
        let Some(id) = client.open() else { break };
        client.send_head(id, get).expect("open");
        client.reset(id, Code::CANCEL);
        client.release(id, Code::CANCEL);
        for request in carry(&mut client, &mut server) {
            server.release(request, Code::INTERNAL_ERROR);
        }
        carry(&mut server, &mut client);
        assert!(round < 1000, "nothing stops the client");
    }
    assert_eq!(server.error().expect("an end").code, Code::ENHANCE_YOUR_CALM);
}

#[test]
fn what_a_stream_left_unread_is_granted_to_the_connection_anew() {
    let (mut client, mut server) = pair();
    // Far more than the connection's window in all, none of it read.
    for _request in 0..40 {
        let id = client.open().expect("room");
        client.send_head(id, get).expect("open");
        let mut sent = 0;
        while sent < 100_000 {
            match client.send(id, &vec![0; 100_000 - sent]) {
                Sent::Bytes(bytes) => sent += bytes,
                other => panic!("{other:?} after {sent} bytes"),
            }
            carry(&mut client, &mut server);
        }
        server.release(id, Code::INTERNAL_ERROR);
        carry(&mut server, &mut client);
        client.release(id, Code::CANCEL);
        carry(&mut client, &mut server);
    }
}

/// A server to which raw frames are fed, and that rests after each of them.
fn fed(frames: &[&[u8]]) -> (Engine, Vec<u32>) {
    let mut server = Engine::new(Role::Server, Settings::default(), 0);
    let mut requests = Vec::new();
    for frame in [frame::PREFACE, b"\0\0\0\x04\0\0\0\0\0"].iter().chain(frames) {
        match server.receive(0, frame) {
            Ok(Some((length, event))) => {
                assert_eq!(length, frame.len());
                requests.extend(if let Event::Request(id) = event { Some(id) } else { None });
            }
            Ok(None) => panic!("no whole frame: {frame:?}"),
            Err(_ended) => break,
        }
        let written = server.output().len();
        server.advance(written);
        server.rest();
    }
    (server, requests)
}

#[test]
fn a_connection_that_rests_keeps_a_header_block_that_has_begun() {
    let (server, requests) = fed(&[b"\0\0\x02\x01\x01\0\0\0\x01\x82\x86", b"\0\0\x04\x09\x04\0\0\0\x01\x84\x01\x01a"]);
    assert_eq!((server.error(), requests), (None, vec![1]));
}

#[test]
fn going_away_again_and_again_is_a_flood() {
    let frames: Vec<&[u8]> = vec![b"\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\0"; 5_000];
    let (server, _) = fed(&frames);
    assert_eq!(server.error().expect("an end").code, Code::ENHANCE_YOUR_CALM);
}

#[test]
fn data_on_a_stream_that_the_peer_has_reset_is_refused_whether_its_owner_knows_or_not() {
    let open = b"\0\0\x06\x01\x04\0\0\0\x01\x83\x86\x84\x01\x01a";
    let (mut server, _) = fed(&[open, b"\0\0\x04\x03\0\0\0\0\x01\0\0\0\x08"]);
    assert_eq!(server.streams(), 1, "the owner has not let go");
    server.receive(0, b"\0\0\x01\0\0\0\0\0\x01x").expect("an error of the stream only");
    assert_eq!(server.output(), b"\0\0\x04\x03\0\0\0\0\x01\0\0\0\x05");
}

#[test]
fn nobody_sends_more_than_the_windows_allow() {
    let piece: Vec<u8> = [&b"\0\x40\0\0\0\0\0\0\x01"[..], &[0; 16_384]].concat();
    let open = |stream: u8| {
        let mut head = b"\0\0\x06\x01\x04\0\0\0\0\x83\x86\x84\x01\x01a".to_vec();
        head[8] = stream;
        head
    };
    let on = |stream: u8| {
        let mut data = piece.clone();
        data[8] = stream;
        data
    };
    let settings = Settings::default();
    let frames = settings.stream_window as usize / 16_384;
    // Nobody reads, so the stream's window is not widened: one frame more is too many, for that stream alone.
    let one: Vec<Vec<u8>> = [open(1)].into_iter().chain((0..=frames).map(|_frame| on(1))).collect();
    let (server, _) = fed(&one.iter().map(Vec::as_slice).collect::<Vec<_>>());
    assert_eq!((server.error(), server.closed(1)), (None, Some(Closed::ByUs(Code::FLOW_CONTROL_ERROR))));
    // Every stream within its own window, and all of them together beyond that of the connection.
    let streams = settings.connection_window / settings.stream_window + 1;
    let ids = (0..streams as u8).map(|nth| nth * 2 + 1);
    let many: Vec<Vec<u8>> =
        ids.flat_map(|id| [open(id)].into_iter().chain((0..frames).map(move |_frame| on(id)))).collect();
    let (server, _) = fed(&many.iter().map(Vec::as_slice).collect::<Vec<_>>());
    assert_eq!(server.error().expect("an end").code, Code::FLOW_CONTROL_ERROR);
}

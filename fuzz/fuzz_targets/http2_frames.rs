//! Both roles of an HTTP/2 connection against any frames, in any order, while its driver does this and that.
//!
//! The input is a list of steps, so that mutations reach deep: a frame whose head is always complete, bytes as they are, or
//! something that the driver does.
#![no_main]

use mainstay_http2::{Code, Connection, Event, Notify, PREFACE, Read, Role, Settings};

#[derive(Default)]
struct Owner;

impl Notify for Owner {
    fn readable(&mut self) {}
    fn writable(&mut self) {}
}

/// What may wait to be written, whatever the peer does.
const OUTPUT_MAX: usize = 512 * 1024;
const MAX_STREAMS: u32 = 8;

struct Driver {
    connection: Connection<Owner>,
    role: Role,
    now: u64,
    input: Vec<u8>,
    owned: Vec<u32>,
    /// Output that is not a whole frame yet.
    unparsed: Vec<u8>,
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((mode, mut rest)) = bytes.split_first() else { return };
    let role = if mode & 1 == 0 { Role::Server } else { Role::Client };
    let settings = Settings { max_streams: MAX_STREAMS, stream_window: 4096, ..Settings::default() };
    let connection = Connection::new(role, settings, 0);
    let mut driver = Driver { connection, role, now: 0, input: Vec::new(), owned: Vec::new(), unparsed: Vec::new() };
    if mode & 2 == 0 {
        if role == Role::Server {
            driver.input.extend_from_slice(PREFACE);
        }
        driver.input.extend_from_slice(&[0, 0, 0, 4, 0, 0, 0, 0, 0]);
    }
    while let Some((step, after)) = rest.split_first() {
        rest = driver.step(*step, after);
        driver.receive();
        driver.check();
    }
    driver.write(usize::MAX);
    driver.connection.lose();
    driver.check();
});

impl Driver {
    fn step<'a>(&mut self, step: u8, rest: &'a [u8]) -> &'a [u8] {
        match (step, rest) {
            (0..=179, [flags, stream, length, rest @ ..]) => {
                let (payload, rest) = rest.split_at(usize::from(*length).min(rest.len()));
                let kind = if step % 11 == 10 { 0x42 } else { step % 11 };
                // Often the same few streams, so that frames meet.
                let stream = if *stream > 250 { 0x7fff_ffff } else { u32::from(*stream & 0xf) };
                self.input.extend_from_slice(&[0, 0, payload.len() as u8, kind, *flags]);
                self.input.extend_from_slice(&stream.to_be_bytes());
                self.input.extend_from_slice(payload);
                rest
            }
            (180..=189, [length, rest @ ..]) => {
                let (bytes, rest) = rest.split_at(usize::from(*length).min(rest.len()));
                self.input.extend_from_slice(bytes);
                rest
            }
            (190..=255, [which, rest @ ..]) => {
                self.act(step, *which);
                rest
            }
            (_, _) => &[],
        }
    }

    fn act(&mut self, step: u8, which: u8) {
        let stream = self.owned.get(usize::from(which) % self.owned.len().max(1)).copied();
        match (step % 12, stream) {
            (0, _) => self.write(usize::MAX),
            (1, _) => self.write(usize::from(which)),
            (2, _) => self.now += u64::from(which) * 100,
            (3, _) => self.owned.extend(self.connection.open()),
            (4, Some(id)) => {
                let _closed = self.connection.send_head(id, |encoder, out| match self.role {
                    Role::Server => encoder.status(out, 200 + u16::from(which)),
                    Role::Client => encoder.field(out, b":path", &[b'/'; 300], mainstay_http2::hpack::Indexing::Index),
                });
            }
            (5, Some(id)) => {
                let _sent = self.connection.send(id, &vec![b'x'; usize::from(which) * 200]);
            }
            (6, Some(id)) => {
                let trailers: &[u8] = if which & 0x80 == 0 { b"" } else { b"x: y\r\n" };
                let _closed = self.connection.finish(id, trailers);
            }
            (7, Some(id)) => self.read(id, usize::from(which) + 1),
            (8, Some(id)) => {
                self.connection.release(id, Code::CANCEL);
                self.owned.retain(|other| *other != id);
            }
            (9, Some(id)) => {
                if which & 1 == 0 {
                    self.connection.reset(id, Code::CANCEL);
                } else {
                    self.connection.expect_no_body(id);
                }
            }
            (10, _) if which == 7 => self.connection.leave(),
            (11, _) if which == 7 => self.connection.leave_finally(),
            (11, _) if which & 1 == 0 => self.connection.ping(),
            (_, _) => self.connection.rest(),
        }
    }

    fn read(&mut self, id: u32, most: usize) {
        while let Ok(Some(head)) = self.connection.take_head(id) {
            for field in head.list() {
                assert!(!field.name.get(head.bytes()).is_empty());
                assert!(!field.value.get(head.bytes()).contains(&b'\n'));
            }
            self.connection.give_back(head);
        }
        let mut bytes = vec![0; most];
        if let Read::Bytes(count) = self.connection.read(id, &mut bytes) {
            assert!(count > 0 && count <= most);
        }
        for line in self.connection.trailers(id).split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            assert!(line.ends_with(b"\r") && line.contains(&b':'), "{line:?}");
        }
    }

    /// Takes in what there is, unless the peer takes too little, as the gateway does.
    fn receive(&mut self) {
        while !self.connection.is_congested() {
            match self.connection.receive(self.now, &self.input) {
                Ok(Some((consumed, event))) => {
                    assert!(consumed > 0 && consumed <= self.input.len());
                    self.input.drain(..consumed);
                    if let Event::Request(id) = event {
                        assert!(self.role == Role::Server && !self.owned.contains(&id));
                        self.owned.push(id);
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(self.connection.error(), Some(error));
                    break;
                }
            }
        }
    }

    /// Writes so much of the output. What is written are whole frames, one after another.
    fn write(&mut self, most: usize) {
        let output = self.connection.output();
        let count = output.len().min(most);
        self.unparsed.extend_from_slice(&output[..count]);
        self.connection.advance(count);
        if self.unparsed.starts_with(PREFACE) {
            self.unparsed.drain(..PREFACE.len());
        }
        while let Some([a, b, c, kind, ..]) = self.unparsed.first_chunk::<9>() {
            let length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
            if self.role == Role::Client && *kind == b' ' {
                // The beginning of a preface that is not all written.
                break;
            }
            assert!(*kind <= 9 && length <= 1 << 17, "frame of kind {kind} and length {length}");
            if self.unparsed.len() < 9 + length {
                break;
            }
            self.unparsed.drain(..9 + length);
        }
    }

    fn check(&self) {
        assert!(self.connection.output().len() < OUTPUT_MAX, "output grows without bound");
        assert!(self.connection.streams() <= self.owned.len(), "streams that nobody owns");
        if self.role == Role::Server {
            assert!(self.connection.streams() <= MAX_STREAMS as usize, "more streams than allowed");
        }
    }
}

//! Bodies of any size stream in constant memory, both ways.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use mainstay_e2e::gateway::simple;
use mainstay_e2e::{Mainstay, Origin, Wire, free};

const MIB: u64 = 1024 * 1024;
/// How much memory the gateway may gain, whatever goes through it.
const ROOM: u64 = 24 * MIB;

/// A route on which no time is over before its turn, however slow the machine is.
const PATIENT: &str = "[[route]]\nname = \"all\"\nservice = \"app\"\ntimeout = \"10m\"\n";

/// 10 GiB, the figure that is promised; `MAINSTAY_E2E_UPLOAD_MIB` changes it.
fn upload_bytes() -> u64 {
    std::env::var("MAINSTAY_E2E_UPLOAD_MIB").ok().and_then(|text| text.parse::<u64>().ok()).unwrap_or(10 * 1024) * MIB
}

#[test]
fn a_large_upload_takes_constant_memory() {
    let (origin, listen) = (Origin::start(), free());
    let mut gateway = Mainstay::start(&simple(listen, &[origin.address()], PATIENT));
    let (length, begun) = (upload_bytes(), Instant::now());
    let mut wire = Wire::connect(listen);
    let before = gateway.process().resident_bytes();
    wire.send(format!("PUT /sink HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n")).expect("sent");
    let block = vec![0x5a; 1 << 20];
    let mut highest = before;
    for index in 0..length / MIB {
        wire.send(&block).unwrap_or_else(|error| panic!("after {index} MiB: {error}"));
        if index % 64 == 0 {
            highest = highest.max(gateway.process().resident_bytes());
        }
    }
    let response = wire.response().expect("an answer");
    assert_eq!(response.text(), length.to_string());
    eprintln!("{} MiB in {:?}, resident {} -> {} KiB", length / MIB, begun.elapsed(), before / 1024, highest / 1024);
    assert!(highest < before + ROOM, "{before} -> {highest}");
}

#[test]
fn many_clients_that_read_slowly_take_constant_memory() {
    let (origin, listen) = (Origin::start(), free());
    let mut gateway = Mainstay::start(&simple(listen, &[origin.address()], PATIENT));
    let before = gateway.process().resident_bytes();
    let mut readers: Vec<TcpStream> = (0..20)
        .map(|_index| {
            // A small window, so that the kernel holds little of the 50 MiB for this client.
            let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
            socket.set_recv_buffer_size(4096).expect("a small window");
            socket.connect(&listen.into()).expect("a connection");
            let mut stream = TcpStream::from(socket);
            stream.write_all(b"GET /bytes/50000000 HTTP/1.1\r\nHost: a\r\n\r\n").expect("sent");
            stream
        })
        .collect();
    let mut highest = before;
    for _second in 0..8 {
        std::thread::sleep(Duration::from_secs(1));
        for reader in &mut readers {
            reader.read_exact(&mut [0]).expect("one byte a second comes");
        }
        highest = highest.max(gateway.process().resident_bytes());
    }
    assert!(highest < before + ROOM, "{before} -> {highest}");
    // Others are served meanwhile, and the slow ones can still finish.
    assert_eq!(mainstay_e2e::wire::get(listen, "/ok").status, 200);
    let mut rest = vec![0; 1 << 20];
    let mut left = 50_000_000_i64;
    while left > 1_000_000 {
        let count = readers[0].read(&mut rest).expect("the rest comes");
        assert!(count > 0, "closed with {left} bytes left");
        left -= i64::try_from(count).expect("a count");
    }
}

#[test]
fn a_large_download_takes_constant_memory() {
    let (origin, listen) = (Origin::start(), free());
    let mut gateway = Mainstay::start(&simple(listen, &[origin.address()], PATIENT));
    let before = gateway.process().resident_bytes();
    let mut stream = TcpStream::connect(listen).expect("a connection");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a read limit");
    stream.write_all(b"GET /bytes/300000000 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").expect("sent");
    let (mut block, mut total, mut highest) = (vec![0; 1 << 20], 0_usize, before);
    loop {
        let count = stream.read(&mut block).expect("the body comes");
        if count == 0 {
            break;
        }
        total += count;
        highest = highest.max(gateway.process().resident_bytes());
    }
    assert!(total > 300_000_000, "{total}");
    assert!(highest < before + ROOM, "{before} -> {highest}");
}

/// A trickle in each direction at once: neither waits for the other to finish.
#[test]
fn a_body_streams_before_it_is_complete() {
    let (origin, listen) = (Origin::start(), free());
    let _gateway = Mainstay::start(&simple(listen, &[origin.address()], ""));
    let mut stream = TcpStream::connect(listen).expect("a connection");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a read limit");
    stream.write_all(b"GET /slow-body/40/150 HTTP/1.1\r\nHost: a\r\n\r\n").expect("sent");
    let begun = Instant::now();
    let mut seen = Vec::new();
    while !seen.windows(4).any(|window| window == b"\r\n\r\n") {
        let mut block = [0; 512];
        let count = stream.read(&mut block).expect("the head comes");
        seen.extend_from_slice(&block[..count]);
    }
    assert!(begun.elapsed() < Duration::from_millis(4_000), "the head waited for the body: {:?}", begun.elapsed());
}

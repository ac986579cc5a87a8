//! Frames that are each allowed and together an attack (RFC 9113, section 10.5): the connection is ended with
//! ENHANCE_YOUR_CALM, and other clients are served meanwhile.

use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use mainstay_e2e::h2::code::{ENHANCE_YOUR_CALM, FLOW_CONTROL_ERROR, PROTOCOL_ERROR, REFUSED_STREAM};
use mainstay_e2e::h2::{H2, Said, flag, frame, kind};
use mainstay_e2e::scripted::Scripted;

use crate::case::{EH, ES, GET, HOLD, POST, WHOLE};
use crate::stand::Stand;

/// A flood: its name, what comes first, and what comes again and again, by its number.
type Flood = (&'static str, fn() -> Vec<u8>, fn(u32) -> Vec<u8>);

/// Far more than any allowance.
const ROUNDS: u32 = 300_000;
/// So much is sent at once.
const BATCH: u32 = 100;
const LIMIT: Duration = Duration::from_secs(30);

fn nothing() -> Vec<u8> {
    Vec::new()
}

fn open_post() -> Vec<u8> {
    frame(kind::HEADERS, EH, 1, POST)
}

fn open_block() -> Vec<u8> {
    frame(kind::HEADERS, ES, 1, GET)
}

const fn nth(round: u32) -> u32 {
    round * 2 + 1
}

fn request_and(round: u32, block: &[u8], kind: u8, payload: &[u8]) -> Vec<u8> {
    [frame(kind::HEADERS, WHOLE, nth(round), block), frame(kind, 0, nth(round), payload)].concat()
}

const FLOODS: &[Flood] = &[
    ("rapid reset (CVE-2023-44487)", nothing, |round| request_and(round, HOLD, kind::RST_STREAM, b"\0\0\0\x08")),
    ("rapid reset of requests that are answered at once", nothing, |round| {
        request_and(round, GET, kind::RST_STREAM, b"\0\0\0\x08")
    }),
    ("rapid reset of requests that have not ended", nothing, |round| {
        [frame(kind::HEADERS, EH, nth(round), POST), frame(kind::RST_STREAM, 0, nth(round), b"\0\0\0\0")].concat()
    }),
    ("the server made to reset by WINDOW_UPDATE (CVE-2025-8671)", nothing, |round| {
        request_and(round, HOLD, kind::WINDOW_UPDATE, b"\0\0\0\0")
    }),
    ("the server made to reset by DATA behind the end", nothing, |round| request_and(round, HOLD, kind::DATA, b"abc")),
    ("malformed requests", nothing, |round| {
        frame(kind::HEADERS, WHOLE, nth(round), b"\x82\x86\x84\x01\x01a\x00\x01A\x01b")
    }),
    ("requests beyond the limit of streams", nothing, |round| frame(kind::HEADERS, WHOLE, nth(round), HOLD)),
    ("CONTINUATION without end (CVE-2024-27316)", open_block, |_| {
        frame(kind::CONTINUATION, 0, 1, &[b"\x00\x01x\x7f\x81\x01".as_slice(), &[b'a'; 256]].concat())
    }),
    ("empty CONTINUATION (CVE-2019-9518)", open_block, |_| frame(kind::CONTINUATION, 0, 1, b"")),
    ("empty DATA (CVE-2019-9518)", open_post, |_| frame(kind::DATA, 0, 1, b"")),
    ("DATA of padding alone", open_post, |_| frame(kind::DATA, flag::PADDED, 1, b"\x01\0")),
    ("PING (CVE-2019-9512)", nothing, |_| frame(kind::PING, 0, 0, b"12345678")),
    ("PING ACK", nothing, |_| frame(kind::PING, flag::ACK, 0, b"12345678")),
    ("SETTINGS (CVE-2019-9515)", nothing, |round| {
        frame(kind::SETTINGS, 0, 0, &[b"\0\x04\0\0".as_slice(), &(round as u16).to_be_bytes()].concat())
    }),
    ("empty SETTINGS", nothing, |_| frame(kind::SETTINGS, 0, 0, b"")),
    ("SETTINGS ACK", nothing, |_| frame(kind::SETTINGS, flag::ACK, 0, b"")),
    ("WINDOW_UPDATE", nothing, |_| frame(kind::WINDOW_UPDATE, 0, 0, b"\0\0\0\x01")),
    ("WINDOW_UPDATE on a stream", open_post, |_| frame(kind::WINDOW_UPDATE, 0, 1, b"\0\0\0\x01")),
    ("PRIORITY (CVE-2019-9513)", nothing, |round| frame(kind::PRIORITY, 0, nth(round % 1_000), b"\0\0\0\0\x10")),
    (
        "RST_STREAM of a stream that is over",
        || frame(kind::HEADERS, WHOLE, 1, GET),
        |_| frame(kind::RST_STREAM, 0, 1, b"\0\0\0\x08"),
    ),
    ("frames that nobody knows", nothing, |_| frame(0x42, 0, 0, b"")),
    ("GOAWAY", nothing, |_| frame(kind::GOAWAY, 0, 0, b"\0\0\0\0\0\0\0\0")),
];

/// How a flood ended: the code of GOAWAY if one came, and the rounds that were sent.
fn flood(stand: &Stand, (_, first, again): &Flood) -> Result<(Option<u32>, u32), String> {
    let mut client = H2::connect(stand.listen).map_err(|error| error.to_string())?;
    client.open(&[]).map_err(|error| error.to_string())?;
    // Nothing of ours may come between the frames of the flood later.
    while !matches!(client.hear().map_err(|error| error.to_string())?, Said::Acknowledged) {}
    client.send(&first()).map_err(|error| error.to_string())?;
    let mut writer = client.stream().try_clone().map_err(|error| error.to_string())?;
    let (sender, heard) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        let end = Instant::now() + LIMIT;
        let mut code = None;
        while Instant::now() < end {
            match client.hear() {
                Ok(Said::GoAway { code: said, .. }) => {
                    code = Some(said);
                    // The writer stops, so that the connection can be closed in order.
                    let _writer_has_stopped = sender.send(());
                }
                Ok(Said::Closed) | Err(_) => break,
                Ok(_other) => {}
            }
        }
        code
    });
    let mut round = 0;
    let end = Instant::now() + LIMIT;
    while round < ROUNDS && Instant::now() < end && heard.try_recv().is_err() && !reader.is_finished() {
        let batch: Vec<u8> = (round..round + BATCH).flat_map(again).collect();
        if writer.write_all(&batch).is_err() {
            break;
        }
        round += BATCH;
    }
    let code = reader.join().map_err(|_| "the reader panicked".to_owned())?;
    Ok((code, round))
}

/// Asks in a loop until told to stop: how long each answer took.
fn bystander(stand: &Stand, stop: &AtomicBool) -> Result<Vec<Duration>, String> {
    let mut client = H2::connect(stand.listen).map_err(|error| error.to_string())?;
    client.open(&[]).map_err(|error| error.to_string())?;
    let mut times = Vec::new();
    while !stop.load(Ordering::Relaxed) && times.len() < 100_000 {
        let begun = Instant::now();
        let status = client.get(times.len() as u32 * 2 + 1, "/bystander");
        if status != Some(200) {
            return Err(format!("a bystander's request {} is answered {status:?}", times.len()));
        }
        times.push(begun.elapsed());
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(times)
}

#[test]
fn floods_end_the_connection_and_hurt_nobody_else() {
    let mut stand = Stand::start();
    let before = stand.gateway.process().resident_bytes();
    let stop = AtomicBool::new(false);
    let mut wrong = Vec::new();
    std::thread::scope(|scope| {
        let other = scope.spawn(|| bystander(&stand, &stop));
        for case in FLOODS {
            let begun = Instant::now();
            let ended = flood(&stand, case);
            println!("{:>8.0?} {}: {ended:?}", begun.elapsed(), case.0);
            match ended {
                Ok((Some(ENHANCE_YOUR_CALM), _)) => {}
                other => wrong.push(format!("{}: {other:?}", case.0)),
            }
            if let Err(what) = stand.still_serves() {
                wrong.push(format!("{}: {what}", case.0));
            }
        }
        stop.store(true, Ordering::Relaxed);
        match other.join().expect("the bystander") {
            Ok(times) if times.is_empty() => wrong.push("no answer for the bystander".to_owned()),
            Ok(times) => {
                let slowest = times.iter().max().expect("some");
                println!("{} answers for the bystander, the slowest after {slowest:?}", times.len());
                // Both share the machine with this test, so only a stall is a fault.
                if *slowest > Duration::from_secs(4) {
                    wrong.push(format!("a bystander waited {slowest:?}"));
                }
            }
            Err(what) => wrong.push(what),
        }
    });
    assert!(stand.gateway.process().is_running(), "the gateway is gone:\n{}", stand.gateway.stderr());
    let log = stand.gateway.access_log();
    let lines: Vec<_> = log.iter().filter(|line| line["status"].as_u64() >= Some(500)).take(5).collect();
    assert!(wrong.is_empty(), "{} faults:\n{}\n{lines:#?}", wrong.len(), wrong.join("\n"));
    let after = stand.gateway.process().resident_bytes();
    assert!(after < before + 64 * 1024 * 1024, "{before} -> {after}");
}

/// One client resets at full rate and connects again whenever it is thrown out; another one is served.
#[test]
fn rapid_reset_at_full_rate_does_not_stall_another_client() {
    let stand = Stand::start();
    let p99 = |mut times: Vec<Duration>| {
        times.sort_unstable();
        times[times.len() * 99 / 100]
    };
    let during = |attack: bool| {
        let (stop, over) = (AtomicBool::new(false), AtomicBool::new(false));
        std::thread::scope(|scope| {
            let other = scope.spawn(|| bystander(&stand, &stop));
            let attacker = scope.spawn(|| {
                let mut connections = 0;
                while attack && !over.load(Ordering::Relaxed) && connections < 100_000 {
                    let _ended = flood(&stand, &FLOODS[0]);
                    connections += 1;
                }
                connections
            });
            std::thread::sleep(Duration::from_secs(3));
            stop.store(true, Ordering::Relaxed);
            over.store(true, Ordering::Relaxed);
            let times = other.join().expect("the bystander").expect("every answer is 200");
            (p99(times), attacker.join().expect("the attacker"))
        })
    };
    let (quiet, _) = during(false);
    let (attacked, connections) = during(true);
    println!("p99 {quiet:?} quiet, {attacked:?} under attack by {connections} connections");
    assert!(connections >= 3, "{connections} connections of the attacker");
    // Backend, attacker and other tests share the machine with the gateway, so this tells a stall from its absence and no
    // more; figures are for a quiet machine.
    assert!(attacked < quiet * 2 + Duration::from_millis(200), "p99 {quiet:?} quiet, {attacked:?} under attack");
}

#[test]
fn one_stream_too_many_is_refused_and_the_others_are_served() {
    let stand = Stand::start();
    let mut client = H2::connect(stand.listen).expect("a connection");
    client.open(&[]).expect("a preface");
    let limit = loop {
        if let Said::Settings(list) = client.hear().expect("settings") {
            break list.iter().find(|(id, _)| *id == 3).expect("SETTINGS_MAX_CONCURRENT_STREAMS is announced").1;
        }
    };
    assert!((1..=1_000).contains(&limit), "{limit}");
    let open: Vec<u8> = (0..=limit).flat_map(|round| frame(kind::HEADERS, EH, nth(round), POST)).collect();
    client.send(&open).expect("sent");
    let refused = loop {
        match client.hear().expect("an answer") {
            Said::Reset { stream, code } => break (stream, code),
            Said::GoAway { .. } | Said::Closed => panic!("the connection is ended"),
            _other => {}
        }
    };
    assert_eq!(refused.0, nth(limit));
    assert!(matches!(refused.1, REFUSED_STREAM | PROTOCOL_ERROR), "{refused:?}");
    let finish: Vec<u8> = (0..limit).flat_map(|round| frame(kind::DATA, ES, nth(round), b"x")).collect();
    client.send(&finish).expect("sent");
    let (mut served, mut ended) = (0, 0);
    while ended < limit {
        match client.hear().expect("an answer") {
            Said::Head { status, ends, .. } => {
                assert_eq!(status, Some(200));
                served += 1;
                ended += u32::from(ends);
            }
            Said::Data { ends, .. } => ended += u32::from(ends),
            Said::Reset { stream, code } => panic!("stream {stream} is reset with {code}"),
            Said::GoAway { .. } | Said::Closed => panic!("the connection is ended"),
            _other => {}
        }
    }
    assert_eq!(served, limit);
    assert_eq!(client.get(nth(limit + 1), "/after"), Some(200));
}

/// RFC 9113, section 6.9.1: what exceeds a window is an error of the stream or the connection, and held by nobody.
#[test]
fn more_data_than_the_window_allows() {
    let backend = Scripted::start(|mut exchange| {
        // The body is left where it is.
        let _head = exchange.head();
        std::thread::sleep(Duration::from_secs(20));
    });
    let mut stand = Stand::start_before(backend);
    let before = stand.gateway.process().resident_bytes();
    let mut client = H2::connect(stand.listen).expect("a connection");
    client.open(&[]).expect("a preface");
    client.send(&frame(kind::HEADERS, EH, 1, POST)).expect("sent");
    let writer: TcpStream = client.stream().try_clone().expect("a second handle");
    let sent = std::thread::spawn(move || {
        let mut writer = writer;
        let data = frame(kind::DATA, 0, 1, &[0; 16_384]);
        (0..16 * 1_024).take_while(|_| writer.write_all(&data).is_ok()).count()
    });
    let verdict = loop {
        match client.hear() {
            Ok(Said::Reset { code, .. } | Said::GoAway { code, .. }) => break Some(code),
            Ok(Said::Closed) | Err(_) => break None,
            Ok(_other) => {}
        }
    };
    let after = stand.gateway.process().resident_bytes();
    drop(client);
    assert_eq!(verdict, Some(FLOW_CONTROL_ERROR));
    assert!(after < before + 32 * 1024 * 1024, "{before} -> {after}");
    sent.join().expect("the writer");
    assert!(stand.gateway.process().is_running());
}

//! Many clients that want the same thing at the same time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use mainstay_e2e::{Mainstay, Wire, eventually, free};

use super::{Counting, config, get, is_hit, results, status_of};

const CLIENTS: usize = 1_000;

/// Connects all clients, has them send at once, and answers what each got: status and body.
fn herd(listen: std::net::SocketAddr, clients: usize, path: &'static str) -> Vec<(u16, String)> {
    let barrier = Arc::new(Barrier::new(8));
    let threads: Vec<_> = (0..8)
        .map(|part| {
            let barrier = Arc::clone(&barrier);
            std::thread::spawn(move || {
                let share = clients / 8 + usize::from(part < clients % 8);
                let mut wires: Vec<Wire> = (0..share)
                    .map(|_client| Wire::try_connect(listen, Duration::from_secs(30)).expect("a connection"))
                    .collect();
                barrier.wait();
                for wire in &mut wires {
                    wire.send(format!("GET {path} HTTP/1.1\r\nHost: shop\r\n\r\n")).expect("sent");
                }
                let read = |wire: &mut Wire| {
                    let response = wire.response().expect("an answer");
                    (response.status, response.text())
                };
                wires.iter_mut().map(read).collect::<Vec<_>>()
            })
        })
        .collect();
    threads.into_iter().flat_map(|thread| thread.join().expect("no client panics")).collect()
}

/// Scenario Q2 of the source document 001: a popular entry is missing, or has expired, and a thousand clients want it.
#[test]
fn a_thousand_clients_are_one_request_upstream() {
    let listen = free();
    let origin = Counting::slow(Duration::from_secs(1), |_head| {
        ("HTTP/1.1 200 OK\r\ncache-control: max-age=2".to_owned(), b"the page".to_vec())
    });
    let mut gateway = Mainstay::start(&config(listen, origin.address(), "{ jitter = \"0%\" }", ""));
    let all_well = |answers: &[(u16, String)]| {
        assert_eq!(answers.len(), CLIENTS);
        let wrong: Vec<_> = answers.iter().filter(|answer| **answer != (200, "the page".to_owned())).take(3).collect();
        assert!(wrong.is_empty(), "{wrong:?}");
    };
    all_well(&herd(listen, CLIENTS, "/popular"));
    assert_eq!(origin.count(), 1, "nothing was stored yet");
    std::thread::sleep(Duration::from_millis(2_200));
    let before = origin.count();
    all_well(&herd(listen, CLIENTS, "/popular"));
    assert_eq!(origin.count(), before + 1, "it had expired");
    let waited = gateway.metric("mainstay_cache_coalesced_total", &[]);
    assert!(waited >= 1_000.0, "{waited} waited");

    // The control: without the cache every client is a request.
    gateway.reload(&config(listen, origin.address(), "false", ""));
    let before = origin.count();
    all_well(&herd(listen, CLIENTS, "/popular"));
    assert_eq!(origin.count(), before + CLIENTS);
}

#[test]
fn the_leaders_failure_does_not_fail_those_who_wait() {
    let (listen, calls) = (free(), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&calls);
    let origin = Counting::slow(Duration::from_millis(300), move |_head| {
        // The first one is failed, the second one works.
        let status = if counted.fetch_add(1, Ordering::SeqCst) == 0 { "500 Oh" } else { "200 OK" };
        (format!("HTTP/1.1 {status}\r\ncache-control: max-age=60"), b"x".to_vec())
    });
    let _gateway = Mainstay::start(&config(listen, origin.address(), "true", ""));
    let answers = herd(listen, 50, "/a");
    let failed = answers.iter().filter(|(status, _body)| *status != 200).count();
    assert_eq!((failed, origin.count()), (1, 2), "the leader alone got its error");
    // An origin that only fails is asked three times, not fifty.
    origin.fail(true);
    let answers = herd(listen, 50, "/b");
    assert!(answers.iter().all(|(status, _body)| *status >= 500), "{answers:?}");
    assert_eq!(origin.count(), 2 + 3);
}

#[test]
fn a_leader_that_leaves_is_replaced() {
    let listen = free();
    let origin = Counting::slow(Duration::from_secs(1), |_head| {
        ("HTTP/1.1 200 OK\r\ncache-control: max-age=60".to_owned(), b"x".to_vec())
    });
    let _gateway = Mainstay::start(&config(listen, origin.address(), "true", ""));
    let mut leader = Wire::connect(listen);
    leader.send("GET /a HTTP/1.1\r\nHost: shop\r\n\r\n").expect("sent");
    eventually("it has reached the origin", Duration::from_secs(5), || origin.count() == 1);
    let waiting = std::thread::spawn(move || herd(listen, 20, "/a"));
    std::thread::sleep(Duration::from_millis(300));
    // A reset, which nobody can take for the end of a request.
    socket2::SockRef::from(&*leader.stream()).set_linger(Some(Duration::ZERO)).expect("set");
    drop(leader);
    let answers = waiting.join().expect("they are answered");
    assert!(answers.iter().all(|answer| *answer == (200, "x".to_owned())), "{answers:?}");
    assert_eq!(origin.count(), 2);
}

#[test]
fn nobody_gets_what_is_anothers() {
    let (listen, serial) = (free(), AtomicUsize::new(0));
    let origin = Counting::slow(Duration::from_millis(200), move |_head| {
        let serial = serial.fetch_add(1, Ordering::SeqCst);
        ("HTTP/1.1 200 OK\r\ncache-control: private, max-age=60".to_owned(), format!("for {serial}").into_bytes())
    });
    let _gateway = Mainstay::start(&config(listen, origin.address(), "true", ""));
    let mut answers = herd(listen, 100, "/mine");
    answers.sort();
    answers.dedup();
    assert_eq!((answers.len(), origin.count()), (100, 100), "each has its own");
}

#[test]
fn large_bodies_pass_whole_and_unstored() {
    let listen = free();
    let origin = Counting::start(|head| {
        let length =
            head.line.split(' ').nth(1).and_then(|path| path.trim_start_matches('/').parse().ok()).unwrap_or(0);
        let body = (0..length).map(|index: usize| b'a' + (index % 26) as u8).collect();
        ("HTTP/1.1 200 OK\r\ncache-control: max-age=60".to_owned(), body)
    });
    let gateway = Mainstay::start(&config(listen, origin.address(), "{ max_object = \"100KiB\" }", ""));
    for (length, stored) in [(0, true), (10, true), (102_400, true), (102_401, false), (3_000_000, false)] {
        let path = format!("/{length}");
        for turn in 0..2 {
            let response = get(listen, &path, &[]);
            assert_eq!((response.status, response.body.bytes.len()), (200, length), "{turn}: {}", status_of(&response));
            assert!(response.body.bytes.iter().enumerate().all(|(at, byte)| *byte == b'a' + (at % 26) as u8));
            assert_eq!(is_hit(&response), stored && turn == 1, "{length}: {}", status_of(&response));
        }
    }
    assert_eq!(results(&gateway, "hit"), 3.0);
}

/// Bodies whose length nobody has announced turn out too large only when some of them has been read.
#[test]
fn bodies_of_unknown_length_pass_whole() {
    let (listen, backend) = (free(), mainstay_e2e::Origin::start());
    // The backend says nothing about caches, so that the route has to.
    let cache = "{ default_ttl = \"60s\", max_object = \"64KiB\" }";
    let _gateway = Mainstay::start(&config(listen, backend.address(), cache, ""));
    for (path, length, stored) in [
        ("/chunked/1000", 1_000, true),
        ("/chunked/65536", 65_536, true),
        ("/chunked/66000", 66_000, false),
        ("/chunked/500000", 500_000, false),
        ("/until-close/1000", 1_000, true),
        ("/until-close/500000", 500_000, false),
    ] {
        for turn in 0..2 {
            let response = get(listen, path, &[]);
            assert_eq!((response.status, response.body.bytes.len()), (200, length), "{path}");
            assert!(response.body.bytes.iter().enumerate().all(|(at, byte)| *byte == b'a' + (at % 26) as u8), "{path}");
            assert_eq!(is_hit(&response), stored && turn == 1, "{path}: {}", status_of(&response));
        }
        let mut http2 = mainstay_e2e::http2::Http2::connect(listen);
        let answer = http2.exchange(mainstay_e2e::http2::request("GET", path), b"");
        assert_eq!(answer.body.len(), length, "{path} over HTTP/2");
    }
}

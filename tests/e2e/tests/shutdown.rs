//! SIGTERM: clients that respect `Connection: close` lose nothing, and the process leaves within its deadline.

use std::time::{Duration, Instant};

use mainstay_e2e::gateway::simple;
use mainstay_e2e::load::Plan;
use mainstay_e2e::{Mainstay, Origin, Wire, eventually, free};

fn start(origin: &Origin, listen: std::net::SocketAddr, shutdown: &str) -> Mainstay {
    Mainstay::start_with(&format!("shutdown = {shutdown}"), &simple(listen, &[origin.address()], ""))
}

#[test]
fn sigterm_under_load_fails_no_request() {
    let origin = Origin::start();
    for round in 0..5 {
        let listen = free();
        let mut gateway = start(&origin, listen, "{ lead = \"500ms\", deadline = \"15s\" }");
        let plan = Plan { requests: u64::MAX, time: Duration::from_secs(10), clients: 8, ..Plan::new(listen) };
        let kept = plan.clone().start();
        let slow = Plan { path: "/sleep/100".to_owned(), ..plan.clone() }.start();
        let short = Plan { short: true, ..plan.clone() }.start();
        eventually("the load is under way", Duration::from_secs(10), || kept.begun() > 500 && short.begun() > 200);
        let begun = Instant::now();
        let status = gateway.terminate(Duration::from_secs(20));
        assert_eq!(status.code(), Some(0));
        assert!(begun.elapsed() < Duration::from_secs(8), "round {round}: {:?}", begun.elapsed());
        for (what, load) in [("kept", kept), ("slow", slow), ("short", short)] {
            let report = load.stop();
            // Once nobody listens a connection is refused, which is how a client learns to go elsewhere.
            let failed: Vec<_> = report.failed().into_iter().filter(|o| !o.is_refused()).collect();
            assert!(failed.is_empty(), "round {round}, {what}: {} failed, first {:?}", failed.len(), failed.first());
        }
    }
}

#[test]
fn idle_connections_are_closed_and_readiness_fails_first() {
    let origin = Origin::start();
    let listen = free();
    let mut gateway = start(&origin, listen, "{ lead = \"2s\", deadline = \"20s\" }");
    let mut idle = Wire::connect(listen);
    assert_eq!(idle.exchange("GET /ok HTTP/1.1\r\nHost: a\r\n\r\n").status, 200);
    let unused = Wire::connect(listen);
    gateway.process().signal(libc::SIGTERM);
    eventually("readiness fails", Duration::from_secs(2), || gateway.admin("/ready").status == 503);
    assert_eq!(mainstay_e2e::wire::get(listen, "/ok").status, 200, "during the lead new connections are served");
    assert!(idle.is_closed());
    drop(unused);
    let status = gateway.process().wait(Duration::from_secs(10)).expect("an exit long before the deadline");
    assert_eq!(status.code(), Some(0));
}

#[test]
fn requests_in_flight_finish_and_the_deadline_cuts_the_rest() {
    let origin = Origin::start();
    let listen = free();
    let mut gateway = start(&origin, listen, "{ lead = \"0s\", deadline = \"3s\" }");
    let (mut short, mut long) = (Wire::connect(listen), Wire::connect(listen));
    short.send("GET /sleep/1000 HTTP/1.1\r\nHost: a\r\n\r\n").expect("sent");
    long.send("GET /sleep/20000 HTTP/1.1\r\nHost: a\r\n\r\n").expect("sent");
    let mut tunnel = Wire::connect(listen);
    let upgrade = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    assert_eq!(tunnel.exchange(upgrade).status, 101);
    std::thread::sleep(Duration::from_millis(300));
    let begun = Instant::now();
    let waiter = std::thread::spawn(move || short.response().expect("the request in flight is answered"));
    let status = gateway.terminate(Duration::from_secs(10));
    let took = begun.elapsed();
    assert!((Duration::from_millis(2_500)..Duration::from_secs(8)).contains(&took), "{took:?}");
    assert_eq!(status.code(), Some(0), "{}", gateway.stderr());
    let response = waiter.join().expect("no panic");
    assert_eq!(response.status, 200);
    assert!(response.head.has("connection", "close"), "{:?}", response.head);
    assert!(long.response().is_err());
    // The WebSocket is told that the gateway goes away (RFC 6455, section 7.4.1: 1001), then closed.
    assert_eq!(tunnel.exact(4).expect("a close frame"), [0x88, 0x02, 0x03, 0xe9]);
    assert!(tunnel.is_closed());
}

/// Connections that the kernel has completed before the listener closes are served, not reset. Many rounds, since it is a
/// race.
#[test]
fn connections_in_the_queue_are_not_reset() {
    let origin = Origin::start();
    for round in 0..15 {
        let listen = free();
        let mut gateway = start(&origin, listen, "{ lead = \"0s\", deadline = \"10s\" }");
        let plan =
            Plan { requests: u64::MAX, time: Duration::from_secs(5), clients: 12, short: true, ..Plan::new(listen) };
        let load = plan.start();
        eventually("the load is under way", Duration::from_secs(10), || load.begun() > 100);
        assert_eq!(gateway.terminate(Duration::from_secs(12)).code(), Some(0));
        let report = load.stop();
        let failed: Vec<_> = report.failed().into_iter().filter(|o| !o.is_refused()).collect();
        assert!(failed.is_empty(), "round {round}: {} failed, first {:?}", failed.len(), failed.first());
    }
}

#[test]
fn sigint_leaves_in_the_same_way() {
    let origin = Origin::start();
    let listen = free();
    let mut gateway = start(&origin, listen, "{ lead = \"0s\", deadline = \"5s\" }");
    let mut slow = Wire::connect(listen);
    slow.send("GET /sleep/500 HTTP/1.1\r\nHost: a\r\n\r\n").expect("sent");
    std::thread::sleep(Duration::from_millis(200));
    gateway.process().signal(libc::SIGINT);
    assert_eq!(slow.response().expect("an answer").status, 200);
    let status = gateway.process().wait(Duration::from_secs(10)).expect("an exit");
    assert_eq!(status.code(), Some(0));
}

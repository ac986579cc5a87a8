//! A backend that hangs (SIGSTOP) loses its traffic within the configured limits, and nobody waits longer than the timeout.

use std::time::{Duration, Instant};

use mainstay_e2e::gateway::simple;
use mainstay_e2e::load::Plan;
use mainstay_e2e::scripted::{Exchange, Scripted};
use mainstay_e2e::{Mainstay, Origin, Wire, eventually, free};

const ROUTE: &str = "[[route]]\nname = \"all\"\nservice = \"app\"\ntimeout = \"2s\"\n";

#[test]
fn traffic_leaves_a_stopped_backend_and_comes_back() {
    let origins = Origin::several(2);
    let listen = free();
    let health =
        "health = { http = \"/health\", interval = \"500ms\", timeout = \"250ms\", unhealthy = 2, healthy = 2 }";
    let config = ROUTE.to_owned() + &simple(listen, &[origins[0].address(), origins[1].address()], health);
    let gateway = Mainstay::start(&config);
    let pause = Duration::from_millis(2);
    let plan = Plan { time: Duration::from_secs(60), pause, requests: u64::MAX, ..Plan::new(listen) };
    let load = plan.start();
    eventually("the load is under way", Duration::from_secs(10), || load.begun() > 500);
    origins[0].stop();
    let stopped = Instant::now();
    // interval * unhealthy + timeout is 1.25 s; a busy machine gets more.
    std::thread::sleep(Duration::from_secs(6));
    let resumed = Instant::now();
    origins[0].resume();
    // Requests that it let time out may have ejected it for 10 s on top.
    eventually("the endpoint is up again", Duration::from_secs(20), || {
        let up = gateway.metric("mainstay_endpoint_health", &[&origins[0].address().to_string(), "\"up\""]) >= 1.0;
        up && gateway.metric("mainstay_endpoint_ejected", &[]) == 0.0
    });
    std::thread::sleep(Duration::from_secs(1));
    let report = load.stop();
    assert!(report.slowest() < Duration::from_secs(5), "a client waited {:?}", report.slowest());
    let late: Vec<_> =
        report.failed().into_iter().filter(|o| o.at > stopped + Duration::from_secs(4) && o.at < resumed).collect();
    assert!(late.is_empty(), "still sent to the stopped backend after 4 s: {:?}", late.first());
    for outcome in report.failed() {
        let status = outcome.result.as_ref().map(|(status, _)| *status);
        assert!(matches!(status, Ok(502..=504)), "{outcome:?}");
    }
    let after = report.outcomes.iter().filter(|o| o.at > resumed && o.origin == Some(origins[0].address())).count();
    assert!(after > 0, "the resumed backend gets no traffic");
}

#[test]
fn an_attempt_that_hangs_is_tried_elsewhere_when_the_route_says_so() {
    let origins = Origin::several(2);
    let listen = free();
    let route = "[[route]]\nname = \"all\"\nservice = \"app\"\ntimeout = \"10s\"\nattempt_timeout = \"300ms\"\n\
                 retry = { attempts = 3, on = [\"timeout\"] }\n";
    let service = "health = \"off\"\noutlier = \"off\"\nbalance = \"round-robin\"\nretry_budget = { ratio = \"100%\", floor = 1000 }";
    let config = route.to_owned() + &simple(listen, &[origins[0].address(), origins[1].address()], service);
    let gateway = Mainstay::start(&config);
    origins[0].stop();
    let report = Plan { requests: 40, clients: 4, ..Plan::new(listen) }.run();
    report.assert_clean(40);
    assert!(report.slowest() < Duration::from_secs(5), "{:?}", report.slowest());
    assert!(gateway.metric("mainstay_endpoint_timeouts_total", &[&origins[0].address().to_string()]) > 0.0);
}

/// Everything that a peer can stall at has a limit, and the answer says which one it was.
#[test]
fn a_backend_that_stalls_at_any_stage_is_timed_out() {
    let stages = |mut exchange: Exchange| {
        while let Some(head) = exchange.head() {
            let stage = head.line.split(' ').nth(1).unwrap_or_default().to_owned();
            match stage.as_str() {
                "/head" => {}
                "/half-head" => exchange.send("HTTP/1.1 200 OK\r\nContent-"),
                "/interim" => exchange.send("HTTP/1.1 103 Early Hints\r\n\r\n"),
                "/body" => exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"),
                _chunk => exchange.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel"),
            }
            exchange.wait_for_close();
        }
    };
    let (backend, listen) = (Scripted::start(stages), free());
    let config = ROUTE.to_owned() + &simple(listen, &[backend.address()], "health = \"off\"\noutlier = \"off\"");
    let _gateway = Mainstay::start(&config);
    for stage in ["/head", "/half-head", "/interim", "/body", "/chunk"] {
        let begun = Instant::now();
        let mut wire = Wire::connect(listen);
        wire.send(format!("GET {stage} HTTP/1.1\r\nHost: a\r\n\r\n")).expect("sent");
        match wire.response() {
            Ok(response) => assert_eq!((response.status, response.reason()), (504, "timeout"), "{stage}"),
            Err(broken) => assert!(stage == "/body" || stage == "/chunk", "{stage}: {broken}"),
        }
        let took = begun.elapsed();
        assert!((Duration::from_millis(1_500)..Duration::from_secs(6)).contains(&took), "{stage}: {took:?}");
    }
}

#[test]
fn a_backend_that_does_not_read_a_body_is_timed_out() {
    let backend = Scripted::start(|mut exchange: Exchange| {
        let _head = exchange.head();
        std::thread::sleep(Duration::from_secs(15));
    });
    let listen = free();
    let config = ROUTE.to_owned() + &simple(listen, &[backend.address()], "health = \"off\"\noutlier = \"off\"");
    let _gateway = Mainstay::start(&config);
    let begun = Instant::now();
    let mut wire = Wire::connect(listen);
    wire.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n").expect("sent");
    let block = vec![0; 1 << 20];
    let refused = (0..100).any(|_index| wire.send(&block).is_err());
    if let Ok(response) = wire.response() {
        assert_eq!(response.status, 504);
    }
    assert!(refused, "the body was taken whole though nobody read it");
    assert!(begun.elapsed() < Duration::from_secs(12), "{:?}", begun.elapsed());
}

/// A client that stalls in the middle of its body is answered 408, or its connection is closed.
#[test]
fn a_client_that_stalls_in_its_body_is_timed_out() {
    let origin = Origin::start();
    let listen = free();
    let config =
        simple(listen, &[origin.address()], "").replacen("[[service]]", "body_timeout = \"1s\"\n\n[[service]]", 1);
    let _gateway = Mainstay::start(&config);
    let begun = Instant::now();
    let mut wire = Wire::connect(listen);
    wire.send("POST /sink HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhello").expect("sent");
    match wire.response() {
        Ok(response) => assert_eq!((response.status, response.reason()), (408, "body-timeout")),
        Err(broken) => assert!(matches!(broken, mainstay_e2e::wire::Broken::Closed), "{broken}"),
    }
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
}

#[test]
fn a_backend_that_accepts_nothing_is_given_up_after_the_connect_timeout() {
    // A listening socket whose queue is full: the kernel drops further SYNs, as an overloaded or filtered host does.
    let address = free();
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket.bind(&address.into()).expect("a free address");
    socket.listen(0).expect("a listening socket");
    let _fill: Vec<_> = (0..3)
        .map(|_index| {
            let filler = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
            filler.set_nonblocking(true).expect("no blocking");
            let _in_progress = filler.connect(&address.into());
            filler
        })
        .collect();
    let listen = free();
    let service = "health = \"off\"\noutlier = \"off\"\nconnect_timeout = \"300ms\"";
    let _gateway = Mainstay::start(&simple(listen, &[address], service));
    let begun = Instant::now();
    let response = mainstay_e2e::wire::get(listen, "/");
    assert_eq!((response.status, response.reason()), (502, "connect-failed"));
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

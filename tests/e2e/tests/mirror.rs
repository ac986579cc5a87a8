//! Mirrors: copies of requests reach another service, and nothing that happens to them reaches a client.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use mainstay_e2e::load::Plan;
use mainstay_e2e::scripted::{Exchange, Scripted};
use mainstay_e2e::{Mainstay, Origin, Wire, eventually, free, wire};

/// A route with a mirror; `mirror` is added to its table.
fn config(listen: SocketAddr, app: SocketAddr, canary: SocketAddr, mirror: &str) -> String {
    format!(
        "[[listener]]\nname = \"web\"\nbind = \"{listen}\"\n\
         [[route]]\nname = \"all\"\nservice = \"app\"\nmirror = {{ service = \"canary\"{mirror} }}\n\
         [[service]]\nname = \"app\"\nendpoints = [\"{app}\"]\n\
         [[service]]\nname = \"canary\"\nendpoints = [\"{canary}\"]\nhealth = \"off\"\noutlier = \"off\"\n"
    )
}

fn answer(exchange: &mut Exchange) {
    exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
}

/// A canary that notes head and body of each copy.
fn noting() -> Scripted {
    Scripted::start(|mut exchange| {
        while let Some((head, body)) = exchange.request() {
            let of = |name: &str| head.get(name).unwrap_or("-").to_owned();
            exchange.note(format!("mirror={} env={} id={}", of("x-mainstay-mirror"), of("x-env"), of("x-request-id")));
            exchange.note(format!("body={}", String::from_utf8_lossy(&body.bytes)));
            answer(&mut exchange);
        }
    })
}

fn sent(gateway: &Mainstay) -> f64 {
    gateway.metric("mainstay_mirror_sent_total", &["\"all\""])
}

fn dropped(gateway: &Mainstay, reason: &str) -> f64 {
    gateway.metric("mainstay_mirror_dropped_total", &["\"all\"", &format!("\"{reason}\"")])
}

#[test]
fn a_share_of_the_requests_is_copied() {
    let (app, canary, listen) = (Origin::start(), Origin::start(), free());
    let share = ", share = \"30%\", max_in_flight = 1000";
    let mut gateway = Mainstay::start(&config(listen, app.address(), canary.address(), share));
    Plan { requests: 2_000, clients: 4, ..Plan::new(listen) }.run().assert_clean(2_000);
    // Six standard deviations are 123.
    let copies = sent(&gateway);
    assert!((477.0..=723.0).contains(&copies), "{copies} copies of 2,000 requests at 30 %");
    eventually("the copies arrive", Duration::from_secs(10), || canary.stat("requests") as f64 >= copies);
    assert_eq!(app.stat("requests"), 2_000, "the copies are no requests of the service's own");
    assert_eq!(gateway.metric("mainstay_mirror_failures_total", &[]), 0.0);
    let before = canary.stat("requests");
    gateway.reload(&config(listen, app.address(), canary.address(), ", share = \"0%\""));
    Plan { requests: 200, clients: 4, ..Plan::new(listen) }.run().assert_clean(200);
    assert_eq!(canary.stat("requests"), before);
}

#[test]
fn a_copy_is_the_request_and_says_that_it_is_one() {
    let (app, canary, listen) = (Origin::start(), noting(), free());
    let with_header = config(listen, app.address(), canary.address(), "").replacen(
        "service = \"app\"\n",
        "service = \"app\"\nrequest_headers = { set = { x-env = \"prod\" } }\n",
        1,
    );
    let gateway = Mainstay::start(&with_header);
    let long = "0123456789".repeat(3_000);
    let chunked = "POST /sink HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;x=1\r\nhello\r\n6\r\n world\r\n0\r\n\r\n";
    let requests = [
        ("GET /ok?a=1 HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), "GET /ok?a=1 HTTP/1.1", String::new()),
        (chunked.to_owned(), "POST /sink HTTP/1.1", "hello world".to_owned()),
        (
            format!("POST /sink HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{long}", long.len()),
            "POST /sink HTTP/1.1",
            long.clone(),
        ),
    ];
    // On one connection, the first two at once: a copy ends where the next request begins.
    let mut client = Wire::connect(listen);
    client.send(format!("{}{}", requests[1].0, requests[0].0)).expect("sent");
    let ids: Vec<String> = (0..2)
        .map(|_response| client.response().expect("answered").header("x-request-id").expect("an id").to_owned())
        .collect();
    let third = client.exchange(&requests[2].0).header("x-request-id").expect("an id").to_owned();
    eventually("three copies", Duration::from_secs(10), || canary.seen().len() >= 9);
    let seen = canary.seen();
    for (id, (_request, line, body)) in
        [ids[0].clone(), ids[1].clone(), third].iter().zip([&requests[1], &requests[0], &requests[2]])
    {
        let note = format!("mirror=1 env=prod id={id}");
        assert!(seen.contains(&note), "{note} is not in {seen:?}");
        assert!(seen.iter().any(|it| it == line) && seen.contains(&format!("body={body}")), "{line}: {seen:?}");
    }
    eventually("the log is written", Duration::from_secs(5), || gateway.access_log().len() >= 3);
    std::thread::sleep(Duration::from_millis(600));
    assert_eq!(gateway.access_log().len(), 3, "copies leave no lines of their own");
    let told = gateway.command(&["explain", &ids[0]]);
    let page = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(page.contains("mirror     copied to canary"), "{page}");
}

#[test]
fn large_bodies_and_copies_are_not_copied() {
    let (app, canary, listen) = (Origin::start(), noting(), free());
    let gateway = Mainstay::start(&config(listen, app.address(), canary.address(), ""));
    let large = "x".repeat(300_000);
    let post = format!("POST /sink HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{large}", large.len());
    let response = Wire::connect(listen).exchange(post);
    assert_eq!((response.status, response.text().contains("300000")), (200, true), "{}", response.text());
    eventually("it is counted", Duration::from_secs(5), || dropped(&gateway, "body") >= 1.0);
    let copy = Wire::connect(listen).exchange("GET /x HTTP/1.1\r\nHost: a\r\nX-Mainstay-Mirror: 1\r\n\r\n");
    assert!(!copy.text().to_lowercase().contains("x-mainstay-mirror"), "nobody may pretend: {}", copy.text());
    let upgrade = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";
    let (status, _head) = {
        let mut client = Wire::connect(listen);
        client.send(upgrade).expect("sent");
        client.head().expect("an answer")
    };
    assert_eq!(status, 101);
    assert_eq!(wire::get(listen, "/ok").status, 200);
    eventually("the last one is copied", Duration::from_secs(5), || !canary.seen().is_empty());
    assert_eq!((sent(&gateway), canary.seen()[0].as_str()), (1.0, "GET /ok HTTP/1.1"), "{:?}", canary.seen());
}

#[test]
fn a_mirror_that_hangs_or_is_dead_costs_clients_nothing() {
    let under_way = Arc::new((AtomicUsize::new(0), AtomicUsize::new(0)));
    let counts = Arc::clone(&under_way);
    let hanging = Scripted::start(move |mut exchange| {
        while exchange.head().is_some() {
            let now = counts.0.fetch_add(1, Ordering::Relaxed) + 1;
            counts.1.fetch_max(now, Ordering::Relaxed);
            exchange.wait_for_close();
            counts.0.fetch_sub(1, Ordering::Relaxed);
        }
    });
    let (app, listen) = (Origin::start(), free());
    let mut gateway =
        Mainstay::start(&config(listen, app.address(), hanging.address(), ", max_in_flight = 4, timeout = \"60s\""));
    let begun = Instant::now();
    let report = Plan { requests: 2_000, clients: 8, post_every: 3, ..Plan::new(listen) }.run();
    report.assert_clean(2_000);
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    assert_eq!((sent(&gateway), dropped(&gateway, "busy")), (4.0, 1_996.0));
    assert_eq!(under_way.1.load(Ordering::Relaxed), 4, "no more than `max_in_flight`");
    assert_eq!(gateway.metric("mainstay_endpoint_active", &[&hanging.address().to_string()]), 4.0);

    gateway.reload(&config(listen, app.address(), hanging.address(), ", timeout = \"100ms\", max_in_flight = 8"));
    wire::get(listen, "/ok");
    eventually("a copy is given up in time", Duration::from_secs(10), || {
        gateway.metric("mainstay_mirror_failures_total", &[]) >= 1.0
    });

    gateway.reload(&config(listen, app.address(), free(), ", max_in_flight = 1000"));
    let before = gateway.metric("mainstay_mirror_failures_total", &[]);
    Plan { requests: 500, clients: 4, ..Plan::new(listen) }.run().assert_clean(500);
    eventually("copies to a dead service fail", Duration::from_secs(10), || {
        gateway.metric("mainstay_mirror_failures_total", &[]) >= before + 500.0
    });
    assert_eq!(gateway.metric("mainstay_endpoint_connect_failures_total", &["\"app\""]), 0.0);
    assert_eq!(gateway.status()["services"][0]["state"], "healthy");
    let last = wire::get(listen, "/ok");
    let mut told = String::new();
    eventually("the request is remembered", Duration::from_secs(5), || {
        let output = gateway.command(&["explain", last.header("x-request-id").expect("an id"), "--json"]);
        told = String::from_utf8_lossy(&output.stdout).into_owned();
        output.status.success()
    });
    let told: serde_json::Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!(told["requests"][0]["attempts"].as_array().map(Vec::len), Some(1), "{told:#}");
}

#[test]
fn answers_of_mirrors_are_read_within_bounds_and_connections_used_again() {
    let (app, listen) = (Origin::start(), free());
    let endless = Scripted::start(|mut exchange| {
        exchange.head();
        exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n");
        let piece = vec![b'x'; 1 << 16];
        for _piece in 0..1600 {
            exchange.send(&piece);
        }
        exchange.note("sent");
    });
    let mut gateway = Mainstay::start(&config(listen, app.address(), endless.address(), ""));
    assert_eq!(wire::get(listen, "/ok").status, 200);
    eventually("the copy ends", Duration::from_secs(10), || {
        let open = gateway.metric("mainstay_endpoint_connections", &[&endless.address().to_string()]);
        sent(&gateway) >= 1.0 && open == 0.0
    });
    let canary = Origin::start();
    gateway.reload(&config(listen, app.address(), canary.address(), ""));
    let mut client = Wire::connect(listen);
    for count in 1..=20 {
        assert_eq!(client.exchange("GET /bytes/100000 HTTP/1.1\r\nHost: a\r\n\r\n").status, 200);
        eventually("the copy arrives", Duration::from_secs(5), || canary.stat("requests") >= count);
    }
    let opened = gateway.metric("mainstay_endpoint_connections_opened_total", &[&canary.address().to_string()]);
    assert!(opened <= 5.0, "{opened} connections for 20 copies one after another");
}

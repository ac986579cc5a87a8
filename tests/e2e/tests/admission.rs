//! Which requests a route lets in: each limit as a client, an endpoint and an operator see it.

#[path = "admission/backend.rs"]
mod backend;
#[path = "admission/scenarios.rs"]
mod scenarios;

use std::net::SocketAddr;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mainstay_e2e::http2::{Http2, request};
use mainstay_e2e::wire::Response;
use mainstay_e2e::{Mainstay, Origin, Wire, eventually, free, wire};

/// One route with these settings in front of these endpoints. Loopback addresses are trusted, others are not; so that both
/// kinds of callers can be played, `listener` is added to the listener.
fn config(listen: SocketAddr, origins: &[&Origin], listener: &str, route: &str) -> String {
    let endpoints: Vec<String> = origins.iter().map(|origin| format!("\"{}\"", origin.address())).collect();
    format!(
        "[[listener]]\nname = \"web\"\nbind = \"{listen}\"\n{listener}\n\
         [[route]]\nname = \"all\"\nservice = \"app\"\n{route}\n\
         [[service]]\nname = \"app\"\nendpoints = [{}]\nhealth = \"off\"\n",
        endpoints.join(", ")
    )
}

const TRUSTING: &str = "trusted_proxies = [\"127.0.0.0/8\"]";

fn get(listen: SocketAddr, path: &str, headers: &str) -> Response {
    Wire::connect(listen).exchange(format!("GET {path} HTTP/1.1\r\nHost: a\r\n{headers}\r\n"))
}

/// The same beside the test.
fn get_beside(listen: SocketAddr, path: &str, headers: &str) -> JoinHandle<(Response, Duration)> {
    let (path, headers) = (path.to_owned(), headers.to_owned());
    std::thread::spawn(move || {
        let asked = Instant::now();
        (get(listen, &path, &headers), asked.elapsed())
    })
}

/// What the origin was told in this header.
fn told(response: &Response, header: &str) -> Option<String> {
    let json = response.json();
    let headers = json["headers"].as_array().expect("the origin lists headers").clone();
    let found = headers.iter().find(|pair| pair[0].as_str().is_some_and(|name| name.eq_ignore_ascii_case(header)))?;
    found[1].as_str().map(str::to_owned)
}

/// Waits until so many requests are in, and so many wait.
fn until(gateway: &Mainstay, in_flight: u64, waiting: u64) {
    eventually("the places are taken", Duration::from_secs(5), || {
        let limits = &gateway.status()["routes"][0]["admission"];
        limits["in_flight"] == in_flight && limits["waiting"] == waiting
    });
}

#[test]
fn a_rate_is_kept_over_all_workers_and_reloads() {
    let (origin, listen) = (Origin::start(), free());
    let limited = |route: &str| config(listen, &[&origin], "", route);
    let mut gateway =
        Mainstay::start_with("workers = 3", &limited("rate_limit = { rate = \"6/h\" }\ntimeout = \"20s\""));
    // Each on a connection of its own, which the kernel spreads over the workers.
    let statuses: Vec<u16> = (0..30).map(|_request| get(listen, "/ok", "").status).collect();
    assert_eq!(statuses, [vec![200], vec![429; 29]].concat(), "one comes in a second, the burst of 6 an hour is one");
    let refused = get(listen, "/ok", "");
    assert_eq!((refused.status, refused.reason()), (429, "rate-limited"));
    let wait: u64 = refused.header("retry-after").and_then(|text| text.parse().ok()).expect("when to come again");
    assert!((500..=600).contains(&wait), "{wait} s");
    assert_eq!(gateway.metric("mainstay_refused_total", &["\"all\"", "\"rate-limited\""]), 30.0);
    let id = refused.header("x-request-id").expect("an id").to_owned();
    let page = String::from_utf8_lossy(&gateway.command(&["explain", &id]).stdout).into_owned();
    assert!(page.contains(&format!("rejected: rate-limited; told to come again after {wait} s")), "{page}");
    gateway.reload(&limited("rate_limit = { rate = \"6/h\" }\ntimeout = \"21s\""));
    assert_eq!(get(listen, "/ok", "").status, 429, "another setting of the route changes nothing");
    gateway.reload(&limited("rate_limit = { rate = \"6/h\", burst = 3 }"));
    let statuses: Vec<u16> = (0..4).map(|_request| get(listen, "/ok", "").status).collect();
    assert_eq!(statuses, [200, 200, 200, 429], "another limit begins anew");
    assert_eq!(gateway.logged("/ok")["path"], "/ok");
    eventually("the log tells the reason", Duration::from_secs(5), || {
        gateway.access_log().iter().any(|line| line["error"] == "rate-limited" && line["status"] == 429)
    });
}

#[test]
fn clients_headers_and_paths_have_buckets_of_their_own() {
    let (origin, listen) = (Origin::start(), free());
    let by_client = config(listen, &[&origin], "", "rate_limit = { rate = \"1/h\", burst = 2, key = \"client\" }");
    let mut gateway = Mainstay::start(&by_client);
    for last in 2..5 {
        let from = |_request: u32| {
            let mut client = Wire::connect_from(std::net::Ipv4Addr::new(127, 0, 0, last).into(), listen);
            client.exchange("GET /ok HTTP/1.1\r\nHost: a\r\n\r\n").status
        };
        assert_eq!((0..3).map(from).collect::<Vec<u16>>(), [200, 200, 429], "127.0.0.{last}");
    }
    let limits = "rate_limit = [{ rate = \"1/h\", key = \"path\" }, { rate = \"2/h\", burst = 2, key = { header = \"X-Key\" } }]";
    gateway.reload(&config(listen, &[&origin], "", limits));
    let status = |path: &str, key: &str| get(listen, path, &format!("x-key: {key}\r\n")).status;
    assert_eq!([status("/bytes/1", "a"), status("/bytes/2", "b"), status("/bytes/1", "c")], [200, 200, 429]);
    // What one limit refused was not charged to the other: `c` still has both.
    assert_eq!([status("/bytes/3", "c"), status("/bytes/4?x", "c"), status("/bytes/5", "c")], [200, 200, 429]);
    assert_eq!(status("/bytes/5", "d"), 200);
}

#[test]
fn a_limit_may_have_a_fallback() {
    let (origin, listen) = (Origin::start(), free());
    let route = "rate_limit = { rate = \"1/h\" }\nfallback = { body = \"later\", on_limit = true }";
    let gateway = Mainstay::start(&config(listen, &[&origin], "", route));
    assert_eq!(get(listen, "/ok", "").text(), "ok");
    let instead = get(listen, "/ok", "");
    assert_eq!((instead.status, instead.text()), (200, "later".to_owned()));
    assert_eq!(instead.header("x-mainstay-fallback"), Some("static"));
    assert_eq!(gateway.metric("mainstay_refused_total", &["\"rate-limited\""]), 1.0);
}

#[test]
fn streams_of_http2_are_limited_as_requests_are() {
    let (origin, listen) = (Origin::start(), free());
    let limits = "bulkhead = { concurrency = 1, queue = 5, queue_timeout = \"5s\" }\nrate_limit = { rate = \"1/h\", key = { header = \"x-key\" } }";
    let gateway = Mainstay::start(&config(listen, &[&origin], "", limits));
    let keyed = |path: &str, key: &str| {
        let mut asked = request("GET", path);
        asked.headers_mut().insert("x-key", key.parse().expect("a value"));
        asked
    };
    let mut client = Http2::connect(listen);
    let inside = client.begin(keyed("/sleep/700", "a"), true).expect("sent");
    until(&gateway, 1, 0);
    let leaves = client.begin(keyed("/ok", "b"), true).expect("sent");
    until(&gateway, 1, 1);
    drop(leaves);
    until(&gateway, 1, 0);
    let stays = client.begin(keyed("/ok", "c"), true).expect("sent");
    assert_eq!(client.finish(inside).expect("answered").head.status, 200);
    assert_eq!(client.finish(stays).expect("answered").head.status, 200);
    let refused = client.exchange(keyed("/ok", "c"), b"");
    assert_eq!((refused.head.status.as_u16(), refused.header("x-mainstay-error")), (429, "rate-limited"));
    let mut call = keyed("/test.Shop/Call", "c");
    *call.method_mut() = http::Method::POST;
    call.headers_mut().insert("content-type", "application/grpc".parse().expect("a value"));
    let refused = client.exchange(call, b"");
    assert_eq!((refused.head.status.as_u16(), refused.header("grpc-status")), (200, "14"));
    assert_eq!(refused.header("grpc-message"), "rate-limited");
    assert!(refused.header("retry-after").parse::<u64>().is_ok_and(|seconds| seconds > 3000));
}

#[test]
fn a_bulkhead_lets_so_many_in_and_so_many_wait() {
    let (origin, listen) = (Origin::start(), free());
    let route = "bulkhead = { concurrency = 2, queue = 1, queue_timeout = \"1500ms\" }";
    let gateway = Mainstay::start(&config(listen, &[&origin], "", route));
    let inside: Vec<_> = (0..2).map(|_request| get_beside(listen, "/sleep/3500", "")).collect();
    until(&gateway, 2, 0);
    let waits = get_beside(listen, "/sleep/1", "");
    until(&gateway, 2, 1);
    let asked = Instant::now();
    let full = get(listen, "/ok", "");
    assert_eq!((full.status, full.reason()), (503, "bulkhead-full"));
    assert!(asked.elapsed() < Duration::from_millis(1200), "at once: {:?}", asked.elapsed());
    let after: u64 = full.header("retry-after").and_then(|text| text.parse().ok()).expect("when to come again");
    assert!((1..=3).contains(&after));
    let (late, took) = waits.join().expect("answered");
    assert_eq!((late.status, late.reason()), (503, "queue-timeout"));
    assert!(took >= Duration::from_millis(1500), "{took:?}");
    let page = String::from_utf8_lossy(&gateway.command(&["status"]).stdout).into_owned();
    assert!(page.contains("LIMITED ROUTE"), "{page}");
    // Who waits when a place comes free gets it.
    let next = get_beside(listen, "/ok", "");
    for request in inside {
        assert_eq!(request.join().expect("answered").0.status, 200);
    }
    let next = next.join().expect("answered").0;
    assert!(matches!((next.status, next.reason()), (200, "") | (503, "queue-timeout")));
    until(&gateway, 0, 0);
    assert_eq!(get(listen, "/ok", "").status, 200);
    assert!(origin.stat("requests") <= 4, "what was refused did not reach it");
}

#[test]
fn who_waits_is_called_and_who_leaves_gives_its_place_back() {
    let (origin, listen) = (Origin::start(), free());
    let route = "bulkhead = { concurrency = 1, queue = 5, queue_timeout = \"5s\" }";
    let mut gateway = Mainstay::start(&config(listen, &[&origin], "", route));
    let inside = get_beside(listen, "/sleep/1000", "");
    until(&gateway, 1, 0);
    // Another limit of the route changes nothing for those who are in.
    gateway.reload(&config(listen, &[&origin], "", &format!("{route}\nrate_limit = {{ rate = \"1000/s\" }}")));
    until(&gateway, 1, 0);
    let leaves = {
        let mut client = Wire::connect(listen);
        client.send("GET /ok HTTP/1.1\r\nHost: a\r\n\r\n").expect("sent");
        until(&gateway, 1, 1);
        client
    };
    let stays = get_beside(listen, "/ok", "");
    until(&gateway, 1, 2);
    // A reset, as of a process that was killed.
    let socket = socket2::Socket::from(leaves.into_stream());
    socket.set_linger(Some(Duration::ZERO)).expect("an option");
    drop(socket);
    until(&gateway, 1, 1);
    assert_eq!(inside.join().expect("answered").0.status, 200);
    let (stayed, took) = stays.join().expect("answered");
    assert_eq!(stayed.status, 200);
    assert!(took >= Duration::from_millis(100), "it waited: {took:?}");
    until(&gateway, 0, 0);
    eventually("the log tells of the wait", Duration::from_secs(5), || {
        gateway.access_log().iter().any(|line| line["waited_ms"].as_f64().is_some_and(|millis| millis > 50.0))
    });
    assert!(gateway.metric("mainstay_queue_wait_seconds_count", &["\"all\""]) >= 1.0);
}

#[test]
fn deadlines_come_in_and_go_out() {
    let (origin, listen) = (Origin::start(), free());
    let route = "deadline = true\ntimeout = \"3s\"\nretry = { attempts = 1 }\nbulkhead = { concurrency = 1, queue = 5, queue_timeout = \"5s\" }";
    let gateway = Mainstay::start(&config(listen, &[&origin], "", route));
    let left = |asked: &str| {
        let response = get(listen, "/echo", asked);
        assert_eq!(response.status, 200, "{asked}: {}", response.reason());
        told(&response, "x-mainstay-deadline-ms").and_then(|text| text.parse::<u64>().ok()).expect("a deadline")
    };
    assert!((1..=3000).contains(&left("")), "the route's own");
    assert!((1..=1500).contains(&left("X-Mainstay-Deadline-Ms: 1500\r\n")));
    assert!((2000..=3000).contains(&left("x-mainstay-deadline-ms: 99999999999\r\n")), "clamped");
    assert!((2000..=3000).contains(&left("x-mainstay-deadline-ms: soon\r\n")), "no number");
    let before = origin.stat("requests");
    let expired = get(listen, "/echo", "x-mainstay-deadline-ms: 0\r\n");
    assert_eq!((expired.status, expired.reason()), (504, "deadline-expired"));
    assert_eq!(expired.header("retry-after"), None);
    assert_eq!(origin.stat("requests"), before);
    // The caller's time ends the attempt, and the wait for a place.
    let asked = Instant::now();
    let cut = get(listen, "/sleep/2500", "x-mainstay-deadline-ms: 300\r\n");
    assert_eq!((cut.status, cut.reason()), (504, "timeout"));
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    // A round in which the place was free again before the end of the wait says nothing: the machine was busy.
    let round = |_round| {
        let inside = get_beside(listen, "/sleep/2200", "");
        until(&gateway, 1, 0);
        let (waited, _took) = get_beside(listen, "/echo", "x-mainstay-deadline-ms: 300\r\n").join().expect("answered");
        (!inside.is_finished()).then_some((inside, waited))
    };
    let (inside, waited) = (0..10).find_map(round).expect("a round on a machine that does anything");
    assert_eq!((waited.status, waited.reason()), (504, "deadline-expired"));
    // What is left goes out after the wait.
    let response = get(listen, "/echo", "x-mainstay-deadline-ms: 2900\r\n");
    assert_eq!(inside.join().expect("answered").0.status, 200);
    let left = told(&response, "x-mainstay-deadline-ms").and_then(|text| text.parse::<u64>().ok()).expect("a deadline");
    assert!(left < 2900, "{left} ms of 2900");
}

#[test]
fn each_attempt_is_told_what_is_left_and_strangers_eject_nobody() {
    let (hanging, good, listen) = (Origin::start(), Origin::start(), free());
    hanging.stop();
    let route = "deadline = { header = \"x-envoy-expected-rq-timeout-ms\" }\ntimeout = \"4s\"\nattempt_timeout = \"600ms\"\nretry = { attempts = 2, on = \"timeout\", backoff = \"1ms\" }";
    let gateway = Mainstay::start(&config(listen, &[&hanging, &good], "", route));
    let mut after_retry = None;
    for _request in 0..20 {
        let response = get(listen, "/echo", "x-envoy-expected-rq-timeout-ms: 3000\r\n");
        assert_eq!(response.status, 200, "{}", response.reason());
        if told(&response, "x-mainstay-attempt").is_some() {
            after_retry = told(&response, "x-envoy-expected-rq-timeout-ms");
            break;
        }
    }
    let left: u64 = after_retry.and_then(|text| text.parse().ok()).expect("one of them was retried");
    assert!(left <= 2400, "{left} ms of 3000 after an attempt of 600");
    let failures = || gateway.metric("mainstay_endpoint_timeouts_total", &[]);
    let before = failures();
    let hasty = |_request: u32| get(listen, "/echo", "x-envoy-expected-rq-timeout-ms: 30\r\n").status;
    let statuses: Vec<u16> = (0..30).map(hasty).collect();
    assert!(statuses.contains(&504), "some have gone to the endpoint that hangs: {statuses:?}");
    assert_eq!(failures(), before, "30 ms say nothing of an endpoint");
    assert_eq!(gateway.metric("mainstay_endpoint_ejections_total", &[]), 0.0);
    hanging.resume();
}

#[test]
fn criticality_is_believed_of_trusted_callers_and_passed_on() {
    let (origin, listen) = (Origin::start(), free());
    let route =
        "criticality = { default = \"sheddable\" }\nbulkhead = { concurrency = 1, queue = 1, queue_timeout = \"5s\" }";
    let mut gateway = Mainstay::start(&config(listen, &[&origin], TRUSTING, route));
    let class = |said: &str| told(&get(listen, "/echo", said), "x-mainstay-criticality");
    assert_eq!(class("").as_deref(), Some("sheddable"));
    assert_eq!(class("x-mainstay-criticality: Critical\r\n").as_deref(), Some("critical"));
    assert_eq!(class("x-mainstay-criticality: most\r\n").as_deref(), Some("sheddable"));
    // The least important gives way to the most important.
    let inside = get_beside(listen, "/sleep/2500", "");
    until(&gateway, 1, 0);
    let low = get_beside(listen, "/ok", "");
    until(&gateway, 1, 1);
    let asked = Instant::now();
    let critical = get_beside(listen, "/ok", "x-mainstay-criticality: critical\r\n");
    let (displaced, _took) = low.join().expect("answered");
    assert_eq!((displaced.status, displaced.reason()), (503, "displaced"));
    assert!(asked.elapsed() < Duration::from_millis(2300), "{:?}", asked.elapsed());
    let refused = get(listen, "/ok", "");
    assert_eq!((refused.status, refused.reason()), (503, "bulkhead-full"));
    assert_eq!(critical.join().expect("answered").0.status, 200);
    assert_eq!(inside.join().expect("answered").0.status, 200);
    let displaced = gateway.metric("mainstay_refused_total", &["\"displaced\"", "\"sheddable\""]);
    assert_eq!(displaced, 1.0);
    assert!(gateway.metric("mainstay_admitted_total", &["\"critical\""]) >= 2.0);
    eventually("the log tells the class", Duration::from_secs(5), || {
        gateway.access_log().iter().any(|line| line["criticality"] == "critical")
    });
    gateway.reload(&config(listen, &[&origin], "", "criticality = \"high\""));
    let stranger = get(listen, "/echo", "x-mainstay-criticality: critical\r\n");
    assert_eq!(told(&stranger, "x-mainstay-criticality").as_deref(), Some("high"), "nobody makes himself important");
}

#[test]
fn an_adaptive_limit_is_shown_and_keeps_itself_within_bounds() {
    let (origin, listen) = (Origin::start(), free());
    let route = "adaptive = { min = 2, max = 30, initial = 10, probe = 2 }";
    let gateway = Mainstay::start(&config(listen, &[&origin], "", route));
    let limit = || gateway.metric("mainstay_concurrency_limit", &["\"all\""]);
    assert_eq!(limit(), 10.0);
    let plan = mainstay_e2e::load::Plan {
        clients: 8,
        requests: 400,
        path: "/sleep/5".to_owned(),
        ..mainstay_e2e::load::Plan::new(listen)
    };
    plan.run().assert_clean(400);
    assert!((2.0..=30.0).contains(&limit()), "{}", limit());
    let base = gateway.metric("mainstay_adaptive_base_seconds", &["\"all\""]);
    assert!(base >= 0.005, "{base}");
    assert_eq!(wire::get(gateway.admin_address(), "/api/v1/status").json()["routes"][0]["admission"]["adaptive"], true);
}

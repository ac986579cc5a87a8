//! `mainstay explain`: what it tells of requests that went well, were retried, or were not served.

use std::time::Duration;

use mainstay_e2e::gateway::simple;
use mainstay_e2e::scripted::Scripted;
use mainstay_e2e::wire::{self, Response};
use mainstay_e2e::{Mainstay, Origin, Wire, eventually, free};
use serde_json::Value;

const UNCHECKED: &str = "health = \"off\"\noutlier = \"off\"\nbalance = \"round-robin\"\n";

fn id(response: &Response) -> String {
    response.header("x-request-id").expect("every response has an id").to_owned()
}

/// What the node tells of the request that led to `response`. The record may come a little after the response.
fn explained(gateway: &Mainstay, response: &Response) -> Value {
    let id = id(response);
    let mut told = Value::Null;
    eventually("the request is remembered", Duration::from_secs(5), || {
        let output = gateway.command(&["explain", &id, "--json"]);
        told = serde_json::from_slice(&output.stdout).unwrap_or_default();
        output.status.success()
    });
    assert_eq!(told["requests"].as_array().map(Vec::len), Some(1), "{told:#}");
    let told = told["requests"][0].clone();
    assert_eq!(told["id"], id, "{told:#}");
    told
}

fn page(gateway: &Mainstay, id: &str) -> String {
    let output = gateway.command(&["explain", id]);
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn a_request_that_was_retried_over_two_endpoints() {
    let origin = Origin::start();
    let (listen, dead) = (free(), free());
    let gateway = Mainstay::start(&simple(listen, &[dead, origin.address()], UNCHECKED));
    let mut told = Value::Null;
    let mut response = None;
    // Each in turn: one of two requests begins at the endpoint that refuses connections.
    for _request in 0..4 {
        let answered = wire::get(listen, "/ok?secret=1");
        assert_eq!(answered.status, 200);
        told = explained(&gateway, &answered);
        if told["attempts"].as_array().map(Vec::len) == Some(2) {
            response = Some(answered);
            break;
        }
    }
    let response = response.expect("one of the requests met the dead endpoint");
    assert_eq!((&told["method"], &told["path"], &told["status"]), (&"GET".into(), &"/ok".into(), &200.into()));
    assert_eq!((&told["listener"], &told["route"]), (&"web".into(), &"default".into()));
    assert_eq!((&told["service"], &told["admission"]), (&"app".into(), &"passed".into()));
    let (first, second) = (&told["attempts"][0], &told["attempts"][1]);
    assert_eq!((&first["endpoint"], &first["outcome"]), (&dead.to_string().into(), &"connect-failed".into()));
    assert_eq!((&first["then"], &first["backoff_ms"]), (&"retry".into(), &0.0.into()));
    assert_eq!((&second["endpoint"], &second["status"]), (&origin.address().to_string().into(), &200.into()));
    let start = |attempt: &Value| attempt["start_ms"].as_f64().expect("a time");
    assert!(start(first) <= start(second) && start(second) <= told["duration_ms"].as_f64().expect("a time"));
    let verdicts = |choice: usize| {
        let endpoints = told["choices"][choice]["endpoints"].as_array().expect("endpoints").clone();
        endpoints.iter().map(|it| it["verdict"].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(verdicts(0), ["chosen", "not-drawn"]);
    assert_eq!(verdicts(1), ["already-tried", "chosen"]);
    assert!(told["bytes_out"].as_u64().is_some_and(|bytes| bytes > 0), "{told:#}");
    let page = page(&gateway, &id(&response));
    assert!(page.contains("/ok was answered 200 after 2 attempts in "), "{page}");
    assert!(page.contains("retried at once") && page.contains("skipped: already tried"), "{page}");
    assert!(!page.contains("secret") && !page.contains('\x1b'), "{page}");
}

#[test]
fn endpoints_that_are_down_or_drained_are_skipped_with_their_reason() {
    let mut origins = Origin::several(3);
    let all: Vec<_> = origins.iter().map(Origin::address).collect();
    let listen = free();
    let health = "health = { http = \"/health\", interval = \"200ms\", timeout = \"100ms\", unhealthy = 2 }";
    let gateway = Mainstay::start(&simple(listen, &all, health));
    origins[0].kill();
    assert!(gateway.command(&["drain", &format!("app/{}", all[1])]).status.success());
    eventually("the dead endpoint is down", Duration::from_secs(10), || {
        gateway.metric("mainstay_endpoint_health", &[&format!("\"{}\"", all[0]), "\"down\""]) >= 1.0
    });
    let response = wire::get(listen, "/ok");
    let told = explained(&gateway, &response);
    let endpoints = &told["choices"][0]["endpoints"];
    let of = |index: usize| (endpoints[index]["state"].as_str(), endpoints[index]["verdict"].as_str());
    assert_eq!(of(0), (Some("down"), Some("not-eligible")), "{told:#}");
    assert_eq!(of(1), (Some("draining"), Some("not-eligible")), "{told:#}");
    assert_eq!(of(2), (Some("up"), Some("chosen")), "{told:#}");
    assert!(endpoints[0]["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{told:#}");
    let page = page(&gateway, &id(&response));
    assert!(page.contains("skipped: down: ") && page.contains("skipped: draining"), "{page}");
}

#[test]
fn requests_that_no_route_takes_and_heads_that_are_refused() {
    let origin = Origin::start();
    let listen = free();
    let route = |name: &str, matching: &str| {
        format!("[[route]]\nname = \"{name}\"\nservice = \"app\"\nmatch = {{ {matching} }}\n")
    };
    let routes = route("by-host", "host = \"other.test\"")
        + &route("by-path", "path = \"/shop\"")
        + &route("by-method", "path = \"/ok\", method = \"POST\"")
        + &route("by-header", "path = \"/ok\", headers = { x-beta = \"1\" }");
    let gateway = Mainstay::start(&(routes + &simple(listen, &[origin.address()], "")));
    let response = wire::get(listen, "/ok");
    assert_eq!((response.status, response.reason()), (404, "no-route"));
    let told = explained(&gateway, &response);
    assert_eq!((&told["error"], &told["route"]), (&"no-route".into(), &Value::Null));
    let verdict = |name: &str| {
        let routes = told["routes"].as_array().expect("routes");
        routes.iter().find(|it| it["route"] == name).map(|it| it["verdict"].clone()).unwrap_or_default()
    };
    assert_eq!([verdict("by-host"), verdict("by-path")], ["host", "path"], "{told:#}");
    assert_eq!([verdict("by-method"), verdict("by-header")], ["method", "headers"], "{told:#}");
    let page = page(&gateway, &id(&response));
    assert!(page.contains("was answered 404 (no-route) without an attempt"), "{page}");

    let refused = Wire::connect(listen).exchange("GET /ok HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n");
    assert_eq!(refused.status, 400);
    let told = explained(&gateway, &refused);
    assert_eq!((&told["admission"], &told["method"]), (&"rejected: bad-host".into(), &Value::Null), "{told:#}");
}

#[test]
fn why_a_failed_request_was_not_retried() {
    let (listen, dead) = (free(), [free(), free()]);
    let resets = Scripted::start(|mut exchange| {
        exchange.head();
        exchange.reset();
    });
    let mut gateway = Mainstay::start(&simple(listen, &dead, &format!("{UNCHECKED}retry_budget = {{ floor = 0 }}")));
    let told = explained(&gateway, &wire::get(listen, "/ok"));
    assert_eq!((&told["error"], &told["attempts"][0]["then"]), (&"connect-failed".into(), &"no-retry".into()));
    assert_eq!(told["attempts"][0]["no_retry"], "the retry budget is used up", "{told:#}");

    gateway.reload(&simple(listen, &dead, UNCHECKED));
    let told = explained(&gateway, &wire::get(listen, "/ok"));
    assert_eq!(told["attempts"].as_array().map(Vec::len), Some(2), "{told:#}");
    assert_eq!(told["choices"].as_array().map(Vec::len), Some(3), "the third choice found nobody: {told:#}");
    assert_eq!(told["choices"][2]["endpoints"][0]["verdict"], "already-tried", "{told:#}");

    gateway.reload(&simple(listen, &[resets.address()], UNCHECKED));
    let post = "POST /ok HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n";
    let told = explained(&gateway, &Wire::connect(listen).exchange(post));
    let why = told["attempts"][0]["no_retry"].as_str().unwrap_or_default().to_owned();
    assert!(why.contains("not idempotent"), "{told:#}");

    let late = "[[route]]\nname = \"r\"\nservice = \"app\"\ntimeout = \"5s\"\nretry = { backoff = \"7d\", backoff_cap = \"7d\" }\n";
    gateway.reload(&(late.to_owned() + &simple(listen, &[resets.address()], UNCHECKED)));
    let told = explained(&gateway, &wire::get(listen, "/ok"));
    let why = told["attempts"][0]["no_retry"].as_str().unwrap_or_default().to_owned();
    assert!(why.contains("timeout would be over"), "{told:#}");
}

#[test]
fn the_oldest_record_gives_way_and_the_answer_says_so() {
    let origin = Origin::start();
    let listen = free();
    let config = simple(listen, &[origin.address()], "");
    let mut gateway = Mainstay::start_with("workers = 1\nexplain = 2", &config);
    let responses: Vec<Response> = (0..3).map(|_request| wire::get(listen, "/ok")).collect();
    explained(&gateway, &responses[2]);
    explained(&gateway, &responses[1]);
    let output = gateway.command(&["explain", &id(&responses[0])]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("the last 2 that ended") && text.contains("hint: "), "{text}");

    let file = gateway.dir().join("mainstay.toml");
    let off = std::fs::read_to_string(&file).expect("the configuration").replace("explain = 2", "explain = \"off\"");
    std::fs::write(&file, off).expect("the configuration");
    gateway.process().wait_for_log("configuration applied", 1, Duration::from_secs(10));
    let text = page(&gateway, &id(&responses[2]));
    assert!(text.contains("turned off") && text.contains("explain = 1024"), "{text}");
}

#[test]
fn an_id_that_a_trusted_proxy_chose() {
    let origin = Origin::start();
    let listen = free();
    let trusting = simple(listen, &[origin.address()], "").replacen(
        "[[service]]",
        "trusted_proxies = [\"127.0.0.0/8\"]\n[[service]]",
        1,
    );
    let gateway = Mainstay::start(&trusting);
    let ask = "GET /ok HTTP/1.1\r\nHost: a\r\nX-Request-Id: Root=1-67/a:b\r\nX-Forwarded-For: 203.0.113.7\r\n\r\n";
    for _request in 0..2 {
        assert_eq!(id(&Wire::connect(listen).exchange(ask)), "Root=1-67/a:b");
    }
    let mut page = String::new();
    eventually("both are remembered", Duration::from_secs(5), || {
        page = self::page(&gateway, "Root=1-67/a:b");
        page.starts_with("2 requests have this id")
    });
    assert!(page.contains("203.0.113.7"), "{page}");
}

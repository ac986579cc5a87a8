//! gRPC through the gateway, from the side of a client and a server that are not ours (`tonic`).

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use http::uri::PathAndQuery;
use mainstay_e2e::gateway::simple;
use mainstay_e2e::grpc::{COLLECT, Client, ECHO, EXPAND, Message, Server, Switches, UNARY, codec, ready, unary};
use mainstay_e2e::http2::{Http2, request};
use mainstay_e2e::tls::Authority;
use mainstay_e2e::{Mainstay, eventually, free};
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataValue;
use tonic::{Code, IntoStreamingRequest, Request, Status};

const SERVICE: &str = "protocol = \"http2\"\nhealth = \"off\"\n";
const PATIENCE: Duration = Duration::from_secs(10);

/// A gateway before these servers, and a client of it.
fn stand(servers: &[&Server], service: &str) -> (Mainstay, Client, SocketAddr) {
    let listen = free();
    let all: Vec<SocketAddr> = servers.iter().map(|server| server.address()).collect();
    let gateway = Mainstay::start(&simple(listen, &all, &format!("{SERVICE}{service}")));
    let client = Client::connect(listen);
    (gateway, client, listen)
}

fn call(text: &str) -> Request<Message> {
    Request::new(Message::of(text, 1))
}

fn within(timeout: &str) -> Request<Message> {
    let mut request = call("in time");
    request.metadata_mut().insert("grpc-timeout", timeout.parse().expect("a value"));
    request
}

fn pushed_back(millis: &str) -> Status {
    let mut status = Status::unavailable("full");
    status.metadata_mut().insert("grpc-retry-pushback-ms", millis.parse().expect("a value"));
    status
}

fn outcomes(line: &serde_json::Value) -> Vec<&str> {
    let attempts = line["attempts"].as_array().expect("attempts");
    attempts.iter().filter_map(|attempt| attempt["outcome"].as_str()).collect()
}

#[test]
fn calls_of_every_kind_go_through() {
    let server = Server::start();
    let (gateway, client, _listen) = stand(&[&server], "");
    assert_eq!(client.unary(UNARY, call("one")).expect("OK").into_inner(), Message::of("one", 1));
    let whole = client.collect(COLLECT, (0..50).map(|_| Message::of("ab", 7)).collect()).expect("OK").into_inner();
    assert_eq!(whole, Message::of(&"ab".repeat(50), 50));
    let (messages, ending) = client.expand(EXPAND, Request::new(Message::of("x", 500)));
    ending.expect("OK");
    assert_eq!(messages.iter().map(|message| message.count).collect::<Vec<_>>(), (0..500).collect::<Vec<_>>());
    let big = Message { body: (0..1 << 20).map(|at: u32| at.to_le_bytes()[0] ^ 0x5a).collect(), count: 1 };
    assert!(client.unary(UNARY, Request::new(big.clone())).expect("OK").into_inner() == big);
    assert_eq!(server.calls(), 4);
    let line = gateway.logged(UNARY);
    assert_eq!((line["status"].as_u64(), line["grpc_status"].as_u64()), (Some(200), Some(0)), "{line}");
}

#[test]
fn both_sides_of_a_call_talk_by_turns() {
    let server = Server::start();
    let (_gateway, client, _listen) = stand(&[&server], "");
    let mut grpc = client.grpc();
    client.run(async move {
        let (tell, told) = tokio::sync::mpsc::channel(1);
        ready(&mut grpc).await.expect("a connection");
        let request = ReceiverStream::new(told).into_streaming_request();
        let response = grpc.streaming(request, PathAndQuery::from_static(ECHO), codec()).await.expect("an answer");
        let mut answers = response.into_inner();
        for count in 0..100 {
            tell.send(Message::of("ping", count)).await.expect("the call is open");
            let answer = answers.message().await.expect("the call goes on");
            assert_eq!(answer, Some(Message::of("ping", count)), "each is answered before the next is sent");
        }
        drop(tell);
        assert_eq!(answers.message().await.expect("OK"), None);
    });
}

#[test]
fn metadata_trailers_and_statuses_pass_unchanged() {
    let server = Server::start();
    let (gateway, client, _listen) = stand(&[&server], "");
    let mut request = call("with metadata");
    request.metadata_mut().insert("x-echo", "plain, text".parse().expect("a value"));
    request.metadata_mut().insert_bin("x-echo-bin", MetadataValue::from_bytes(&[0, 1, 254, 255, 10, 13]));
    request.metadata_mut().insert_bin("x-trail-bin", MetadataValue::from_bytes(&[255, 0, 128]));
    request.metadata_mut().insert("x-trail", "last".parse().expect("a value"));
    let response = client.unary(UNARY, request).expect("OK");
    let found = response.metadata();
    assert_eq!(found.get("x-echo").map(|it| it.as_bytes()), Some(&b"plain, text"[..]));
    let binary = |name| found.get_bin(name).and_then(|it| it.to_bytes().ok()).map(|it| it.to_vec());
    assert_eq!(binary("x-echo-bin"), Some(vec![0, 1, 254, 255, 10, 13]));
    assert_eq!(binary("x-trail-bin"), Some(vec![255, 0, 128]), "trailers, which the client adds: {found:?}");
    assert_eq!(found.get("x-trail").map(|it| it.as_bytes()), Some(&b"last"[..]));

    for after_message in [false, true] {
        for code in (1..=16).filter(|code| *code != Code::Unavailable as i32) {
            let status = Status::with_details(Code::from(code), "no: ä%\n", vec![1, 2, 3].into());
            server.answer(Switches { status: Some(status), after_message, ..Switches::default() });
            let (messages, ending) = client.expand(EXPAND, Request::new(Message::of("x", 2)));
            let status = ending.expect_err("a failure");
            assert_eq!(messages.len(), if after_message { 2 } else { 0 });
            assert_eq!((status.code() as i32, status.message(), status.details()), (code, "no: ä%\n", &[1, 2, 3][..]));
        }
    }
    assert_eq!(server.calls(), 31, "nothing was sent twice");
    eventually("failures count as such", PATIENCE, || gateway.metric("mainstay_requests_total", &["5xx"]) >= 8.0);
}

#[test]
fn a_call_fails_over_when_an_endpoint_says_unavailable() {
    let (bad, good) = (Server::start(), Server::start());
    bad.fail(Status::unavailable("full"));
    let (gateway, client, _listen) = stand(&[&bad, &good], "outlier = \"off\"\n");
    eventually("the bad one has its turn", PATIENCE, || {
        client.unary(UNARY, call("x")).expect("OK");
        bad.calls() > 0
    });
    let mut line = None;
    eventually("a line with two attempts", PATIENCE, || {
        line = gateway.access_log().into_iter().find(|line| outcomes(line).len() == 2);
        line.is_some()
    });
    let line = line.unwrap_or_default();
    assert_eq!((outcomes(&line), line["grpc_status"].as_u64()), (vec!["unavailable", "ok"], Some(0)), "{line}");

    // What came after a message was answered already.
    let status = Some(Status::unavailable("too late"));
    bad.answer(Switches { status: status.clone(), after_message: true, ..Switches::default() });
    good.answer(Switches { status, after_message: true, ..Switches::default() });
    let before = bad.calls() + good.calls();
    let failed = client.unary(UNARY, call("late")).expect_err("a failure");
    assert_eq!((failed.code(), failed.message()), (Code::Unavailable, "too late"));
    assert_eq!(bad.calls() + good.calls(), before + 1);
}

#[test]
fn an_endpoint_says_when_it_may_be_asked_again() {
    let servers = [Server::start(), Server::start()];
    let (_gateway, client, _listen) = stand(&[&servers[0], &servers[1]], "outlier = \"off\"\n");
    let calls = || servers.iter().map(Server::calls).sum::<usize>();
    servers.iter().for_each(|server| server.fail(pushed_back("-1")));
    let failed = client.unary(UNARY, call("never")).expect_err("a failure");
    assert_eq!((failed.code(), failed.message(), calls()), (Code::Unavailable, "full", 1));
    servers.iter().for_each(|server| server.fail(pushed_back("300")));
    let started = Instant::now();
    assert_eq!(client.unary(UNARY, call("later")).expect_err("a failure").message(), "full");
    assert!(started.elapsed() >= Duration::from_millis(300), "{:?}", started.elapsed());
    assert_eq!(calls(), 3);
}

#[test]
fn a_calls_own_fault_does_not_speak_against_the_endpoint() {
    let (server, other) = (Server::start(), Server::start());
    // In turn, since least-request would keep away from an endpoint that has just failed.
    let service = "balance = \"round-robin\"\noutlier = { consecutive = 5, base = \"60s\" }\n";
    let (gateway, client, _listen) = stand(&[&server, &other], service);
    let ejected = || gateway.metric("mainstay_endpoint_ejected", &[]);
    for after_message in [false, true] {
        for status in [Status::failed_precondition("no"), Status::permission_denied("no")] {
            server.answer(Switches { status: Some(status), after_message, ..Switches::default() });
            let (before, all, mut failures) = (server.calls(), server.calls() + other.calls(), 0);
            for _call in 0..40 {
                failures += usize::from(client.unary(UNARY, call("own fault")).is_err());
            }
            assert_eq!(server.calls() + other.calls() - all, 40, "none was tried again");
            assert_eq!(server.calls() - before, failures);
            assert!(failures >= 8, "it had its share: {failures}");
        }
    }
    assert_eq!(ejected(), 0.0);
    server.answer(Switches { status: Some(Status::internal("broken")), after_message: true, ..Switches::default() });
    eventually("five failures in trailers eject it", PATIENCE, || {
        let _half_of_them_fail = client.unary(UNARY, call("broken"));
        ejected() >= 1.0
    });
    let before = server.calls();
    (0..10).for_each(|_| drop(client.unary(UNARY, call("elsewhere")).expect("OK")));
    assert_eq!(server.calls(), before);
}

/// Whoever may have any endpoint ejected by asking for too little time has a weapon.
#[test]
fn a_strangers_short_timeout_does_not_speak_against_the_endpoint() {
    let (server, other) = (Server::start(), Server::start());
    let service = "balance = \"round-robin\"\noutlier = { consecutive = 3, base = \"60s\", max_ejected = \"100%\" }\n\
                   breaker = { consecutive = 3 }\n";
    let (gateway, client, _listen) = stand(&[&server, &other], service);
    server.answer(Switches { delay: Duration::from_secs(20), ..Switches::default() });
    other.answer(Switches { delay: Duration::from_secs(20), ..Switches::default() });
    for _call in 0..20 {
        let failed = client.unary(UNARY, within("20m")).expect_err("too late");
        assert_eq!(failed.code(), Code::DeadlineExceeded, "{failed:?}");
    }
    server.answer(Switches::default());
    other.answer(Switches::default());
    client.unary(UNARY, call("both are well")).expect("OK");
    assert_eq!(gateway.metric("mainstay_endpoint_ejected", &[]), 0.0);
    assert_eq!(gateway.metric("mainstay_endpoint_breaker_opened_total", &[]), 0.0);
}

#[test]
fn deadlines_are_kept_and_passed_on() {
    let server = Server::start();
    let (gateway, client, _listen) = stand(&[&server], "");
    client.unary(UNARY, within("5S")).expect("OK");
    let heads = server.heads();
    let told = heads[0].get("grpc-timeout").and_then(|it| it.to_str().ok()).expect("a time-out is passed on");
    let left = mainstay_core::grpc::parse_timeout(told.as_bytes()).expect("a time-out");
    assert!(left <= Duration::from_secs(5) && left > Duration::from_secs(1), "{told}");

    server.answer(Switches { delay: Duration::from_secs(20), ..Switches::default() });
    let started = Instant::now();
    let failed = client.unary(UNARY, within("400m")).expect_err("too late");
    assert_eq!(failed.code(), Code::DeadlineExceeded, "{failed:?}");
    assert!((Duration::from_millis(400)..PATIENCE).contains(&started.elapsed()), "{:?}", started.elapsed());
    eventually("the endpoint is told that nobody waits", PATIENCE, || server.abandoned() == 1);

    let before = server.calls();
    let failed = client.unary(UNARY, within("0n")).expect_err("too late");
    assert_eq!((failed.code(), server.calls()), (Code::DeadlineExceeded, before), "{failed:?}");
    eventually("three lines", PATIENCE, || gateway.access_log().len() == 3);
    let unsent = gateway.access_log().iter().filter(|line| outcomes(line).is_empty()).count();
    assert_eq!(unsent, 1, "the last was not sent at all: {:?}", gateway.access_log());
}

#[test]
fn a_call_that_the_client_drops_is_dropped_at_the_endpoint() {
    let server = Server::start();
    let (_gateway, client, _listen) = stand(&[&server], "");
    server.answer(Switches { delay: Duration::from_secs(20), ..Switches::default() });
    let waiting = client.spawn(unary(client.grpc(), UNARY, call("never mind")));
    eventually("the call has come", PATIENCE, || server.calls() == 1);
    waiting.abort();
    eventually("the call is gone", PATIENCE, || server.abandoned() == 1);
}

#[test]
fn own_errors_are_statuses_of_grpc() {
    let (listen, dead) = (free(), free());
    let config = format!(
        "[[listener]]\nname = \"web\"\nbind = \"{listen}\"\n\
         [[route]]\nname = \"dead\"\nlistener = \"web\"\nmatch = {{ path = \"/test.Dead\" }}\nservice = \"dead\"\n\
         [[route]]\nname = \"empty\"\nlistener = \"web\"\nmatch = {{ path = \"/test.Empty\" }}\nservice = \"empty\"\n\
         [[service]]\nname = \"dead\"\nendpoints = [\"{dead}\"]\n{SERVICE}\
         [[service]]\nname = \"empty\"\nprotocol = \"http2\"\nendpoints = [\"{dead}\"]\n\
         health = {{ grpc = true, interval = \"200ms\", timeout = \"200ms\", unhealthy = 1 }}\n"
    );
    let gateway = Mainstay::start(&config);
    let client = Client::connect(listen);
    let mut raw = Http2::connect(listen);
    for (path, code, reason) in [
        ("/test.Dead/Call", Code::Unavailable, "connect-failed"),
        ("/test.Empty/Call", Code::Unavailable, "no-healthy-endpoint"),
        ("/test.None/Call", Code::Unimplemented, "no-route"),
    ] {
        let failed = client.unary(path, call("x")).expect_err("a failure");
        assert_eq!((failed.code(), failed.message()), (code, reason), "{path}: {failed:?}\n{}", gateway.stderr());
        let mut call = request("POST", path);
        call.headers_mut().insert("content-type", "application/grpc+proto".parse().expect("a value"));
        let answer = raw.exchange(call, b"");
        assert_eq!((answer.head.status.as_u16(), answer.body.len()), (200, 0), "{path}");
        assert_eq!(answer.header("grpc-status"), (code as i32).to_string(), "{path}");
        assert_eq!(answer.header("content-type"), "application/grpc");
    }
}

#[test]
fn the_standard_health_check_decides() {
    let (server, authority, listen) = (Server::start(), Authority::new("gRPC"), free());
    let secured = Server::start_tls(&authority.issue(&["127.0.0.1"]));
    server.set_health("shop.Cart", true);
    secured.set_health("shop.Cart", true);
    let check = |name: &str| {
        format!("health = {{ grpc = {name}, interval = \"200ms\", timeout = \"200ms\", unhealthy = 1, healthy = 1 }}\n")
    };
    let config = |name: &str| {
        let (check, plain, secured) = (check(name), server.address(), secured.address());
        format!(
            "{}{check}[[route]]\nname = \"app\"\nlistener = \"web\"\nservice = \"app\"\n\
             [[service]]\nname = \"secured\"\nprotocol = \"http2\"\nendpoints = [\"{secured}\"]\n\
             tls = {{ ca = \"ca.pem\" }}\n{check}",
            simple(listen, &[plain], "protocol = \"http2\"")
        )
    };
    let mut gateway = Mainstay::launch("", &config("\"shop.Cart\""), &[("ca.pem", &authority.pem())]);
    gateway.wait_until_ready();
    let are = |gateway: &Mainstay, state: &str, reason: &str| {
        eventually(&format!("both are {state} {reason}"), PATIENCE, || {
            let text = gateway.status().to_string();
            let state = format!("\"{state}\"");
            let in_state = |server: &Server| {
                let endpoint = format!("\"{}\"", server.address());
                gateway.metric("mainstay_endpoint_health", &[&endpoint, &state]) >= 1.0
            };
            in_state(&server) && in_state(&secured) && text.matches(reason).count() >= 2
        });
    };
    are(&gateway, "up", "");
    let set = |is_well| [&server, &secured].map(|server| server.set_health("shop.Cart", is_well));
    set(false);
    are(&gateway, "down", "gRPC: NOT_SERVING");
    let failed = Client::connect(listen).unary(UNARY, call("x")).expect_err("nobody is there");
    assert_eq!((failed.code(), failed.message()), (Code::Unavailable, "no-healthy-endpoint"));
    set(true);
    are(&gateway, "up", "");
    gateway.reload(&config("\"shop.Unknown\""));
    are(&gateway, "down", "gRPC: the endpoint knows no such service");
    gateway.reload(&config("true"));
    are(&gateway, "up", "");
}

#[test]
fn tls_on_both_sides_by_alpn() {
    let (authority, listen) = (Authority::new("gRPC"), free());
    let (own, theirs) = (authority.issue(&["shop.test"]), authority.issue(&["127.0.0.1"]));
    let server = Server::start_tls(&theirs);
    let config = format!(
        "[[listener]]\nname = \"web\"\nbind = \"{listen}\"\ntls = {{ cert = \"shop.pem\", key = \"shop.key\" }}\n\
         [[service]]\nname = \"app\"\nendpoints = [\"{}\"]\ntls = {{ ca = \"ca.pem\" }}\n{SERVICE}",
        server.address()
    );
    let files = [("ca.pem", authority.pem()), ("shop.pem", own.cert), ("shop.key", own.key)];
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let mut gateway = Mainstay::launch("", &config, &files);
    gateway.wait_until_ready();
    let client = Client::connect_tls(listen, &authority, "shop.test");
    let big = Message { body: vec![7; 1 << 20], count: 3 };
    assert!(client.unary(UNARY, Request::new(big.clone())).expect("OK").into_inner() == big);
    let (messages, ending) = client.expand(EXPAND, Request::new(Message::of("x", 20)));
    assert_eq!((messages.len(), ending.is_ok()), (20, true));
    server.fail(Status::not_found("nothing"));
    assert_eq!(client.unary(UNARY, call("x")).expect_err("a failure").message(), "nothing");
}

#[test]
fn a_server_that_dies_takes_only_its_own_calls() {
    let mut servers = [Server::start(), Server::start()];
    let (_gateway, client, _listen) = stand(&[&servers[0], &servers[1]], "");
    let slow = Switches { delay: Duration::from_secs(2), ..Switches::default() };
    servers.iter().for_each(|server| server.answer(slow.clone()));
    let calls: Vec<_> = (0..10).map(|_| client.spawn(unary(client.grpc(), UNARY, call("in flight")))).collect();
    eventually("all are in flight", PATIENCE, || servers.iter().map(Server::calls).sum::<usize>() == 10);
    let lost = servers[0].calls();
    assert!(lost > 0 && lost < 10, "both have some");
    servers[0].kill();
    servers[1].answer(Switches::default());
    for _call in 0..20 {
        client.unary(UNARY, call("new")).expect("new calls go to the other endpoint");
    }
    let ended: Vec<_> = calls.into_iter().map(|call| client.run(call).expect("an end")).collect();
    let failed: Vec<Code> = ended.iter().filter_map(|it| it.as_ref().err()).map(Status::code).collect();
    assert_eq!(failed, vec![Code::Unavailable; lost], "what may have been done is not done twice");
    assert_eq!(servers[1].calls(), 10 - lost + 20);
}

//! HTTP/2 on both sides of the gateway, from the side of a client that is not ours (the crate `h2`, `curl`, `nghttp`).

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use http::{Method, Request};
use mainstay_e2e::http2::{Http2, request};
use mainstay_e2e::{Mainstay, Origin, Wire, eventually, free, tools};

/// `one` leads straight to the origin in HTTP/1.1; `two` leads there in HTTP/2 by way of `one`.
struct Stand {
    gateway: Mainstay,
    one: SocketAddr,
    two: SocketAddr,
    origin: Origin,
}

fn config(one: SocketAddr, two: SocketAddr, origin: SocketAddr) -> String {
    format!(
        "[[listener]]\nname = \"one\"\nbind = \"{one}\"\ntrusted_proxies = [\"127.0.0.1/32\"]\n\
         [[listener]]\nname = \"two\"\nbind = \"{two}\"\n\
         [[route]]\nname = \"one\"\nlistener = \"one\"\nservice = \"origin\"\n\
         [[route]]\nname = \"two\"\nlistener = \"two\"\nservice = \"one\"\n\
         [[service]]\nname = \"origin\"\nendpoints = [\"{origin}\"]\n\
         [[service]]\nname = \"one\"\nprotocol = \"http2\"\nendpoints = [\"{one}\"]\n"
    )
}

fn stand() -> Stand {
    let (origin, one, two) = (Origin::start(), free(), free());
    let gateway = Mainstay::start(&config(one, two, origin.address()));
    Stand { gateway, one, two, origin }
}

#[test]
fn bodies_and_trailers_go_both_ways_in_every_pairing() {
    let stand = stand();
    for listen in [stand.one, stand.two] {
        let mut client = Http2::connect(listen);
        for length in [0, 1, 5, 1_000, 16_384, 65_536, 300_000, 3_000_000] {
            let body: Vec<u8> = (0..length).map(|index: u32| index.to_le_bytes()[0] ^ 0x5a).collect();
            let answer = client.exchange(request("POST", "/mirror"), &body);
            assert_eq!((answer.head.status.as_u16(), answer.body == body), (200, true), "{length} without a length");
            let mut sized = request("POST", "/mirror");
            sized.headers_mut().insert("content-length", length.into());
            let answer = client.exchange(sized, &body);
            assert_eq!((answer.head.status.as_u16(), answer.body == body), (200, true), "{length} by length");
        }
        for length in [0, 1, 999, 100_000] {
            let mut asked = request("GET", &format!("/chunked/{length}"));
            asked.headers_mut().insert("te", "trailers".parse().expect("a value"));
            let answer = client.exchange(asked, b"");
            assert_eq!(answer.body.len(), length);
            assert_eq!(answer.trailers.get("x-sum").expect("trailers are passed on"), &length.to_string());
        }
        let head = client.exchange(request("HEAD", "/bytes/77"), b"");
        assert_eq!((head.header("content-length"), head.body.len()), ("77", 0));
        assert_eq!(client.exchange(request("GET", "/status/204"), b"").head.status, 204);
    }
    // The fourth pairing: HTTP/1.1 outside, HTTP/2 inside.
    let mut wire = Wire::connect(stand.two);
    let body = vec![b'x'; 200_000];
    let head = format!("POST /mirror HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len());
    assert!(wire.exchange([head.as_bytes(), &body].concat()).body.bytes == body);
    let response = wire.exchange("GET /chunked/999 HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n\r\n");
    assert_eq!(response.body.trailers, [("x-sum".to_owned(), "999".to_owned())]);
    let response = wire.exchange("GET /hints HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(response.status, 200, "after 103");
    assert!(stand.gateway.logged("/hints")["protocol"].is_string());
}

#[test]
fn the_head_says_what_it_said() {
    let stand = stand();
    for listen in [stand.one, stand.two] {
        let mut client = Http2::connect(listen);
        let mut asked = request("GET", "/some/path?query=1");
        for cookie in ["a=1", "b=2"] {
            asked.headers_mut().append("cookie", cookie.parse().expect("a value"));
        }
        asked.headers_mut().insert("x-own", "kept".parse().expect("a value"));
        let answer = client.exchange(asked, b"");
        let echo: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
        assert_eq!((&echo["method"], &echo["path"]), (&"GET".into(), &"/some/path?query=1".into()), "{echo}");
        let header = |name: &str| {
            let pairs = echo["headers"].as_array().expect("headers").iter();
            let named = pairs.filter(|pair| pair[0].as_str().is_some_and(|key| key.eq_ignore_ascii_case(name)));
            named.map(|pair| pair[1].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(header("host"), ["test.example"]);
        assert_eq!(header("cookie"), ["a=1; b=2"]);
        assert_eq!(header("x-own"), ["kept"]);
        assert_eq!(
            header("x-forwarded-for").last().map(String::as_str).map(|it| it.starts_with("127.0.0.1")),
            Some(true)
        );
        assert_eq!(header("x-request-id"), [answer.header("x-request-id")]);
    }
    assert_eq!(stand.gateway.logged("/some/path")["protocol"], "HTTP/2");
}

#[test]
fn a_hundred_requests_share_one_connection() {
    let stand = stand();
    for listen in [stand.one, stand.two] {
        let mut client = Http2::connect(listen);
        let waiting: Vec<_> =
            (0..100).map(|_request| client.begin(request("GET", "/sleep/300"), true).expect("a stream")).collect();
        let began = std::time::Instant::now();
        for pending in waiting {
            assert_eq!(client.finish(pending).expect("an answer").head.status, 200);
        }
        assert!(began.elapsed() < Duration::from_secs(15), "they wait side by side: {:?}", began.elapsed());
    }
}

#[test]
fn own_answers_and_limits() {
    let (origin, listen) = (Origin::start(), free());
    let routes = format!(
        "[[listener]]\nname = \"web\"\nbind = \"{listen}\"\nmax_streams = 3\nmax_head = \"4KiB\"\n\
         [[route]]\nname = \"only\"\nservice = \"app\"\nmatch = {{ path = \"/here\" }}\n\
         [[service]]\nname = \"app\"\nendpoints = [\"{}\"]\n",
        origin.address()
    );
    let _gateway = Mainstay::start(&routes);
    let mut client = Http2::connect(listen);
    let lost = client.exchange(request("GET", "/elsewhere"), b"");
    assert_eq!((lost.head.status.as_u16(), lost.header("x-mainstay-error")), (404, "no-route"));
    assert_eq!(lost.body, b"no-route\n");
    let mut long = request("GET", "/here");
    long.headers_mut().insert("x-long", "y".repeat(6_000).parse().expect("a value"));
    assert_eq!(client.exchange(long, b"").head.status, 431);
    let dots = client.exchange(request("GET", "/here/../there"), b"");
    assert_eq!((dots.head.status.as_u16(), dots.header("x-mainstay-error")), (400, "bad-target"));
    assert_eq!(client.exchange(request("GET", "/here/ok"), b"").head.status, 200, "the connection goes on");
}

#[test]
fn a_websocket_in_every_pairing() {
    let stand = stand();
    for listen in [stand.one, stand.two] {
        let mut client = Http2::connect(listen);
        // Extended CONNECT may be used once the server has said that it understands it.
        assert_eq!(client.exchange(request("GET", "/ok"), b"").head.status, 200);
        let mut upgrade = Request::builder()
            .method(Method::CONNECT)
            .uri("http://test.example/ws")
            .header("sec-websocket-version", "13")
            .body(())
            .expect("a valid request");
        upgrade.extensions_mut().insert(h2::ext::Protocol::from_static("websocket"));
        let mut pending = client.begin(upgrade, false).expect("a stream");
        let (head, mut body) = client.head_of(&mut pending).expect("an answer");
        assert_eq!(head.status, 200);
        assert!(!head.headers.contains_key("sec-websocket-accept"));
        for message in ["hello", "again"] {
            client.send(&mut pending.body, message.as_bytes(), false).expect("the tunnel is open");
            let mut got = Vec::new();
            while got.len() < message.len() {
                got.extend(client.read(&mut body).expect("the tunnel is open"));
            }
            assert_eq!(got, message.as_bytes());
        }
        // Other requests go on beside it.
        assert_eq!(client.exchange(request("GET", "/ok"), b"").head.status, 200);
        client.send(&mut pending.body, b"", true).expect("an end");
        assert_eq!(client.read(&mut body).expect("an end"), b"");
    }
    let mut wire = Wire::connect(stand.two);
    let response = wire.exchange(
        "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    assert_eq!((response.status, response.header("upgrade")), (101, Some("websocket")));
    assert_eq!(response.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    wire.send(b"through").expect("the tunnel is open");
    assert_eq!(wire.exact(7).expect("an echo"), b"through");
}

#[test]
fn a_client_that_gives_up_is_noticed_at_the_endpoint() {
    let stand = stand();
    for listen in [stand.one, stand.two] {
        let mut client = Http2::connect(listen);
        let before = stand.gateway.access_log().len();
        let pending = client.begin(request("GET", "/sleep/20000"), true).expect("a stream");
        std::thread::sleep(Duration::from_millis(300));
        drop(pending);
        eventually("the request is given up", Duration::from_secs(10), || {
            stand.gateway.access_log().iter().skip(before).any(|line| line["error"] == "client-gone")
        });
        assert_eq!(client.exchange(request("GET", "/ok"), b"").head.status, 200, "the connection goes on");
    }
}

#[test]
fn leaving_tells_idle_connections_and_finishes_what_is_under_way() {
    let mut stand = stand();
    let mut idle = Http2::connect(stand.one);
    assert_eq!(idle.exchange(request("GET", "/ok"), b"").head.status, 200);
    let mut busy = Http2::connect(stand.one);
    let mut chained = Http2::connect(stand.two);
    let pending = busy.begin(request("GET", "/sleep/1500"), true).expect("a stream");
    let through = chained.begin(request("GET", "/sleep/1500"), true).expect("a stream");
    std::thread::sleep(Duration::from_millis(300));
    stand.gateway.process().signal(libc::SIGTERM);
    assert_eq!(idle.wait_for_end(Duration::from_secs(10)), Some(true), "an idle connection is told");
    assert_eq!(busy.finish(pending).expect("an answer").head.status, 200);
    assert_eq!(chained.finish(through).expect("an answer").head.status, 200);
    assert_eq!(busy.wait_for_end(Duration::from_secs(10)), Some(true));
    assert!(stand.gateway.process().wait(Duration::from_secs(20)).expect("an exit").success());
}

#[test]
fn an_endpoint_that_dies_loses_no_get() {
    let (one, two, listen) = (free(), free(), free());
    let origin = Origin::start();
    // Two gateways that speak HTTP/2, one of which dies, behind the one that is asked.
    let behind = |bind| mainstay_e2e::gateway::simple(bind, &[origin.address()], "");
    let mut dies = Mainstay::start(&behind(one));
    let _stays = Mainstay::start(&behind(two));
    let service = "protocol = \"http2\"\nbalance = \"round-robin\"\n";
    let _front = Mainstay::start(&mainstay_e2e::gateway::simple(listen, &[one, two], service));
    let mut client = Http2::connect(listen);
    let mut failed = Vec::new();
    for round in 0..600 {
        if round == 200 {
            dies.process().kill();
        }
        let waiting: Vec<_> =
            (0..8).map(|_request| client.begin(request("GET", "/ok"), true).expect("a stream")).collect();
        for pending in waiting {
            let status = client.finish(pending).map_or(0, |answer| answer.head.status.as_u16());
            if status != 200 {
                failed.push((round, status));
            }
        }
    }
    assert_eq!(failed, []);
}

#[test]
fn tls_chooses_by_alpn_and_curl_and_nghttp_agree() {
    let stand = stand();
    let (curl, nghttp) = (tools::find("curl", "curl"), tools::find("nghttp", "nghttp2-client"));
    let url = format!("http://{}/bytes/100000", stand.two);
    let output = Command::new(curl)
        .args(["-s", "-o", "/dev/null", "-w", "%{http_version} %{size_download}", "--http2-prior-knowledge", &url])
        .output()
        .expect("curl runs");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "2 100000");
    let output = Command::new(nghttp).args(["-n", "-s", &url]).output().expect("nghttp runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && text.contains(" 200 "), "{text}");
    assert!(stand.origin.address().port() > 0);
}

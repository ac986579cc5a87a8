//! HTTP/1 from a client's side: what is passed on, what is changed, and what the gateway answers itself.

use std::time::Duration;

use mainstay_e2e::gateway::simple;
use mainstay_e2e::wire::{Response, get};
use mainstay_e2e::{Mainstay, Origin, Wire, free};
use std::net::SocketAddr;

struct Stand {
    gateway: Mainstay,
    listen: SocketAddr,
    origin: Origin,
}

fn stand() -> Stand {
    let (origin, listen) = (Origin::start(), free());
    Stand { gateway: Mainstay::start(&simple(listen, &[origin.address()], "")), listen, origin }
}

/// The values of a header as the backend received it.
fn received(response: &Response, name: &str) -> Vec<String> {
    let json = response.json();
    let headers = json["headers"].as_array().expect("the echo's headers").clone();
    let named = headers.iter().filter(|pair| pair[0].as_str().is_some_and(|key| key.eq_ignore_ascii_case(name)));
    named.map(|pair| pair[1].as_str().unwrap_or_default().to_owned()).collect()
}

#[test]
fn bodies_go_both_ways_in_either_framing() {
    let stand = stand();
    let mut wire = Wire::connect(stand.listen);
    for length in [0, 1, 5, 1_000, 16_384, 65_536, 300_000] {
        let body: Vec<u8> = (0..length).map(|index: u32| index.to_le_bytes()[0] ^ 0x5a).collect();
        let head = format!("POST /mirror HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
        let back = wire.exchange([head.as_bytes(), &body].concat());
        assert_eq!((back.status, back.body.bytes == body), (200, true), "{length} by length");
        let mut chunked = b"POST /mirror HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        for part in body.chunks(777) {
            chunked.extend_from_slice(format!("{:X};x=y\r\n", part.len()).as_bytes());
            chunked.extend_from_slice(part);
            chunked.extend_from_slice(b"\r\n");
        }
        chunked.extend_from_slice(b"0\r\n\r\n");
        let back = wire.exchange(chunked);
        assert_eq!((back.status, back.body.bytes == body), (200, true), "{length} in chunks");
    }
    for length in [0, 1, 5, 999, 100_000] {
        let response = wire.exchange(format!("GET /chunked/{length} HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n\r\n"));
        assert_eq!(response.body.length, length);
        assert_eq!(response.body.trailers, [("x-sum".to_owned(), length.to_string())], "trailers are passed on");
        assert!(response.head.has("transfer-encoding", "chunked") && response.header("content-length").is_none());
    }
}

#[test]
fn request_trailers_arrive() {
    let stand = stand();
    let request = "POST /echo HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nTrailer: x-sum\r\nTransfer-Encoding: chunked\r\n\r\n\
                   5\r\nhello\r\n0\r\nx-sum: 42\r\n\r\n";
    let echo = Wire::connect(stand.listen).exchange(request).json();
    assert_eq!(echo["body"], "hello");
    assert_eq!(echo["trailers"], serde_json::json!([["x-sum", "42"]]));
}

#[test]
fn clients_of_1_0_get_what_they_understand() {
    let stand = stand();
    let mut wire = Wire::connect(stand.listen);
    wire.send("GET /chunked/5000 HTTP/1.0\r\nHost: a\r\n\r\n").expect("sent");
    let response = wire.response().expect("an answer");
    assert_eq!(response.body.length, 5_000);
    assert!(response.header("transfer-encoding").is_none(), "{:?}", response.head);
    assert!(wire.is_closed(), "1.0 is closed unless asked otherwise");
    let mut kept = Wire::connect(stand.listen);
    for _round in 0..2 {
        let response = kept.exchange("GET /ok HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n");
        assert_eq!(response.text(), "ok");
        assert!(response.head.has("connection", "keep-alive"), "{:?}", response.head);
    }
    let hints = Wire::connect(stand.listen).exchange("GET /hints HTTP/1.0\r\nHost: a\r\n\r\n");
    assert_eq!((hints.interim.len(), hints.text().as_str()), (0, "after hints"), "no interim response for 1.0");
}

#[test]
fn connections_are_kept_or_closed_as_asked() {
    let stand = stand();
    let mut wire = Wire::connect(stand.listen);
    for _round in 0..50 {
        assert_eq!(wire.exchange("GET /ok HTTP/1.1\r\nHost: a\r\n\r\n").text(), "ok");
    }
    let last = wire.exchange("GET /ok HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert!(last.head.has("connection", "close"));
    assert!(wire.is_closed());
    // A backend that closes does not close the client's connection.
    let mut wire = Wire::connect(stand.listen);
    for path in ["/close", "/until-close/1000", "/close", "/ok"] {
        let response = wire.exchange(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!(response.status, 200, "{path}");
        assert!(!response.head.has("connection", "close"), "{path}: {:?}", response.head);
    }
    stand.origin.control("close_after=3");
    for _round in 0..30 {
        assert_eq!(wire.exchange("GET /ok HTTP/1.1\r\nHost: a\r\n\r\n").text(), "ok");
    }
}

#[test]
fn connections_to_backends_are_reused() {
    let stand = stand();
    let before = stand.origin.stat("connections");
    let mut wire = Wire::connect(stand.listen);
    for _round in 0..200 {
        assert_eq!(wire.exchange("GET /ok HTTP/1.1\r\nHost: a\r\n\r\n").status, 200);
    }
    let opened = stand.origin.stat("connections") - before;
    assert!(opened <= 30, "{opened} connections for 200 requests of one client (health checks included)");
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let stand = stand();
    let mut wire = Wire::connect(stand.listen);
    let mut all = String::new();
    for index in 0..20 {
        all += &format!("GET /p/{index} HTTP/1.1\r\nHost: a\r\n\r\n");
        all += &format!("POST /q/{index} HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
    }
    wire.send(all).expect("sent");
    for index in 0..20 {
        assert_eq!(wire.response().expect("an answer").json()["path"], format!("/p/{index}"));
        let post = wire.response().expect("an answer").json();
        assert_eq!((&post["path"], &post["body"]), (&format!("/q/{index}").into(), &"hello".into()));
    }
}

#[test]
fn a_request_in_single_bytes_is_a_request() {
    let stand = stand();
    let mut wire = Wire::connect(stand.listen);
    let request = b"POST /slow HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    for byte in request.chunks(1) {
        wire.send(byte).expect("sent");
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(wire.response().expect("an answer").json()["body"], "hello");
}

#[test]
fn responses_without_a_body_leave_the_connection_in_order() {
    let stand = stand();
    let mut wire = Wire::connect(stand.listen);
    for _round in 0..3 {
        let head = wire.exchange("HEAD /bytes/1000 HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!((head.status, head.header("content-length")), (200, Some("1000")));
        assert_eq!(wire.exchange("GET /status/204 HTTP/1.1\r\nHost: a\r\n\r\n").status, 204);
        let none = wire.exchange("GET /status/304 HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!((none.status, none.body.length), (304, 0));
        assert_eq!(wire.exchange("HEAD /chunked/50 HTTP/1.1\r\nHost: a\r\n\r\n").status, 200);
        assert_eq!(wire.exchange("GET /ok HTTP/1.1\r\nHost: a\r\n\r\n").text(), "ok");
    }
}

#[test]
fn early_hints_are_relayed_without_what_belongs_to_a_hop() {
    let stand = stand();
    let response = get(stand.listen, "/hints");
    assert_eq!(response.interim.len(), 1);
    let hint = &response.interim[0];
    assert!(hint.line.contains("103") && hint.get("link").is_some(), "{hint:?}");
    assert!(hint.get("x-gone").is_none() && !hint.has("connection", "x-gone"), "{hint:?}");
}

#[test]
fn expect_100_continue() {
    let stand = stand();
    let expecting = |path: &str| {
        let mut wire = Wire::connect(stand.listen);
        wire.send(format!("POST {path} HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"))
            .expect("sent");
        wire
    };
    // The backend's 100 lets the body come.
    let mut wire = expecting("/echo");
    assert_eq!(wire.head().expect("an interim response").0, 100);
    wire.send("hello").expect("sent");
    assert_eq!(wire.response().expect("an answer").json()["body"], "hello");
    // A final response before the body is passed on, and no 100 is made up; the rest of the connection is in order.
    let mut wire = expecting("/expect/final");
    let (status, head) = wire.head().expect("an answer");
    assert_eq!(status, 413, "{head:?}");
    // A client need not wait for the 100, and a backend need not send one.
    let mut wire = expecting("/expect/none");
    wire.send("hello").expect("sent");
    assert_eq!(wire.response().expect("an answer").json()["body"], "hello");
    // A client of 1.0 cannot expect.
    let mut wire = Wire::connect(stand.listen);
    wire.send("POST /echo HTTP/1.0\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello")
        .expect("sent");
    let response = wire.response().expect("an answer");
    assert_eq!((response.interim.len(), response.status), (0, 200));
}

#[test]
fn an_early_final_response_to_a_large_upload_arrives() {
    let stand = stand();
    let mut wire = Wire::connect(stand.listen);
    wire.send("POST /expect/final HTTP/1.1\r\nHost: a\r\nContent-Length: 20000000\r\n\r\n").expect("sent");
    let block = vec![b'x'; 100_000];
    for _block in 0..200 {
        if wire.send(&block).is_err() {
            break;
        }
    }
    assert_eq!(wire.response().expect("the early answer").status, 413);
}

#[test]
fn hop_by_hop_headers_stay_on_their_hop() {
    let stand = stand();
    let request = "GET /echo HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, x-hop, host, authorization, cookie, x-request-id, \
                   x-forwarded-for\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nTE: gzip, trailers\r\nProxy-Authorization: Basic eDp5\r\n\
                   Proxy-Connection: keep-alive\r\nAuthorization: secret\r\nCookie: a=b\r\nX-End: 2\r\n\r\n";
    let response = Wire::connect(stand.listen).exchange(request);
    for gone in ["x-hop", "keep-alive", "proxy-authorization", "proxy-connection"] {
        assert!(received(&response, gone).is_empty(), "{gone}");
    }
    assert!(received(&response, "te").iter().all(|value| value == "trailers"));
    assert_eq!(received(&response, "host"), ["a"]);
    assert_eq!(received(&response, "authorization"), ["secret"]);
    assert_eq!(received(&response, "cookie"), ["a=b"]);
    assert_eq!(received(&response, "x-end"), ["2"]);
    assert_eq!(received(&response, "x-forwarded-for").len(), 1);
    assert_eq!(received(&response, "x-request-id").len(), 1);
}

#[test]
fn upgrades() {
    let stand = stand();
    let mut wire = Wire::connect(stand.listen);
    // What the client sends right behind its request belongs to the tunnel.
    wire.send(
        "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\nearly",
    )
    .expect("sent");
    let response = wire.response().expect("an answer");
    assert_eq!((response.status, response.header("upgrade")), (101, Some("websocket")));
    assert!(response.head.has("connection", "upgrade"));
    assert_eq!(wire.exact(5).expect("the early bytes"), b"early");
    let block: Vec<u8> = (0..100_000_u32).map(|index| index.to_be_bytes()[3]).collect();
    for _round in 0..5 {
        wire.send(&block).expect("sent");
        assert_eq!(wire.exact(block.len()).expect("an echo"), block);
    }
    // The backend answers the end of the client's side with the end of its own.
    wire.finish();
    assert!(wire.is_closed());
    // A refusal is an ordinary response, and the connection goes on.
    let mut wire = Wire::connect(stand.listen);
    let refused = wire.exchange("GET /ok HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!((refused.status, refused.text().as_str()), (200, "ok"));
    assert_eq!(wire.exchange("GET /ok HTTP/1.1\r\nHost: a\r\n\r\n").text(), "ok");
    // Upgrade without its Connection option is no upgrade.
    let echo = wire.exchange("GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(echo.status, 200);
    assert!(received(&echo, "upgrade").is_empty());
}

#[test]
fn every_request_has_an_id_and_a_log_line() {
    let stand = stand();
    let response = get(stand.listen, "/id?secret=1");
    let id = response.header("x-request-id").expect("an id").to_owned();
    assert_eq!(received(&response, "x-request-id"), std::slice::from_ref(&id));
    let other = Wire::connect(stand.listen).exchange("GET /other HTTP/1.1\r\nHost: a\r\nX-Request-Id: forged\r\n\r\n");
    assert_ne!(other.header("x-request-id"), Some("forged"), "only trusted proxies set it");
    let find = || stand.gateway.access_log().into_iter().find(|line| line["id"] == id.as_str());
    mainstay_e2e::eventually("a log line with the id", Duration::from_secs(5), || find().is_some());
    let line = find().expect("it was there a moment ago");
    assert_eq!((&line["method"], &line["status"], &line["service"]), (&"GET".into(), &200.into(), &"app".into()));
    assert_eq!(line["attempts"][0]["endpoint"], stand.origin.address().to_string());
    assert_eq!(line["attempts"][0]["outcome"], "ok");
    for key in
        ["time", "client", "listener", "route", "host", "path", "protocol", "bytes_in", "bytes_out", "duration_ms"]
    {
        assert!(!line[key].is_null(), "{key} in {line}");
    }
}

#[test]
fn nginx_is_served_through_it() {
    let (backend, listen) = (free(), free());
    let block = format!(
        "server {{ listen {backend}; location /file {{ root .; try_files /big =404; }} \
         location / {{ return 200 \"$request_method $host $http_x_forwarded_proto\"; }} }}"
    );
    let big = "0123456789".repeat(500_000);
    let _nginx = mainstay_e2e::tools::nginx(backend, &block, &[("big", &big)]);
    let _gateway = Mainstay::start(&simple(listen, &[backend], ""));
    let response = Wire::connect(listen).exchange("PUT /x HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 2\r\n\r\nhi");
    assert_eq!(response.text(), "PUT shop.test http");
    let url = format!("http://{listen}/file");
    let curl = |arguments: &[&str]| {
        mainstay_e2e::tools::run("curl", "curl", &[&["-sS", "--max-time", "20"], arguments].concat())
    };
    assert!(curl(&[&url]) == big);
    assert_eq!(curl(&["-H", "Range: bytes=10-19", &url]), "0123456789");
    let etag = curl(&["-I", &url])
        .lines()
        .find_map(|line| line.strip_prefix("ETag: ").map(str::to_owned))
        .or_else(|| curl(&["-I", &url]).lines().find_map(|line| line.strip_prefix("etag: ").map(str::to_owned)));
    let condition = format!("If-None-Match: {}", etag.expect("an entity tag").trim());
    assert_eq!(curl(&["-o", "/dev/null", "-w", "%{http_code}", "-H", &condition, &url]), "304");
}

/// A client with Nagle's algorithm on sends its second piece when the first is acknowledged: an acknowledgement that waited for
/// the answer would hold it up for 40 ms.
#[test]
fn pieces_of_a_request_do_not_wait_for_acknowledgements() {
    let stand = stand();
    let pieces: [&[&str]; 2] = [
        &["GET /ok HTTP/1.1\r\nHost: a\r\n", "x-more: 1\r\n", "x-most: 1\r\n\r\n"],
        &["POST /sink HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n", "hello", "world"],
    ];
    for pieces in pieces {
        // The fastest of many: a busy machine may hold up any one of them.
        let fastest = (0..20).map(|_round| {
            let stream = std::net::TcpStream::connect(stand.listen).expect("a connection");
            let began = std::time::Instant::now();
            let mut wire = Wire::over(stream);
            for piece in pieces {
                wire.send(piece).expect("sent");
            }
            assert_eq!(wire.response().expect("an answer").status, 200);
            began.elapsed()
        });
        let fastest = fastest.min().expect("twenty");
        assert!(fastest < Duration::from_millis(35), "{fastest:?} for {pieces:?}");
    }
}

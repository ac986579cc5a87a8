//! Malformed and hostile responses: the client sees an error or a broken body, never a whole one that is not true.

use std::time::Duration;

use mainstay_e2e::gateway::simple;
use mainstay_e2e::scripted::{Exchange, Scripted};
use mainstay_e2e::wire::{Broken, Response};
use mainstay_e2e::{Mainstay, Wire, free};

#[derive(Clone, Copy, Debug)]
enum Verdict {
    /// The gateway's own 502.
    BadGateway,
    /// A head may come; the body must not seem complete.
    Broken,
    /// Passed on whole with this status and body.
    Whole(u16, &'static str),
    /// The standard leaves it open: 502, or passed on well-formed.
    Either,
}

use Verdict::{BadGateway, Either, Whole};

const CASES: &[(&str, &[u8], Verdict)] = &[
    (
        "cl and te",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        BadGateway,
    ),
    ("two cl that differ", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", BadGateway),
    ("cl negative", b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello", BadGateway),
    ("cl with plus", b"HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello", BadGateway),
    ("cl overflow", b"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551621\r\n\r\nhello", BadGateway),
    ("te gzip", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nhello", BadGateway),
    ("te chunked twice", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", BadGateway),
    ("te on 1.0", b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", BadGateway),
    ("status of two digits", b"HTTP/1.1 20 OK\r\nContent-Length: 5\r\n\r\nhello", BadGateway),
    ("status of four digits", b"HTTP/1.1 2000 OK\r\nContent-Length: 5\r\n\r\nhello", BadGateway),
    ("status of letters", b"HTTP/1.1 abc OK\r\nContent-Length: 5\r\n\r\nhello", BadGateway),
    ("status 000", b"HTTP/1.1 000 OK\r\nContent-Length: 5\r\n\r\nhello", BadGateway),
    ("status 999", b"HTTP/1.1 999 OK\r\nContent-Length: 5\r\n\r\nhello", Either),
    ("another protocol", b"ICY 200 OK\r\nContent-Length: 5\r\n\r\nhello", BadGateway),
    ("version 2", b"HTTP/2.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", BadGateway),
    ("no head at all", b"hello\r\n\r\n", BadGateway),
    ("binary", b"\x00\x01\x02\xff\r\n\r\n", BadGateway),
    ("half a head", b"HTTP/1.1 200 OK\r\nContent-Le", BadGateway),
    ("nothing", b"", BadGateway),
    ("NUL in a value", b"HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 5\r\n\r\nhello", BadGateway),
    ("bare CR in a value", b"HTTP/1.1 200 OK\r\nX: a\rSet-Cookie: b=c\r\nContent-Length: 5\r\n\r\nhello", BadGateway),
    ("bare LF in the head", b"HTTP/1.1 200 OK\r\nX: a\nSet-Cookie: b=c\r\nContent-Length: 5\r\n\r\nhello", Either),
    ("space before the colon", b"HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\nhello", BadGateway),
    ("folded value", b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 5\r\n\r\nhello", Either),
    ("name of no token", b"HTTP/1.1 200 OK\r\nX Y: a\r\nContent-Length: 5\r\n\r\nhello", BadGateway),
    ("reason with control characters", b"HTTP/1.1 200 O\x01K\r\nContent-Length: 5\r\n\r\nhello", BadGateway),
    (
        "101 that nobody asked for",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nhello",
        BadGateway,
    ),
    ("cl cut short", b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello", Verdict::Broken),
    ("chunked cut short", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", Verdict::Broken),
    ("chunk cut short", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n50\r\nhello", Verdict::Broken),
    (
        "chunk size of no digits",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n",
        Verdict::Broken,
    ),
    (
        "chunk without an end",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello0\r\n\r\n",
        Verdict::Broken,
    ),
    (
        "chunk size overflow",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000005\r\nhello\r\n0\r\n\r\n",
        Verdict::Broken,
    ),
    (
        "trailer malformed",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nnonsense\r\n\r\n",
        Verdict::Broken,
    ),
    ("plain", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", Whole(200, "hello")),
    ("until the end of the connection", b"HTTP/1.1 200 OK\r\n\r\nhello", Whole(200, "hello")),
    ("1.0 until the end", b"HTTP/1.0 200 OK\r\n\r\nhello", Whole(200, "hello")),
    ("chunked", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", Whole(200, "hello")),
    ("no reason phrase", b"HTTP/1.1 200 \r\nContent-Length: 5\r\n\r\nhello", Whole(200, "hello")),
    ("204 with a length", b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", Whole(204, "")),
    ("304 with a length", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\n\r\n", Whole(304, "")),
];

struct Stand {
    gateway: Mainstay,
    listen: std::net::SocketAddr,
    _backend: Scripted,
}

/// A backend that answers `/N` with `answers[N]` and closes; any other path well.
fn stand(answers: Vec<Vec<u8>>) -> Stand {
    let backend = Scripted::start(move |mut exchange: Exchange| {
        while let Some((head, _body)) = exchange.request() {
            let path = head.line.split(' ').nth(1).unwrap_or_default().trim_start_matches('/');
            match path.parse::<usize>().ok().and_then(|index| answers.get(index)) {
                None => exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
                Some(answer) => {
                    exchange.send(answer);
                    exchange.finish();
                    exchange.wait_for_close();
                    return;
                }
            }
        }
    });
    let listen = free();
    let config = simple(listen, &[backend.address()], "health = \"off\"\noutlier = \"off\"");
    Stand { gateway: Mainstay::start(&config), listen, _backend: backend }
}

impl Stand {
    fn ask(&self, path: &str) -> (Result<Response, Broken>, Wire) {
        let mut wire = Wire::try_connect(self.listen, Duration::from_secs(5)).expect("the gateway accepts");
        wire.send(format!("GET /{path} HTTP/1.1\r\nHost: a\r\n\r\n")).expect("sent");
        (wire.response(), wire)
    }

    fn judge(&self, index: usize, verdict: Verdict) -> Result<(), String> {
        let (answer, mut wire) = self.ask(&index.to_string());
        let told = match &answer {
            Ok(response) => format!("{} {:?} {:?}", response.status, response.reason(), response.text()),
            Err(broken) => broken.to_string(),
        };
        let bad = |response: &Response| response.status == 502 && response.reason().starts_with("upstream-");
        let fair = match (verdict, &answer) {
            (Verdict::BadGateway, Ok(response)) => bad(response),
            (Verdict::Broken, Ok(response)) => bad(response),
            (Verdict::Broken, Err(broken)) => matches!(broken, Broken::Truncated(_) | Broken::Reset | Broken::Closed),
            (Verdict::Whole(status, body), Ok(response)) => response.status == status && response.text() == body,
            (Verdict::Either, Ok(response)) => bad(response) || response.text() == "hello",
            (_, Err(_)) => false,
        };
        if !fair {
            return Err(told);
        }
        // Whatever came after the response must not be taken for the answer to another request.
        if answer.is_ok_and(|response| !response.head.has("connection", "close")) {
            let next = wire.send("GET /well HTTP/1.1\r\nHost: a\r\n\r\n").map_err(|error| error.to_string());
            let next = next.and_then(|()| wire.response().map_err(|broken| broken.to_string()));
            let next = next.map_err(|what| format!("{told}; the next request on the connection: {what}"))?;
            if next.text() != "ok" {
                return Err(format!("{told}; then {} {:?}", next.status, next.text()));
            }
        }
        let (after, _wire) = self.ask("well");
        let after = after.map_err(|broken| format!("{told}; does not serve afterwards: {broken}"))?;
        if after.status == 200 { Ok(()) } else { Err(format!("{told}; afterwards {}", after.status)) }
    }
}

#[test]
fn every_response_meets_its_verdict() {
    let mut stand = stand(CASES.iter().map(|(_, bytes, _)| bytes.to_vec()).collect());
    let mut wrong = Vec::new();
    for (index, (name, _, verdict)) in CASES.iter().enumerate() {
        if let Err(what) = stand.judge(index, *verdict) {
            wrong.push(format!("{name}: {what} (verdict {verdict:?})"));
        }
    }
    assert!(stand.gateway.process().is_running());
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), CASES.len(), wrong.join("\n"));
}

#[test]
fn floods_are_bounded() {
    let long = format!("HTTP/1.1 200 OK\r\nX: {}\r\nContent-Length: 5\r\n\r\nhello", "x".repeat(300_000));
    let endless = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(2_000_000));
    let many = format!("HTTP/1.1 200 OK\r\n{}Content-Length: 5\r\n\r\nhello", "X: 1\r\n".repeat(20_000));
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".repeat(100_000);
    let extension = format!(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;{}\r\nhello\r\n0\r\n\r\n",
        "e".repeat(2_000_000)
    );
    let trailers =
        format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n{}\r\n", "X: 1\r\n".repeat(200_000));
    let floods = [long, endless, many, extension, trailers];
    let mut stand = stand(floods.iter().map(|flood| flood.clone().into_bytes()).chain([hints.into_bytes()]).collect());
    let before = stand.gateway.process().resident_bytes();
    for index in 0..floods.len() {
        match stand.ask(&index.to_string()).0 {
            Ok(response) => assert_eq!((response.status, index), (502, index)),
            Err(broken) => assert!(matches!(broken, Broken::Truncated(_) | Broken::Reset | Broken::Closed), "{broken}"),
        }
        assert_eq!(stand.ask("well").0.expect("an answer").status, 200, "after flood {index}");
    }
    // Interim responses: the client may see some of them, then an error or a closed connection, but never all.
    let (mut wire, mut interim) = (Wire::connect(stand.listen), 0);
    wire.send(format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", floods.len())).expect("sent");
    while matches!(wire.head(), Ok((103, _))) {
        interim += 1;
        assert!(interim < 10_000, "a flood of interim responses is passed on");
    }
    assert_eq!(stand.ask("well").0.expect("an answer").status, 200);
    let after = stand.gateway.process().resident_bytes();
    assert!(after < before + 64 * 1024 * 1024, "{before} -> {after}");
}

#[test]
fn bytes_behind_a_response_poison_no_other_client() {
    let backend = Scripted::start(|mut exchange: Exchange| {
        while let Some((head, _body)) = exchange.request() {
            if head.line.contains("/poison") {
                exchange.send(
                    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison",
                );
            } else {
                exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
            }
        }
    });
    let listen = free();
    let config = simple(listen, &[backend.address()], "health = \"off\"\noutlier = \"off\"");
    let _gateway = Mainstay::start(&config);
    for _round in 0..20 {
        let poisoned = mainstay_e2e::wire::get(listen, "/poison");
        assert!(poisoned.text() == "hello" || poisoned.status == 502, "{}", poisoned.text());
        for _client in 0..3 {
            assert_eq!(mainstay_e2e::wire::get(listen, "/well").text(), "ok");
        }
    }
}

#[test]
fn a_reset_before_the_response_is_502_and_in_the_body_is_broken() {
    let backend = Scripted::start(|mut exchange: Exchange| {
        let Some((head, _body)) = exchange.request() else { return };
        if head.line.contains("/body") {
            exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello");
            std::thread::sleep(Duration::from_millis(200));
        }
        exchange.reset();
    });
    let listen = free();
    let config = simple(listen, &[backend.address()], "health = \"off\"\noutlier = \"off\"");
    let gateway = Mainstay::start(&config);
    let response = mainstay_e2e::wire::get(listen, "/head");
    assert_eq!((response.status, response.reason()), (502, "upstream-reset"));
    let mut wire = Wire::connect(listen);
    wire.send("GET /body HTTP/1.1\r\nHost: a\r\n\r\n").expect("sent");
    let broken = wire.response().expect_err("no whole response");
    assert!(matches!(broken, Broken::Truncated(Some(200)) | Broken::Reset), "{broken}");
    let line = gateway.logged("/body");
    assert_ne!(line["error"], serde_json::Value::Null, "{line}");
}

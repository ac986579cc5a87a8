//! RFC 9111, case by case.

use std::time::Duration;

use mainstay_e2e::http::Head;
use mainstay_e2e::http2::{Http2, request as http2_request};
use mainstay_e2e::{Mainstay, Wire, eventually, free, tools};

use super::{Counting, config, get, is_hit, request, results, status_of};

/// A page by its path: the origin answers with the lines that the test gave it under this path.
struct Case {
    path: &'static str,
    /// Status and fields of the origin.
    told: &'static str,
    /// Fields of the first request.
    first: &'static [&'static str],
    /// Fields of the second one.
    second: &'static [&'static str],
    /// Whether the second one is answered from the cache.
    hit: bool,
}

const fn case(path: &'static str, told: &'static str, hit: bool) -> Case {
    Case { path, told, first: &[], second: &[], hit }
}

const CASES: &[Case] = &[
    case("/max-age", "200 OK\r\ncache-control: max-age=60", true),
    case("/s-maxage", "200 OK\r\ncache-control: max-age=0, s-maxage=60", true),
    case("/expires", "200 OK\r\nexpires: Thu, 31 Dec 2099 00:00:00 GMT", true),
    case("/expired", "200 OK\r\nexpires: Thu, 01 Jan 1970 00:00:00 GMT", false),
    case("/expires-0", "200 OK\r\nexpires: 0", false),
    case("/silent", "200 OK\r\nx-a: 1", false),
    case("/no-store", "200 OK\r\ncache-control: no-store, max-age=60", false),
    case("/no-cache", "200 OK\r\ncache-control: no-cache, max-age=60", false),
    case("/private", "200 OK\r\ncache-control: private, max-age=60", false),
    case("/set-cookie", "200 OK\r\ncache-control: public, max-age=60\r\nset-cookie: a=1", false),
    case("/vary-star", "200 OK\r\ncache-control: max-age=60\r\nvary: *", false),
    case("/aged", "200 OK\r\ncache-control: max-age=60\r\nage: 61", false),
    case("/not-found", "404 Not Found\r\ncache-control: max-age=60", true),
    case("/not-found-silent", "404 Not Found\r\nx-a: 1", false),
    case("/moved", "301 Moved\r\nlocation: /x\r\ncache-control: max-age=60", true),
    case("/error", "500 Oh\r\ncache-control: max-age=60", false),
    case("/partial", "206 Partial\r\ncontent-range: bytes 0-0/5\r\ncache-control: max-age=60", false),
    Case { second: &["Cache-Control: no-cache"], ..case("/asked-anew", "200 OK\r\ncache-control: max-age=60", false) },
    Case { second: &["Pragma: no-cache"], ..case("/pragma", "200 OK\r\ncache-control: max-age=60", false) },
    Case { second: &["Cache-Control: max-age=0"], ..case("/reload", "200 OK\r\ncache-control: max-age=60", false) },
    Case { second: &["Cache-Control: min-fresh=99"], ..case("/min", "200 OK\r\ncache-control: max-age=60", false) },
    Case { first: &["Cache-Control: no-store"], ..case("/asked-not", "200 OK\r\ncache-control: max-age=60", false) },
    Case { second: &["Cache-Control: only-if-cached"], ..case("/only", "200 OK\r\ncache-control: max-age=60", true) },
    Case { second: &["Range: bytes=0-0"], ..case("/range", "200 OK\r\ncache-control: max-age=60", false) },
    Case { second: &["Cookie: a=1"], ..case("/cookie", "200 OK\r\ncache-control: max-age=60", true) },
    Case { second: &["Authorization: x"], ..case("/auth", "200 OK\r\ncache-control: max-age=60", false) },
    Case {
        first: &["Authorization: x"],
        second: &["Authorization: x"],
        ..case("/auth-2", "200 OK\r\ncache-control: max-age=60", false)
    },
    Case {
        first: &["Authorization: x"],
        second: &["Authorization: y"],
        ..case("/auth-public", "200 OK\r\ncache-control: public, max-age=60", true)
    },
    Case {
        first: &["Accept: a"],
        second: &["Accept: b"],
        ..case("/vary", "200 OK\r\ncache-control: max-age=60\r\nvary: accept", false)
    },
    Case {
        first: &["Accept: a, b"],
        second: &["accept: a ,b"],
        ..case("/vary-same", "200 OK\r\ncache-control: max-age=60\r\nvary: Accept", true)
    },
];

/// What the origin answers.
fn told(head: &Head) -> (String, Vec<u8>) {
    let path = head.line.split(' ').nth(1).unwrap_or_default().to_owned();
    let told = CASES.iter().find(|case| case.path == path).map_or("200 OK", |case| case.told);
    (format!("HTTP/1.1 {told}"), b"12345".to_vec())
}

#[test]
fn the_table_of_cases() {
    let listen = free();
    let origin = Counting::start(told);
    let gateway = Mainstay::start(&config(listen, origin.address(), "true", ""));
    for case in CASES {
        let first = get(listen, case.path, case.first);
        assert!(!is_hit(&first), "{}: {}", case.path, status_of(&first));
        let before = origin.count();
        let second = get(listen, case.path, case.second);
        let asked = origin.count() - before;
        assert_eq!(
            (is_hit(&second), asked),
            (case.hit, usize::from(!case.hit)),
            "{}: {}",
            case.path,
            status_of(&second)
        );
        assert_eq!((second.status, second.text()), (first.status, first.text()), "{}", case.path);
        assert!(!case.hit || second.header("age").is_some(), "{}", case.path);
    }
    let missing = get(listen, "/nothing-here", &["Cache-Control: only-if-cached"]);
    assert_eq!((missing.status, missing.reason()), (504, "not-cached"));
    assert!(gateway.metric("mainstay_cache_bytes", &[]) > 0.0);
    assert!(results(&gateway, "hit") >= 1.0 && results(&gateway, "bypass") >= 1.0);
}

/// Where nginx, asked the same, serves from its cache what we do not: it reads neither `Age` nor what requests say, stores any
/// status, and tells nobody apart by `Authorization`.
const NGINX_ALONE: &[&str] = &[
    "/aged",
    "/error",
    "/partial",
    "/asked-anew",
    "/pragma",
    "/reload",
    "/min",
    "/asked-not",
    "/range",
    "/auth",
    "/auth-2",
];

/// The control: another cache in front of the same origin. Whatever we serve from the cache, it does too, but for a request
/// that differs in nothing but the space around a comma.
#[test]
fn nginx_serves_all_that_we_serve() {
    let (listen, peer) = (free(), free());
    let origin = Counting::start(told);
    let _gateway = Mainstay::start(&config(listen, origin.address(), "true", ""));
    let blocks = format!(
        "proxy_cache_path c keys_zone=c:1m;\nserver {{ listen {peer}; location / {{ proxy_pass http://{};\n\
         proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_cache c; proxy_cache_key $uri; }} }}",
        origin.address()
    );
    let _nginx = tools::nginx(peer, &blocks, &[]);
    let served = |address, case: &Case| {
        get(address, case.path, case.first);
        let before = origin.count();
        get(address, case.path, case.second);
        origin.count() == before
    };
    let (mut alone, mut ours_alone) = (Vec::new(), Vec::new());
    for case in CASES {
        match (served(listen, case), served(peer, case)) {
            (false, true) => alone.push(case.path),
            (true, false) => ours_alone.push(case.path),
            (true, true) | (false, false) => {}
        }
    }
    assert_eq!((alone.as_slice(), ours_alone.as_slice()), (NGINX_ALONE, &["/vary-same"][..]));
}

/// An origin with validators: it answers 304 to what it knows.
fn validating() -> Counting {
    Counting::start(|head| {
        let fields = "etag: \"v1\"\r\nlast-modified: Sun, 06 Nov 1994 08:49:37 GMT\r\ncache-control: max-age=1";
        if head.get("if-none-match") == Some("\"v1\"") {
            return (format!("HTTP/1.1 304 Not Modified\r\n{fields}\r\nx-round: 2"), Vec::new());
        }
        (format!("HTTP/1.1 200 OK\r\n{fields}\r\nx-round: 1\r\ncontent-type: text/x"), b"content".to_vec())
    })
}

#[test]
fn validation_spares_the_body() {
    let (listen, origin) = (free(), validating());
    let gateway = Mainstay::start(&config(listen, origin.address(), "{ jitter = \"0%\" }", ""));
    // What the client has does not matter to what is stored.
    let has_it = get(listen, "/a", &["If-None-Match: \"v1\""]);
    assert_eq!((has_it.status, has_it.text().as_str()), (304, ""));
    let first = get(listen, "/a", &[]);
    assert_eq!((first.status, first.text().as_str(), is_hit(&first)), (200, "content", true));
    std::thread::sleep(Duration::from_millis(1_150));
    let second = get(listen, "/a", &[]);
    assert_eq!((second.status, second.text().as_str()), (200, "content"));
    assert_eq!(status_of(&second).split("; ttl").next(), Some("mainstay; fwd=stale; fwd-status=304; stored"));
    assert_eq!((second.header("x-round"), second.header("content-type")), (Some("2"), Some("text/x")));
    assert!(is_hit(&get(listen, "/a", &[])), "it is fresh again");
    assert_eq!((origin.count(), results(&gateway, "validated")), (2, 1.0));
    for (lines, status) in [
        (&["If-None-Match: \"v1\""][..], 304),
        (&["If-None-Match: W/\"v1\", \"v0\""], 304),
        (&["If-None-Match: *"], 304),
        (&["If-None-Match: \"v2\""], 200),
        (&["If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT"], 304),
        (&["If-Modified-Since: Sat, 05 Nov 1994 08:49:37 GMT"], 200),
        (&["If-None-Match: \"v2\"", "If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT"], 200),
    ] {
        let response = get(listen, "/a", lines);
        assert_eq!(response.status, status, "{lines:?}");
        assert_eq!(response.header("etag"), Some("\"v1\""), "{lines:?}");
    }
}

#[test]
fn heads_pipelines_and_multiplexed_clients() {
    let listen = free();
    let origin = Counting::start(|_head| {
        ("HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\nx-gone: 1\r\nx-kept: 2".to_owned(), b"hello".to_vec())
    });
    let more = "response_headers = { set = { x-set = \"3\" }, remove = \"x-gone\" }";
    let _gateway = Mainstay::start(&config(listen, origin.address(), "true", more));
    get(listen, "/a", &[]);
    let mut wire = Wire::connect(listen);
    let line = "GET /a HTTP/1.1\r\nHost: shop\r\n\r\n";
    wire.send(line.repeat(3)).expect("sent");
    for _response in 0..3 {
        let response = wire.response().expect("an answer");
        assert!(is_hit(&response), "{}", status_of(&response));
        assert_eq!(response.text(), "hello");
        let fields = ["x-gone", "x-kept", "x-set"].map(|name| response.header(name));
        assert_eq!(fields, [None, Some("2"), Some("3")]);
        assert!(response.header("date").is_some() && response.header("age").is_some());
    }
    let head = wire.exchange("HEAD /a HTTP/1.1\r\nHost: shop\r\n\r\n");
    assert_eq!((head.status, head.header("content-length"), is_hit(&head)), (200, Some("5"), true));
    let answer = Http2::connect(listen).exchange(http2_request("GET", "/a"), b"");
    assert_eq!(answer.body, b"hello");
    let before = origin.count();
    let again = Http2::connect(listen).exchange(http2_request("GET", "/a"), b"");
    assert!(again.header("cache-status").contains("; hit"), "{}", again.header("cache-status"));
    assert_eq!(origin.count(), before);
}

#[test]
fn what_changes_a_resource_empties_its_place() {
    let listen = free();
    let origin = Counting::start(|head| {
        let status = if head.line.contains("refused") { "403 No" } else { "200 OK" };
        (format!("HTTP/1.1 {status}\r\ncache-control: max-age=60"), b"x".to_vec())
    });
    let gateway = Mainstay::start(&config(listen, origin.address(), "true", ""));
    for method in ["POST", "PUT", "DELETE", "PATCH"] {
        get(listen, "/a", &[]);
        assert!(is_hit(&get(listen, "/a", &[])));
        assert_eq!(request(listen, method, "/a", &["Content-Length: 0"]).status, 200);
        assert!(!is_hit(&get(listen, "/a", &[])), "{method}");
    }
    request(listen, "OPTIONS", "/a", &[]);
    request(listen, "POST", "/b", &["Content-Length: 0"]);
    assert!(is_hit(&get(listen, "/a", &[])), "what changes nothing here leaves it");
    // Workers write their lines apart, so that the order is open.
    eventually("the log says how", Duration::from_secs(5), || {
        let words: Vec<_> = gateway.access_log().iter().map(|line| line["cache"].clone()).collect();
        words.contains(&"miss".into()) && words.contains(&"hit".into())
    });
}

#[test]
fn memory_is_bounded() {
    let listen = free();
    let origin =
        Counting::start(|_head| ("HTTP/1.1 200 OK\r\ncache-control: max-age=60".to_owned(), vec![b'x'; 20_000]));
    let config = config(listen, origin.address(), "{ max_object = \"64KiB\" }", "");
    let gateway = Mainstay::start_with("cache = { memory = \"1MiB\" }", &config);
    let mut wire = Wire::connect(listen);
    for page in 0..300 {
        let response = wire.exchange(format!("GET /{page} HTTP/1.1\r\nHost: shop\r\n\r\n"));
        assert_eq!((response.status, response.body.bytes.len()), (200, 20_000));
    }
    let (bytes, evictions) =
        (gateway.metric("mainstay_cache_bytes", &[]), gateway.metric("mainstay_cache_evictions_total", &[]));
    assert!(bytes > 200_000.0 && bytes <= 1_048_576.0, "{bytes}");
    assert!(evictions >= 240.0, "{evictions}");
}

#[test]
fn an_operator_can_have_it_forgotten() {
    let listen = free();
    let origin = Counting::start(|_head| ("HTTP/1.1 200 OK\r\ncache-control: max-age=60".to_owned(), b"x".to_vec()));
    let gateway = Mainstay::start(&config(listen, origin.address(), "true", ""));
    for path in ["/a/1", "/a/2", "/b"] {
        get(listen, path, &[]);
    }
    let run = |arguments: &[&str]| {
        let output = gateway.command(&[&["cache", "purge"], arguments].concat());
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    };
    assert_eq!(run(&["--path", "/a"]), "2 stored responses forgotten\n");
    assert!(is_hit(&get(listen, "/b", &[])) && !is_hit(&get(listen, "/a/1", &[])));
    assert!(run(&["--route", "al"]).contains("there is no route `al`"));
    assert_eq!(run(&["--route", "all"]), "2 stored responses forgotten\n");
    assert!(!is_hit(&get(listen, "/b", &[])));
}

#[test]
fn what_was_under_way_when_it_changed_is_not_stored() {
    let listen = free();
    let origin = Counting::start(|head| {
        if head.line.starts_with("GET ") {
            std::thread::sleep(Duration::from_millis(600));
        }
        ("HTTP/1.1 200 OK\r\ncache-control: max-age=60".to_owned(), b"x".to_vec())
    });
    let _gateway = Mainstay::start(&config(listen, origin.address(), "true", ""));
    let reading = std::thread::spawn(move || get(listen, "/a", &[]));
    eventually("it is being read", Duration::from_secs(5), || origin.count() == 1);
    assert_eq!(request(listen, "PUT", "/a", &["Content-Length: 0"]).status, 200);
    assert_eq!(reading.join().expect("an answer").status, 200);
    assert!(!is_hit(&get(listen, "/a", &[])), "what was read may be what was there before");
    assert!(is_hit(&get(listen, "/a", &[])));
}

//! Heads that two servers might read differently, each with its verdict.

use super::*;

const LIMITS: Limits = Limits { bytes: 1024, headers: 8 };

fn parsed(bytes: &str) -> Result<(Progress, Head), Reject> {
    let mut head = Head::default();
    parse(bytes.as_bytes(), LIMITS, &mut head).map(|progress| (progress, head))
}

fn complete(bytes: &str) -> Head {
    let (progress, head) = parsed(bytes).unwrap_or_else(|reject| panic!("{reject}: {bytes:?}"));
    assert_eq!(progress, Progress::Complete, "{bytes:?}");
    head
}

fn refused(bytes: &str) -> Reject {
    match parsed(bytes) {
        Ok((progress, _head)) => panic!("taken ({progress:?}): {bytes:?}"),
        Err(reject) => reject,
    }
}

#[test]
fn ambiguous_framing_is_refused() {
    for fields in [
        "Content-Length: 1\r\nTransfer-Encoding: chunked",
        "Content-Length: 1\r\nContent-Length: 1",
        "Content-Length: 1\r\nContent-Length: 2",
        "Content-Length: 1, 1",
        "Content-Length: +1",
        "Content-Length: -1",
        "Content-Length: 0x10",
        "Content-Length:",
        "Content-Length: 1 1",
        "Content-Length: 9223372036854775808",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked, gzip",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: \"chunked\"",
        "Transfer-Encoding: chunked;q=1",
        "Transfer-Encoding:",
    ] {
        assert_eq!(refused(&format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n")), Reject::Framing, "{fields}");
    }
    assert_eq!(refused("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), Reject::Framing);
    assert_eq!(refused("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"), Reject::Coding);
}

#[test]
fn malformed_heads_are_refused() {
    for bytes in [
        "GET / HTTP/1.1\nHost: a\n\n",
        "GET / HTTP/1.1\r\nHost: a\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n",
        "GET / HTTP/1.1\r\n Host: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n: a\r\n\r\n",
        "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /  HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /\r\nHost: a\r\n\r\n",
        "\0GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        " GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: a b\r\n\r\n",
    ] {
        assert_eq!(refused(bytes), Reject::Malformed, "{bytes:?}");
    }
}

#[test]
fn hosts_and_targets_are_checked() {
    for host in ["", "a b", "a/b", "a@b", "a,b", "a:99999", "a:x", "[::1", "[zz]", "a:1:2", "\u{e9}"] {
        assert_eq!(refused(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")), Reject::Host, "{host}");
    }
    assert_eq!(refused("GET / HTTP/1.1\r\n\r\n"), Reject::Host);
    assert_eq!(refused("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"), Reject::Host);
    assert_eq!(refused("GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n"), Reject::Host);
    for target in [
        "a",
        "*",
        "//../x/..",
        "/a/../b",
        "/a/%2e%2E/b",
        "/..",
        "/a#b",
        "/a/..%2fb",
        "/x%2f..%2fy",
        "ftp://a/",
        "/a\\..\\b",
    ] {
        assert_eq!(refused(&format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")), Reject::Target, "{target}");
    }
    for target in ["/", "/a..b", "/...", "/.well-known/x", "/%2e%2e%2e", "/a?b=../c", "//a", "/a%2fb"] {
        complete(&format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
    }
    for host in ["a", "A.example", "a:80", "a:", "127.0.0.1:8080", "[::1]", "[::1]:80", "a_b"] {
        complete(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
    }
}

/// Starting over at each encoded slash once made this take time exponential in their number.
#[test]
fn a_path_of_encoded_slashes_is_read_in_one_pass() {
    for unit in ["%2fa", "%5ca", "%2f%5c", "%5", "%2e%2e%2e%2f"] {
        assert!(!has_dot_segment(format!("/a{}", unit.repeat(10_000)).as_bytes()), "{unit}");
    }
    assert!(has_dot_segment(format!("/a{}%2f%2E%2e", "%2fa".repeat(10_000)).as_bytes()));
}

#[test]
fn limits_hold() {
    let long = "x".repeat(2000);
    assert_eq!(refused(&format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n")), Reject::TargetTooLong);
    assert_eq!(refused(&format!("GET / HTTP/1.1\r\nHost: a\r\nX: {long}\r\n\r\n")), Reject::TooLarge);
    assert_eq!(refused(&format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: 1\r\n".repeat(8))), Reject::TooLarge);
    assert_eq!(parsed("GET / HTTP/1.1\r\nHost: a\r\n").map(|(progress, _head)| progress), Ok(Progress::Partial));
}

#[test]
fn what_passes_is_read_right() {
    let bytes = "GET http://A.b:80/p/q?r HTTP/1.1\r\nHost: a.B:80\r\nConnection: Keep-Alive, X-Hop\r\nX-Hop: 1\r\nTE: trailers\r\n\r\n";
    let head = complete(bytes);
    assert_eq!(head.target.text(bytes.as_bytes()), "/p/q?r");
    assert_eq!(head.routed_path(bytes.as_bytes()), "/p/q");
    assert_eq!(head.host.text(bytes.as_bytes()), "a.B");
    assert_eq!(head.nominated.len(), 1);
    assert!(head.keep_alive && head.accepts_trailers && !head.wants_upgrade);
    let bytes = "GET http://a HTTP/1.1\r\nHost: a\r\n\r\n";
    let head = complete(bytes);
    assert_eq!(head.target_prefix(bytes.as_bytes()), b"/");
    assert!(!complete("GET / HTTP/1.0\r\n\r\n").keep_alive);
    assert!(complete("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").keep_alive);
    assert_eq!(complete("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").framing, Framing::Empty);
    assert_eq!(complete("POST / HTTP/1.1\r\nHost: a\r\ntransfer-encoding: Chunked\r\n\r\n").framing, Framing::Chunked);
}

#[test]
fn methods_and_expectations() {
    assert_eq!(refused("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n"), Reject::Connect);
    assert_eq!(refused("GET / HTTP/1.1\r\nHost: a\r\nExpect: 200-ok\r\n\r\n"), Reject::Expectation);
    let upgrade = "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\nContent-Length: 1\r\n\r\n";
    assert_eq!(refused(upgrade), Reject::UpgradeWithBody);
    assert_eq!(refused("GET / HTTP/3.0\r\nHost: a\r\n\r\n"), Reject::Version);
}

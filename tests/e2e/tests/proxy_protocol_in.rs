//! PROXY headers in front of what listeners take: from HAProxy, from hand, and from those who may send none.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use mainstay_e2e::scripted::{Exchange, Scripted};
use mainstay_e2e::tls::{Authority, Client};
use mainstay_e2e::{Mainstay, Origin, Wire, eventually, free, tools, wire};

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 9, 9, 9));
const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 8, 8, 8));
const GET: &str = "GET /echo HTTP/1.1\r\nHost: shop.test\r\n\r\n";
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

fn config(listen: SocketAddr, endpoint: SocketAddr, listener: &str, timeout: &str) -> String {
    format!(
        "[[listener]]\nname = \"web\"\nbind = \"{listen}\"\n\
         proxy_protocol = {{ trusted = [\"127.0.0.1\"], timeout = \"{timeout}\" }}\n{listener}\n\n\
         [[service]]\nname = \"app\"\nendpoints = [\"{endpoint}\"]\nhealth = \"off\"\n"
    )
}

fn received(response: &wire::Response, name: &str) -> String {
    let json = response.json();
    let headers = json["headers"].as_array().expect("headers");
    let found = headers.iter().find(|pair| pair[0].as_str().is_some_and(|key| key.eq_ignore_ascii_case(name)));
    found.and_then(|pair| pair[1].as_str()).unwrap_or_default().to_owned()
}

fn haproxy(listen: SocketAddr, gateway: SocketAddr, mode: &str, option: &str) -> tools::Server {
    let text = format!(
        "frontend f\n  mode {mode}\n  bind {listen}\n  default_backend b\n\
         backend b\n  mode {mode}\n  server s {gateway} {option}\n"
    );
    tools::haproxy(listen, &text, &[])
}

fn failures(gateway: &Mainstay, reason: &str) -> f64 {
    gateway.metric("mainstay_listener_proxy_protocol_failures_total", &["\"web\"", &format!("\"{reason}\"")])
}

#[test]
fn haproxy_in_front_names_the_client() {
    let origin = Origin::start();
    for option in ["send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options crc32c,unique-id"] {
        let (front, listen) = (free(), free());
        let gateway = Mainstay::start(&config(listen, origin.address(), "", "5s"));
        let _haproxy = haproxy(front, listen, "http", option);
        let mut wire = Wire::connect_from(CLIENT, front);
        for _request in 0..3 {
            let response = wire.exchange(GET);
            assert_eq!(
                (response.status, received(&response, "x-forwarded-for").as_str()),
                (200, "127.9.9.9"),
                "{option}"
            );
        }
        assert_eq!(gateway.logged("/echo")["client"], "127.9.9.9");
        for reason in ["untrusted", "timeout", "malformed"] {
            assert_eq!(failures(&gateway, reason), 0.0, "{option}: {reason}");
        }
    }
}

#[test]
fn the_header_comes_before_tls() {
    let (origin, authority) = (Origin::start(), Authority::new("inside"));
    let identity = authority.issue(&["shop.test"]);
    for option in ["send-proxy", "send-proxy-v2"] {
        let (front, listen) = (free(), free());
        let text = config(listen, origin.address(), "tls = { cert = \"s.pem\", key = \"s.key\" }", "5s");
        let mut gateway = Mainstay::launch("", &text, &[("s.pem", &identity.cert), ("s.key", &identity.key)]);
        gateway.wait_until_ready();
        let _haproxy = haproxy(front, listen, "tcp", option);
        let mut wire = Client::trusting(&authority).connect(front, "shop.test").expect("a handshake through HAProxy");
        let response = wire.exchange(GET);
        assert_eq!((response.status, received(&response, "x-forwarded-proto").as_str()), (200, "https"));
        let direct = Client::trusting(&authority).connect(listen, "shop.test");
        assert!(direct.is_err(), "TLS without a header");
        assert_eq!(failures(&gateway, "malformed"), 1.0);
    }
}

#[test]
fn tcp_listeners_take_it_too_and_hash_by_it() {
    let name = |name: &'static str| {
        Scripted::start(move |mut exchange: Exchange| {
            exchange.send(name);
            exchange.finish();
            exchange.wait_for_close();
        })
    };
    let (one, two, listen) = (name("1"), name("2"), free());
    let text = config(listen, one.address(), "protocol = \"tcp\"\nservice = \"app\"", "5s");
    let text = text.replace("endpoints = [", &format!("balance = \"hash\"\nendpoints = [\"{}\", ", two.address()));
    let _gateway = Mainstay::start(&text);
    let ask = |client: &str| {
        let mut wire = Wire::connect(listen);
        wire.send(format!("PROXY TCP4 {client} 192.0.2.1 1000 5432\r\n")).expect("sent");
        String::from_utf8(wire.rest().expect("an answer")).expect("a digit")
    };
    let mut seen = String::new();
    for last in 1..40 {
        let client = format!("198.51.100.{last}");
        let first = ask(&client);
        assert_eq!(first, ask(&client), "a client keeps its endpoint");
        seen += &first;
    }
    assert!(seen.contains('1') && seen.contains('2'), "clients spread: {seen}");
}

/// A header for IPv4 from 203.0.113.5.
fn block(command: u8) -> Vec<u8> {
    let body = [203, 0, 113, 5, 192, 0, 2, 1, 0x10, 0, 0, 80];
    [SIGNATURE, &[command, 0x11, 0, 12], &body].concat()
}

#[test]
fn a_header_may_come_in_any_pieces_and_nothing_behind_it_is_lost() {
    let (origin, listen) = (Origin::start(), free());
    let gateway = Mainstay::start(&config(listen, origin.address(), "", "5s"));
    let line = b"PROXY TCP4 203.0.113.5 192.0.2.1 4096 80\r\n".to_vec();
    let unknown = b"PROXY UNKNOWN whatever stands here\r\n".to_vec();
    let mut long = block(0x21);
    long.extend([0xE0, 0x0E, 0x10]);
    long.extend(vec![7; 3600]);
    long[14..16].copy_from_slice(&(12_u16 + 3 + 3600).to_be_bytes());
    for (header, client) in [
        (line, "203.0.113.5"),
        (unknown, "127.0.0.1"),
        (block(0x21), "203.0.113.5"),
        (block(0x20), "127.0.0.1"),
        (long, "203.0.113.5"),
    ] {
        let all = [&header[..], GET.as_bytes()].concat();
        let step = (all.len() / 12).max(1);
        for cut in (0..all.len()).step_by(step).chain([header.len() - 1, header.len(), header.len() + 1]) {
            let mut wire = Wire::connect(listen);
            wire.send(&all[..cut]).expect("the first piece");
            std::thread::sleep(Duration::from_millis(10));
            wire.send(&all[cut..]).expect("the second piece");
            let response = wire.response().expect("an answer");
            assert_eq!(received(&response, "x-forwarded-for"), client, "cut at {cut}");
        }
    }
    let mut wire = Wire::connect(listen);
    for byte in [&block(0x21)[..], GET.as_bytes()].concat() {
        wire.send([byte]).expect("one byte");
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(received(&wire.response().expect("an answer"), "x-forwarded-for"), "203.0.113.5");
    assert_eq!(failures(&gateway, "malformed") + failures(&gateway, "timeout"), 0.0);
}

#[test]
fn trusted_proxies_are_compared_with_whom_the_header_names() {
    let (origin, listen) = (Origin::start(), free());
    let trusting = "trusted_proxies = [\"203.0.113.0/24\"]";
    let gateway = Mainstay::start(&config(listen, origin.address(), trusting, "5s"));
    let ask = |source: &str, path: &str| {
        let mut wire = Wire::connect(listen);
        let head = format!("GET {path} HTTP/1.1\r\nHost: shop.test\r\nX-Forwarded-For: 198.51.100.77\r\n\r\n");
        let response = wire.exchange(format!("PROXY TCP4 {source} 192.0.2.1 4096 80\r\n{head}"));
        (received(&response, "x-forwarded-for"), gateway.logged(path)["client"].as_str().unwrap_or_default().to_owned())
    };
    let believed = ask("203.0.113.5", "/believed");
    assert_eq!(believed, ("198.51.100.77, 203.0.113.5".to_owned(), "198.51.100.77".to_owned()));
    // 127.0.0.1 may send headers, which does not make it a proxy whose X-Forwarded-For counts.
    let not = ask("192.0.2.9", "/not");
    assert_eq!(not, ("192.0.2.9".to_owned(), "192.0.2.9".to_owned()));
}

/// Sends, and waits for the end without an answer.
fn refused(listen: SocketAddr, from: Option<IpAddr>, bytes: &[u8]) {
    let mut wire = from.map_or_else(|| Wire::connect(listen), |from| Wire::connect_from(from, listen));
    // The gateway may have closed already.
    let _gone = wire.send(bytes);
    let mut stream: &TcpStream = wire.stream();
    let mut rest = Vec::new();
    let _reset_is_fine = stream.read_to_end(&mut rest);
    assert!(rest.is_empty(), "{:?} was answered: {}", bytes.escape_ascii().to_string(), rest.escape_ascii());
}

#[test]
fn without_a_right_header_nothing_reaches_the_endpoint() {
    let scripted = Scripted::start(|exchange: Exchange| exchange.note("a connection"));
    let listen = free();
    for listener in ["", "protocol = \"tcp\"\nservice = \"app\""] {
        let gateway = Mainstay::start_with("", &config(listen, scripted.address(), listener, "1s"));
        let whole = [&block(0x21)[..], GET.as_bytes()].concat();
        refused(listen, Some(STRANGER), &whole);
        refused(listen, Some(STRANGER), b"");
        assert_eq!(failures(&gateway, "untrusted"), 2.0);
        let wrong: &[&[u8]] = &[
            GET.as_bytes(),
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            b"PROXY TCP4 1.2.3.4 5.6.7.8 99999 2\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\x0c............GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0b...........GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xffGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x13............\x03\0\x04\0\0\0\0GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        ];
        for bytes in wrong {
            refused(listen, None, bytes);
        }
        assert_eq!(failures(&gateway, "malformed"), wrong.len() as f64);
        let begun = Instant::now();
        for slow in [&b""[..], b"P", b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r", &whole[..20]] {
            refused(listen, None, slow);
        }
        assert!(begun.elapsed() >= Duration::from_secs(3), "{:?}", begun.elapsed());
        assert!(begun.elapsed() < Duration::from_secs(12), "{:?}", begun.elapsed());
        assert_eq!(failures(&gateway, "timeout"), 4.0);
        // Checks of load balancers only connect, which is no failure.
        drop(TcpStream::connect(listen).expect("a connection"));
        let mut broken = TcpStream::connect(listen).expect("a connection");
        broken.write_all(b"PROXY ").expect("sent");
        drop(broken);
        eventually("one that broke off is counted", Duration::from_secs(5), || {
            failures(&gateway, "malformed") == wrong.len() as f64 + 1.0
        });
        eventually("no connection is left", Duration::from_secs(5), || {
            gateway.metric("mainstay_listener_connections", &["\"web\""]) == 0.0
        });
        assert_eq!(scripted.seen(), [""; 0], "something reached the endpoint");
    }
}

#[test]
fn a_reload_switches_it_for_new_connections() {
    let (origin, listen) = (Origin::start(), free());
    let with = config(listen, origin.address(), "", "5s");
    let without: String =
        with.lines().filter(|line| !line.starts_with("proxy_protocol")).map(|line| format!("{line}\n")).collect();
    let mut gateway = Mainstay::start(&without);
    let mut old = Wire::connect(listen);
    assert_eq!(old.exchange(GET).status, 200);
    gateway.reload(&with);
    assert_eq!(old.exchange(GET).status, 200, "a connection that stands goes on");
    refused(listen, None, GET.as_bytes());
    let mut new = Wire::connect(listen);
    assert_eq!(new.exchange(format!("PROXY UNKNOWN\r\n{GET}")).status, 200);
}

#[test]
fn a_connection_that_waits_with_its_header_does_not_hold_a_shutdown() {
    let (origin, listen) = (Origin::start(), free());
    let mut gateway = Mainstay::start(&config(listen, origin.address(), "", "1m"));
    let mut waiting = Wire::connect(listen);
    waiting.send("PROXY ").expect("sent");
    eventually("it is accepted", Duration::from_secs(5), || {
        gateway.metric("mainstay_listener_connections", &["\"web\""]) == 1.0
    });
    let begun = Instant::now();
    assert!(gateway.terminate(Duration::from_secs(20)).success());
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[test]
fn http2_follows_a_header_as_well() {
    let (origin, authority) = (Origin::start(), Authority::new("inside"));
    let identity = authority.issue(&["shop.test"]);
    for (tls, scheme, how) in
        [("", "http", "--http2-prior-knowledge"), ("tls = { cert = \"s.pem\", key = \"s.key\" }", "https", "--http2")]
    {
        let listen = free();
        let text = config(listen, origin.address(), tls, "5s");
        let mut gateway = Mainstay::launch("", &text, &[("s.pem", &identity.cert), ("s.key", &identity.key)]);
        gateway.wait_until_ready();
        let url = format!("{scheme}://{listen}/h2");
        let ask = |header: &[&str]| {
            let arguments =
                [&["-sk", "--max-time", "10", how, "-w", "\n%{http_version} %{http_code}"], header, &[&url]];
            let output = std::process::Command::new(tools::find("curl", "curl")).args(arguments.concat()).output();
            String::from_utf8_lossy(&output.expect("curl starts").stdout).into_owned()
        };
        let answer = ask(&["--haproxy-protocol"]);
        assert!(answer.ends_with("\n2 200"), "{scheme}: {answer}");
        assert!(ask(&[]).ends_with(" 000"), "{scheme}: without a header there is no answer");
        assert_eq!(failures(&gateway, "malformed"), 1.0);
        assert_eq!(gateway.logged("/h2")["client"], "127.0.0.1");
    }
}

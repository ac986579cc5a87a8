//! TLS on both sides: certificates by SNI and anew from disk, client certificates, verified backends.

#[path = "tls/acme.rs"]
mod acme;
#[path = "tls/advisor.rs"]
mod advisor;
#[path = "tls/pebble.rs"]
mod pebble;
#[path = "tls/renewal_info.rs"]
mod renewal_info;

use std::net::SocketAddr;
use std::time::Duration;

use mainstay_e2e::gateway::simple;
use mainstay_e2e::tls::{Authority, Client, Identity};
use mainstay_e2e::{Mainstay, Origin, eventually, free, tools};

fn start(config: &str, files: &[(&str, &Identity)], more: &[(&str, &str)]) -> Mainstay {
    let named: Vec<(String, &str)> = files
        .iter()
        .flat_map(|(name, identity)| {
            [(format!("{name}.pem"), &*identity.cert), (format!("{name}.key"), &*identity.key)]
        })
        .collect();
    let all: Vec<(&str, &str)> =
        named.iter().map(|(name, text)| (name.as_str(), *text)).chain(more.iter().copied()).collect();
    let mut gateway = Mainstay::launch("", config, &all);
    gateway.wait_until_ready();
    gateway
}

/// `simple` with a `tls` line on its listener.
fn secured(listen: SocketAddr, origin: SocketAddr, tls: &str) -> String {
    simple(listen, &[origin], "").replacen("[[service]]", &format!("tls = {tls}\n\n[[service]]"), 1)
}

const GET: &str = "GET /ok HTTP/1.1\r\nHost: a.test\r\n\r\n";

#[test]
fn certificates_are_chosen_by_name() {
    let (authority, other) = (Authority::new("one"), Authority::new("two"));
    let (a, b, wild) = (authority.issue(&["a.test"]), other.issue(&["b.test"]), authority.issue(&["*.wild.test"]));
    let (origin, listen) = (Origin::start(), free());
    let tls = "{ certificates = [{ cert = \"a.pem\", key = \"a.key\" }, { cert = \"b.pem\", key = \"b.key\" }, \
               { cert = \"w.pem\", key = \"w.key\" }] }";
    let _gateway = start(&secured(listen, origin.address(), tls), &[("a", &a), ("b", &b), ("w", &wild)], &[]);
    let both = Client { alpn: vec!["http/1.1", "h2"], ..Client::trusting(&authority) };
    let wire = &mut both.connect(listen, "a.test").expect("a handshake with a.test");
    assert_eq!(wire.stream().conn.alpn_protocol(), Some(&b"h2"[..]), "the gateway's choice, whatever comes first");
    let one = Client { alpn: vec!["http/1.1"], ..Client::trusting(&authority) };
    let mut wire = one.connect(listen, "a.test").expect("a handshake with a.test");
    assert_eq!(wire.stream().conn.alpn_protocol(), Some(&b"http/1.1"[..]));
    for _round in 0..3 {
        assert_eq!(wire.exchange(GET).text(), "ok");
    }
    one.connect(listen, "x.wild.test").expect("a handshake with a name under *.wild.test");
    one.connect(listen, "b.test").map(|_wire| ()).expect_err("b.test has a certificate of the other authority");
    Client::trusting(&other).connect(listen, "b.test").expect("a handshake with b.test");
    let old = Client { old: true, ..Client::trusting(&authority) };
    assert_eq!(old.connect(listen, "a.test").expect("TLS 1.2").exchange(GET).text(), "ok");
    // An unknown name is answered with the first certificate, which the client then judges.
    let error = one.connect(listen, "unknown.test").map(|_wire| ()).expect_err("not valid for that name");
    assert!(error.contains("NotValidForName") || error.contains("not valid for name"), "{error}");
    let proto = one.connect(listen, "a.test").expect("a handshake").exchange("GET /e HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert!(proto.text().contains("[\"x-forwarded-proto\",\"https\"]"), "{}", proto.text());
    let text = tools::run("curl", "curl", &["-sS", "-k", "--tls-max", "1.2", &format!("https://{listen}/ok")]);
    assert_eq!(text, "ok");
}

#[test]
fn what_is_no_handshake_harms_nobody() {
    let authority = Authority::new("one");
    let identity = authority.issue(&["a.test"]);
    let (origin, listen) = (Origin::start(), free());
    let config = secured(listen, origin.address(), "{ cert = \"a.pem\", key = \"a.key\" }");
    let config = config.replacen("tls =", "head_timeout = \"1s\"\ntls =", 1);
    let gateway = start(&config, &[("a", &identity)], &[]);
    let silent = mainstay_e2e::Wire::connect(listen);
    for bytes in [
        &b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..],
        b"\x16\x03\x01\x00",
        b"\x16\x03\x01\xff\xff\xff\xff\xff",
        &[0; 4096],
    ] {
        let mut wire = mainstay_e2e::Wire::connect(listen);
        let _closed_early = wire.send(bytes);
        let rest = wire.rest().unwrap_or_default();
        assert!(!rest.starts_with(b"HTTP/1.1 200"), "plain text on a TLS port");
        assert_eq!(
            Client::trusting(&authority).connect(listen, "a.test").expect("a handshake").exchange(GET).text(),
            "ok"
        );
    }
    drop(silent);
    eventually("failed handshakes are counted", Duration::from_secs(5), || {
        gateway.metric("mainstay_listener_tls_failures_total", &[]) >= 3.0
    });
}

#[test]
fn certificates_are_read_anew_when_their_files_change() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let (origin, listen) = (Origin::start(), free());
    let config = secured(listen, origin.address(), "{ cert = \"a.pem\", key = \"a.key\" }");
    let mut gateway = start(&config, &[("a", &old.issue(&["a.test"]))], &[]);
    let mut kept = Client::trusting(&old).connect(listen, "a.test").expect("a handshake");
    assert_eq!(kept.exchange(GET).text(), "ok");
    new.issue(&["a.test"]).write(gateway.dir(), "a");
    eventually("the new certificate is served without a signal", Duration::from_secs(15), || {
        Client::trusting(&new).connect(listen, "a.test").is_ok()
    });
    assert_eq!(kept.exchange(GET).text(), "ok", "a connection from before goes on");
    // What cannot be read leaves the one that serves, and is said.
    std::fs::write(gateway.dir().join("a.pem"), "no certificate").expect("a broken file");
    gateway.process().signal(libc::SIGHUP);
    gateway.process().wait_for_log("configuration refused", 1, Duration::from_secs(10));
    assert!(gateway.stderr().contains("a.pem"), "the file is named: {}", gateway.stderr());
    assert!(Client::trusting(&new).connect(listen, "a.test").is_ok());
    let third = Authority::new("third");
    third.issue(&["a.test"]).write(gateway.dir(), "a");
    gateway.process().signal(libc::SIGHUP);
    eventually("a readable one serves again", Duration::from_secs(15), || {
        Client::trusting(&third).connect(listen, "a.test").is_ok()
    });
}

#[test]
fn a_certificate_that_cannot_be_read_at_start_is_named() {
    let (origin, listen) = (Origin::start(), free());
    let config = secured(listen, origin.address(), "{ cert = \"missing.pem\", key = \"missing.key\" }");
    let mut gateway = Mainstay::launch("", &config, &[]);
    let status = gateway.process().wait(Duration::from_secs(10)).expect("an exit");
    assert!(!status.success());
    let text = gateway.stderr();
    assert!(text.contains("missing.pem") && text.contains("error:"), "{text}");
    // A key that belongs to another certificate is refused, too.
    let authority = Authority::new("one");
    let (a, b) = (authority.issue(&["a.test"]), authority.issue(&["b.test"]));
    let config = secured(free(), origin.address(), "{ cert = \"a.pem\", key = \"b.key\" }");
    let mut gateway = Mainstay::launch("", &config, &[("a.pem", &a.cert), ("b.key", &b.key)]);
    let status = gateway.process().wait(Duration::from_secs(10)).expect("an exit");
    assert!(!status.success(), "{}", gateway.stderr());
}

#[test]
fn client_certificates() {
    let (authority, clients, strangers) =
        (Authority::new("server"), Authority::new("clients"), Authority::new("strangers"));
    let (server, friend, stranger) =
        (authority.issue(&["a.test"]), clients.issue(&["friend"]), strangers.issue(&["stranger"]));
    for auth in ["required", "optional"] {
        let (origin, listen) = (Origin::start(), free());
        let tls = format!("{{ cert = \"a.pem\", key = \"a.key\", client_auth = \"{auth}\", client_ca = \"ca.pem\" }}");
        let config = secured(listen, origin.address(), &tls);
        let _gateway = start(&config, &[("a", &server)], &[("ca.pem", &clients.pem())]);
        // With TLS 1.3 the server's refusal comes after the client's side of the handshake: the first read tells.
        let served = |identity: Option<&Identity>| {
            let client = Client { identity, ..Client::trusting(&authority) };
            let Ok(mut wire) = client.connect(listen, "a.test") else { return false };
            wire.send(GET).is_ok() && wire.response().is_ok_and(|response| response.text() == "ok")
        };
        assert!(served(Some(&friend)), "{auth}");
        assert!(!served(Some(&stranger)), "{auth}: a certificate that is shown must verify");
        assert_eq!(served(None), auth == "optional", "{auth}");
    }
}

/// nginx over TLS behind the gateway.
fn secure_backend(
    authority: &Authority,
    name: &str,
    more: &str,
    files: &[(&str, &str)],
) -> (SocketAddr, tools::Server) {
    let (address, identity) = (free(), authority.issue(&[name]));
    let block = format!(
        "server {{ listen {address} ssl; ssl_certificate s.pem; ssl_certificate_key s.key; {more} \
         location / {{ return 200 \"secure $ssl_server_name $ssl_client_verify\"; }} }}"
    );
    let files = [&[("s.pem", &*identity.cert), ("s.key", &*identity.key)], files].concat();
    let server = tools::nginx(address, &block, &files);
    (address, server)
}

#[test]
fn backends_are_verified() {
    let (authority, other) = (Authority::new("inner"), Authority::new("other"));
    let (address, _nginx) = secure_backend(&authority, "inner.test", "", &[]);
    let files: &[(&str, &str)] = &[("ca.pem", &authority.pem()), ("other.pem", &other.pem())];
    for (tls, works) in [
        ("{ ca = \"ca.pem\", server_name = \"inner.test\" }", true),
        ("{ ca = \"ca.pem\", server_name = \"wrong.test\" }", false),
        ("{ ca = \"ca.pem\" }", false),
        ("{ ca = \"other.pem\", server_name = \"inner.test\" }", false),
        ("{ server_name = \"inner.test\" }", false),
        ("true", false),
        ("{ verify = false, server_name = \"inner.test\" }", true),
    ] {
        let listen = free();
        let service = format!("tls = {tls}\nhealth = \"off\"\noutlier = \"off\"");
        let _gateway = start(&simple(listen, &[address], &service), &[], files);
        let response = mainstay_e2e::wire::get(listen, "/");
        if works {
            assert_eq!(response.text(), "secure inner.test NONE", "{tls}");
        } else {
            assert_eq!((response.status, response.reason()), (502, "connect-failed"), "{tls}: {}", response.text());
        }
    }
}

#[test]
fn the_gateway_shows_its_own_certificate_to_backends_and_checks_them_over_tls() {
    let (authority, clients) = (Authority::new("inner"), Authority::new("clients"));
    let (address, mut nginx) = secure_backend(
        &authority,
        "inner.test",
        "ssl_client_certificate clients.pem; ssl_verify_client on;",
        &[("clients.pem", &clients.pem())],
    );
    let listen = free();
    let service = "tls = { ca = \"ca.pem\", server_name = \"inner.test\", cert = \"me.pem\", key = \"me.key\" }\n\
                   health = { https = \"/\", interval = \"300ms\", timeout = \"250ms\", unhealthy = 2, healthy = 1 }";
    let me = clients.issue(&["gateway"]);
    let gateway = start(&simple(listen, &[address], service), &[("me", &me)], &[("ca.pem", &authority.pem())]);
    let label = format!("\"{address}\"");
    eventually("the check over TLS passes", Duration::from_secs(10), || {
        gateway.metric("mainstay_endpoint_health", &[&label, "\"up\""]) >= 1.0
    });
    let mut wire = mainstay_e2e::Wire::connect(listen);
    for _round in 0..20 {
        assert_eq!(wire.exchange("GET / HTTP/1.1\r\nHost: a\r\n\r\n").text(), "secure inner.test SUCCESS");
    }
    nginx.process.kill();
    eventually("the check over TLS fails", Duration::from_secs(10), || {
        gateway.metric("mainstay_endpoint_health", &[&label, "\"down\""]) >= 1.0
    });
}

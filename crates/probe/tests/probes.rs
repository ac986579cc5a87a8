//! Probes against servers that behave well, badly and not at all.
#![allow(clippy::unwrap_used, reason = "servers and certificates of a test must come to be, or the test has failed")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use mainstay_probe::{Expected, Failed, Get, Place, Target, Tls, probe};
use mainstay_runtime::tls::{ClientAuth, ClientSettings, ClientTls, ServerTls};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::ServerName;
use rustls::{ServerConnection, StreamOwned};

const PATIENCE: Duration = Duration::from_secs(20);

fn run(target: &Target, address: SocketAddr, timeout: Duration) -> Result<Duration, Failed> {
    let asking = async { probe(target, &Place::Tcp(address), &[], timeout).await.map(|passed| passed.latency) };
    mainstay_runtime::thread::run_here(asking).unwrap()
}

fn get() -> Get {
    Get {
        path: "/health?deep=1".to_owned(),
        host: "shop.test:81".to_owned(),
        expect: Expected(vec![(200, 299)]),
        json: None,
    }
}

fn http() -> Target {
    Target::Http { get: get(), tls: None }
}

/// Serves one connection by `serve`; what that answers comes through the receiver.
fn server<T: Send + 'static>(
    serve: impl FnOnce(TcpStream) -> T + Send + 'static,
) -> (SocketAddr, Receiver<T>, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, told) = channel();
    let thread = std::thread::spawn(move || {
        let (stream, _peer) = listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let _receiver_may_be_gone = tell.send(serve(stream));
    });
    (address, told, thread)
}

/// Reads a request's head, then sends `response` and closes.
fn answering(response: &'static [u8]) -> (SocketAddr, Receiver<String>, JoinHandle<()>) {
    server(move |mut stream| {
        let head = read_head(&mut stream);
        stream.write_all(response).unwrap();
        head
    })
}

fn read_head(stream: &mut impl Read) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && head.len() < 4096 {
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

#[test]
fn a_tcp_probe_needs_a_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    run(&Target::Tcp, address, PATIENCE).unwrap();
    drop(listener);
    let failed = run(&Target::Tcp, address, PATIENCE).unwrap_err();
    assert_eq!(failed.to_string(), "cannot connect: connection refused");
}

#[test]
fn a_request_says_who_asks_and_closes() {
    let (address, told, _thread) = answering(b"HTTP/1.1 204 No Content\r\n\r\n");
    run(&http(), address, PATIENCE).unwrap();
    assert_eq!(
        told.recv().unwrap(),
        "GET /health?deep=1 HTTP/1.1\r\nhost: shop.test:81\r\nuser-agent: mainstay-probe\r\naccept: */*\r\n\
         connection: close\r\n\r\n"
    );
}

#[test]
fn the_status_decides() {
    for (response, expected) in [
        (&b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"[..], None),
        (b"HTTP/1.0 299 Fine\r\n\r\nuntil the end", None),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", None),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", None),
        (b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n", Some("status 500, expected 200-299")),
        (b"HTTP/1.1 301 Moved Permanently\r\nlocation: /x\r\n\r\n", Some("status 301, expected 200-299")),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", Some("status 101, expected 200-299")),
        (b"SSH-2.0-OpenSSH_10\r\n\r\n", Some("not an HTTP response: the head is malformed")),
        (b"HTTP/1.1 200 OK\r\nhalf: ", Some("not an HTTP response: it ends within the head")),
        (b"", Some("closed before it answered: end of stream")),
    ] {
        let (address, _told, _thread) = answering(response);
        let failed = run(&http(), address, PATIENCE).err().map(|failed| failed.to_string());
        assert_eq!(failed.as_deref(), expected, "{}", String::from_utf8_lossy(response));
    }
}

#[test]
fn expected_statuses_are_shown_as_written() {
    let expected = Expected(vec![(200, 200), (204, 206)]);
    assert_eq!(expected.to_string(), "200, 204-206");
    let passing: Vec<u16> = (100..600).filter(|status| expected.accepts(*status)).collect();
    assert_eq!(passing, [200, 204, 205, 206]);
}

#[test]
fn silence_is_a_failure_at_each_stage() {
    let quick = Duration::from_millis(200);
    let (address, _told, _thread) = server(|mut stream| stream.read_to_end(&mut Vec::new()));
    assert_eq!(run(&http(), address, quick).unwrap_err().to_string(), "no answer within 200ms");

    let (address, _told, _thread) = server(|mut stream| stream.read_to_end(&mut Vec::new()));
    let pki = Pki::new();
    let failed = run(&pki.target("shop.test", &pki.authority.pem()), address, quick).unwrap_err();
    assert_eq!(failed.to_string(), "no TLS handshake within 200ms");

    // A queue that is full: the kernel drops the SYN.
    let listener = mainstay_runtime::socket::listen_tcp("127.0.0.1:0".parse().unwrap(), 0, false).unwrap();
    let address = listener.local_addr().unwrap();
    let _fills_the_queue = TcpStream::connect(address).unwrap();
    assert_eq!(run(&Target::Tcp, address, quick).unwrap_err().to_string(), "no connection within 200ms");
}

#[test]
fn endless_heads_and_bodies_end() {
    let (address, _told, _thread) = server(|mut stream| {
        let mut sent = stream.write_all(b"HTTP/1.1 200 OK\r\n");
        for _line in 0..100_000 {
            sent = sent.and_then(|()| stream.write_all(b"x: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n"));
        }
        sent
    });
    let failed = run(&http(), address, PATIENCE).unwrap_err().to_string();
    assert!(
        ["not an HTTP response: the head is too long", "not an HTTP response: too many headers"].contains(&&*failed)
    );

    let (address, told, _thread) = server(|mut stream| {
        read_head(&mut stream);
        let mut sent = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
        for _block in 0..100_000 {
            sent = sent.and_then(|()| stream.write_all(&[b'x'; 4096]));
        }
        sent
    });
    run(&http(), address, PATIENCE).unwrap();
    assert!(told.recv().unwrap().is_err(), "the probe left before the end");

    // A body that never comes does not change what the head has said.
    let (address, _told, _thread) = server(|mut stream| {
        read_head(&mut stream);
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n").unwrap();
        stream.read_to_end(&mut Vec::new())
    });
    run(&http(), address, PATIENCE).unwrap();
}

struct Pki {
    folder: tempfile::TempDir,
    authority: CertifiedIssuer<'static, KeyPair>,
}

impl Pki {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Self { folder: tempfile::tempdir().unwrap(), authority }
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn target(&self, name: &str, ca: &str) -> Target {
        let settings = ClientSettings { ca: Some(self.write("ca.pem", ca)), ..ClientSettings::default() };
        let config = ClientTls::load(&settings, &[]).unwrap();
        let server_name = ServerName::try_from(name.to_owned()).unwrap();
        Target::Http { get: get(), tls: Some(Tls { config, server_name }) }
    }

    /// Serves HTTPS once, with a certificate for `shop.test` and 127.0.0.1 that ends in `year`.
    fn serve(&self, year: i32, self_signed: bool) -> SocketAddr {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["shop.test".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let cert =
            if self_signed { params.self_signed(&key) } else { params.signed_by(&key, &self.authority) }.unwrap();
        let pair = (self.write("shop.pem", &cert.pem()), self.write("shop.key", &key.serialize_pem()));
        let tls = ServerTls::load(&[pair], &ClientAuth::Off, &[]).unwrap();
        let (address, _told, _thread) = server(move |stream| {
            let mut stream = StreamOwned::new(ServerConnection::new(Arc::clone(&tls.config)).unwrap(), stream);
            let mut head = [0; 1024];
            if stream.read(&mut head).is_ok() {
                let _sent = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
            }
        });
        address
    }
}

#[test]
fn certificates_must_verify() {
    let (pki, other) = (Pki::new(), Pki::new());
    let (own, strange) = (pki.authority.pem(), other.authority.pem());
    for (name, ca, year, self_signed, expected) in [
        ("shop.test", &own, 2200, false, None),
        ("127.0.0.1", &own, 2200, false, None),
        ("mail.test", &own, 2200, false, Some("TLS: the certificate is not for `mail.test`")),
        ("127.0.0.2", &own, 2200, false, Some("TLS: the certificate is not for `127.0.0.2`")),
        ("shop.test", &own, 2020, false, Some("TLS: the certificate has expired")),
        ("shop.test", &strange, 2200, false, Some("TLS: the certificate's authority is not trusted (set `ca`)")),
        ("shop.test", &own, 2200, true, Some("TLS: the certificate's authority is not trusted (set `ca`)")),
    ] {
        let address = pki.serve(year, self_signed);
        let failed = run(&pki.target(name, ca), address, PATIENCE).err().map(|failed| failed.to_string());
        assert_eq!(failed.as_deref(), expected, "{name} {year} {self_signed}");
    }
}

#[test]
fn a_server_without_tls_is_named_as_such() {
    let pki = Pki::new();
    let (address, _told, _thread) = server(|mut stream| stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n"));
    let failed = run(&pki.target("shop.test", &pki.authority.pem()), address, PATIENCE).unwrap_err();
    assert_eq!(failed.to_string(), "TLS: the endpoint does not speak TLS here");
}

#[test]
fn a_unix_socket_is_asked_as_an_address_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let ask = |target: &Target| {
        let place = Place::Unix(path.clone());
        mainstay_runtime::thread::run_here(async { probe(target, &place, b"", PATIENCE).await.map(|_passed| ()) })
            .unwrap()
    };
    let none = ask(&Target::Tcp).unwrap_err();
    assert_eq!(none.to_string(), "cannot connect: there is no such socket");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    ask(&Target::Tcp).unwrap();
    let _only_connected = listener.accept().unwrap();
    let thread = std::thread::spawn(move || {
        let (mut stream, _peer) = listener.accept().unwrap();
        let head = read_head(&mut stream);
        stream.write_all(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n").unwrap();
        head
    });
    assert_eq!(ask(&http()).unwrap_err().to_string(), "status 503, expected 200-299");
    assert!(thread.join().unwrap().starts_with("GET /health?deep=1 HTTP/1.1\r\nhost: shop.test:81\r\n"));
    assert_eq!(ask(&Target::Tcp).unwrap_err().to_string(), "cannot connect: connection refused");
}

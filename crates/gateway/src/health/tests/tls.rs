use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use mainstay_core::health::{Policy, State as Health};
use mainstay_runtime::tls::{ClientAuth, ClientSettings, ClientTls, ServerTls};
use rcgen::{CertificateParams, KeyPair};
use rustls::{ClientConfig, ServerConnection, StreamOwned};

use super::bench::*;
use crate::spec;

const SECOND: Policy =
    Policy { interval: Duration::from_secs(1), timeout: Duration::from_secs(1), unhealthy: 1, healthy: 1 };

/// A server whose certificate is for 127.0.0.1 and signed by itself, and the settings that trust it. It serves until the
/// test's process ends.
fn serve_https() -> (SocketAddr, Arc<ClientConfig>) {
    let folder = tempfile::tempdir().unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().self_signed(&key).unwrap();
    let (cert, key_file) = (folder.path().join("a.pem"), folder.path().join("a.key"));
    std::fs::write(&cert, certificate.pem()).unwrap();
    std::fs::write(&key_file, key.serialize_pem()).unwrap();
    let trusting = ClientSettings { ca: Some(cert.clone()), ..ClientSettings::default() };
    let trusting = ClientTls::load(&trusting, &[]).unwrap();
    let server = ServerTls::load(&[(cert, key_file)], &ClientAuth::Off, &[]).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let connection = ServerConnection::new(Arc::clone(&server.config)).unwrap();
            let mut stream = StreamOwned::new(connection, stream.unwrap());
            let _refused_by_some = stream.read(&mut [0; 1024]);
            let _sent = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        }
    });
    (address, trusting)
}

#[test]
fn checks_speak_tls_as_the_service_does_and_a_reload_of_it_is_heeded() {
    let (address, trusting) = serve_https();
    let endpoint = endpoint(address);
    let probe = spec::Probe::Http { path: "/".to_owned(), host: None, expect: vec![(200, 200)], tls: true, json: None };
    let check = Some(spec::HealthCheck { policy: SECOND, probe, ..spec::HealthCheck::default() });
    let service = service(check, &[&endpoint]);
    let bench = Bench::new();
    bench.apply_with(&[&service], HashMap::from([("checkout".to_owned(), trusting_a_stranger())]));
    becomes(&endpoint, Health::Down);
    eventually("the reason", || reason(&endpoint).starts_with("TLS: the certificate"));
    // The same spec, other files behind it: the running check uses the new settings.
    bench.apply_with(&[&service], HashMap::from([("checkout".to_owned(), trusting)]));
    becomes(&endpoint, Health::Up);
}

/// Settings that trust somebody else only.
fn trusting_a_stranger() -> Arc<ClientConfig> {
    let folder = tempfile::tempdir().unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["stranger.test".to_owned()]).unwrap().self_signed(&key).unwrap();
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, certificate.pem()).unwrap();
    ClientTls::load(&ClientSettings { ca: Some(ca), ..ClientSettings::default() }, &[]).unwrap()
}

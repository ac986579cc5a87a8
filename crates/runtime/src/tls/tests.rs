//! Handshakes over loopback with certificates made for each test, and what the errors say.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, ProtocolVersion, ServerConnection, StreamOwned};
use tempfile::TempDir;

use super::*;

mod issued;

/// A folder with an authority in it.
struct Pki {
    folder: TempDir,
    authority: CertifiedIssuer<'static, KeyPair>,
}

impl Pki {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let pki = Self { folder: tempfile::tempdir().unwrap(), authority };
        pki.write("ca.pem", &pki.authority.pem());
        pki
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn pair(&self, file: &str, names: &[&str]) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let cert = CertificateParams::new(names).unwrap().signed_by(&key, &self.authority).unwrap();
        (self.write(&format!("{file}.pem"), &cert.pem()), self.write(&format!("{file}.key"), &key.serialize_pem()))
    }

    fn client(&self, verify: bool, client: Option<(PathBuf, PathBuf)>) -> Arc<ClientConfig> {
        let settings = ClientSettings { verify, ca: verify.then(|| self.path("ca.pem")), client };
        ClientTls::load(&settings, &[b"http/1.1"]).unwrap()
    }
}

/// What a client learns of one connection.
struct Met {
    certificate: CertificateDer<'static>,
    version: ProtocolVersion,
    alpn: Option<Vec<u8>>,
    kind: HandshakeKind,
}

fn meet(server: &ServerTls, client: &Arc<ClientConfig>, name: &str) -> io::Result<Met> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let config = Arc::clone(&server.config);
    let serving = std::thread::spawn(move || -> io::Result<()> {
        let (stream, _peer) = listener.accept()?;
        let mut stream = StreamOwned::new(ServerConnection::new(config).map_err(io::Error::other)?, stream);
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        stream.write_all(&byte)?;
        stream.conn.send_close_notify();
        stream.flush()
    });
    let server_name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
    let connection = ClientConnection::new(Arc::clone(client), server_name).map_err(io::Error::other)?;
    let mut stream = StreamOwned::new(connection, TcpStream::connect(address)?);
    stream.sock.set_read_timeout(Some(Duration::from_secs(20)))?;
    let exchanged = stream.write_all(b"x").and_then(|()| stream.read_exact(&mut [0]));
    let StreamOwned { conn, sock } = stream;
    drop(sock);
    let served = serving.join().unwrap();
    exchanged.and(served)?;
    Ok(Met {
        certificate: conn.peer_certificates().unwrap()[0].clone().into_owned(),
        version: conn.protocol_version().unwrap(),
        alpn: conn.alpn_protocol().map(<[u8]>::to_vec),
        kind: conn.handshake_kind().unwrap(),
    })
}

fn refusal(result: Result<impl Sized, TlsError>, folder: &TempDir) -> String {
    let text = result.map(drop).unwrap_err().to_string();
    text.replace(&format!("{}/", folder.path().display()), "")
}

#[test]
fn certificates_are_chosen_by_name() {
    let pki = Pki::new();
    let pairs = [
        pki.pair("default", &["default.test"]),
        pki.pair("shop", &["shop.test", "WWW.shop.test"]),
        pki.pair("wild", &["*.apps.test"]),
        pki.pair("one", &["one.apps.test"]),
    ];
    let server = ServerTls::load(&pairs, &ClientAuth::Off, &[b"http/1.1"]).unwrap();
    let chains: Vec<_> = pairs.iter().map(|(cert, _key)| certificate::read_chain(cert).unwrap().remove(0)).collect();
    let client = pki.client(false, None);
    for (name, expected) in [
        ("default.test", 0),
        ("unknown.test", 0),
        ("127.0.0.1", 0),
        ("shop.test", 1),
        ("www.SHOP.test", 1),
        ("two.apps.test", 2),
        ("one.apps.test", 3),
        ("apps.test", 0),
        ("deep.two.apps.test", 0),
    ] {
        let met = meet(&server, &client, name).unwrap();
        assert_eq!(met.certificate, chains[expected], "{name}");
        assert_eq!((met.version, met.alpn.as_deref()), (ProtocolVersion::TLSv1_3, Some(&b"http/1.1"[..])));
    }
    assert_eq!(server.certificates[1].names, ["shop.test", "www.shop.test"]);
    assert!(server.certificates[1].expires_at > SystemTime::now());
}

#[test]
fn sessions_resume_but_not_across_loads() {
    let pki = Pki::new();
    let pairs = [pki.pair("shop", &["shop.test"])];
    let (first, second) = (
        ServerTls::load(&pairs, &ClientAuth::Off, &[]).unwrap(),
        ServerTls::load(&pairs, &ClientAuth::Off, &[]).unwrap(),
    );
    let settings = ClientSettings { ca: Some(pki.path("ca.pem")), ..ClientSettings::default() };
    let client = ClientTls::load(&settings, &[]).unwrap();
    assert_eq!(meet(&first, &client, "shop.test").unwrap().kind, HandshakeKind::Full);
    assert_eq!(meet(&first, &client, "shop.test").unwrap().kind, HandshakeKind::Resumed);
    assert_eq!(meet(&second, &client, "shop.test").unwrap().kind, HandshakeKind::Full);
}

#[test]
fn servers_verify_unless_told_not_to() {
    let (ours, theirs) = (Pki::new(), Pki::new());
    let server = ServerTls::load(&[theirs.pair("shop", &["shop.test"])], &ClientAuth::Off, &[]).unwrap();
    meet(&server, &theirs.client(true, None), "shop.test").unwrap();
    assert!(meet(&server, &theirs.client(true, None), "other.test").is_err());
    assert!(meet(&server, &ours.client(true, None), "shop.test").is_err());
    meet(&server, &ours.client(false, None), "other.test").unwrap();
}

#[test]
fn clients_show_certificates_where_asked() {
    let pki = Pki::new();
    let stranger = Pki::new();
    let pairs = [pki.pair("shop", &["shop.test"])];
    let (known, unknown) = (pki.pair("client", &["client.test"]), stranger.pair("client", &["client.test"]));
    let required = ServerTls::load(&pairs, &ClientAuth::Required(pki.path("ca.pem")), &[]).unwrap();
    let optional = ServerTls::load(&pairs, &ClientAuth::Optional(pki.path("ca.pem")), &[]).unwrap();
    for (server, shown, passes) in [
        (&required, None, false),
        (&required, Some(&known), true),
        (&required, Some(&unknown), false),
        (&optional, None, true),
        (&optional, Some(&known), true),
        (&optional, Some(&unknown), false),
    ] {
        let met = meet(server, &pki.client(true, shown.cloned()), "shop.test");
        assert_eq!(met.is_ok(), passes, "{shown:?}: {:?}", met.err());
    }
}

#[test]
fn errors_name_the_file_and_what_to_do() {
    let pki = Pki::new();
    let (cert, key) = pki.pair("shop", &["shop.test"]);
    let (_other_cert, other_key) = pki.pair("other", &["other.test"]);
    let empty = pki.write("empty.pem", "hello\n");
    let damaged = pki.write("damaged.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let locked_text = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let locked = pki.write("locked.key", locked_text);
    for (cert, key, expected) in [
        (&cert, &other_key, "other.key: does not belong to shop.pem; give the key that the certificate was issued for"),
        (&pki.path("none.pem"), &key, "none.pem: cannot read: no such file"),
        (&cert, &pki.path("none.key"), "none.key: cannot read: no such file"),
        (&empty, &key, "empty.pem: holds no certificate in PEM; it must contain `-----BEGIN CERTIFICATE-----`"),
        (&cert, &empty, "empty.pem: holds no private key in PEM; it must contain `-----BEGIN PRIVATE KEY-----`"),
        (&cert, &cert, "shop.pem: holds no private key in PEM; it must contain `-----BEGIN PRIVATE KEY-----`"),
        (
            &cert,
            &locked,
            "locked.key: the key is encrypted with a passphrase; write it out without: openssl pkey -in locked.key \
             -out plain.key",
        ),
    ] {
        let result = ServerTls::load(&[(cert.clone(), key.clone())], &ClientAuth::Off, &[]);
        assert_eq!(refusal(result, &pki.folder), expected);
    }
    let result = ServerTls::load(&[(damaged, key.clone())], &ClientAuth::Off, &[]);
    assert!(refusal(result, &pki.folder).starts_with("damaged.pem: damaged certificate"));
    let missing = ClientAuth::Required(pki.path("gone-ca.pem"));
    let result = ServerTls::load(&[(cert, key)], &missing, &[]);
    assert_eq!(refusal(result, &pki.folder), "gone-ca.pem: cannot read: no such file");
    let settings = ClientSettings { ca: Some(empty), ..ClientSettings::default() };
    assert!(refusal(ClientTls::load(&settings, &[]), &pki.folder).starts_with("empty.pem: holds no certificate"));
    assert_eq!(refusal(ServerTls::load(&[], &ClientAuth::Off, &[]), &pki.folder), "no certificate is given");
}

#[test]
fn unreadable_files_are_named() {
    let pki = Pki::new();
    let (cert, key) = pki.pair("shop", &["shop.test"]);
    fs::set_permissions(&key, fs::Permissions::from_mode(0o000)).unwrap();
    let result = ServerTls::load(&[(cert, key.clone())], &ClientAuth::Off, &[]);
    // Root reads everything, so that for root the only thing to see is that loading works.
    match fs::read(&key) {
        Ok(_root) => assert!(result.is_ok()),
        Err(_refused) => assert_eq!(refusal(result, &pki.folder), "shop.key: cannot read: permission denied"),
    }
    let folder_as_file = ServerTls::load(&[(pki.folder.path().join("."), key)], &ClientAuth::Off, &[]);
    assert!(refusal(folder_as_file, &pki.folder).ends_with("cannot read: is a directory"));
}

#[test]
fn keys_are_never_printed() {
    let pki = Pki::new();
    let (cert, key) = pki.pair("shop", &["shop.test"]);
    let secret = fs::read_to_string(&key).unwrap();
    let secret = secret.lines().nth(1).unwrap();
    let server = ServerTls::load(&[(cert.clone(), key.clone())], &ClientAuth::Off, &[]).unwrap();
    assert!(!format!("{server:?}").contains(secret));
    let broken = pki.write("broken.key", &format!("-----BEGIN PRIVATE KEY-----\n{secret}\n"));
    let text = refusal(ServerTls::load(&[(cert, broken)], &ClientAuth::Off, &[]), &pki.folder);
    assert!(!text.contains(&secret[..16]), "{text}");
}

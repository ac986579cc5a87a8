use std::collections::BTreeSet;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::*;

/// The extension of RFC 8737, section 3.
const PROOF: &str = "1.3.6.1.5.5.7.1.31";

fn ordered(issued: &Arc<Issued>, proves: bool) -> Ordered {
    let domains = BTreeSet::from(["a.test".to_owned(), "b.test".to_owned()]);
    Ordered { issued: Arc::clone(issued), orders: vec![("public".to_owned(), domains)], proves }
}

/// Takes any certificate, also one with the critical extension, which webpki knows nothing of.
#[derive(Debug)]
struct Asking;

impl ServerCertVerifier for Asking {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

fn asking(alpn: &[&[u8]]) -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let verified = versions.dangerous().with_custom_certificate_verifier(Arc::new(Asking));
    let mut config = verified.with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    Arc::new(config)
}

#[test]
fn a_stand_in_is_shown_until_something_is_issued_and_then_that_without_a_reload() {
    let (pki, issued) = (Pki::new(), Arc::new(Issued::default()));
    let files = [pki.pair("file", &["*.test", "file.test"])];
    let alone = ServerTls::load_with(&[], ordered(&issued, false), &ClientAuth::Off, &[b"http/1.1"]).unwrap();
    let beside = ServerTls::load_with(&files, ordered(&issued, false), &ClientAuth::Off, &[b"http/1.1"]).unwrap();
    assert!(issued.is_stand_in("public"));
    let trusting = pki.client(true, None);
    assert!(meet(&alone, &trusting, "a.test").is_err(), "nobody vouches for a stand-in");
    assert!(meet(&alone, &pki.client(false, None), "a.test").is_ok());

    let (cert, key) = pki.pair("new", &["a.test", "b.test"]);
    let [chain, key] = [cert, key].map(|file| fs::read_to_string(file).unwrap());
    assert!(issued.put("public", &chain, "nothing").is_err());
    assert!(issued.is_stand_in("public"), "what cannot be used changes nothing");
    assert_eq!(issued.put("public", &chain, &key).unwrap().names, ["a.test", "b.test"]);
    assert!(!issued.is_stand_in("public"));
    let shown = meet(&alone, &trusting, "A.test").unwrap().certificate;
    assert_eq!(meet(&alone, &pki.client(false, None), "unknown.test").unwrap().certificate, shown);
    // A name of its own comes before a wildcard, and files come first where nothing is named.
    assert_eq!(meet(&beside, &trusting, "b.test").unwrap().certificate, shown);
    for name in ["c.test", "file.test", "unknown.example"] {
        assert_ne!(meet(&beside, &pki.client(false, None), name).unwrap().certificate, shown, "{name}");
    }
}

#[test]
fn only_what_is_to_be_proved_now_is_answered() {
    let (pki, issued) = (Pki::new(), Arc::new(Issued::default()));
    let server = ServerTls::load_with(&[], ordered(&issued, true), &ClientAuth::Off, &[b"http/1.1"]).unwrap();
    let silent = ServerTls::load_with(&[], ordered(&issued, false), &ClientAuth::Off, &[b"http/1.1"]).unwrap();
    let authority = asking(&[ACME_TLS]);
    assert!(meet(&server, &authority, "a.test").is_err());
    let answers = [
        Answer::Tls { domain: "a.test".to_owned(), digest: vec![7; 32] },
        Answer::Http { token: "t0".to_owned(), content: "t0.thumb".to_owned() },
    ];
    issued.answer("public", &answers).unwrap();
    let met = meet(&server, &authority, "A.test").unwrap();
    assert_eq!(met.alpn.as_deref(), Some(ACME_TLS));
    let (_rest, proof) = X509Certificate::from_der(&met.certificate).unwrap();
    let extension = proof.extensions().iter().find(|it| it.oid.to_id_string() == PROOF).unwrap();
    assert!(extension.critical);
    assert_eq!(extension.value, [&[4, 32][..], &[7; 32]].concat());
    assert!(meet(&server, &authority, "b.test").is_err(), "another name");
    assert!(meet(&silent, &authority, "a.test").is_err(), "a listener that proves nothing");
    // Who offers more than that is served as everybody is.
    let met = meet(&server, &asking(&[ACME_TLS, b"http/1.1"]), "a.test").unwrap();
    assert_eq!(met.alpn.as_deref(), Some(&b"http/1.1"[..]));
    assert_eq!(issued.content(b"t0").as_deref(), Some(&b"t0.thumb"[..]));
    for token in [&b"t1"[..], b"", b"\xff", b"t0.thumb"] {
        assert!(issued.content(token).is_none());
    }
    assert!(issued.answer("public", &vec![answers[1].clone(); 101]).is_err());
    assert!(issued.answer("other", &[Answer::Tls { domain: "a.test".to_owned(), digest: vec![7; 31] }]).is_err());
    issued.answer("public", &[]).unwrap();
    assert!(meet(&server, &authority, "a.test").is_err());
    assert!(issued.content(b"t0").is_none());
    let shown = format!("{issued:?} {answers:?}");
    assert!(!shown.contains("thumb"), "{shown}");
    drop(pki);
}

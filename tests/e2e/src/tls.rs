//! Certificates and a TLS client.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose, date_time_ymd,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::wire::Wire;

/// A private authority.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate and its key, in PEM.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The certificate.
    pub cert: String,
    /// The key.
    pub key: String,
}

impl Identity {
    /// Writes `NAME.pem` and `NAME.key`.
    ///
    /// # Panics
    /// If the files cannot be written.
    pub fn write(&self, dir: &Path, name: &str) {
        std::fs::write(dir.join(format!("{name}.key")), &self.key).expect("the key");
        std::fs::write(dir.join(format!("{name}.pem")), &self.cert).expect("the certificate");
    }
}

impl Authority {
    /// A new one.
    ///
    /// # Panics
    /// If the system has no randomness.
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        Self { issuer: CertifiedIssuer::self_signed(params, key).expect("an authority") }
    }

    /// Its certificate in PEM.
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// A certificate for these names and addresses.
    ///
    /// # Panics
    /// If a name is none.
    pub fn issue(&self, names: &[&str]) -> Identity {
        self.issue_with(names, |_params| {})
    }

    /// The same, which ends in so many days.
    ///
    /// # Panics
    /// If a name is none.
    pub fn issue_for(&self, names: &[&str], days: u64) -> Identity {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
        let end = date_time_ymd(1970, 1, 1) + now + Duration::from_secs(days * 86_400);
        self.issue_with(names, |params| params.not_after = end)
    }

    fn issue_with(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Identity {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names.clone()).expect("names");
        change(&mut params);
        params.distinguished_name.push(DnType::CommonName, names[0].clone());
        let key = KeyPair::generate().expect("a key");
        let cert = params.signed_by(&key, &self.issuer).expect("a certificate");
        Identity { cert: cert.pem(), key: key.serialize_pem() }
    }
}

/// How a TLS client connects.
#[derive(Default)]
pub struct Client<'a> {
    /// Authorities in PEM that it trusts.
    pub trust: Vec<String>,
    /// The certificate that it shows.
    pub identity: Option<&'a Identity>,
    /// ALPN protocols that it offers.
    pub alpn: Vec<&'a str>,
    /// Only TLS 1.2.
    pub old: bool,
}

/// A raw client over TLS.
pub type TlsWire = Wire<StreamOwned<ClientConnection, TcpStream>>;

impl Client<'_> {
    /// Trusts one authority.
    pub fn trusting(authority: &Authority) -> Self {
        Self { trust: vec![authority.pem()], ..Self::default() }
    }

    /// Connects and completes the handshake.
    ///
    /// # Errors
    /// What the handshake failed with.
    pub fn connect(&self, address: SocketAddr, name: &str) -> Result<TlsWire, String> {
        let mut roots = RootCertStore::empty();
        for pem in &self.trust {
            let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|error| error.to_string())?;
            roots.add(der).map_err(|error| error.to_string())?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let versions: &[_] = if self.old { &[&rustls::version::TLS12] } else { rustls::DEFAULT_VERSIONS };
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions);
        let builder = builder.map_err(|error| error.to_string())?.with_root_certificates(roots);
        let mut config = match self.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let cert =
                    CertificateDer::from_pem_slice(identity.cert.as_bytes()).map_err(|error| error.to_string())?;
                let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).map_err(|error| error.to_string())?;
                builder.with_client_auth_cert(vec![cert], key).map_err(|error| error.to_string())?
            }
        };
        config.alpn_protocols = self.alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        let name = ServerName::try_from(name.to_owned()).map_err(|error| error.to_string())?;
        let mut session = ClientConnection::new(Arc::new(config), name).map_err(|error| error.to_string())?;
        let mut stream = TcpStream::connect(address).map_err(|error| error.to_string())?;
        stream.set_read_timeout(Some(Duration::from_secs(10))).map_err(|error| error.to_string())?;
        while session.is_handshaking() {
            session.complete_io(&mut stream).map_err(|error| error.to_string())?;
        }
        Ok(Wire::over(StreamOwned::new(session, stream)))
    }
}

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ServerSessionMemoryCache, WebPkiClientVerifier};

use super::certificate::{Certificate, load_pair};
use super::error::TlsError;
use super::issued::{ACME_TLS, Issued};
use super::resolver::ByName;
use super::{authorities, provider};

/// Sessions of TLS 1.2 clients that take no tickets; each is some hundred bytes.
const SESSIONS_MAX: usize = 4096;

/// TLS towards clients.
#[derive(Clone, Debug)]
pub struct ServerTls {
    /// For the handshakes.
    pub config: Arc<ServerConfig>,
    /// The certificates in it, in order.
    pub certificates: Vec<Certificate>,
}

/// Certificates that an authority issues while the node runs, as a listener shows them.
#[derive(Clone, Debug, Default)]
pub struct Ordered {
    /// Where they are.
    pub issued: Arc<Issued>,
    /// Their names in the configuration, and the host names that each is for, in lower case.
    pub orders: Vec<(String, BTreeSet<String>)>,
    /// Whether the listener proves names to authorities ([`ACME_TLS`]).
    pub proves: bool,
}

/// Whether clients show a certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ClientAuth {
    /// They are not asked.
    #[default]
    Off,
    /// They are asked; one that is shown must verify by the authorities in this file.
    Optional(PathBuf),
    /// Without one that verifies by the authorities in this file the handshake fails.
    Required(PathBuf),
}

impl ServerTls {
    /// Loads pairs of (certificate chain, private key); the first one answers clients that ask for no or an unknown name.
    /// TLS 1.2 and 1.3, session tickets with keys that rotate, no early data (a replay would repeat requests).
    ///
    /// # Errors
    /// Which file cannot be used and why.
    pub fn load(certs: &[(PathBuf, PathBuf)], client_auth: &ClientAuth, alpn: &[&[u8]]) -> Result<Self, TlsError> {
        Self::load_with(certs, Ordered::default(), client_auth, alpn)
    }

    /// The same with certificates that an authority issues. Until there is one, a stand-in is shown.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_with(
        certs: &[(PathBuf, PathBuf)],
        ordered: Ordered,
        client_auth: &ClientAuth,
        alpn: &[&[u8]],
    ) -> Result<Self, TlsError> {
        let provider = provider();
        let mut certificates = Vec::with_capacity(certs.len());
        let mut pairs = Vec::with_capacity(certs.len());
        for (cert, key) in certs {
            let (certificate, pair) = load_pair(cert, key, &provider)?;
            certificates.push(certificate);
            pairs.push(pair);
        }
        for (name, domains) in &ordered.orders {
            ordered.issued.stand_in(name, &domains.iter().cloned().collect::<Vec<_>>())?;
        }
        let proves = ordered.proves;
        if pairs.is_empty() && ordered.orders.is_empty() {
            return Err(TlsError::Empty);
        }
        let refused = |error: rustls::Error| TlsError::Refused(error.to_string());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(refused)?;
        let resolver = ByName::new(certificates.iter().zip(pairs).collect(), ordered);
        let mut config = builder
            .with_client_cert_verifier(client_verifier(client_auth, &provider)?)
            .with_cert_resolver(Arc::new(resolver));
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        if proves {
            // The last: a client that can do anything else is served that.
            config.alpn_protocols.push(ACME_TLS.to_vec());
        }
        config.session_storage = ServerSessionMemoryCache::new(SESSIONS_MAX);
        // One ticketer for each load and listener: a ticket carries the client's identity, so that one from a listener that
        // asks for no certificate must not open one that does.
        config.ticketer = Ticketer::new().map_err(refused)?;
        config.max_early_data_size = 0;
        Ok(Self { config: Arc::new(config), certificates })
    }
}

fn client_verifier(auth: &ClientAuth, provider: &Arc<CryptoProvider>) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let (file, required) = match auth {
        ClientAuth::Off => return Ok(WebPkiClientVerifier::no_client_auth()),
        ClientAuth::Optional(file) => (file, false),
        ClientAuth::Required(file) => (file, true),
    };
    let roots = Arc::new(authorities::from_file(file)?);
    let builder = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider));
    let builder = if required { builder } else { builder.allow_unauthenticated() };
    builder.build().map_err(|error| TlsError::Malformed { file: file.clone(), why: error.to_string() })
}

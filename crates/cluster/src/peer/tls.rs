//! TLS between nodes: version 1.3 only, both sides show a certificate of the cluster's authority. A new node, which has none
//! yet, comes in by a protocol of its own and checks the authority by the fingerprint in its token.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::client::Resumption;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme};

use super::NodeId;
use crate::identity::{
    ClusterId, Credentials, Fingerprint, Identity, IdentityError, PeerIdentity, Validity, certificates, host_of,
    host_of_any,
};

/// Between nodes.
pub const PEER_PROTOCOL: &[u8] = b"mainstay-peer/1";
/// From a node that has no certificate yet.
pub const JOIN_PROTOCOL: &[u8] = b"mainstay-join/1";

/// A node's TLS material, which may be renewed while it is used. All copies are the same one.
#[derive(Clone)]
pub struct Tls(Arc<Inner>);

struct Inner {
    cluster: ClusterId,
    present: RwLock<Arc<Material>>,
}

/// What handshakes are made with.
pub struct Material {
    /// Towards other nodes.
    pub client: Arc<ClientConfig>,
    /// For other nodes.
    pub members: Arc<ServerConfig>,
    /// For nodes that want to come in.
    pub joins: Arc<ServerConfig>,
    /// When the node's certificate is valid.
    pub validity: Validity,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("cluster", &self.0.cluster).finish_non_exhaustive()
    }
}

impl Tls {
    /// From what the node's folder holds.
    ///
    /// # Errors
    /// If the material is damaged, or not this node's.
    pub fn new(identity: &Identity, credentials: &Credentials) -> Result<Self, IdentityError> {
        let material = material(credentials)?;
        let chain = certificates("node.crt", &credentials.certificate)?;
        let is_own = chain.first().and_then(PeerIdentity::of).is_some_and(|certified| {
            (&certified.cluster, certified.node, &certified.name) == (&identity.cluster, identity.node, &identity.name)
        });
        if !is_own {
            return Err(IdentityError::Malformed {
                what: "node.crt".to_owned(),
                why: "it is not the certificate of the node that identity.json names".to_owned(),
            });
        }
        Ok(Self(Arc::new(Inner { cluster: identity.cluster.clone(), present: RwLock::new(Arc::new(material)) })))
    }

    /// Takes renewed material for handshakes from here on.
    ///
    /// # Errors
    /// If it is damaged; the present one is kept then.
    pub fn renew(&self, credentials: &Credentials) -> Result<(), IdentityError> {
        let material = Arc::new(material(credentials)?);
        *self.0.present.write().unwrap_or_else(PoisonError::into_inner) = material;
        Ok(())
    }

    /// The present material.
    pub fn present(&self) -> Arc<Material> {
        Arc::clone(&self.0.present.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The cluster.
    pub fn cluster(&self) -> &ClusterId {
        &self.0.cluster
    }

    /// The name that another node's certificate must have.
    pub fn name_of(&self, node: NodeId) -> Option<ServerName<'static>> {
        ServerName::try_from(host_of(&self.0.cluster, node)).ok()
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn material(credentials: &Credentials) -> Result<Material, IdentityError> {
    let authority = certificates("ca.crt", &credentials.authority)?;
    let mut chain = certificates("node.crt", &credentials.certificate)?;
    let validity = Validity::of(&chain[0])?;
    // A new node knows the authority by its fingerprint only, so that the certificate itself is sent along.
    chain.extend(authority.iter().cloned());
    let key = || {
        // The parser's own message could quote the file, which is a secret.
        PrivateKeyDer::from_pem_slice(credentials.key.as_bytes())
            .map_err(|_damaged| IdentityError::Malformed { what: "node.key".to_owned(), why: "damaged PEM".to_owned() })
    };
    let mut roots = RootCertStore::empty();
    for certificate in &authority {
        roots.add(certificate.clone())?;
    }
    let roots = Arc::new(roots);
    let mut client = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(Arc::clone(&roots))
        .with_client_auth_cert(chain.clone(), key()?)?;
    client.alpn_protocols = vec![PEER_PROTOCOL.to_vec()];
    // A resumed session would not look at the certificate again.
    client.resumption = Resumption::disabled();
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider())
        .build()
        .map_err(|error| rustls::Error::General(error.to_string()))?;
    let server = |protocol: &[u8], builder: rustls::ConfigBuilder<ServerConfig, rustls::server::WantsServerCert>| {
        let mut config = builder.with_single_cert(chain.clone(), key()?)?;
        config.alpn_protocols = vec![protocol.to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.max_early_data_size = 0;
        Ok::<_, IdentityError>(Arc::new(config))
    };
    let builder = || ServerConfig::builder_with_provider(provider()).with_protocol_versions(&[&rustls::version::TLS13]);
    Ok(Material {
        members: server(PEER_PROTOCOL, builder()?.with_client_cert_verifier(verifier))?,
        joins: server(JOIN_PROTOCOL, builder()?.with_no_client_auth())?,
        client: Arc::new(client),
        validity,
    })
}

/// TLS of a node that has a token and nothing else, and the name that it asks for.
///
/// # Errors
/// If the library refuses.
pub fn joining(
    cluster: &ClusterId,
    authority: Fingerprint,
) -> Result<(Arc<ClientConfig>, ServerName<'static>), IdentityError> {
    let verifier = Arc::new(ByFingerprint { authority, provider: provider() });
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![JOIN_PROTOCOL.to_vec()];
    config.resumption = Resumption::disabled();
    let name = ServerName::try_from(host_of_any(cluster))
        .map_err(|error| IdentityError::Malformed { what: "cluster id".to_owned(), why: error.to_string() })?;
    Ok((Arc::new(config), name))
}

/// Verifies as usual, with the certificate as authority that has the fingerprint.
#[derive(Debug)]
struct ByFingerprint {
    authority: Fingerprint,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for ByFingerprint {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let authority = intermediates.iter().find(|certificate| Fingerprint::of(certificate) == self.authority);
        let authority = authority.ok_or(rustls::CertificateError::UnknownIssuer)?;
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone().into_owned())?;
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&self.provider))
            .build()
            .map_err(|error| rustls::Error::General(error.to_string()))?;
        verifier.verify_server_cert(end_entity, &[], server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::PeerIncompatible::Tls13RequiredForQuic.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

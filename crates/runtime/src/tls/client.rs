use std::path::PathBuf;
use std::sync::Arc;

use rustls::ClientConfig;

use super::certificate::load_pair;
use super::error::TlsError;
use super::unverified::Unverified;
use super::{authorities, provider};

/// What TLS towards servers is asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientSettings {
    /// Whether the server's certificate must verify. Off, anybody on the way can read and change everything.
    pub verify: bool,
    /// Authorities in PEM in place of the system's.
    pub ca: Option<PathBuf>,
    /// The certificate and key to show to servers that ask for one.
    pub client: Option<(PathBuf, PathBuf)>,
}

impl Default for ClientSettings {
    fn default() -> Self {
        Self { verify: true, ca: None, client: None }
    }
}

/// TLS towards servers.
#[derive(Clone, Copy, Debug)]
pub struct ClientTls;

impl ClientTls {
    /// Loads the material for connections to servers.
    ///
    /// # Errors
    /// Which file cannot be used and why.
    pub fn load(settings: &ClientSettings, alpn: &[&[u8]]) -> Result<Arc<ClientConfig>, TlsError> {
        let provider = provider();
        let refused = |error: rustls::Error| TlsError::Refused(error.to_string());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(refused)?;
        let builder = if settings.verify {
            let roots = match &settings.ca {
                Some(file) => authorities::from_file(file)?,
                None => authorities::of_the_system()?,
            };
            builder.with_root_certificates(roots)
        } else {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Unverified::new(&provider)))
        };
        let mut config = match &settings.client {
            None => builder.with_no_client_auth(),
            Some((cert, key)) => {
                let (_certificate, pair) = load_pair(cert, key, &provider)?;
                builder.with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(pair)))
            }
        };
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        Ok(Arc::new(config))
    }
}

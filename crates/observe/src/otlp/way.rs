//! The ways to a collector, and the certificates for them.

use std::path::Path;

use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use super::settings::{Protocol, Settings, Tls};

/// Bytes of a file of certificates that are read.
const PEM_MAX: u64 = 1024 * 1024;

/// A way to a collector.
#[derive(Debug)]
pub(super) enum Way {
    Http(reqwest::Client),
    Grpc(Channel),
}

/// The certificates of `settings`, read.
#[derive(Default)]
struct Material {
    authorities: Option<Vec<u8>>,
    /// The certificate and the key.
    identity: Option<(Vec<u8>, Vec<u8>)>,
}

impl Way {
    /// Prepares to send by `settings`; connects later.
    pub(super) fn new(settings: &Settings) -> Result<Self, String> {
        let material = match settings.endpoint.starts_with("https://") {
            true => Material::read(&settings.tls)?,
            false => Material::default(),
        };
        match settings.protocol {
            Protocol::Http => over_http(&material).map(Self::Http),
            Protocol::Grpc => over_grpc(settings, material).map(Self::Grpc),
        }
    }
}

impl Material {
    fn read(tls: &Tls) -> Result<Self, String> {
        let authorities = tls.ca.as_deref().map(pem).transpose()?;
        let identity = match &tls.identity {
            Some((certificate, key)) => Some((pem(certificate)?, pem(key)?)),
            None => None,
        };
        Ok(Self { authorities, identity })
    }
}

fn over_http(material: &Material) -> Result<reqwest::Client, String> {
    let refused = |error: reqwest::Error| error.to_string();
    // A redirect would take credentials along.
    let mut client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
    if let Some(authorities) = &material.authorities {
        client = client.tls_certs_only(reqwest::Certificate::from_pem_bundle(authorities).map_err(refused)?);
    }
    if let Some((certificate, key)) = &material.identity {
        let both = [certificate.as_slice(), b"\n", key].concat();
        client = client.identity(reqwest::Identity::from_pem(&both).map_err(refused)?);
    }
    client.build().map_err(refused)
}

fn over_grpc(settings: &Settings, material: Material) -> Result<Channel, String> {
    let refused = |error: tonic::transport::Error| super::send::chain(&error);
    let mut endpoint = Endpoint::from_shared(settings.endpoint.clone()).map_err(refused)?;
    if settings.endpoint.starts_with("https://") {
        // The configuration asks for authorities here; without any nobody is trusted.
        let authorities = material.authorities.map(Certificate::from_pem);
        let mut tls = ClientTlsConfig::new().ca_certificates(authorities);
        if let Some((certificate, key)) = material.identity {
            tls = tls.identity(Identity::from_pem(certificate, key));
        }
        endpoint = endpoint.tls_config(tls).map_err(refused)?;
    }
    Ok(endpoint.connect_timeout(settings.timeout).connect_lazy())
}

/// What a file of certificates or keys holds.
fn pem(path: &Path) -> Result<Vec<u8>, String> {
    let said = |error: std::io::Error| format!("{}: {error}", path.display());
    if std::fs::metadata(path).map_err(said)?.len() > PEM_MAX {
        return Err(format!("{}: the file is larger than 1MiB: these are hardly certificates", path.display()));
    }
    std::fs::read(path).map_err(said)
}

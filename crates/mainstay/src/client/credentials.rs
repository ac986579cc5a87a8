//! How a command shows who it is to a node that it does not share a machine with.

use std::path::PathBuf;
use std::sync::OnceLock;

use clap::Args;
use mainstay_runtime::tls::{ClientSettings, ClientTls};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Bytes of a file with a token, at most.
const TOKEN_BYTES_MAX: usize = 1_024;

/// What a command line says of it. A process asks as one, so that this is kept once for all that it asks.
#[derive(Clone, Debug, Default, Args)]
pub struct Credentials {
    /// A file with a token (`mainstay access token create`) [default: $MAINSTAY_TOKEN]
    #[arg(long, value_name = "FILE", global = true)]
    pub token_file: Option<PathBuf>,
    /// Authorities in PEM that the certificate of an https:// address must verify by [default: the system's]
    #[arg(long, value_name = "FILE", global = true)]
    pub admin_ca: Option<PathBuf>,
}

static GIVEN: OnceLock<Credentials> = OnceLock::new();

impl Credentials {
    /// From here on every question is asked with these.
    pub fn install(self) {
        let _once = GIVEN.set(self);
    }
}

/// What `Authorization` says, if there is a token.
pub(super) fn bearer() -> Result<Option<String>, String> {
    let token = match GIVEN.get().and_then(|given| given.token_file.as_ref()) {
        Some(file) => {
            let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
            Some(text)
        }
        None => std::env::var("MAINSTAY_TOKEN").ok().filter(|token| !token.is_empty()),
    };
    let Some(token) = token else { return Ok(None) };
    let token = token.trim();
    if token.len() > TOKEN_BYTES_MAX || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("what should be a token is none: it is one word that begins with mst_".to_owned());
    }
    Ok(Some(format!("Bearer {token}")))
}

/// TLS to a node, whose certificate has to be for the host of `address`.
pub(super) async fn encrypted(stream: TcpStream, address: &str) -> Result<TlsStream<TcpStream>, String> {
    let ca = GIVEN.get().and_then(|given| given.admin_ca.clone());
    let settings = ClientSettings { ca, ..ClientSettings::default() };
    let config = ClientTls::load(&settings, &[b"http/1.1"]).map_err(|error| crate::failure::chain(&error))?;
    let host = address.rsplit_once(':').map_or(address, |(host, _port)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let name = ServerName::try_from(host).map_err(|error| error.to_string())?;
    TlsConnector::from(config).connect(name, stream).await.map_err(|error| crate::failure::chain(&error))
}

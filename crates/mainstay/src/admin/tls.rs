//! TLS of the admin interface: its certificate is read again when its file changes.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use mainstay_runtime::tls::{ClientAuth, ServerTls, TlsError};
use mainstay_runtime::watch::Files;
use tokio_rustls::TlsAcceptor;

use crate::admin::lock;
use crate::config::Config;
use crate::failure::Failure;

/// The certificate that is shown.
#[derive(Clone)]
pub struct Material {
    files: (PathBuf, PathBuf),
    acceptor: Arc<Mutex<TlsAcceptor>>,
}

impl std::fmt::Debug for Material {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Material").field("files", &self.files).finish_non_exhaustive()
    }
}

impl Material {
    /// What the configuration names; `None` if that is nothing.
    ///
    /// # Errors
    /// If a file cannot be used.
    pub fn load(config: &Config) -> Result<Option<Self>, Failure> {
        let Some(pair) = &config.admin_tls else { return Ok(None) };
        let files = (pair.cert.clone(), pair.key.clone());
        let acceptor = read(&files).map_err(|error| {
            Failure::from_error(&error).hint("`admin_tls` under [node] names the certificate and the key")
        })?;
        Ok(Some(Self { files, acceptor: Arc::new(Mutex::new(acceptor)) }))
    }

    /// For the next connection.
    pub fn acceptor(&self) -> TlsAcceptor {
        lock(&self.acceptor).clone()
    }

    /// Reads the files again whenever they change, for ever. What cannot be used leaves what is shown as it is.
    pub async fn follow(self) {
        let mut watched = Files::watch(vec![self.files.0.clone(), self.files.1.clone()]);
        loop {
            watched.changed().await;
            match read(&self.files) {
                Ok(acceptor) => {
                    *lock(&self.acceptor) = acceptor;
                    tracing::info!(file = %self.files.0.display(), "admin interface: the certificate was read again");
                }
                Err(error) => tracing::error!(
                    error = crate::failure::chain(&error),
                    "admin interface: the certificate cannot be used; the one before is still shown"
                ),
            }
        }
    }
}

fn read(files: &(PathBuf, PathBuf)) -> Result<TlsAcceptor, TlsError> {
    let tls = ServerTls::load(std::slice::from_ref(files), &ClientAuth::Off, &[b"http/1.1"])?;
    Ok(TlsAcceptor::from(tls.config))
}

//! TLS settings out of files: certificates chosen by name, authorities, and errors that say which file and what to do.
//!
//! Keys never reach a log: no type here prints one.

mod authorities;
mod certificate;
mod client;
mod error;
mod issued;
mod resolver;
mod server;
mod unverified;

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

pub use certificate::Certificate;
pub use client::{ClientSettings, ClientTls};
pub use error::TlsError;
pub use issued::{ACME_PATH, ACME_TLS, Answer, Issued};
pub use server::{ClientAuth, Ordered, ServerTls};

/// The cryptography that everything uses.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

#[cfg(test)]
mod tests;

//! Certificates that an authority issues while the node runs, and answers to the questions by which it finds out whether the
//! node answers for a name (RFC 8555, section 8; RFC 8737). Filled by whoever orders them, read by all workers: what is
//! put here is served from the next handshake on.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use rcgen::{CertificateParams, CustomExtension, DnType, KeyPair};
use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;

use super::certificate::{Certificate, pair};
use super::error::TlsError;
use super::provider;

/// The protocol that an authority asks for to see whether TLS is answered here (RFC 8737, section 4).
pub const ACME_TLS: &[u8] = b"acme-tls/1";
/// Where an authority asks over HTTP (RFC 8555, section 8.3), before the token.
pub const ACME_PATH: &[u8] = b"/.well-known/acme-challenge/";
/// Answers that are ready for one order, at most: as many as a certificate may have names.
const ANSWERS_MAX: usize = 100;

/// What an authority is answered.
#[derive(Clone, PartialEq, Eq)]
pub enum Answer {
    /// Over HTTP, whoever asks for `token` gets `content`.
    Http {
        /// The last part of the path.
        token: String,
        /// The whole body.
        content: String,
    },
    /// Over TLS, whoever asks for `domain` with [`ACME_TLS`] gets a certificate with `digest` in it.
    Tls {
        /// The name, in lower case.
        domain: String,
        /// SHA-256 of the key authorization.
        digest: Vec<u8>,
    },
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http { .. } => f.write_str("Http"),
            Self::Tls { domain, .. } => f.debug_struct("Tls").field("domain", domain).finish_non_exhaustive(),
        }
    }
}

/// Certificates and answers. All copies behind an [`Arc`] speak of the same ones.
#[derive(Default)]
pub struct Issued(RwLock<Inner>);

#[derive(Default)]
struct Inner {
    /// By the name that the configuration gives them.
    certificates: HashMap<String, Held>,
    /// Which answers belong together, by the same names.
    answers: HashMap<String, Vec<Answer>>,
    contents: HashMap<String, Arc<[u8]>>,
    proofs: HashMap<String, Arc<CertifiedKey>>,
}

struct Held {
    pair: Arc<CertifiedKey>,
    is_stand_in: bool,
}

impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issued").finish_non_exhaustive()
    }
}

impl Issued {
    /// Serves a certificate from now on wherever `name` is named; `chain` and `key` are PEM.
    ///
    /// # Errors
    /// If they cannot be used or do not belong together. What was served before goes on then.
    pub fn put(&self, name: &str, chain: &str, key: &str) -> Result<Certificate, TlsError> {
        let (certificate, pair) =
            self::pair((Path::new(name), chain.as_bytes()), (Path::new(name), key.as_bytes()), &provider())?;
        self.write().certificates.insert(name.to_owned(), Held { pair: Arc::new(pair), is_stand_in: false });
        Ok(certificate)
    }

    /// Makes a stand-in that nobody vouches for, unless there is a certificate, so that a listener can start.
    ///
    /// # Errors
    /// If a name in `domains` cannot stand in a certificate.
    pub fn stand_in(&self, name: &str, domains: &[String]) -> Result<(), TlsError> {
        if self.read().certificates.contains_key(name) {
            return Ok(());
        }
        let pair = Arc::new(make(domains, "Mainstay stand-in: no certificate was issued yet", Vec::new())?);
        self.write().certificates.entry(name.to_owned()).or_insert(Held { pair, is_stand_in: true });
        Ok(())
    }

    /// Whether what is served for `name` is a stand-in, or nothing at all.
    pub fn is_stand_in(&self, name: &str) -> bool {
        self.read().certificates.get(name).is_none_or(|held| held.is_stand_in)
    }

    /// What is served for `name`.
    pub(super) fn certificate(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.read().certificates.get(name)?.pair))
    }

    /// These are the answers for `name` from now on, and no others; an empty list takes them away.
    ///
    /// # Errors
    /// If a certificate that proves a name cannot be made, or there are too many answers.
    pub fn answer(&self, name: &str, answers: &[Answer]) -> Result<(), TlsError> {
        if answers.len() > ANSWERS_MAX {
            return Err(TlsError::Refused(format!("more than {ANSWERS_MAX} answers for one certificate")));
        }
        if self.read().answers.get(name).is_some_and(|known| known == answers) {
            return Ok(());
        }
        let proofs = answers.iter().filter_map(|answer| match answer {
            Answer::Tls { domain, digest } => Some((domain.clone(), digest)),
            Answer::Http { .. } => None,
        });
        let proofs = proofs
            .map(|(domain, digest)| {
                let proof = CustomExtension::new_acme_identifier(digest_of(digest)?);
                let pair = make(std::slice::from_ref(&domain), "Mainstay: proof for an authority", vec![proof])?;
                Ok((domain, Arc::new(pair)))
            })
            .collect::<Result<Vec<_>, TlsError>>()?;
        let mut inner = self.write();
        for answer in inner.answers.remove(name).into_iter().flatten() {
            match answer {
                Answer::Http { token, .. } => drop(inner.contents.remove(&token)),
                Answer::Tls { domain, .. } => drop(inner.proofs.remove(&domain)),
            }
        }
        for answer in answers {
            if let Answer::Http { token, content } = answer {
                inner.contents.insert(token.clone(), Arc::from(content.as_bytes()));
            }
        }
        inner.proofs.extend(proofs);
        if !answers.is_empty() {
            inner.answers.insert(name.to_owned(), answers.to_vec());
        }
        Ok(())
    }

    /// What whoever asks for `token` over HTTP is told; nothing if it is not one that is waited for.
    pub fn content(&self, token: &[u8]) -> Option<Arc<[u8]>> {
        self.read().contents.get(std::str::from_utf8(token).ok()?).cloned()
    }

    /// The certificate that proves `domain` to an authority, while it is to be proved.
    pub(super) fn proof(&self, domain: &str) -> Option<Arc<CertifiedKey>> {
        self.read().proofs.get(&domain.to_ascii_lowercase()).cloned()
    }

    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Inner> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn digest_of(digest: &[u8]) -> Result<&[u8], TlsError> {
    // The extension's maker takes a digest of SHA-256 for granted.
    if digest.len() == 32 {
        Ok(digest)
    } else {
        Err(TlsError::Refused("a proof needs a digest of 32 bytes".to_owned()))
    }
}

/// A certificate that is its own authority.
fn make(domains: &[String], subject: &str, extensions: Vec<CustomExtension>) -> Result<CertifiedKey, TlsError> {
    let refused =
        |error: rcgen::Error| TlsError::Refused(format!("no certificate can be made for {domains:?}: {error}"));
    let key = KeyPair::generate().map_err(refused)?;
    let mut params = CertificateParams::new(domains.to_vec()).map_err(refused)?;
    params.distinguished_name.push(DnType::CommonName, subject);
    params.custom_extensions = extensions;
    let certificate = params.self_signed(&key).map_err(refused)?;
    let provider: Arc<CryptoProvider> = provider();
    let der = rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der());
    let signing =
        provider.key_provider.load_private_key(der.into()).map_err(|error| TlsError::Refused(error.to_string()))?;
    Ok(CertifiedKey::new(vec![certificate.der().clone()], signing))
}

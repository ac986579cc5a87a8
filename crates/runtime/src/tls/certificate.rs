use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::error::TlsError;

/// What is in a certificate, for status and warnings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The file that it comes from.
    pub file: PathBuf,
    /// The host names that it is for, in lower case; `*.` leads a wildcard.
    pub names: Vec<String>,
    /// From when on it is valid.
    pub valid_from: SystemTime,
    /// When it expires.
    pub expires_at: SystemTime,
}

/// Reads a chain and its key, and checks that they belong together.
pub(super) fn load_pair(
    cert: &Path,
    key: &Path,
    provider: &CryptoProvider,
) -> Result<(Certificate, CertifiedKey), TlsError> {
    let chain = read(cert)?;
    pair((cert, &chain), (key, &read(key)?), provider)
}

/// The same of what was read already; the paths are what errors call it.
pub(super) fn pair(
    (cert, chain): (&Path, &[u8]),
    (key, private): (&Path, &[u8]),
    provider: &CryptoProvider,
) -> Result<(Certificate, CertifiedKey), TlsError> {
    let chain = parse_chain(cert, chain)?;
    let certificate = describe(cert, chain.first().ok_or_else(|| TlsError::NoCertificate { file: cert.to_owned() })?)?;
    let private = parse_key(key, private)?;
    let signing = provider.key_provider.load_private_key(private).map_err(|error| TlsError::Malformed {
        file: key.to_owned(),
        why: format!("the key cannot be used: {error}"),
    })?;
    let pair = CertifiedKey::new(chain, signing);
    match pair.keys_match() {
        // A key that cannot tell its public half is not known to be wrong; the handshake would show it.
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok((certificate, pair)),
        Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
            Err(TlsError::Mismatch { key: key.to_owned(), cert: cert.to_owned() })
        }
        Err(error) => Err(TlsError::Malformed { file: cert.to_owned(), why: error.to_string() }),
    }
}

/// All certificates of a file, at least one.
pub(super) fn read_chain(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    parse_chain(file, &read(file)?)
}

fn parse_chain(file: &Path, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain = CertificateDer::pem_slice_iter(text)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| TlsError::Malformed { file: file.to_owned(), why: format!("damaged PEM: {error}") })?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate { file: file.to_owned() });
    }
    Ok(chain)
}

fn parse_key(file: &Path, text: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    match PrivateKeyDer::from_pem_slice(text) {
        Ok(key) => Ok(key),
        Err(_none) if contains(text, b"ENCRYPTED") => Err(TlsError::EncryptedKey { file: file.to_owned() }),
        Err(rustls::pki_types::pem::Error::NoItemsFound) => Err(TlsError::NoKey { file: file.to_owned() }),
        // The parser's own message could quote the file, which is a secret.
        Err(_damaged) => Err(TlsError::Malformed { file: file.to_owned(), why: "damaged PEM".to_owned() }),
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

pub(super) fn read(file: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(file).map_err(|source| TlsError::Unreadable { file: file.to_owned(), source })
}

fn describe(file: &Path, der: &CertificateDer<'_>) -> Result<Certificate, TlsError> {
    let malformed = |why: String| TlsError::Malformed { file: file.to_owned(), why };
    let (_rest, parsed) =
        X509Certificate::from_der(der).map_err(|error| malformed(format!("damaged certificate: {error}")))?;
    let alternatives =
        parsed.subject_alternative_name().map_err(|error| malformed(format!("damaged certificate: {error}")))?;
    let names = alternatives.map_or_else(Vec::new, |extension| {
        let names = extension.value.general_names.iter();
        names
            .filter_map(|name| match name {
                GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
                _not_a_host_name => None,
            })
            .collect()
    });
    let validity = parsed.validity();
    Ok(Certificate {
        file: file.to_owned(),
        names,
        valid_from: time(validity.not_before.timestamp()),
        expires_at: time(validity.not_after.timestamp()),
    })
}

fn time(seconds: i64) -> SystemTime {
    UNIX_EPOCH.checked_add(Duration::from_secs(u64::try_from(seconds).unwrap_or(0))).unwrap_or(UNIX_EPOCH)
}

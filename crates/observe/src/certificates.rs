//! Certificates in use: what is in their files, and how long they are valid.

use std::path::Path;

use mainstay_core::alert::Millis;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// The largest file that is read.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Certificates of one file, at most.
const CERTIFICATES_MAX: usize = 64;
/// Names of one certificate that are kept, at most.
const NAMES_MAX: usize = 100;

/// A certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Whom it is for: the common name, or else the first name.
    pub subject: String,
    /// Who vouches for that.
    pub issuer: String,
    /// The names of hosts that it is for.
    pub names: Vec<String>,
    /// From when it is valid, in milliseconds since 1970.
    pub from: Millis,
    /// Until when, likewise.
    pub until: Millis,
}

impl Certificate {
    /// Days until it ends; negative afterwards.
    pub fn days_left(&self, now: Millis) -> f64 {
        (self.until as f64 - now as f64) / 86_400_000.0
    }
}

/// The certificates in a file, in its order.
///
/// # Errors
/// If the file cannot be read, or has none.
pub fn read(file: &Path) -> Result<Vec<Certificate>, String> {
    let told = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
    let size = std::fs::metadata(file).map_err(|error| told(&error))?.len();
    if size > FILE_BYTES_MAX {
        return Err(told(&"the file is too large"));
    }
    let text = std::fs::read(file).map_err(|error| told(&error))?;
    parse_pem(&text).map_err(|error| told(&error))
}

/// The certificates in a text, in its order.
///
/// # Errors
/// If it has none, or one that cannot be understood.
pub fn parse_pem(text: &[u8]) -> Result<Vec<Certificate>, String> {
    let mut found = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(text).take(CERTIFICATES_MAX) {
        let der = certificate.map_err(|error| error.to_string())?;
        found.push(parse(&der).ok_or("a certificate in it cannot be understood")?);
    }
    if found.is_empty() { Err("there is no certificate in it".to_owned()) } else { Ok(found) }
}

/// What a certificate in DER says; `None` if it cannot be understood.
pub fn parse(der: &[u8]) -> Option<Certificate> {
    let (_rest, certificate) = X509Certificate::from_der(der).ok()?;
    let names: Vec<String> = match certificate.subject_alternative_name() {
        Ok(Some(names)) => {
            let name = |name: &GeneralName<'_>| match name {
                GeneralName::DNSName(name) => Some((*name).to_owned()),
                _other => None,
            };
            names.value.general_names.iter().filter_map(name).take(NAMES_MAX).collect()
        }
        Ok(None) | Err(_) => Vec::new(),
    };
    let common = certificate.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
    let subject = common.map(str::to_owned).or_else(|| names.first().cloned());
    let millis = |seconds: i64| Millis::try_from(seconds.saturating_mul(1000)).unwrap_or(0);
    Some(Certificate {
        subject: subject.unwrap_or_else(|| certificate.subject().to_string()),
        issuer: certificate.issuer().to_string(),
        names,
        from: millis(certificate.validity().not_before.timestamp()),
        until: millis(certificate.validity().not_after.timestamp()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.pem");
        assert!(read(&file).unwrap_err().contains("a.pem"));
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["a.test".to_owned(), "b.test".to_owned()]).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, "a certificate");
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2027, 1, 1);
        std::fs::write(&file, params.self_signed(&key).unwrap().pem()).unwrap();
        let found = read(&file).unwrap();
        assert_eq!((found.len(), found[0].subject.as_str()), (1, "a certificate"));
        assert_eq!(found[0].names, ["a.test", "b.test"]);
        assert!((found[0].days_left(found[0].from) - 365.0).abs() < 0.01);
        std::fs::write(&file, "nothing").unwrap();
        assert!(read(&file).unwrap_err().contains("no certificate"));
    }
}

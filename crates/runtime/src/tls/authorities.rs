use std::path::Path;

use rustls::RootCertStore;

use super::certificate::read_chain;
use super::error::TlsError;

/// The authorities of a file.
pub(super) fn from_file(file: &Path) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    for certificate in read_chain(file)? {
        store.add(certificate).map_err(|error| TlsError::Malformed {
            file: file.to_owned(),
            why: format!("not an authority: {error}"),
        })?;
    }
    Ok(store)
}

/// The authorities that the system trusts.
pub(super) fn of_the_system() -> Result<RootCertStore, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut store = RootCertStore::empty();
    let (added, _unusable) = store.add_parsable_certificates(found.certs);
    if added == 0 {
        let why = found.errors.first().map_or_else(|| "there are none".to_owned(), ToString::to_string);
        return Err(TlsError::NoSystemAuthorities(why));
    }
    Ok(store)
}

//! The files that a configuration names: whether they are there and hold what they should. Looked at by `check` (and by
//! the gateway when it loads them), not by `parse`, which touches nothing but the text.

use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use mainstay_gateway::spec::{AccessLog, Address, CertificateFiles, ClientAuth, ListenerTls, UpstreamTls};
use mainstay_runtime::tls::{self, Certificate, ClientSettings, ClientTls, ServerTls};

use super::problem::Fault;
use super::reader::{Place, Reader};
use super::{fallback, listener, node, route, secret, service};

/// How long before its end a certificate is worth a word.
const EXPIRES_SOON: Duration = Duration::from_secs(14 * 86_400);

/// Tries everything that can be tried without binding or connecting.
pub(super) fn check(
    reader: &Reader<'_>,
    settings: &node::Settings,
    listeners: &[listener::Read],
    routes: &[route::Read],
    services: &[service::Read],
) {
    if let AccessLog::File(file) = &settings.node.access_log {
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if !folder.is_dir() {
            let fault = Fault::new(format!("there is no folder {}", folder.display()));
            reader.error(
                &settings.access_log,
                fault.hint("create it, and let the user that Mainstay runs as write to it"),
            );
        }
    }
    for read in listeners {
        if let (Some(tls), Some(place)) = (&read.listener.tls, &read.tls) {
            check_listener(reader, tls, place);
        }
    }
    for (place, ca) in reader.authorities() {
        check_authorities(reader, Some(ca), &place);
    }
    secret::check_files(reader);
    for read in routes.iter().filter_map(|read| read.fallback.as_ref()) {
        fallback::check_file(reader, read);
    }
    for read in services {
        check_sockets(reader, read);
        if let (Some(tls), Some(place)) = (&read.service.tls, &read.tls) {
            check_service(reader, tls, place);
        }
    }
}

/// A socket need not be there yet, but what is there in its place will never be one.
fn check_sockets(reader: &Reader<'_>, read: &service::Read) {
    for endpoint in &read.service.endpoints {
        let Address::Unix(path) = &endpoint.address else { continue };
        if std::fs::metadata(path).is_ok_and(|entry| !entry.file_type().is_socket()) {
            let fault = Fault::new(format!("{}: this is no socket", path.display()));
            reader.warn(&read.place, fault.hint("name the socket that the server listens on"));
        }
    }
}

/// Pairs are loaded one by one, since loading them together would stop at the first that cannot be used.
fn check_listener(reader: &Reader<'_>, tls: &ListenerTls, place: &Place) {
    for pair in &tls.certificates {
        check_pair(reader, pair, place);
    }
    match &tls.client_auth {
        ClientAuth::Off => {}
        ClientAuth::Optional { ca } | ClientAuth::Required { ca } => check_authorities(reader, Some(ca.clone()), place),
    }
}

fn check_service(reader: &Reader<'_>, tls: &UpstreamTls, place: &Place) {
    if tls.verify {
        check_authorities(reader, tls.ca.clone(), place);
    }
    if let Some(pair) = &tls.client {
        check_pair(reader, pair, place);
    }
}

fn check_pair(reader: &Reader<'_>, pair: &CertificateFiles, place: &Place) {
    match ServerTls::load(&[(pair.cert.clone(), pair.key.clone())], &tls::ClientAuth::Off, &[]) {
        Ok(loaded) => {
            for certificate in &loaded.certificates {
                check_dates(reader, certificate, place, SystemTime::now());
            }
        }
        Err(error) => reader.error(place, explain(&error)),
    }
}

/// The authorities that a peer's certificate is verified by; `None` stands for the system's.
fn check_authorities(reader: &Reader<'_>, ca: Option<PathBuf>, place: &Place) {
    if let Err(error) = ClientTls::load(&ClientSettings { verify: true, ca, client: None }, &[]) {
        reader.error(place, explain(&error));
    }
}

fn check_dates(reader: &Reader<'_>, certificate: &Certificate, place: &Place, now: SystemTime) {
    let file = certificate.file.display();
    if certificate.valid_from > now {
        reader.warn(
            place,
            Fault::new(format!("{file}: the certificate is not valid yet")).hint("check this machine's clock"),
        );
    } else if certificate.expires_at <= now {
        reader.warn(place, Fault::new(format!("{file}: the certificate has expired")).hint("renew it"));
    } else if let Ok(left) = certificate.expires_at.duration_since(now)
        && left < EXPIRES_SOON
    {
        let days = left.as_secs() / 86_400;
        reader.warn(place, Fault::new(format!("{file}: the certificate expires in {days} days")).hint("renew it"));
    }
}

fn explain(error: &tls::TlsError) -> Fault {
    let fault = Fault::new(error.to_string());
    match error {
        tls::TlsError::Unreadable { .. } => fault
            .hint("paths are relative to the configuration's folder; Mainstay's user must be able to read the file"),
        tls::TlsError::NoCertificate { .. }
        | tls::TlsError::NoKey { .. }
        | tls::TlsError::EncryptedKey { .. }
        | tls::TlsError::Malformed { .. }
        | tls::TlsError::Mismatch { .. }
        | tls::TlsError::Empty
        | tls::TlsError::NoSystemAuthorities(_)
        | tls::TlsError::Refused(_) => fault,
    }
}

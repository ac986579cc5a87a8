//! Which files a configuration depends on.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use mainstay_gateway::spec::{CertificateFiles, ClientAuth, Content, Spec};

/// The configuration's own file, and every certificate, key, authority and fixed answer that it names, each once.
pub(super) fn files(configuration: Option<&Path>, spec: &Spec) -> Vec<PathBuf> {
    let mut files: BTreeSet<PathBuf> = configuration.map(Path::to_owned).into_iter().collect();
    for tls in spec.listeners.iter().filter_map(|listener| listener.tls.as_ref()) {
        for certificate in &tls.certificates {
            add(&mut files, certificate);
        }
        match &tls.client_auth {
            ClientAuth::Off => {}
            ClientAuth::Optional { ca } | ClientAuth::Required { ca } => {
                files.insert(ca.clone());
            }
        }
    }
    for tls in spec.services.iter().filter_map(|service| service.tls.as_ref()) {
        files.extend(tls.ca.clone());
        if let Some(client) = &tls.client {
            add(&mut files, client);
        }
    }
    for answer in spec.routes.iter().filter_map(|route| route.fallback.as_ref()?.answer.as_ref()) {
        if let Content::File(file) = &answer.content {
            files.insert(file.clone());
        }
    }
    files.into_iter().collect()
}

fn add(files: &mut BTreeSet<PathBuf>, certificate: &CertificateFiles) {
    files.insert(certificate.cert.clone());
    files.insert(certificate.key.clone());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[test]
    fn every_file_is_watched_once() {
        let text = r#"
            [[listener]]
            name = "web"
            bind = "127.0.0.1:8443"
            tls = { certificates = [{ cert = "a.pem", key = "a.key" }, { cert = "b.pem", key = "a.key" }], client_auth = "required", client_ca = "clients.pem" }
            [[route]]
            name = "all"
            service = "shop"
            fallback = { file = "top10.json" }
            [[service]]
            name = "shop"
            tls = { ca = "ca.pem", cert = "me.pem", key = "me.key" }
            endpoints = ["127.0.0.1:1"]
        "#;
        let config = config::parse(text, "lb.toml", Path::new("/c")).expect("it is correct");
        let files = files(Some(Path::new("/c/lb.toml")), &config.spec);
        let expected =
            ["a.key", "a.pem", "b.pem", "ca.pem", "clients.pem", "lb.toml", "me.key", "me.pem", "top10.json"];
        assert_eq!(files, expected.map(|name| Path::new("/c").join(name)));
    }
}

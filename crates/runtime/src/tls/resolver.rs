use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::certificate::Certificate;

type Candidates = Vec<Arc<CertifiedKey>>;

/// Chooses a certificate by the name that the client asks for: an exact one, else a wildcard for its parent, else the first
/// of all. Of several with the same name, the first whose key the client can check (one may serve RSA next to ECDSA).
#[derive(Debug)]
pub(super) struct ByName {
    exact: HashMap<String, Candidates>,
    /// By the name without `*.`.
    wildcard: HashMap<String, Candidates>,
    all: Candidates,
}

impl ByName {
    pub(super) fn new(certificates: Vec<(&Certificate, CertifiedKey)>) -> Self {
        let (mut exact, mut wildcard) = (HashMap::<_, Candidates>::new(), HashMap::<_, Candidates>::new());
        let mut all = Vec::new();
        for (certificate, pair) in certificates {
            let pair = Arc::new(pair);
            for name in &certificate.names {
                let (map, key) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut wildcard, parent),
                    None => (&mut exact, name.as_str()),
                };
                map.entry(key.to_owned()).or_default().push(Arc::clone(&pair));
            }
            all.push(pair);
        }
        Self { exact, wildcard, all }
    }

    fn candidates(&self, name: &str) -> Option<&Candidates> {
        let name = name.strip_suffix('.').unwrap_or(name);
        let name = if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            Cow::Owned(name.to_ascii_lowercase())
        } else {
            Cow::Borrowed(name)
        };
        self.exact.get(name.as_ref()).or_else(|| self.wildcard.get(name.split_once('.')?.1))
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let usable = |pair: &&Arc<CertifiedKey>| pair.key.choose_scheme(hello.signature_schemes()).is_some();
        let named = hello.server_name().and_then(|name| self.candidates(name));
        let chosen = named.and_then(|candidates| candidates.iter().find(usable).or_else(|| candidates.first()));
        chosen.or_else(|| self.all.iter().find(usable)).or_else(|| self.all.first()).cloned()
    }
}

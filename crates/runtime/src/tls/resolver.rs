use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::certificate::Certificate;
use super::issued::ACME_TLS;
use super::server::Ordered;

type Candidates = Vec<Arc<CertifiedKey>>;

/// Chooses a certificate by the name that the client asks for: an exact one, else a wildcard for its parent, else the first
/// of all; those out of files come before those that an authority issues. Of several with the same name, the first whose key the client can check (one may serve RSA next to ECDSA).
#[derive(Debug)]
pub(super) struct ByName {
    exact: HashMap<String, Candidates>,
    /// By the name without `*.`.
    wildcard: HashMap<String, Candidates>,
    all: Candidates,
    ordered: Ordered,
}

impl ByName {
    pub(super) fn new(certificates: Vec<(&Certificate, CertifiedKey)>, ordered: Ordered) -> Self {
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
        Self { exact, wildcard, all, ordered }
    }

    fn named(&self, name: &str, usable: impl Fn(&&Arc<CertifiedKey>) -> bool) -> Option<Arc<CertifiedKey>> {
        let name = name.strip_suffix('.').unwrap_or(name);
        let name = if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            Cow::Owned(name.to_ascii_lowercase())
        } else {
            Cow::Borrowed(name)
        };
        let best = |all: &Candidates| all.iter().find(&usable).or_else(|| all.first()).cloned();
        let ordered = || {
            let (order, _domains) =
                self.ordered.orders.iter().find(|(_order, domains)| domains.contains(name.as_ref()))?;
            self.ordered.issued.certificate(order)
        };
        let parent = || self.wildcard.get(name.split_once('.')?.1);
        self.exact.get(name.as_ref()).and_then(best).or_else(ordered).or_else(|| parent().and_then(best))
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let usable = |pair: &&Arc<CertifiedKey>| pair.key.choose_scheme(hello.signature_schemes()).is_some();
        if self.ordered.proves && hello.alpn().is_some_and(|offered| offered.eq([ACME_TLS])) {
            // Only the proof that is waited for, never a certificate that serves: nothing is to be learned here.
            return self.ordered.issued.proof(hello.server_name()?);
        }
        let named = hello.server_name().and_then(|name| self.named(name, usable));
        let first = || self.all.iter().find(usable).or_else(|| self.all.first()).cloned();
        named.or_else(first).or_else(|| self.ordered.issued.certificate(&self.ordered.orders.first()?.0))
    }
}

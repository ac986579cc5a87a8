//! What a certificate says of a node.

use std::fmt;
use std::time::{Duration, SystemTime};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::{Deserialize, Serialize};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{ClusterId, IdentityError, sha256};
use crate::peer::NodeId;

/// Certificates of a chain, at most.
const CHAIN_MAX: usize = 4;
const DOMAIN: &str = "mainstay";

/// The host name by which a node's certificate is checked.
pub fn host_of(cluster: &ClusterId, node: NodeId) -> String {
    format!("node-{node}.{cluster}.{DOMAIN}")
}

/// The host name that all nodes of a cluster have, for who does not know yet which node answers.
pub fn host_of_any(cluster: &ClusterId) -> String {
    format!("member.{cluster}.{DOMAIN}")
}

/// The certificates in a PEM text, at least one.
///
/// # Errors
/// If there is none, or more than a chain has; `what` names the text in the message.
pub fn certificates(what: &str, pem: &str) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let malformed = |why: String| IdentityError::Malformed { what: what.to_owned(), why };
    let chain = CertificateDer::pem_slice_iter(pem.as_bytes())
        .take(CHAIN_MAX + 1)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| malformed(format!("damaged PEM: {error}")))?;
    match chain.len() {
        0 => Err(malformed("holds no certificate".to_owned())),
        1..=CHAIN_MAX => Ok(chain),
        _more => Err(malformed(format!("holds more than {CHAIN_MAX} certificates"))),
    }
}

/// SHA-256 of a certificate.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    /// Of this certificate.
    pub fn of(certificate: &CertificateDer<'_>) -> Self {
        Self(sha256(certificate))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&super::hex(&self.0))
    }
}

/// Who a certificate says that a node is. Meaningful only of a certificate that has been verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerIdentity {
    /// The cluster.
    pub cluster: ClusterId,
    /// The node's number.
    pub node: NodeId,
    /// Its name.
    pub name: String,
}

impl PeerIdentity {
    /// Reads a certificate; `None` if it is not a node's.
    pub fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_rest, parsed) = X509Certificate::from_der(certificate).ok()?;
        let name = parsed.subject().iter_common_name().next()?.as_str().ok()?.to_owned();
        let alternatives = parsed.subject_alternative_name().ok()??;
        let hosts = alternatives.value.general_names.iter().filter_map(|name| match name {
            GeneralName::DNSName(host) => read_host(host),
            _not_a_host_name => None,
        });
        let mut hosts = hosts.map(|(cluster, node)| Self { cluster, node, name: name.clone() });
        let first = hosts.next()?;
        // Two numbers in one certificate would be two identities.
        hosts.next().is_none().then_some(first)
    }
}

fn read_host(host: &str) -> Option<(ClusterId, NodeId)> {
    let mut labels = host.split('.');
    let node = labels.next()?.strip_prefix("node-")?;
    let cluster = ClusterId::parse(labels.next()?)?;
    let is_plain = !node.is_empty() && !node.starts_with('0') && node.bytes().all(|byte| byte.is_ascii_digit());
    let node = node.parse().ok().filter(|_id| is_plain).map(NodeId)?;
    (labels.next() == Some(DOMAIN) && labels.next().is_none()).then_some((cluster, node))
}

/// When a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// From when.
    pub from: SystemTime,
    /// Until when.
    pub until: SystemTime,
}

impl Validity {
    /// Of this certificate.
    ///
    /// # Errors
    /// If it is damaged.
    pub fn of(certificate: &CertificateDer<'_>) -> Result<Self, IdentityError> {
        let malformed = |why: String| IdentityError::Malformed { what: "certificate".to_owned(), why };
        let (_rest, parsed) =
            X509Certificate::from_der(certificate).map_err(|error| malformed(format!("damaged: {error}")))?;
        let time = |seconds: i64| {
            let since = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
            SystemTime::UNIX_EPOCH.checked_add(since).ok_or_else(|| malformed("its dates are out of bounds".to_owned()))
        };
        let validity = parsed.validity();
        Ok(Self { from: time(validity.not_before.timestamp())?, until: time(validity.not_after.timestamp())? })
    }

    /// When it is renewed: after two thirds of its life.
    pub fn renewal(&self) -> SystemTime {
        let life = self.until.duration_since(self.from).unwrap_or_default();
        self.from + life / 3 * 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{Authority, NodeKey, Subject};

    #[test]
    fn a_certificate_says_who_a_node_is_and_until_when() {
        let (cluster, now) = (ClusterId::new().unwrap(), SystemTime::now());
        let authority = Authority::new(&cluster, now).unwrap();
        let again = Authority::from_pem(authority.certificate(), &authority.key()).unwrap();
        let (key, life) = (NodeKey::new().unwrap(), Duration::from_secs(30 * 86_400));
        let subject = Subject { cluster: &cluster, node: NodeId(3), name: "lb3" };
        let pem = again.issue(&subject, &key.public(), now, life).unwrap();
        let chain = certificates("node.crt", &pem).unwrap();
        let identity = PeerIdentity::of(&chain[0]).unwrap();
        assert_eq!(identity, PeerIdentity { cluster, node: NodeId(3), name: "lb3".to_owned() });
        let validity = Validity::of(&chain[0]).unwrap();
        let left = validity.until.duration_since(now).unwrap();
        assert!(left <= life && left > life - Duration::from_secs(5), "{left:?}");
        assert!(validity.renewal() > now && validity.renewal() < validity.until);
        assert_eq!(PeerIdentity::of(&certificates("ca.crt", authority.certificate()).unwrap()[0]), None);
    }

    #[test]
    fn only_plain_host_names_are_nodes() {
        let id = "0123456789abcdef0123456789abcdef";
        assert_eq!(read_host(&format!("node-12.{id}.mainstay")).unwrap().1, NodeId(12));
        for host in [
            format!("node-0.{id}.mainstay"),
            format!("node-+1.{id}.mainstay"),
            format!("node-.{id}.mainstay"),
            format!("node-99999999999999999999.{id}.mainstay"),
            format!("node-1.{id}.mainstay.example"),
            format!("node-1.{id}"),
            format!("member.{id}.mainstay"),
            "node-1.ABC.mainstay".to_owned(),
            String::new(),
        ] {
            assert_eq!(read_host(&host), None, "{host}");
        }
    }

    #[test]
    fn hostile_texts_are_refused() {
        for text in
            ["", "-----BEGIN CERTIFICATE-----\nAAAA\n", "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----"]
        {
            assert!(certificates("x", text).is_err(), "{text}");
        }
        assert_eq!(PeerIdentity::of(&CertificateDer::from(vec![0x30, 0x82, 0xff, 0xff])), None);
    }
}

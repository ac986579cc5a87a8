//! The cluster's certificate authority. Its key is on the nodes that vote, so that any of them can let others in and
//! renew what expires.

use std::fmt;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SerialNumber, SubjectPublicKeyInfo,
};

use super::certificate::{host_of, host_of_any};
use super::{ClusterId, IdentityError, random};
use crate::peer::NodeId;

/// Clocks of machines differ: a certificate is valid from so long before it was made.
const CLOCK_SKEW: Duration = Duration::from_secs(86_400);
/// How long the authority lasts.
const AUTHORITY_LIFE: Duration = Duration::from_secs(20 * 365 * 86_400);

/// An authority that can sign.
pub struct Authority {
    certificate: String,
    key: KeyPair,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

impl Authority {
    /// A new authority for a new cluster.
    ///
    /// # Errors
    /// If the system has no randomness.
    pub fn new(cluster: &ClusterId, now: SystemTime) -> Result<Self, IdentityError> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, format!("mainstay cluster {cluster}"));
        params.not_before = earlier(now, CLOCK_SKEW).into();
        params.not_after = (now + AUTHORITY_LIFE).into();
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?.pem();
        Ok(Self { certificate, key })
    }

    /// The authority of a certificate and its key, both in PEM.
    ///
    /// # Errors
    /// If they are damaged or do not belong together.
    pub fn from_pem(certificate: &str, key: &str) -> Result<Self, IdentityError> {
        let key = KeyPair::from_pem(key)?;
        // Signing and reading back shows that the pair works; a foreign key is found when certificates are checked.
        Issuer::from_ca_cert_pem(certificate, &key)?;
        Ok(Self { certificate: certificate.to_owned(), key })
    }

    /// Its certificate in PEM.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// Its key in PEM. A secret.
    pub fn key(&self) -> String {
        self.key.serialize_pem()
    }

    /// A certificate, in PEM, for a node with this public key (in PEM), valid for `life` from `now`.
    ///
    /// # Errors
    /// If the public key is none.
    pub fn issue(
        &self,
        subject: &Subject<'_>,
        public_key: &str,
        now: SystemTime,
        life: Duration,
    ) -> Result<String, IdentityError> {
        let public = SubjectPublicKeyInfo::from_pem(public_key)?;
        let mut params =
            CertificateParams::new(vec![host_of(subject.cluster, subject.node), host_of_any(subject.cluster)])?;
        params.distinguished_name.push(DnType::CommonName, subject.name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.serial_number = Some(SerialNumber::from_slice(&random::<16>()?));
        params.not_before = earlier(now, CLOCK_SKEW).into();
        params.not_after = (now + life).into();
        let issuer = Issuer::from_ca_cert_pem(&self.certificate, &self.key)?;
        Ok(params.signed_by(&public, &issuer)?.pem())
    }
}

/// Whom a certificate is for.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The cluster.
    pub cluster: &'a ClusterId,
    /// The node's number.
    pub node: NodeId,
    /// The node's name.
    pub name: &'a str,
}

/// A node's key.
pub struct NodeKey(KeyPair);

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NodeKey(..)")
    }
}

impl NodeKey {
    /// A new one.
    ///
    /// # Errors
    /// If the system has no randomness.
    pub fn new() -> Result<Self, IdentityError> {
        Ok(Self(KeyPair::generate()?))
    }

    /// A node's key in PEM.
    ///
    /// # Errors
    /// If it is damaged.
    pub fn from_pem(pem: &str) -> Result<Self, IdentityError> {
        Ok(Self(KeyPair::from_pem(pem)?))
    }

    /// In PEM. A secret.
    pub fn private(&self) -> String {
        self.0.serialize_pem()
    }

    /// The public half in PEM.
    pub fn public(&self) -> String {
        self.0.public_key_pem()
    }
}

fn earlier(now: SystemTime, by: Duration) -> SystemTime {
    now.checked_sub(by).unwrap_or(SystemTime::UNIX_EPOCH)
}

//! What the configuration says of one certificate.

use std::path::PathBuf;

use mainstay_gateway::spec::Challenge;

use crate::secret::Secret;

/// A certificate, and who issues it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Unique name.
    pub name: String,
    /// The address of the authority's directory.
    pub directory: String,
    /// Whom the authority may write to, as URIs such as `mailto:ops@example.com`.
    pub contact: Vec<String>,
    /// The host names that it is for, in lower case, at least one.
    pub domains: Vec<String>,
    /// How the authority finds out who answers for them.
    pub challenge: Challenge,
    /// Authorities in PEM that the directory's own certificate must verify by, in place of the system's.
    pub ca: Option<PathBuf>,
    /// An account that the authority knows already from elsewhere (RFC 8555, section 7.3.4).
    pub binding: Option<Binding>,
}

/// An account that the authority knows from elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// What the authority calls it.
    pub id: String,
    /// The key that it gave for it, in base64url.
    pub key: Secret,
}

impl Settings {
    /// Stays the same for one certificate, and differs between certificates.
    pub fn seed(&self) -> u64 {
        mainstay_core::random::hash(self.name.as_bytes())
    }
}

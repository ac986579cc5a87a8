//! Who a node is, and how others can tell: the cluster's certificate authority, the nodes' certificates, tokens that let
//! a new node in, and the folder where a node keeps all this.

mod authority;
mod certificate;
mod folder;
mod token;

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::peer::NodeId;

pub use authority::{Authority, NodeKey, Subject};
pub use certificate::{Fingerprint, PeerIdentity, Validity, certificates, host_of, host_of_any};
pub use folder::{Credentials, Folder};
pub use token::{Grant, JoinToken, SecretHash, TokenError, TokenId, TokenRecord};

/// A cluster's name: 16 random bytes in hexadecimal. Certificates of one cluster mean nothing to another.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClusterId(String);

impl ClusterId {
    /// A new one.
    ///
    /// # Errors
    /// If the system has no randomness.
    pub fn new() -> Result<Self, IdentityError> {
        Ok(Self(hex(&random::<16>()?)))
    }

    /// Reads one.
    pub fn parse(text: &str) -> Option<Self> {
        let is_plain = text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        is_plain.then(|| Self(text.to_owned()))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a node is in its cluster. It never changes: a node whose folder is lost joins again as another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The cluster.
    pub cluster: ClusterId,
    /// The node's number in it.
    pub node: NodeId,
    /// The node's name.
    pub name: String,
    /// Where other nodes reach it: HOST:PORT.
    pub address: String,
    /// Whether it votes, once it has caught up.
    pub voter: bool,
    /// How far it has come.
    pub stage: Stage,
}

/// How far a node has come in its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// It makes the cluster when it starts for the first time.
    Founder,
    /// It was let in, and asks to be taken in when it runs.
    Joined,
    /// It has taken part. What it agreed to is on its disk, or it must not take part any more.
    Member,
}

/// Why something about identities failed.
#[derive(Debug, Error)]
pub enum IdentityError {
    /// The system gave no random numbers.
    #[error("the system gives no random numbers")]
    NoRandomness,
    /// A key or certificate could not be made.
    #[error("cannot make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// A certificate is not what it should be.
    #[error("{what}: {why}")]
    Malformed {
        /// Which one.
        what: String,
        /// What is wrong.
        why: String,
    },
    /// A file could not be read or written.
    #[error("{}: {source}", file.display())]
    File {
        /// Which one.
        file: std::path::PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The TLS library refused the material.
    #[error("the TLS library refuses the certificates: {0}")]
    Tls(#[from] rustls::Error),
}

pub(crate) fn random<const N: usize>() -> Result<[u8; N], IdentityError> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_unspecified| IdentityError::NoRandomness)?;
    Ok(bytes)
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    let mut hash = [0; 32];
    hash.copy_from_slice(digest.as_ref());
    hash
}

//! What new nodes and members ask, and what they hear.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{ADDRESS_MAX, NAME_MAX};
use crate::coordinator::LeaseId;
use crate::embedded::Peer;
use crate::identity::{IdentityError, JoinToken, NodeKey, TokenId};
use crate::peer::NodeId;

/// Letters of a public key in PEM, at most.
const PUBLIC_KEY_MAX: usize = 4096;

/// A new node asks to come in.
#[derive(Clone, Serialize, Deserialize)]
pub struct JoinRequest {
    /// Which token.
    pub token: TokenId,
    /// Its secret.
    pub(super) secret: Vec<u8>,
    /// What the node is called.
    pub name: String,
    /// Where others reach it.
    pub address: String,
    /// Whether it wants to vote.
    pub voter: bool,
    pub(super) public_key: String,
}

impl JoinRequest {
    /// By this token, with this key.
    pub fn new(token: &JoinToken, key: &NodeKey, name: &str, address: &str, voter: bool) -> Self {
        Self {
            token: token.id.clone(),
            secret: token.secret().to_vec(),
            name: name.to_owned(),
            address: address.to_owned(),
            voter,
            public_key: key.public(),
        }
    }

    /// As a message.
    ///
    /// # Errors
    /// Never with what people write.
    pub fn encode(&self) -> Result<Bytes, IdentityError> {
        encode(self).map_err(|why| IdentityError::Malformed { what: "request".to_owned(), why })
    }

    /// Whether its parts are of a sensible size and form. A stranger has sent it.
    pub(super) fn check(&self) -> Result<(), String> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if self.name.is_empty() || self.name.len() > NAME_MAX || !self.name.bytes().all(is_plain) {
            return Err("its name cannot be one of a node".to_owned());
        }
        check_address(&self.address)?;
        if self.public_key.len() > PUBLIC_KEY_MAX || !self.token.is_plain() {
            return Err("it is malformed".to_owned());
        }
        Ok(())
    }
}

/// Whether an address is one, and no longer than one can be.
pub(super) fn check_address(address: &str) -> Result<(), String> {
    let has_port = |(host, port): (&str, &str)| !host.is_empty() && port.parse::<u16>().is_ok();
    let is_address = address.len() <= ADDRESS_MAX
        && address.bytes().all(|byte| byte.is_ascii_graphic())
        && address.rsplit_once(':').is_some_and(has_port);
    if is_address { Ok(()) } else { Err("its address is not HOST:PORT".to_owned()) }
}

/// It is let in.
#[derive(Clone, Serialize, Deserialize)]
pub struct JoinReply {
    /// Its number.
    pub node: NodeId,
    /// Whether it may vote.
    pub voter: bool,
    /// Its certificate in PEM.
    pub certificate: String,
    /// The authority's certificate in PEM.
    pub authority: String,
    /// The authority's key, for a node that may sign. A secret.
    pub authority_key: Option<String>,
    /// Who belongs to the cluster.
    pub members: Vec<Known>,
}

impl JoinReply {
    /// From a message.
    ///
    /// # Errors
    /// If it is none.
    pub fn decode(message: &[u8]) -> Result<Self, String> {
        decode(message)
    }
}

/// A node that is known, and where it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// Its number.
    pub node: NodeId,
    /// Its name.
    pub name: String,
    /// HOST:PORT.
    pub address: String,
}

/// What a member asks another.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Wish {
    /// To be taken in: it runs now.
    Admit {
        /// What it is.
        peer: Peer,
    },
    /// A new certificate for its name and public key.
    Renew { name: String, public_key: String },
    /// Nothing but an answer.
    Hello,
    /// The end of its own lease: it has died, and its guard speaks for it.
    End { lease: LeaseId },
    /// To be reached somewhere else from now on, or to vote or not to: its configuration has changed.
    Move {
        address: String,
        /// `None`: as before. An older node says nothing about it.
        #[serde(default)]
        voter: Option<bool>,
    },
}

/// What it hears.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Granted {
    Admitted,
    Renewed { certificate: String },
    Hello,
    Ended,
    Moved,
}

pub(super) fn encode(value: &impl Serialize) -> Result<Bytes, String> {
    rmp_serde::to_vec_named(value).map(Bytes::from).map_err(|error| error.to_string())
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    rmp_serde::from_slice(bytes).map_err(|error| format!("the message cannot be read: {error}"))
}

//! Who belongs to a cluster whose nodes keep the agreement themselves: a node comes in by a token, is taken in once it runs,
//! votes once it has caught up, and is sent away.

mod door;
mod keep;
mod message;
mod office;
mod will;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::coordinator::{self, Coordinator, Operation};
use crate::embedded::{self, ChangeError, Changed, Embedded, Member, Peer, RecoverError, Survey};
use crate::identity::{
    Authority, ClusterId, Credentials, Fingerprint, Folder, Grant, Identity, IdentityError, JoinToken, NodeKey, Stage,
    Subject, certificates,
};
use crate::keys;
use crate::peer::directory::Directory;
use crate::peer::tls::Tls;
use crate::peer::{NodeId, Transport};

pub use door::Door;
pub use keep::{admission, contacts, directory, presence, promotion, renewal, tidying};
pub use message::{JoinReply, JoinRequest, Known};
pub use office::Office;
pub use will::end_lease;

/// How long a node's certificate is valid. It is renewed after two thirds of it.
pub const CERTIFICATE_LIFE: Duration = Duration::from_secs(30 * 86_400);
/// The file with the nodes that were known last, from which a node finds the others when it starts.
const KNOWN_FILE: &str = "members.json";
/// Letters of a node's name, at most.
const NAME_MAX: usize = 100;
/// Letters of an address, at most: a host name has 253.
const ADDRESS_MAX: usize = 260;

/// A node's part in its cluster, for everything here. All copies are the same one.
#[derive(Clone)]
pub struct Membership {
    /// The engine.
    pub engine: Arc<Embedded>,
    /// The same, for reading and writing.
    pub coordinator: Arc<dyn Coordinator>,
    /// Asks other nodes.
    pub transport: Arc<dyn Transport>,
    /// Where they are.
    pub directory: Directory,
    /// What this node is.
    pub identity: Arc<Identity>,
    /// Whether its configuration has it vote, if it may ([`Identity::voter`]).
    pub wants_vote: bool,
    /// Where that is kept.
    pub folder: Folder,
    /// What it shows.
    pub tls: Tls,
}

impl std::fmt::Debug for Membership {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Membership").field("identity", &self.identity).finish_non_exhaustive()
    }
}

/// Why a change of the members was not made.
#[derive(Debug, Error)]
pub enum MembershipError {
    /// There is no such node.
    #[error("no node of the cluster is called `{0}`")]
    NoNode(String),
    /// There is one already.
    #[error("a node of the cluster is called `{0}` already")]
    Taken(String),
    /// This node has no key to sign with.
    #[error("this node cannot sign certificates: it does not vote; ask one that does")]
    CannotSign,
    /// The cluster refuses.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// The store was not reached, or refuses.
    #[error(transparent)]
    Store(#[from] coordinator::Error),
    /// Certificates or their files.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

/// Makes a new cluster with its first node in an empty folder. It starts when the node does.
///
/// # Errors
/// If the folder cannot be written.
pub fn found(folder: &Folder, name: &str, address: &str, now: SystemTime) -> Result<Identity, IdentityError> {
    let cluster = ClusterId::new()?;
    let authority = Authority::new(&cluster, now)?;
    let (node, key) = (NodeId(1), NodeKey::new()?);
    let subject = Subject { cluster: &cluster, node, name };
    let credentials = Credentials {
        certificate: authority.issue(&subject, &key.public(), now, CERTIFICATE_LIFE)?,
        key: key.private(),
        authority: authority.certificate().to_owned(),
        authority_key: Some(authority.key()),
    };
    let (name, address) = (name.to_owned(), address.to_owned());
    let identity = Identity { cluster, node, name, address, voter: true, stage: Stage::Founder };
    folder.write(&identity, &credentials)?;
    Ok(identity)
}

/// Writes down what a node was given when it was let in.
///
/// # Errors
/// If the folder cannot be written.
pub fn settle(
    folder: &Folder,
    token: &JoinToken,
    request: &JoinRequest,
    key: &NodeKey,
    reply: JoinReply,
) -> Result<Identity, IdentityError> {
    let identity = Identity {
        cluster: token.cluster.clone(),
        node: reply.node,
        name: request.name.clone(),
        address: request.address.clone(),
        voter: reply.voter,
        stage: Stage::Joined,
    };
    let credentials = Credentials {
        certificate: reply.certificate,
        key: key.private(),
        authority: reply.authority,
        authority_key: reply.authority_key,
    };
    folder.make()?;
    write_known(folder, &reply.members)?;
    folder.write(&identity, &credentials)?;
    Ok(identity)
}

/// Nodes that were known when the folder was written last; none if that cannot be read.
pub fn read_known(folder: &Folder) -> Vec<Known> {
    folder.get(KNOWN_FILE).ok().and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
}

fn write_known(folder: &Folder, known: &[Known]) -> Result<(), IdentityError> {
    let malformed =
        |error: serde_json::Error| IdentityError::Malformed { what: KNOWN_FILE.to_owned(), why: error.to_string() };
    folder.put(KNOWN_FILE, &serde_json::to_vec(known).map_err(malformed)?)
}

/// That a node was removed, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Removed {
    name: String,
}

impl Removed {
    fn to_bytes(&self) -> Bytes {
        Bytes::from(serde_json::to_vec(self).unwrap_or_default())
    }
}

/// What the node with this folder has of its cluster. It must not run.
///
/// # Errors
/// If it runs, or what it has is damaged, or it never was a member.
pub async fn survey(folder: &Folder) -> Result<Survey, RecoverError> {
    let identity = folder.identity()?;
    embedded::survey(folder.path(), identity.node).await
}

/// Makes the node with this folder the only member of its cluster, from its next start on, when the disks of a majority are lost
/// for good. The others count as removed: this cluster refuses them. Nothing keeps a majority of them from going on as the old
/// one, so that their folders have to go.
///
/// # Errors
/// As [`survey`]; if it cannot be written nothing has changed.
pub async fn recover(folder: &Folder) -> Result<Survey, RecoverError> {
    let identity = folder.identity()?;
    let survey = embedded::survey(folder.path(), identity.node).await?;
    let others = survey.members.iter().filter(|(node, _peer)| **node != identity.node);
    let removed = others
        .map(|(node, peer)| Operation::put(keys::removed(*node), Removed { name: peer.name.clone() }.to_bytes(), None));
    embedded::recover(folder.path(), identity.node, &removed.collect::<Vec<_>>()).await
}

impl Membership {
    /// Makes a token that lets one node in, within `life`.
    ///
    /// # Errors
    /// If it cannot be written down.
    pub async fn issue(&self, grant: Grant, life: Duration) -> Result<JoinToken, MembershipError> {
        let members = self.engine.status().members;
        let is_member = |name: &str| members.iter().any(|member| member.name == name);
        if let Some(name) = &grant.name
            && is_member(name)
            && grant.replaces.is_none()
        {
            return Err(MembershipError::Taken(name.clone()));
        }
        let credentials = self.folder.credentials()?;
        let authority = certificates("ca.crt", &credentials.authority)?;
        let fingerprint = Fingerprint::of(&authority[0]);
        // This node first, as it is there; of the others those that can sign.
        // A node that has just started may not know its members yet, but it knows itself.
        let mut addresses: Vec<String> = self.directory.address(self.identity.node).into_iter().collect();
        let others = members.iter().filter(|member| member.node != self.identity.node);
        for member in others.filter(|member| member.voter || member.waiting) {
            addresses.extend(self.directory.address(member.node));
        }
        if credentials.authority_key.is_none() && addresses.len() > 1 {
            addresses.rotate_left(1);
        }
        let token = JoinToken::new(self.identity.cluster.clone(), fingerprint, addresses)?;
        let record = token.record(grant, SystemTime::now(), life);
        let value = serde_json::to_vec(&record).map_err(|error| coordinator::Error::Invalid(error.to_string()))?;
        self.coordinator.put(&keys::join_token(token.id.as_str()), Bytes::from(value), None).await?;
        Ok(token)
    }

    /// The member of this name.
    ///
    /// # Errors
    /// If there is none.
    pub fn member(&self, name: &str) -> Result<Member, MembershipError> {
        let members = self.engine.status().members;
        members.into_iter().find(|it| it.name == name).ok_or_else(|| MembershipError::NoNode(name.to_owned()))
    }

    /// Sends a node away, for ever. `even` says that two voters may be left.
    ///
    /// # Errors
    /// If the cluster refuses.
    pub async fn remove(&self, member: &Member, even: bool) -> Result<Changed, MembershipError> {
        let changed = self.engine.remove(member.node, even).await?;
        let value = Removed { name: member.name.clone() }.to_bytes();
        self.coordinator.put(&keys::removed(member.node), value, None).await?;
        self.directory.remove(member.node);
        Ok(changed)
    }

    /// What this node says of itself.
    fn own_peer(&self) -> Peer {
        let Identity { name, voter, .. } = &*self.identity;
        Peer { name: name.clone(), address: self.own_address(), voter: *voter && self.wants_vote }
    }

    fn own_address(&self) -> String {
        self.identity.address.clone()
    }

    fn authority(&self) -> Result<Authority, MembershipError> {
        self.folder.authority()?.ok_or(MembershipError::CannotSign)
    }

    /// A certificate for a node with this public key.
    fn certify(&self, node: NodeId, name: &str, public_key: &str) -> Result<String, MembershipError> {
        let subject = Subject { cluster: &self.identity.cluster, node, name };
        Ok(self.authority()?.issue(&subject, public_key, SystemTime::now(), CERTIFICATE_LIFE)?)
    }
}

/// Reads a message as each of those that strangers and members send.
#[cfg(any(test, feature = "fuzz"))]
pub(crate) fn fuzz(bytes: &[u8]) {
    let _request = message::decode::<JoinRequest>(bytes).map(|request| request.check());
    let _wish = message::decode::<message::Wish>(bytes);
    let _granted = message::decode::<message::Granted>(bytes);
}

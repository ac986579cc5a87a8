//! Lets new nodes in that have a token.

use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;

use super::message::{JoinReply, JoinRequest, Known, decode, encode};
use super::{Membership, MembershipError};
use crate::coordinator::{self, Compare, Operation, Transaction};
use crate::identity::{Grant, TokenRecord};
use crate::keys;
use crate::peer::server::Doorkeeper;

/// What is said of every token that does not open, so that a stranger learns nothing by trying.
const NO_TOKEN: &str = "the token is not valid: it was used, its time is over, or it is of another cluster; make a new \
                        one with `mainstay cluster token`";

/// Answers new nodes.
#[derive(Clone, Debug)]
pub struct Door(pub Membership);

/// Why a token could not be used up. Whether it was is not always known, and a second node must not come in by it.
fn may_be_used(error: coordinator::Error) -> String {
    if matches!(error, coordinator::Error::Unknown(_)) {
        return format!("{error}; make another token with `mainstay cluster token`, and join again with that");
    }
    error.to_string()
}

#[async_trait]
impl Doorkeeper for Door {
    async fn admit(&self, message: Bytes) -> Result<Bytes, String> {
        let request: JoinRequest = decode(&message)?;
        request.check()?;
        let reply = self.let_in(&request).await?;
        encode(&reply)
    }
}

impl Door {
    async fn let_in(&self, request: &JoinRequest) -> Result<JoinReply, String> {
        let said = |error: MembershipError| error.to_string();
        // Looked at first: a token is used up only by a node that can sign.
        self.0.authority().map_err(said)?;
        let key = keys::join_token(request.token.as_str());
        let kept = self.0.coordinator.get(&key).await.map_err(|error| error.to_string())?.ok_or(NO_TOKEN)?;
        let record: TokenRecord = serde_json::from_slice(&kept.value).map_err(|error| error.to_string())?;
        if !record.is_secret(&request.secret) || record.has_expired(SystemTime::now()) {
            return Err(NO_TOKEN.to_owned());
        }
        self.check(request, &record.grant)?;
        let node = self.0.engine.number().await.map_err(|error| error.to_string())?;
        let replaces = record
            .grant
            .replaces
            .map(|old| Operation::put(keys::replaced_by(node), Bytes::from(old.to_string()), None));
        let used_up = Transaction::when(
            [Compare::modified(key.clone(), kept.modified)],
            [Some(Operation::delete(key)), replaces].into_iter().flatten(),
        );
        let outcome = self.0.coordinator.transact(used_up).await.map_err(may_be_used)?;
        if !outcome.succeeded {
            return Err(NO_TOKEN.to_owned());
        }
        let voter = record.grant.voter && request.voter;
        let certificate = self.0.certify(node, &request.name, &request.public_key).map_err(said)?;
        let credentials = self.0.folder.credentials().map_err(|error| error.to_string())?;
        tracing::info!(%node, name = request.name, address = request.address, voter, "cluster: a node was let in");
        Ok(JoinReply {
            node,
            voter,
            certificate,
            authority: credentials.authority,
            authority_key: credentials.authority_key.filter(|_key| voter),
            members: self.members(),
        })
    }

    fn check(&self, request: &JoinRequest, grant: &Grant) -> Result<(), String> {
        if let Some(name) = &grant.name
            && *name != request.name
        {
            return Err(format!("the token is for a node called `{name}`, and this one is called `{}`", request.name));
        }
        let members = self.0.engine.status().members;
        let other = members.iter().find(|member| member.name == request.name && Some(member.node) != grant.replaces);
        match other {
            Some(member) => Err(format!(
                "a node called `{}` belongs to the cluster already (node {}, {}); if it is gone for ever, make the token \
                 with `mainstay cluster token --replace {}`",
                request.name, member.node, member.address, request.name
            )),
            None => Ok(()),
        }
    }

    fn members(&self) -> Vec<Known> {
        let known = |member: crate::embedded::Member| {
            let address = self.0.directory.address(member.node).unwrap_or(member.address);
            Known { node: member.node, name: member.name, address }
        };
        self.0.engine.status().members.into_iter().map(known).collect()
    }
}

//! Answers members: takes them in once they run, renews their certificates, and ends the leases of those that died.

use async_trait::async_trait;
use bytes::Bytes;

use super::message::{Granted, Wish, check_address, decode, encode};
use super::{Membership, NAME_MAX};
use crate::coordinator::LeaseId;
use crate::embedded::Peer;
use crate::keys;
use crate::peer::{Handler, NodeId};

/// Answers [`crate::peer::Service::Membership`].
#[derive(Clone, Debug)]
pub struct Office(pub Membership);

#[async_trait]
impl Handler for Office {
    async fn handle(&self, from: NodeId, message: Bytes) -> Result<Bytes, String> {
        let granted = match decode(&message)? {
            Wish::Admit { peer } => self.admit(from, peer).await?,
            Wish::Renew { name, public_key } => self.renew(from, &name, &public_key).await?,
            Wish::Hello => Granted::Hello,
            Wish::End { lease } => self.end(from, lease).await?,
            Wish::Move { address, voter } => self.relocate(from, address, voter).await?,
        };
        encode(&granted)
    }
}

impl Office {
    async fn admit(&self, node: NodeId, peer: Peer) -> Result<Granted, String> {
        let store = &self.0.coordinator;
        let removed = store.get(&keys::removed(node)).await.map_err(|error| error.to_string())?;
        if removed.is_some() {
            return Err(format!("node {node} was removed from the cluster; its number is never given again"));
        }
        self.0.directory.place(node, peer.address.clone());
        self.0.engine.add(node, peer, false).await.map_err(|error| error.to_string())?;
        let key = keys::replaced_by(node);
        if let Some(entry) = store.get(&key).await.map_err(|error| error.to_string())? {
            let old = std::str::from_utf8(&entry.value).ok().and_then(|text| text.parse().ok()).map(NodeId);
            let member = self.0.engine.status().members.into_iter().find(|member| Some(member.node) == old);
            if let Some(member) = member {
                self.0.remove(&member, false).await.map_err(|error| error.to_string())?;
                tracing::info!(old = %member.node, new = %node, "cluster: a node took another's place");
            }
            let gone = crate::coordinator::Transaction::always([crate::coordinator::Operation::delete(key)]);
            store.transact(gone).await.map_err(|error| error.to_string())?;
        }
        Ok(Granted::Admitted)
    }

    async fn renew(&self, node: NodeId, name: &str, public_key: &str) -> Result<Granted, String> {
        let members = self.0.engine.status().members;
        let is_member = members.iter().any(|member| member.node == node && member.name == name);
        if !is_member || name.len() > NAME_MAX {
            return Err(format!("node {node} is no member called `{name}`"));
        }
        let certificate = self.0.certify(node, name, public_key).map_err(|error| error.to_string())?;
        Ok(Granted::Renewed { certificate })
    }

    /// Has the cluster agree on where a member is reached from now on, and whether it is to vote.
    async fn relocate(&self, node: NodeId, address: String, voter: Option<bool>) -> Result<Granted, String> {
        check_address(&address)?;
        let members = self.0.engine.status().members;
        let member = members.into_iter().find(|member| member.node == node);
        let member = member.ok_or_else(|| format!("node {node} is not a member"))?;
        let votes = member.voter || member.waiting;
        let voter = voter.unwrap_or(votes);
        if member.address != address || votes != voter {
            // At once for this node: as long as nobody reaches the other one, it cannot follow what is agreed on.
            self.0.directory.place(node, address.clone());
            let peer = Peer { name: member.name.clone(), address: address.clone(), voter };
            self.0.engine.relocate(node, peer).await.map_err(|error| error.to_string())?;
            let (name, before) = (member.name, member.address);
            tracing::info!(%node, name, before, address, voter, "cluster: a node's place or part is another from now on");
        }
        Ok(Granted::Moved)
    }

    async fn end(&self, node: NodeId, lease: LeaseId) -> Result<Granted, String> {
        let members = self.0.engine.status().members;
        let member = members.into_iter().find(|member| member.node == node);
        let name = member.ok_or_else(|| format!("node {node} is not a member"))?.name;
        // What this node's replica knows is enough: leases never change hands, and names of leases are never given again.
        if !self.0.engine.lease_is_of(lease, &name) {
            return Err(format!("lease {} is not known to be that of node {node}, {name}", lease.0));
        }
        self.0.coordinator.revoke(lease).await.map_err(|error| error.to_string())?;
        tracing::info!(%node, name, lease = lease.0, "cluster: ended the lease of a node that has died");
        Ok(Granted::Ended)
    }
}

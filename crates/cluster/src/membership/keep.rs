//! What a member does all the time: know where the others are, be taken in when it is new, let others vote when it leads,
//! renew its certificate. Each function runs until it is dropped.

use std::time::{Duration, SystemTime};

use super::message::{Granted, Wish, decode, encode};
use super::{Known, Membership, MembershipError, write_known};
use crate::coordinator::{Consistency, Range};
use crate::embedded::Part;
use crate::identity::{Credentials, NodeKey, Stage};
use crate::keys;
use crate::peer::{NodeId, Service};

/// How often the directory is compared with what the cluster has agreed on.
const LOOK: Duration = Duration::from_millis(200);
/// How often a leader looks for nodes that may vote by now.
const PROMOTE: Duration = Duration::from_secs(2);
/// How often a new node asks to be taken in.
const ASK: Duration = Duration::from_millis(500);
/// How long being taken in may take: what the others have is sent to the node meanwhile.
const ADMIT_LIMIT: Duration = Duration::from_secs(45);
/// How often certificates are looked at.
const RENEWAL_LOOK: Duration = Duration::from_secs(60);
/// How often nodes say hello, and how long they wait for an answer.
const HELLO: Duration = Duration::from_secs(1);
const RENEWAL_LIMIT: Duration = Duration::from_secs(10);

/// Keeps the directory up to date. `address_of` says where a node of some name is, if the operator knows better.
pub async fn directory(membership: Membership, address_of: impl Fn(&str) -> Option<String>) {
    let mut known: Vec<Known> = Vec::new();
    loop {
        let members = membership.engine.status().members;
        let address =
            |member: &crate::embedded::Member| address_of(&member.name).unwrap_or_else(|| member.address.clone());
        let now: Vec<Known> =
            members.iter().map(|it| Known { node: it.node, name: it.name.clone(), address: address(it) }).collect();
        if now != known && !now.is_empty() {
            for member in &now {
                membership.directory.place(member.node, member.address.clone());
            }
            if let Err(error) = write_known(&membership.folder, &now) {
                tracing::warn!(%error, "cluster: cannot note where the other nodes are");
            }
            known = now;
        }
        forget_removed(&membership).await;
        tokio::time::sleep(LOOK).await;
    }
}

async fn forget_removed(membership: &Membership) {
    let range = Range::prefix(keys::REMOVED);
    let Ok(listing) = membership.coordinator.range(range, None, 0, Consistency::Local).await else { return };
    for entry in &listing.entries {
        let node = entry.key.strip_prefix(keys::REMOVED).and_then(|text| text.parse().ok()).map(NodeId);
        if let Some(node) = node.filter(|node| !membership.directory.is_removed(*node)) {
            membership.directory.remove(node);
            if node == membership.identity.node {
                tracing::error!("cluster: this node was removed from the cluster; join anew with an empty folder");
            }
        }
    }
}

/// Asks to be taken in, if the node is new, until it is.
pub async fn admission(membership: Membership) {
    if membership.identity.stage != Stage::Joined {
        return;
    }
    let mut said = String::new();
    loop {
        match ask_admission(&membership).await {
            Ok(()) => break,
            Err(reason) if reason == said => {}
            Err(reason) => {
                tracing::warn!(reason, "cluster: not taken in yet");
                said = reason;
            }
        }
        tokio::time::sleep(ASK).await;
    }
    tracing::info!(node = %membership.identity.node, "cluster: taken in");
    let mut identity = (*membership.identity).clone();
    identity.stage = Stage::Member;
    if let Err(error) = membership.folder.write_identity(&identity) {
        tracing::warn!(%error, "cluster: cannot note that the node was taken in; it asks again at the next start");
    }
}

async fn ask_admission(membership: &Membership) -> Result<(), String> {
    let message = encode(&Wish::Admit { peer: membership.own_peer() })?;
    let mut reasons = Vec::new();
    for node in membership.directory.all().into_keys().filter(|node| *node != membership.identity.node) {
        let call = membership.transport.call(node, Service::Membership, message.clone(), ADMIT_LIMIT);
        match call.await {
            Ok(answer) => match decode(&answer)? {
                Granted::Admitted => return Ok(()),
                Granted::Renewed { .. } | Granted::Hello | Granted::Ended => {
                    reasons.push(format!("node {node} answered something else"))
                }
            },
            Err(error) => reasons.push(error.to_string()),
        }
    }
    if reasons.is_empty() { Err("no other node is known".to_owned()) } else { Err(reasons.join("; ")) }
}

/// Says hello to all others, so that every node can tell which ones it reaches.
pub async fn contacts(membership: Membership) {
    let Ok(hello) = encode(&Wish::Hello) else { return };
    loop {
        tokio::time::sleep(HELLO).await;
        let others = membership.directory.all().into_keys().filter(|node| *node != membership.identity.node);
        let calls = others.map(|node| membership.transport.call(node, Service::Membership, hello.clone(), HELLO));
        // The transport notes what came of each.
        let _noted = futures_util::future::join_all(calls).await;
    }
}

/// While this node leads, lets nodes vote that wait for it.
pub async fn promotion(membership: Membership) {
    loop {
        tokio::time::sleep(PROMOTE).await;
        let status = membership.engine.status();
        if status.part != Part::Leader || !status.members.iter().any(|member| member.waiting) {
            continue;
        }
        let before: Vec<NodeId> = status.members.iter().filter(|it| it.voter).map(|it| it.node).collect();
        match membership.engine.promote(false).await {
            Ok(changed) if !changed.voters.iter().copied().eq(before) => {
                tracing::info!(voters = ?changed.voters, "cluster: other nodes vote now");
            }
            Ok(_same) => {}
            Err(error) => tracing::debug!(%error, "cluster: nobody else can vote yet"),
        }
    }
}

/// Renews the node's certificate after two thirds of its life. Connections that are there go on.
pub async fn renewal(membership: Membership) {
    loop {
        let validity = membership.tls.present().validity;
        if SystemTime::now() >= validity.renewal() {
            match renew(&membership).await {
                Ok(()) => tracing::info!("cluster: the node's certificate was renewed"),
                Err(reason) => {
                    let left = validity.until.duration_since(SystemTime::now()).unwrap_or_default();
                    tracing::warn!(
                        reason,
                        hours_left = left.as_secs() / 3600,
                        "cluster: the certificate is not renewed"
                    );
                }
            }
        }
        tokio::time::sleep(RENEWAL_LOOK).await;
    }
}

async fn renew(membership: &Membership) -> Result<(), String> {
    let said = |error: &dyn std::error::Error| error.to_string();
    let credentials = membership.folder.credentials().map_err(|error| said(&error))?;
    let public_key = NodeKey::from_pem(&credentials.key).map_err(|error| said(&error))?.public();
    let identity = &membership.identity;
    let certificate = match membership.certify(identity.node, &identity.name, &public_key) {
        Ok(certificate) => certificate,
        Err(MembershipError::CannotSign) => ask_renewal(membership, public_key).await?,
        Err(error) => return Err(said(&error)),
    };
    let fresh = Credentials { certificate: certificate.clone(), ..credentials };
    // Tried before it is written: what a node cannot use must not be found at its next start.
    membership.tls.renew(&fresh).map_err(|error| said(&error))?;
    membership.folder.renew(&certificate).map_err(|error| said(&error))
}

async fn ask_renewal(membership: &Membership, public_key: String) -> Result<String, String> {
    let identity = &membership.identity;
    let message = encode(&Wish::Renew { name: identity.name.clone(), public_key })?;
    let mut reasons = Vec::new();
    for node in membership.directory.all().into_keys().filter(|node| *node != identity.node) {
        match membership.transport.call(node, Service::Membership, message.clone(), RENEWAL_LIMIT).await {
            Ok(answer) => match decode(&answer)? {
                Granted::Renewed { certificate } => return Ok(certificate),
                Granted::Admitted | Granted::Hello | Granted::Ended => {
                    reasons.push(format!("node {node} answered something else"))
                }
            },
            Err(error) => reasons.push(error.to_string()),
        }
    }
    Err(reasons.join("; "))
}

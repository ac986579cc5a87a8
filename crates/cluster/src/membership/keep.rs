//! What a member does all the time: know where the others are, be taken in when it is new, let others vote when it leads,
//! renew its certificate. Each function runs until it is dropped.

use std::time::{Duration, SystemTime};

use super::message::{Granted, Wish, decode, encode};
use super::{Known, Membership, MembershipError, write_known};
use crate::coordinator::{self, Compare, Consistency, Coordinator, Operation, Range, Transaction};
use crate::embedded::{Member, Part, Peer};
use crate::identity::{Credentials, NodeKey, Stage, TokenRecord};
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
/// How often a node looks whether the others know where it is, and how long agreeing on it may take.
const MOVED_LOOK: Duration = Duration::from_secs(1);
const MOVE_LIMIT: Duration = Duration::from_secs(10);
/// How often a leader looks for join tokens whose time is over.
const TIDY: Duration = Duration::from_secs(60);
/// Tokens that are deleted in one go, at most; the next ones in the next minute.
const TIDY_MAX: usize = 1000;
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
                Granted::Renewed { .. } | Granted::Hello | Granted::Ended | Granted::Moved => {
                    reasons.push(format!("node {node} answered something else"))
                }
            },
            Err(error) => reasons.push(error.to_string()),
        }
    }
    if reasons.is_empty() { Err("no other node is known".to_owned()) } else { Err(reasons.join("; ")) }
}

/// Tells the others where this node is reached and whether it votes, if its configuration says something else than they know.
pub async fn presence(membership: Membership) {
    let own = membership.identity.node;
    let mut said = String::new();
    loop {
        tokio::time::sleep(MOVED_LOOK).await;
        let members = membership.engine.status().members;
        let known = members.iter().find(|member| member.node == own);
        // Who is not a member yet says where it is when it asks to be taken in.
        let own = membership.own_peer();
        let is_known = |member: &Member| member.address == own.address && (member.voter || member.waiting) == own.voter;
        if known.is_none_or(is_known) {
            continue;
        }
        match tell_moved(&membership).await {
            Ok(()) => said.clear(),
            Err(reason) if reason == said => {}
            Err(reason) => {
                tracing::warn!(
                    reason,
                    "cluster: what this node's configuration says of its address and its vote is not agreed on yet"
                );
                said = reason;
            }
        }
    }
}

async fn tell_moved(membership: &Membership) -> Result<(), String> {
    let Peer { address, voter, .. } = membership.own_peer();
    let message = encode(&Wish::Move { address, voter: Some(voter) })?;
    let mut reasons = Vec::new();
    // Not this node's own engine: as long as it is not reached where it was, it hears of no leader.
    for node in membership.directory.all().into_keys().filter(|node| *node != membership.identity.node) {
        match membership.transport.call(node, Service::Membership, message.clone(), MOVE_LIMIT).await {
            Ok(answer) => match decode(&answer)? {
                Granted::Moved => return Ok(()),
                Granted::Admitted | Granted::Renewed { .. } | Granted::Hello | Granted::Ended => {
                    reasons.push(format!("node {node} answered something else"))
                }
            },
            Err(error) => reasons.push(error.to_string()),
        }
    }
    if !reasons.is_empty() {
        return Err(reasons.join("; "));
    }
    // There is nobody else: a cluster of one agrees with itself.
    let moved = membership.engine.relocate(membership.identity.node, membership.own_peer()).await;
    moved.map(|_changed| ()).map_err(|error| error.to_string())
}

/// While this node leads, deletes join tokens whose time is over. Those that were used are deleted by their use.
pub async fn tidying(membership: Membership) {
    loop {
        if membership.engine.status().part == Part::Leader
            && let Err(error) = delete_expired(&*membership.coordinator, SystemTime::now()).await
        {
            tracing::debug!(%error, "cluster: join tokens whose time is over are not deleted yet");
        }
        tokio::time::sleep(TIDY).await;
    }
}

/// Deletes the tokens that have expired by `now`. Answers how many.
async fn delete_expired(store: &dyn Coordinator, now: SystemTime) -> Result<usize, coordinator::Error> {
    let listing = store.range(Range::prefix(keys::JOIN_TOKENS), None, 0, Consistency::Local).await?;
    let mut deleted = 0;
    let is_over = |value: &[u8]| serde_json::from_slice(value).is_ok_and(|it: TokenRecord| it.has_expired(now));
    for entry in listing.entries.into_iter().filter(|entry| is_over(&entry.value)).take(TIDY_MAX) {
        let same = Compare::modified(entry.key.clone(), entry.modified);
        let outcome = store.transact(Transaction::when([same], [Operation::delete(entry.key)])).await?;
        deleted += usize::from(outcome.succeeded);
    }
    if deleted > 0 {
        tracing::info!(deleted, "cluster: deleted join tokens whose time is over");
    }
    Ok(deleted)
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
                Granted::Admitted | Granted::Hello | Granted::Ended | Granted::Moved => {
                    reasons.push(format!("node {node} answered something else"))
                }
            },
            Err(error) => reasons.push(error.to_string()),
        }
    }
    Err(reasons.join("; "))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use mainstay_runtime::thread::run_here;

    use super::*;
    use crate::identity::{Authority, ClusterId, Fingerprint, Grant, JoinToken, certificates};
    use crate::memory::Memory;

    #[test]
    fn tokens_whose_time_is_over_are_deleted_and_no_others() {
        run_here(async {
            let (store, now): (Arc<dyn Coordinator>, _) = (Arc::new(Memory::new()), SystemTime::now());
            let cluster = ClusterId::new().unwrap();
            let authority = Authority::new(&cluster, now).unwrap();
            let fingerprint = Fingerprint::of(&certificates("ca", authority.certificate()).unwrap()[0]);
            let mut keys = Vec::new();
            for life in [1, 10, 1000] {
                let token = JoinToken::new(cluster.clone(), fingerprint, vec!["10.0.1.1:1".to_owned()]).unwrap();
                let grant = Grant { voter: true, name: None, replaces: None };
                let record = serde_json::to_vec(&token.record(grant, now, Duration::from_secs(life))).unwrap();
                keys.push(keys::join_token(token.id.as_str()));
                store.put(&keys[keys.len() - 1], Bytes::from(record), None).await.unwrap();
            }
            // What cannot be read is left to people.
            store.put(&keys::join_token("strange"), Bytes::from_static(b"?"), None).await.unwrap();
            let deleted = delete_expired(&*store, now + Duration::from_secs(60)).await.unwrap();
            assert_eq!(deleted, 2);
            assert!(store.get(&keys[0]).await.unwrap().is_none() && store.get(&keys[1]).await.unwrap().is_none());
            assert!(store.get(&keys[2]).await.unwrap().is_some());
            assert_eq!(delete_expired(&*store, now + Duration::from_secs(60)).await.unwrap(), 0);
        })
        .unwrap();
    }
}

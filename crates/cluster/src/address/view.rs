//! Follows what stands in the coordinator about addresses.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mainstay_core::assign::Plan;
use mainstay_core::lease::Token;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::assignment::{self, Candidacy};
use crate::coordinator::{Change, Consistency, Coordinator, Entry, Error, Range, Revision};
use crate::{keys, role};

/// After the coordinator could not be asked.
const PAUSE: Duration = Duration::from_millis(100);

/// What stands in the coordinator.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// The nodes that can hold addresses, by name.
    pub candidates: BTreeMap<String, Candidacy>,
    /// The holders, by address.
    pub holders: BTreeMap<IpAddr, Holder>,
    /// Which node shall hold which address.
    pub plan: Plan,
    /// The revision of the plan; 0: there is none.
    pub plan_revision: Revision,
    /// Moves that have a time of their own for connections to end, by address.
    pub drains: BTreeMap<IpAddr, MoveDrain>,
}

/// How long a holder waits for connections to end when its address is moved, as asked for with that move.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MoveDrain {
    /// The token of the holder; it means nothing for another one.
    pub from: Token,
    /// How long.
    pub drain: Duration,
}

impl MoveDrain {
    /// As it is stored.
    pub fn to_bytes(&self) -> Bytes {
        serde_json::to_vec(self).unwrap_or_default().into()
    }
}

/// Who holds an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The node.
    pub node: String,
    /// Its token.
    pub token: Token,
}

impl View {
    /// The nodes that can hold an address.
    pub fn able(&self, ip: IpAddr) -> impl Iterator<Item = &str> {
        let able = self.candidates.iter().filter(move |(_, candidate)| candidate.ips.contains(&ip));
        able.map(|(name, _)| name.as_str())
    }
}

/// Reads everything once.
///
/// # Errors
/// As [`Coordinator::range`].
pub async fn read(coordinator: &dyn Coordinator, consistency: Consistency) -> Result<View, Error> {
    let listing = coordinator.range(Range::prefix(keys::ADDRESSES), None, 0, consistency).await?;
    let mut view = View::default();
    listing.entries.iter().for_each(|entry| put(&mut view, entry));
    Ok(view)
}

/// Keeps `tell` up to date until the task is dropped. `None` until something is known.
pub(super) async fn follow(coordinator: Arc<dyn Coordinator>, tell: watch::Sender<Option<View>>) {
    loop {
        if let Err(error) = follow_once(coordinator.as_ref(), &tell).await {
            tracing::debug!(%error, "what stands about addresses cannot be followed");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn follow_once(coordinator: &dyn Coordinator, tell: &watch::Sender<Option<View>>) -> Result<(), Error> {
    let range = || Range::prefix(keys::ADDRESSES);
    let listing = coordinator.range(range(), None, 0, Consistency::Linearizable).await?;
    let mut watch = coordinator.watch(range(), listing.revision + 1).await?;
    let mut view = View::default();
    listing.entries.iter().for_each(|entry| put(&mut view, entry));
    tell.send_replace(Some(view));
    loop {
        let batch = watch.next().await?;
        tell.send_modify(|view| {
            let view = view.get_or_insert_default();
            for change in &batch.changes {
                match change {
                    Change::Put(entry) => put(view, entry),
                    Change::Delete { key } => delete(view, key),
                }
            }
        });
    }
}

/// What cannot be read is passed over: a later version may write more than this one knows.
fn put(view: &mut View, entry: &Entry) {
    if entry.key == keys::ADDRESS_PLAN {
        view.plan = assignment::decode(&entry.value).unwrap_or_default();
        view.plan_revision = entry.modified;
    } else if let Some(node) = entry.key.strip_prefix(keys::CANDIDATES) {
        if let Ok(candidacy) = serde_json::from_slice(&entry.value) {
            view.candidates.insert(node.to_owned(), candidacy);
        }
    } else if let Some(ip) = address(keys::MOVE_DRAINS, &entry.key) {
        if let Ok(drain) = serde_json::from_slice(&entry.value) {
            view.drains.insert(ip, drain);
        }
    } else if let Some(ip) = address(keys::HOLDERS, &entry.key)
        && let Some(holder) = role::Holder::from_bytes(&entry.value)
    {
        view.holders.insert(ip, Holder { node: holder.node, token: entry.created });
    }
}

fn delete(view: &mut View, key: &str) {
    if key == keys::ADDRESS_PLAN {
        view.plan = Plan::default();
        view.plan_revision = 0;
    } else if let Some(node) = key.strip_prefix(keys::CANDIDATES) {
        view.candidates.remove(node);
    } else if let Some(ip) = address(keys::MOVE_DRAINS, key) {
        view.drains.remove(&ip);
    } else if let Some(ip) = address(keys::HOLDERS, key) {
        view.holders.remove(&ip);
    }
}

fn address(prefix: &str, key: &str) -> Option<IpAddr> {
    key.strip_prefix(prefix)?.parse().ok()
}

//! Follows what stands in the coordinator about addresses.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use mainstay_core::assign::Plan;
use mainstay_core::lease::Token;
use tokio::sync::watch;

use crate::assignment::{self, Candidacy};
use crate::coordinator::{Change, Consistency, Coordinator, Entry, Error, Range};
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
    } else if let Some(node) = entry.key.strip_prefix(keys::CANDIDATES) {
        if let Ok(candidacy) = serde_json::from_slice(&entry.value) {
            view.candidates.insert(node.to_owned(), candidacy);
        }
    } else if let Some(ip) = address(&entry.key)
        && let Some(holder) = role::Holder::from_bytes(&entry.value)
    {
        view.holders.insert(ip, Holder { node: holder.node, token: entry.created });
    }
}

fn delete(view: &mut View, key: &str) {
    if key == keys::ADDRESS_PLAN {
        view.plan = Plan::default();
    } else if let Some(node) = key.strip_prefix(keys::CANDIDATES) {
        view.candidates.remove(node);
    } else if let Some(ip) = address(key) {
        view.holders.remove(&ip);
    }
}

fn address(key: &str) -> Option<IpAddr> {
    key.strip_prefix(keys::HOLDERS)?.parse().ok()
}

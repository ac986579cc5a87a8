//! What stands in the coordinator, as the planner sees it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bytes::Bytes;
use mainstay_core::assign::{Node, Observation, Owner, Plan};
use mainstay_core::lease::Token;
use mainstay_core::time::Moment;
use serde::{Deserialize, Serialize};

use crate::coordinator::{Entry, Outcome, Revision, TransactionReply};
use crate::{keys, role};

/// What a node says of itself under [`keys::candidate`], on its lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidacy {
    /// The addresses that it can hold.
    pub ips: BTreeSet<IpAddr>,
    /// Whether it gets one only in place of a node that is gone.
    pub spare: bool,
}

/// What an operator asks for under [`keys::requested_move`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The node that the address shall go to.
    pub to: String,
    /// The token of the holder that was seen; it means nothing under another one.
    pub from: Token,
}

impl Candidacy {
    /// As it is stored.
    pub fn to_bytes(&self) -> Bytes {
        serde_json::to_vec(self).unwrap_or_default().into()
    }
}

impl Request {
    /// As it is stored.
    pub fn to_bytes(&self) -> Bytes {
        serde_json::to_vec(self).unwrap_or_default().into()
    }
}

/// The part of a node's registration that matters here.
#[derive(Deserialize)]
struct Registration {
    #[serde(default = "yes")]
    ready: bool,
}

const fn yes() -> bool {
    true
}

/// What stood there at one revision.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) revision: Revision,
    pub(super) plan: Plan,
    /// The plan's revision; 0: there is none, and it is made of the holders.
    pub(super) plan_revision: Revision,
    pub(super) requests: BTreeMap<IpAddr, Option<Request>>,
    candidates: BTreeMap<String, Candidacy>,
    /// Nodes that say that they are not ready.
    unready: BTreeSet<String>,
    holders: BTreeMap<IpAddr, (String, Token)>,
}

impl Known {
    pub(super) fn of(reply: TransactionReply) -> Self {
        let mut known = Self { revision: reply.revision, ..Self::default() };
        for outcome in reply.outcomes {
            if let Outcome::Found { entries, .. } = outcome {
                entries.iter().for_each(|entry| known.take(entry));
            }
        }
        if known.plan_revision == 0 {
            let owner = |node: &String| Owner { node: node.clone(), placed: false };
            known.plan.owners = known.holders.iter().map(|(ip, (node, _))| (*ip, owner(node))).collect();
        }
        known
    }

    /// What cannot be read is passed over: a later version may write more than this one knows.
    fn take(&mut self, entry: &Entry) {
        if entry.key == keys::ADDRESS_PLAN {
            self.plan_revision = entry.modified;
            self.plan = super::decode(&entry.value).unwrap_or_default();
        } else if let Some(node) = entry.key.strip_prefix(keys::CANDIDATES) {
            if let Ok(candidacy) = serde_json::from_slice(&entry.value) {
                self.candidates.insert(node.to_owned(), candidacy);
            }
        } else if let Some(node) = entry.key.strip_prefix(keys::NODES) {
            if serde_json::from_slice::<Registration>(&entry.value).is_ok_and(|node| !node.ready) {
                self.unready.insert(node.to_owned());
            }
        } else if let Some(ip) = address(&entry.key, keys::HOLDERS) {
            if let Some(holder) = role::Holder::from_bytes(&entry.value) {
                self.holders.insert(ip, (holder.node, entry.created));
            }
        } else if let Some(ip) = address(&entry.key, keys::MOVES) {
            self.requests.insert(ip, serde_json::from_slice(&entry.value).ok());
        }
    }

    /// Where operators want addresses to go that have not moved since they asked.
    fn moves(&self) -> BTreeMap<IpAddr, String> {
        let counts =
            |ip: &IpAddr, request: &Request| self.holders.get(ip).is_none_or(|(_, token)| *token == request.from);
        let requests = self.requests.iter().filter_map(|(ip, request)| Some((ip, request.as_ref()?)));
        requests.filter(|(ip, request)| counts(ip, request)).map(|(ip, request)| (*ip, request.to.clone())).collect()
    }
}

fn address(key: &str, prefix: &str) -> Option<IpAddr> {
    key.strip_prefix(prefix)?.parse().ok()
}

/// Nodes whose presence is remembered, at most. Names come and go with the cluster's members, which are fewer.
const SEEN_MAX: usize = 256;

/// Since when nodes are there and ready, as this planner has seen it.
#[derive(Debug, Default)]
pub(super) struct Memory {
    ready_since: BTreeMap<String, Moment>,
    /// Nodes that were there at some time since this one began.
    seen: BTreeSet<String>,
}

impl Memory {
    /// Notes who is there.
    pub(super) fn note(&mut self, known: &Known) {
        for name in known.candidates.keys() {
            if self.seen.len() < SEEN_MAX && !self.seen.contains(name) {
                self.seen.insert(name.clone());
            }
        }
    }

    pub(super) fn observe(&mut self, now: Moment, known: &Known, starting: bool) -> Observation {
        self.note(known);
        let is_ready = |name: &String| known.candidates.contains_key(name) && !known.unready.contains(name);
        self.ready_since.retain(|name, _| is_ready(name));
        for name in known.candidates.keys().filter(|name| is_ready(name)) {
            self.ready_since.entry(name.clone()).or_insert(now);
        }
        let node = |(name, candidacy): (&String, &Candidacy)| {
            let since = self.ready_since.get(name);
            Node {
                name: name.clone(),
                ready: since.is_some(),
                spare: candidacy.spare,
                able: candidacy.ips.clone(),
                ready_for: since.map(|since| now.since(*since)).unwrap_or_default(),
            }
        };
        let gone = self.seen.iter().filter(|name| !known.candidates.contains_key(*name)).cloned().collect();
        Observation { nodes: known.candidates.iter().map(node).collect(), moves: known.moves(), starting, gone }
    }
}

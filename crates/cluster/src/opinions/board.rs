//! Who says what: reports of nodes, as they are written and sent.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use mainstay_core::opinion::{Opinions, Verdict};
use serde::{Deserialize, Serialize};

use super::{ENDPOINTS_MAX, node_number};
use crate::peer::{Handler, NodeId};

/// All verdicts of a node. MessagePack with named fields, in the store and between nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The node's name.
    pub node: String,
    /// When its process started to report, in milliseconds since 1970.
    pub started: u64,
    /// Counts its reports since then.
    pub number: u64,
    /// Endpoints that it finds up.
    pub up: Vec<u64>,
    /// Endpoints that it finds down.
    pub down: Vec<u64>,
}

impl Report {
    /// As bytes.
    ///
    /// # Errors
    /// If it cannot be encoded, which is a defect.
    pub fn encode(&self) -> Result<Bytes, String> {
        rmp_serde::to_vec_named(self).map(Bytes::from).map_err(|error| format!("cannot encode a report: {error}"))
    }

    /// From bytes.
    ///
    /// # Errors
    /// If they are none, or tell of too many endpoints.
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        let report: Self = rmp_serde::from_slice(bytes).map_err(|error| format!("not a report: {error}"))?;
        let count = report.up.len() + report.down.len();
        if count > ENDPOINTS_MAX {
            return Err(format!("a report of {count} endpoints; at most {ENDPOINTS_MAX} are taken"));
        }
        Ok(report)
    }

    /// Says these verdicts from now on. Answers whether that is news.
    pub(super) fn say(&mut self, verdicts: impl IntoIterator<Item = (u64, Verdict)>) -> bool {
        let (mut up, mut down) = (Vec::new(), Vec::new());
        for (endpoint, verdict) in verdicts.into_iter().take(ENDPOINTS_MAX) {
            match verdict {
                Verdict::Up => up.push(endpoint),
                Verdict::Down => down.push(endpoint),
            }
        }
        up.sort_unstable();
        down.sort_unstable();
        let is_news = self.number == 0 || (&self.up, &self.down) != (&up, &down);
        if is_news {
            (self.up, self.down) = (up, down);
            self.number += 1;
        }
        is_news
    }

    fn verdicts(&self) -> BTreeMap<u64, Verdict> {
        let up = self.up.iter().map(|endpoint| (*endpoint, Verdict::Up));
        up.chain(self.down.iter().map(|endpoint| (*endpoint, Verdict::Down))).collect()
    }
}

/// The reports of all nodes but this one.
#[derive(Debug, Default)]
pub(super) struct Board {
    reports: BTreeMap<u64, Report>,
    /// Nodes whose key is in the store.
    live: BTreeSet<u64>,
}

impl Board {
    /// Takes a report over if it is newer than what is known. Answers whether it was.
    pub(super) fn note(&mut self, report: Report) -> bool {
        let number = node_number(&report.node);
        let known = self.reports.get(&number).map(|known| (known.started, known.number));
        let is_news = known.is_none_or(|known| (report.started, report.number) > known);
        if is_news {
            self.reports.insert(number, report);
        }
        is_news
    }

    /// Notes that a node's key is there, or gone.
    pub(super) fn set_live(&mut self, node: &str, is_live: bool) {
        let number = node_number(node);
        if is_live {
            self.live.insert(number);
        } else {
            self.live.remove(&number);
            // If it comes back with an older clock, it is to be believed.
            self.reports.remove(&number);
        }
    }

    /// Forgets who is alive, to be told anew.
    pub(super) fn forget_live(&mut self) {
        self.live.clear();
    }

    /// What the live nodes say, with this one's own report.
    pub(super) fn opinions(&self, own: &Report) -> Opinions {
        let live = self.reports.iter().filter(|(node, _report)| self.live.contains(node));
        let mut opinions: Opinions = live.map(|(node, report)| (*node, report.verdicts())).collect();
        opinions.insert(node_number(&own.node), own.verdicts());
        opinions
    }
}

/// Tells other nodes what this one says.
#[derive(Clone, Debug, Default)]
pub struct Answerer(Arc<Mutex<Bytes>>);

impl Answerer {
    pub(super) fn set(&self, report: Bytes) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = report;
    }
}

#[async_trait]
impl Handler for Answerer {
    async fn handle(&self, _from: NodeId, _message: Bytes) -> Result<Bytes, String> {
        let report = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if report.is_empty() { Err("it has no verdicts yet".to_owned()) } else { Ok(report) }
    }
}

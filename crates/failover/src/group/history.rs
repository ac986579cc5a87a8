//! Changes of primary as a group remembers them: what each of them took, and what it has cost.
//!
//! The planner writes an entry when it is over. What is found out later stands beside it, by the new primary's term: who was
//! the first to lead a client to the new primary, and what the old one had that nobody else has, once it is back.

use mainstay_core::database::Risk;
use serde::{Deserialize, Serialize};

/// Changes of primary that are remembered.
pub const FAILOVERS_MAX: usize = 16;

/// A change of primary, from the first sign of it to the moment at which writes go to the new one. Times are those that the
/// planner's node saw; one that has begun to plan in the middle knows less of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failover {
    /// The old primary.
    pub from: String,
    /// The new one.
    pub to: String,
    /// The new one's term.
    pub term: u64,
    /// When writes went on, in milliseconds since 1970 by the clock of the planner's node.
    pub at_unix_ms: u64,
    /// An operator asked for it.
    pub planned: bool,
    /// Why, for people.
    pub cause: String,
    /// From the last that was heard of the old primary's node until its lease ended, in milliseconds; 0 if its node was there.
    #[serde(default)]
    pub lease_ms: Option<u64>,
    /// From the end of the lease, or the last sign that the old primary was well, until that was acted upon.
    pub detect_ms: Option<u64>,
    /// From there until the old primary could not acknowledge anything any more.
    pub fence_ms: Option<u64>,
    /// From there until the new one was chosen.
    pub elect_ms: Option<u64>,
    /// From there until it took writes.
    pub promote_ms: Option<u64>,
    /// What may have been lost; `None`: nothing that was acknowledged.
    pub risk: Option<Risk>,
    /// The most that can have been lost, in bytes, if the old primary went on writing until it was fenced as fast as it was
    /// ever seen to; `None`: unknown, or nothing.
    #[serde(default)]
    pub at_most: Option<u64>,
    /// Who led the first client to the new primary; `None`: nobody yet.
    #[serde(default)]
    pub routed: Option<Routed>,
    /// What was thrown away when the old primary came back; `None`: it has not yet.
    #[serde(default)]
    pub loss: Option<Loss>,
}

impl Failover {
    /// Its parts in their order.
    pub fn phases(&self) -> [(&'static str, Option<u64>); 6] {
        [
            ("lease", self.lease_ms),
            ("detect", self.detect_ms),
            ("fence", self.fence_ms),
            ("elect", self.elect_ms),
            ("promote", self.promote_ms),
            ("route", self.routed.as_ref().map(|routed| routed.ms)),
        ]
    }

    /// From the first sign to the first client that was led on, or, as long as there was none, until writes went on; in
    /// milliseconds. `None` if a part of it is unknown.
    pub fn took_ms(&self) -> Option<u64> {
        let [lease, detect, fence, elect, promote, (_, route)] = self.phases();
        let known = [lease, detect, fence, elect, promote].into_iter().map(|(_, ms)| ms).sum::<Option<u64>>()?;
        Some(known.saturating_add(route.unwrap_or(0)))
    }
}

/// The first connection that was led to a new primary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Routed {
    /// The node whose listener led it.
    pub node: String,
    /// How long after it had heard of the new primary, by its own clock, in milliseconds.
    pub ms: u64,
}

/// What an old primary had that its successor has not. Of what is `None` nothing is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// When it had come back, in milliseconds since 1970 by its own clock.
    pub at_unix_ms: u64,
    /// Bytes of its log.
    pub bytes: Option<u64>,
    /// Transactions that were committed in them. Those that waited for replicas were never acknowledged.
    pub commits: Option<u64>,
    /// From the first of these to the last, in milliseconds by its own clock.
    pub span_ms: Option<u64>,
    /// Keys, of engines that have them.
    pub keys: Option<u64>,
    /// Rows of a probe that were acknowledged.
    #[serde(default)]
    pub probe_rows: Option<u64>,
    /// Where it is kept on its machine.
    pub kept: Option<String>,
}

impl Loss {
    /// It had nothing that its successor has not.
    pub(super) fn nothing() -> Self {
        Self { bytes: Some(0), ..Self::default() }
    }
}

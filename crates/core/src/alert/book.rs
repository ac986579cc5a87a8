//! The lives of alerts: waiting, firing, ended.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::labels::{Fingerprint, Labels};
use super::{Condition, Millis, Severity};

/// Alerts that are kept at once, at most. If there are more, the least important are not seen, which is counted.
pub const ALERTS_MAX: usize = 512;
/// An alert that has ended is shown for as long.
pub(super) const SHOWN: Millis = 15 * 60_000;
/// An end of which nobody could be told is forgotten after as long.
const FORGOTTEN: Millis = 24 * 3_600_000;

/// Where an alert is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// It is so, but not for long enough.
    Pending,
    /// It has been so for long enough.
    Firing {
        /// Since when it fires.
        since: Millis,
    },
    /// It is over.
    Ended {
        /// Since when it fired.
        since: Millis,
        /// Until when.
        ended: Millis,
        /// Since when it is so again, not for long enough yet.
        again: Option<Millis>,
    },
}

/// Somebody has seen an alert and takes care of it: it is not repeated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledgement {
    /// Who.
    pub by: String,
    /// When.
    pub at: Millis,
    /// What they say.
    pub note: String,
}

/// An alert.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// What it is about.
    pub labels: Labels,
    /// The particulars, as of when it was last so.
    pub summary: String,
    /// How much it matters.
    pub severity: Severity,
    /// How long it has to be so, in milliseconds.
    pub hold: Millis,
    /// How long it goes on after it was last so, in milliseconds.
    pub keep: Millis,
    /// Since when it is so.
    pub since: Millis,
    /// When it was last so.
    pub seen: Millis,
    /// Where it is in its life.
    pub phase: Phase,
    /// Whether it fired while nothing held it back, so that it has to be told even if it is over.
    pub owed: bool,
    /// Who takes care of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged: Option<Acknowledgement>,
}

impl Instance {
    fn new(now: Millis, condition: &Condition) -> Self {
        let mut instance = Self {
            labels: condition.labels.clone(),
            summary: String::new(),
            severity: condition.severity,
            hold: condition.hold,
            keep: condition.keep,
            since: now,
            seen: now,
            phase: Phase::Pending,
            owed: false,
            acknowledged: None,
        };
        instance.is_so(now, condition, false);
        instance
    }

    /// The name of the alert.
    pub fn name(&self) -> &str {
        self.labels.get("alertname")
    }

    /// Whether it fires.
    pub const fn is_firing(&self) -> bool {
        matches!(self.phase, Phase::Firing { .. })
    }

    /// When it began to fire; which life of the alert a message was about.
    pub const fn fired(&self) -> Option<Millis> {
        match self.phase {
            Phase::Pending => None,
            Phase::Firing { since } | Phase::Ended { since, .. } => Some(since),
        }
    }

    /// It is so. `untold`: somebody must still be told of the life that ended.
    fn is_so(&mut self, now: Millis, condition: &Condition, untold: bool) {
        self.seen = now;
        self.hold = condition.hold;
        self.keep = condition.keep;
        self.summary.clone_from(&condition.summary);
        match self.phase {
            Phase::Firing { .. } => {}
            Phase::Pending => {
                if now.saturating_sub(self.since) >= self.hold {
                    self.phase = Phase::Firing { since: now };
                }
            }
            Phase::Ended { since, ended, again } => {
                let again = again.unwrap_or(now);
                self.phase = if now.saturating_sub(again) >= self.hold {
                    self.since = again;
                    self.acknowledged = None;
                    // To whoever has not heard of an end the life goes on, so that nothing of it is lost.
                    Phase::Firing { since: if untold { since } else { now } }
                } else {
                    Phase::Ended { since, ended, again: Some(again) }
                };
            }
        }
    }

    /// It is not so. False if there is nothing left of it.
    fn is_not_so(&mut self, now: Millis) -> bool {
        match self.phase {
            Phase::Pending => return false,
            Phase::Firing { since } => {
                if now.saturating_sub(self.seen) >= self.keep {
                    self.phase = Phase::Ended { since, ended: now, again: None };
                }
            }
            Phase::Ended { since, ended, again: _ } => self.phase = Phase::Ended { since, ended, again: None },
        }
        true
    }
}

/// Takes what is so at `now`. `untold` are alerts that have ended and of which somebody must still be told.
/// Answers how many conditions there was no room for.
pub(super) fn observe(
    book: &mut BTreeMap<Fingerprint, Instance>,
    now: Millis,
    conditions: &[Condition],
    untold: &BTreeSet<Fingerprint>,
) -> u64 {
    let mut by_gravity: BTreeMap<(Severity, Fingerprint), &Condition> = BTreeMap::new();
    for condition in conditions {
        by_gravity.insert((condition.severity, condition.labels.fingerprint()), condition);
    }
    let so: BTreeSet<Fingerprint> = by_gravity.keys().map(|(_severity, id)| *id).collect();
    book.retain(|id, instance| so.contains(id) || instance.is_not_so(now));
    book.retain(|id, instance| match instance.phase {
        Phase::Ended { ended, again: None, .. } => {
            let kept = if untold.contains(id) { FORGOTTEN } else { SHOWN };
            now.saturating_sub(ended) < kept
        }
        Phase::Ended { .. } | Phase::Pending | Phase::Firing { .. } => true,
    });
    let mut without_room = 0;
    for ((_severity, id), condition) in by_gravity {
        if let Some(instance) = book.get_mut(&id) {
            instance.is_so(now, condition, untold.contains(&id));
            continue;
        }
        if book.len() >= ALERTS_MAX && !make_room(book, condition.severity, untold) {
            without_room += 1;
            continue;
        }
        book.insert(id, Instance::new(now, condition));
    }
    without_room
}

/// Forgets one that has ended and was told, or else the least important one of those that matter less than `severity`.
fn make_room(book: &mut BTreeMap<Fingerprint, Instance>, severity: Severity, untold: &BTreeSet<Fingerprint>) -> bool {
    let over = |id: &Fingerprint, it: &Instance| matches!(it.phase, Phase::Ended { .. }) && !untold.contains(id);
    let ended = book.iter().filter(|(id, it)| over(id, it)).min_by_key(|(_id, it)| it.seen).map(|(id, _it)| *id);
    let lesser = || {
        let lesser = book.iter().filter(|(_id, it)| it.severity > severity);
        lesser.max_by_key(|(id, it)| (it.severity, it.since, **id)).map(|(id, _it)| *id)
    };
    match ended.or_else(lesser) {
        Some(id) => book.remove(&id).is_some(),
        None => false,
    }
}

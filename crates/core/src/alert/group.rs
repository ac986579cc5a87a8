//! Groups of alerts, and the messages about them.
//!
//! A group is what one receiver is told in one message. It remembers what was told, so that a message is due if something has
//! changed, or if nothing has for the time after which it is repeated.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::book::{Instance, Phase};
use super::labels::{Fingerprint, Labels};
use super::policy::Times;
use super::{Millis, Severity};

/// Alerts in one message, at most. The others follow in the next.
pub const ALERTS_A_MESSAGE: usize = 100;

/// What a receiver was told of an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Which life of it: since when it fired.
    pub since: Millis,
    /// Whether it fired then.
    pub firing: bool,
}

/// What a receiver is told together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Who.
    pub receiver: String,
    /// What the alerts have in common.
    pub labels: Labels,
    /// Since when there is something to tell.
    pub since: Millis,
    /// When the last message arrived.
    pub sent: Option<Millis>,
    /// What was told.
    pub told: BTreeMap<Fingerprint, Told>,
    /// Messages that failed since.
    pub failures: u32,
    /// The next try after a failure.
    pub retry: Millis,
}

/// Why there is a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reason {
    /// Something began or ended.
    News,
    /// It has been so for long.
    Repeat,
}

/// An alert in a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Which.
    pub id: Fingerprint,
    /// The alert.
    pub labels: Labels,
    /// The particulars.
    pub summary: String,
    /// How much it matters.
    pub severity: Severity,
    /// Since when it fires.
    pub since: Millis,
    /// When it ended, if it has.
    pub ended: Option<Millis>,
    /// Whether the receiver has not heard of it before.
    pub is_new: bool,
}

/// A message that is to be sent. What became of it is to be said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Which message; numbers are not used twice by one process.
    pub id: u64,
    /// To whom.
    pub receiver: String,
    /// Which group.
    pub group: String,
    /// What its alerts have in common.
    pub labels: Labels,
    /// Its alerts: those that fire, and those that ended since the last message.
    pub items: Vec<Item>,
    /// Alerts that were left out, for the next message.
    pub left_out: usize,
    /// Why.
    pub reason: Reason,
    /// Failures before it.
    pub attempt: u32,
}

impl Delivery {
    /// Whether anything fires.
    pub fn is_firing(&self) -> bool {
        self.items.iter().any(|item| item.ended.is_none())
    }

    /// The gravest severity among its alerts.
    pub fn severity(&self) -> Severity {
        self.items.iter().map(|item| item.severity).min().unwrap_or(Severity::P4)
    }
}

/// The members of a group that a message would be about.
#[derive(Clone, Debug, Default)]
pub(super) struct Members {
    /// They fire and nothing holds them back.
    pub(super) firing: Vec<Fingerprint>,
    /// They have ended and the receiver must still be told.
    pub(super) ended: Vec<Fingerprint>,
}

impl Group {
    pub(super) fn new(receiver: &str, labels: Labels, now: Millis) -> Self {
        let receiver = receiver.to_owned();
        Self { receiver, labels, since: now, sent: None, told: BTreeMap::new(), failures: 0, retry: 0 }
    }

    /// Whether the receiver must still be told that this alert has ended.
    pub(super) fn owes_end(&self, id: Fingerprint, instance: &Instance, resolved: bool, held_back: bool) -> bool {
        let Phase::Ended { since, .. } = instance.phase else { return false };
        match self.told.get(&id) {
            Some(told) if told.since == since => told.firing && resolved,
            Some(_) | None => instance.owed && !held_back,
        }
    }

    fn is_news(&self, id: Fingerprint, instance: &Instance) -> bool {
        self.told.get(&id).map(|told| (Some(told.since), told.firing)) != Some((instance.fired(), true))
    }

    /// When a message is due, and why.
    pub(super) fn due(
        &self,
        times: Times,
        members: &Members,
        book: &BTreeMap<Fingerprint, Instance>,
    ) -> Option<(Millis, Reason)> {
        let known = |id: &Fingerprint| book.get(id).map(|instance| (*id, instance));
        let news: Vec<_> = members.firing.iter().filter_map(known).filter(|(id, it)| self.is_news(*id, it)).collect();
        let ended = members.ended.iter().filter_map(known);
        let gravest = news.iter().copied().chain(ended).map(|(_id, instance)| instance.severity).min();
        let (due, reason) = match (gravest, self.sent) {
            (Some(severity), None) => (self.since.saturating_add(times.of(severity).wait), Reason::News),
            (Some(severity), Some(sent)) => (sent.saturating_add(times.of(severity).interval), Reason::News),
            (None, sent) => {
                let cared_for = |(_id, instance): (Fingerprint, &Instance)| instance.acknowledged.is_some();
                if members.firing.is_empty() || members.firing.iter().filter_map(known).all(cared_for) {
                    return None;
                }
                (sent.unwrap_or(self.since).saturating_add(times.repeat), Reason::Repeat)
            }
        };
        Some((if self.failures > 0 { due.max(self.retry) } else { due }, reason))
    }

    /// The message.
    pub(super) fn delivery(
        &self,
        id: u64,
        key: &str,
        members: &Members,
        book: &BTreeMap<Fingerprint, Instance>,
        reason: Reason,
    ) -> Delivery {
        let all = members.firing.iter().chain(&members.ended);
        let mut items: Vec<Item> =
            all.filter_map(|id| book.get(id).and_then(|instance| self.item(*id, instance))).collect();
        // What is new goes first, so that nothing is left out for ever.
        let known = |item: &Item| !(item.is_new || item.ended.is_some());
        items.sort_by_key(|item| (known(item), item.severity, item.id));
        let left_out = items.len().saturating_sub(ALERTS_A_MESSAGE);
        items.truncate(ALERTS_A_MESSAGE);
        let (receiver, labels) = (self.receiver.clone(), self.labels.clone());
        Delivery { id, receiver, group: key.to_owned(), labels, items, left_out, reason, attempt: self.failures }
    }

    fn item(&self, id: Fingerprint, instance: &Instance) -> Option<Item> {
        let ended = match instance.phase {
            Phase::Ended { ended, .. } => Some(ended),
            Phase::Pending | Phase::Firing { .. } => None,
        };
        let since = instance.fired()?;
        Some(Item {
            id,
            labels: instance.labels.clone(),
            summary: instance.summary.clone(),
            severity: instance.severity,
            since,
            ended,
            is_new: self.told.get(&id).is_none_or(|told| told.since != since),
        })
    }

    /// The message arrived.
    pub(super) fn arrived(&mut self, now: Millis, delivery: &Delivery) {
        self.sent = Some(now);
        self.failures = 0;
        self.retry = 0;
        for item in &delivery.items {
            self.told.insert(item.id, Told { since: item.since, firing: item.ended.is_none() });
        }
    }
}

//! The machine: conditions in, messages out, what was told in between.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::book::{self, Acknowledgement, Instance, Phase};
use super::group::{Delivery, Group, Members};
use super::inhibit::{self, Inhibition};
use super::labels::{Fingerprint, Labels};
use super::policy::{DeadMan, Policy, Receiver, Times, WATCHDOG};
use super::silence::{SilenceState, Silences};
use super::{Condition, Millis};
use crate::backoff;
use crate::random::Rng;

/// Messages that are under way at once, at most.
const UNDER_WAY_MAX: usize = 32;
/// And those to one receiver, so that a slow one keeps nothing from the others.
const UNDER_WAY_EACH: usize = 4;

/// What is kept for whoever goes on: alerts, and what was told of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Alerts.
    pub alerts: BTreeMap<Fingerprint, Instance>,
    /// What receivers are told together, and what they were told.
    pub groups: BTreeMap<String, Group>,
}

/// What holds an alert back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Muted {
    /// A silence.
    pub silenced_by: Option<String>,
    /// Another alert.
    pub inhibited_by: Option<Fingerprint>,
}

impl Muted {
    /// Whether anything does.
    pub const fn is_muted(&self) -> bool {
        self.silenced_by.is_some() || self.inhibited_by.is_some()
    }
}

/// Everything that is known of alerts. It is fed each second; in between, [`Alerts::next`] says what is to be sent.
#[derive(Clone, Debug)]
pub struct Alerts {
    policy: Policy,
    inhibitions: &'static [Inhibition],
    state: State,
    muted: BTreeMap<Fingerprint, Muted>,
    under_way: BTreeMap<u64, Delivery>,
    next_id: u64,
    without_room: u64,
    /// Raised by each change of what is to be kept.
    changes: u64,
}

impl Alerts {
    /// One that goes on from `state`. Messages that were under way where it comes from are sent again.
    pub fn new(policy: Policy, state: State) -> Self {
        Self {
            policy,
            inhibitions: inhibit::standard(),
            state,
            muted: BTreeMap::new(),
            under_way: BTreeMap::new(),
            next_id: 1,
            without_room: 0,
            changes: 0,
        }
    }

    /// What is kept.
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// A number that each change of what is kept raises.
    pub const fn changes(&self) -> u64 {
        self.changes
    }

    /// Conditions for which there was no room, since the start.
    pub const fn without_room(&self) -> u64 {
        self.without_room
    }

    /// What holds an alert back.
    pub fn muted(&self, id: Fingerprint) -> Muted {
        self.muted.get(&id).cloned().unwrap_or_default()
    }

    /// Takes another policy. What was told to receivers that are still there counts on.
    pub fn adopt(&mut self, policy: Policy) {
        if self.policy == policy {
            return;
        }
        self.policy = policy;
        let policy = &self.policy;
        self.state.groups.retain(|_key, group| {
            policy.receivers.iter().any(|receiver| receiver.name == group.receiver)
                || policy.dead_man.as_ref().is_some_and(|dead_man| dead_man.receiver == group.receiver)
        });
        self.changes += 1;
    }

    /// Takes what is so at `now`, and which silences there are.
    pub fn observe(&mut self, now: Millis, conditions: &[Condition], silences: &Silences) {
        let before = self.state.clone();
        let untold = self.untold();
        let mut conditions = conditions.to_vec();
        conditions.extend(self.policy.dead_man.as_ref().map(|_dead_man| DeadMan::condition()));
        self.without_room += book::observe(&mut self.state.alerts, now, &conditions, &untold);
        self.muted = self.find_muted(now, silences);
        for (id, instance) in &mut self.state.alerts {
            let is_muted = self.muted.get(id).is_some_and(Muted::is_muted);
            if instance.is_firing() && !is_muted {
                instance.owed = true;
            } else if matches!(instance.phase, Phase::Pending) {
                instance.owed = false;
            }
        }
        self.settle_groups(now);
        // When something was last seen changes each second, and need not outlive anybody.
        let same = |(a, b): ((&Fingerprint, &Instance), (&Fingerprint, &Instance))| {
            a.0 == b.0 && a.1.phase == b.1.phase && a.1.owed == b.1.owed
        };
        let alike = before.alerts.len() == self.state.alerts.len()
            && before.alerts.iter().zip(&self.state.alerts).all(same)
            && before.groups == self.state.groups;
        if !alike {
            self.changes += 1;
        }
    }

    /// Finds out what holds alerts back, and changes nothing else: for nodes that only show how things stand.
    pub fn consider(&mut self, now: Millis, silences: &Silences) {
        self.muted = self.find_muted(now, silences);
    }

    fn find_muted(&self, now: Millis, silences: &Silences) -> BTreeMap<Fingerprint, Muted> {
        let active: Vec<_> = silences.values().filter(|silence| silence.state(now) == SilenceState::Active).collect();
        let mut inhibited = inhibit::inhibited(self.inhibitions, &self.state.alerts);
        let mut found = BTreeMap::new();
        for (id, instance) in &self.state.alerts {
            let silence = active.iter().find(|silence| silence.is_about(&instance.labels));
            let muted = Muted {
                silenced_by: silence.filter(|_| instance.name() != WATCHDOG).map(|silence| silence.id.clone()),
                inhibited_by: inhibited.remove(id),
            };
            if muted.is_muted() {
                found.insert(*id, muted);
            }
        }
        found
    }

    /// Alerts that are over and of which somebody must still be told.
    fn untold(&self) -> BTreeSet<Fingerprint> {
        let empty = Group::new("", Labels::new(), 0);
        let owed = |id: &Fingerprint, instance: &Instance| {
            let concerned = self.policy.receivers.iter().filter(|it| it.takes(instance.severity, &instance.labels));
            concerned.into_iter().any(|receiver| {
                let group = self.state.groups.get(&key(receiver, &instance.labels)).unwrap_or(&empty);
                group.owes_end(*id, instance, receiver.resolved, false)
            })
        };
        let ended = self.state.alerts.iter().filter(|(_id, it)| matches!(it.phase, Phase::Ended { .. }));
        ended.filter(|(id, instance)| owed(id, instance)).map(|(id, _instance)| *id).collect()
    }

    /// Each group that a message could be about, with its receiver's times.
    fn members(&self) -> BTreeMap<String, (String, Labels, Times, Members)> {
        let mut found: BTreeMap<String, (String, Labels, Times, Members)> = BTreeMap::new();
        let empty = Group::new("", Labels::new(), 0);
        for (id, instance) in &self.state.alerts {
            let muted = self.muted.get(id);
            if let (WATCHDOG, Some(dead_man)) = (instance.name(), &self.policy.dead_man) {
                let key = format!("{}/{WATCHDOG}", dead_man.receiver);
                let labels = instance.labels.only(&["alertname".to_owned()]);
                let members = Members { firing: vec![*id], ended: Vec::new() };
                found.insert(key, (dead_man.receiver.clone(), labels, dead_man.times(), members));
                continue;
            }
            for receiver in self.policy.receivers.iter().filter(|it| it.takes(instance.severity, &instance.labels)) {
                let key = key(receiver, &instance.labels);
                let group = self.state.groups.get(&key).unwrap_or(&empty);
                let silenced = muted.is_some_and(|muted| muted.silenced_by.is_some());
                let fires = instance.is_firing() && muted.is_none();
                let ended = group.owes_end(*id, instance, receiver.resolved, silenced);
                if !fires && !ended {
                    continue;
                }
                let labels = instance.labels.only(&receiver.group_by);
                let entry = found.entry(key);
                let entry =
                    entry.or_insert_with(|| (receiver.name.clone(), labels, receiver.times, Members::default()));
                if fires { entry.3.firing.push(*id) } else { entry.3.ended.push(*id) }
            }
        }
        found
    }

    /// Makes the groups that are needed and forgets those that are not.
    fn settle_groups(&mut self, now: Millis) {
        let members = self.members();
        for (key, (receiver, labels, _times, _members)) in &members {
            if !self.state.groups.contains_key(key) {
                self.state.groups.insert(key.clone(), Group::new(receiver, labels.clone(), now));
            }
        }
        let (alerts, policy) = (&self.state.alerts, &self.policy);
        self.state.groups.retain(|key, group| {
            group.told.retain(|id, told| {
                // The end of a life that a newer one has replaced needs no message: the newer one's says it.
                alerts.get(id).is_some_and(|it| it.fired().is_some_and(|since| since >= told.since))
            });
            let times = policy.receivers.iter().find(|it| it.name == group.receiver).map(|it| it.times);
            let rest = times.unwrap_or_default().interval;
            // A group that is quiet is remembered for a while, so that an alert that comes and goes is not told each time.
            let is_fresh = group.sent.is_some_and(|sent| now.saturating_sub(sent) < rest);
            members.contains_key(key) || !group.told.is_empty() || is_fresh
        });
    }

    /// The next message that is due, the gravest first. What becomes of it is to be told by [`Alerts::settled`].
    pub fn next(&mut self, now: Millis) -> Option<Delivery> {
        if self.under_way.len() >= UNDER_WAY_MAX {
            return None;
        }
        let busy = |receiver: &str| self.under_way.values().filter(|it| it.receiver == receiver).count();
        let mut best: Option<Delivery> = None;
        for (key, (receiver, _labels, times, members)) in self.members() {
            let Some(group) = self.state.groups.get(&key) else { continue };
            if self.under_way.values().any(|it| it.group == key) || busy(&receiver) >= UNDER_WAY_EACH {
                continue;
            }
            let Some((due, reason)) = group.due(times, &members, &self.state.alerts) else { continue };
            if now < due {
                continue;
            }
            let delivery = group.delivery(self.next_id, &key, &members, &self.state.alerts, reason);
            if best.as_ref().is_none_or(|best| delivery.severity() < best.severity()) {
                best = Some(delivery);
            }
        }
        let delivery = best?;
        self.next_id += 1;
        self.under_way.insert(delivery.id, delivery.clone());
        Some(delivery)
    }

    /// What became of a message: whether the receiver has confirmed it.
    pub fn settled(&mut self, now: Millis, id: u64, arrived: bool, rng: &mut Rng) {
        let Some(delivery) = self.under_way.remove(&id) else { return };
        let Some(group) = self.state.groups.get_mut(&delivery.group) else { return };
        self.changes += 1;
        if arrived {
            group.arrived(now, &delivery);
            return;
        }
        // Half of the wait is certain, so that a receiver that is in trouble is left alone for a while.
        let bound = backoff::Policy { base: self.policy.retry.base * 2, cap: self.policy.retry.cap };
        let jittered = backoff::delay(&bound, group.failures, rng);
        let least = self.policy.retry.base.saturating_mul(1 << group.failures.min(16)).min(self.policy.retry.cap) / 2;
        let wait = jittered.max(least);
        group.failures = group.failures.saturating_add(1);
        group.retry = now.saturating_add(u64::try_from(wait.as_millis()).unwrap_or(Millis::MAX));
    }

    /// Somebody takes care of an alert, until it ends. False if it does not fire, or began to only afterwards.
    pub fn acknowledge(&mut self, id: Fingerprint, by: Acknowledgement) -> bool {
        let meant = |instance: &&mut Instance| instance.is_firing() && instance.fired().is_some_and(|it| it <= by.at);
        match self.state.alerts.get_mut(&id).filter(meant) {
            Some(instance) if instance.acknowledged.as_ref() == Some(&by) => true,
            Some(instance) => {
                instance.acknowledged = Some(by);
                self.changes += 1;
                true
            }
            None => false,
        }
    }

    /// Receivers that cannot be reached, with the number of failures since something arrived.
    pub fn failing(&self) -> BTreeMap<String, u32> {
        let mut found: BTreeMap<String, u32> = BTreeMap::new();
        for group in self.state.groups.values().filter(|group| group.failures >= Policy::FAILING) {
            let most = found.entry(group.receiver.clone()).or_default();
            *most = group.failures.max(*most);
        }
        found
    }

    /// Messages that are due or under way, by receiver.
    pub fn waiting(&self, now: Millis) -> BTreeMap<String, usize> {
        let mut found = BTreeMap::new();
        for (key, (receiver, _labels, times, members)) in self.members() {
            let Some(group) = self.state.groups.get(&key) else { continue };
            if group.due(times, &members, &self.state.alerts).is_some_and(|(due, _)| due <= now || group.failures > 0) {
                *found.entry(receiver).or_default() += 1;
            }
        }
        found
    }

    /// What must always hold.
    ///
    /// # Panics
    /// If it does not.
    pub fn check_invariants(&self) {
        assert!(self.state.alerts.len() <= book::ALERTS_MAX);
        for (id, instance) in &self.state.alerts {
            assert_eq!(instance.labels.fingerprint(), *id);
            if let Phase::Ended { since, ended, .. } = instance.phase {
                assert!(since <= ended);
            }
        }
        for group in self.state.groups.values() {
            assert!(group.told.keys().all(|id| self.state.alerts.contains_key(id)));
        }
        assert!(self.under_way.len() <= UNDER_WAY_MAX);
    }
}

fn key(receiver: &Receiver, labels: &Labels) -> String {
    format!("{}/{}", receiver.name, labels.only(&receiver.group_by))
}

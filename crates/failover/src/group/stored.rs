//! What stands in the store of each group.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use mainstay_cluster::coordinator::{Batch, Change, Entry, Listing, Revision};
use mainstay_core::database::{Plan, Report, Request};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::board::{Failover, Loss, Routed};
use super::keys::DATABASES;

/// As it is stored.
pub fn encode<T: Serialize>(value: &T) -> Bytes {
    serde_json::to_vec(value).unwrap_or_default().into()
}

/// Reads what is stored; `None` if it is something else: a later version may write more than this one knows.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    serde_json::from_slice(bytes).ok()
}

/// One group's, at one revision.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stored {
    /// The plan; the first one of all if there is none. `None`: there is one that this version cannot read.
    pub plan: Option<Plan>,
    /// The revision of its last change; 0: there is none.
    pub plan_revision: Revision,
    /// What the members say whose leases run; `None`: something that this version cannot read.
    pub reports: BTreeMap<String, Option<Report>>,
    /// What an operator asks for, and since which revision; `None` inside: something that this version cannot read.
    pub request: Option<(Revision, Option<Request>)>,
    /// An operator has paused the group.
    pub paused: bool,
    /// Members whose data is to be made anew.
    pub reinit: BTreeSet<String>,
    /// The last changes of primary, the latest first, as they were written when they were over.
    pub history: Vec<Failover>,
    /// What was found out of them later, by the terms that they began.
    pub routed: BTreeMap<u64, Option<Routed>>,
    /// The same, of what was thrown away.
    pub losses: BTreeMap<u64, Option<Loss>>,
}

impl Stored {
    /// What a member says that is there.
    pub fn report(&self, node: &str) -> Option<&Report> {
        self.reports.get(node)?.as_ref()
    }

    /// The last changes of primary with all that is known of them.
    pub fn failovers(&self) -> Vec<Failover> {
        let whole = |failover: &Failover| Failover {
            routed: self.routed.get(&failover.term).cloned().flatten(),
            loss: self.losses.get(&failover.term).cloned().flatten(),
            ..failover.clone()
        };
        self.history.iter().map(whole).collect()
    }

    fn empty() -> Self {
        Self { plan: Some(Plan::default()), ..Self::default() }
    }

    fn put(&mut self, what: &str, entry: &Entry) {
        match what.split_once('/') {
            None if what == "plan" => (self.plan, self.plan_revision) = (decode(&entry.value), entry.modified),
            None if what == "request" => self.request = Some((entry.modified, decode(&entry.value))),
            None if what == "paused" => self.paused = true,
            None if what == "history" => self.history = decode(&entry.value).unwrap_or_default(),
            Some(("report", node)) => {
                self.reports.insert(node.to_owned(), decode(&entry.value));
            }
            Some(("reinit", node)) => {
                self.reinit.insert(node.to_owned());
            }
            Some(("routed", term)) => {
                term.parse().into_iter().for_each(|term| drop(self.routed.insert(term, decode(&entry.value))));
            }
            Some(("loss", term)) => {
                term.parse().into_iter().for_each(|term| drop(self.losses.insert(term, decode(&entry.value))));
            }
            None | Some(_) => {}
        }
    }

    fn delete(&mut self, what: &str) {
        match what.split_once('/') {
            None if what == "request" => self.request = None,
            None if what == "paused" => self.paused = false,
            None if what == "history" => self.history.clear(),
            Some(("report", node)) => {
                self.reports.remove(node);
            }
            Some(("reinit", node)) => {
                self.reinit.remove(node);
            }
            Some(("routed", term)) => term.parse().into_iter().for_each(|term: u64| drop(self.routed.remove(&term))),
            Some(("loss", term)) => term.parse().into_iter().for_each(|term: u64| drop(self.losses.remove(&term))),
            // A plan that was taken away by hand: what it said holds until there is another one.
            None | Some(_) => {}
        }
    }
}

/// All groups', by name: those of the configuration.
#[derive(Clone, Debug, Default)]
pub struct Groups {
    groups: BTreeMap<String, Stored>,
    /// Everything up to this revision is known.
    revision: Revision,
}

impl Groups {
    /// Of these groups nothing is known yet.
    pub fn new(names: impl IntoIterator<Item = String>) -> Self {
        Self { groups: names.into_iter().map(|name| (name, Stored::empty())).collect(), revision: 0 }
    }

    /// One group's.
    pub fn get(&self, name: &str) -> Option<&Stored> {
        self.groups.get(name)
    }

    /// Begins anew with everything that was read.
    pub fn read(&mut self, listing: &Listing) {
        if listing.revision < self.revision {
            return;
        }
        self.groups.values_mut().for_each(|stored| *stored = Stored::empty());
        listing.entries.iter().for_each(|entry| self.put(entry));
        self.revision = listing.revision;
    }

    /// Takes over changes, unless they are known.
    pub fn apply(&mut self, batch: &Batch) {
        if batch.revision <= self.revision {
            return;
        }
        self.revision = batch.revision;
        for change in &batch.changes {
            match change {
                Change::Put(entry) => self.put(entry),
                Change::Delete { key } => {
                    if let Some((stored, what)) = self.at(key) {
                        stored.delete(what);
                    }
                }
            }
        }
    }

    fn put(&mut self, entry: &Entry) {
        if let Some((stored, what)) = self.at(&entry.key) {
            stored.put(what, entry);
        }
    }

    fn at<'a>(&mut self, key: &'a str) -> Option<(&mut Stored, &'a str)> {
        let (name, what) = key.strip_prefix(DATABASES)?.split_once('/')?;
        Some((self.groups.get_mut(name)?, what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::group::keys;

    fn entry(key: String, value: Bytes, modified: Revision) -> Entry {
        Entry { key, value, created: 1, modified, version: 1, lease: None }
    }

    #[test]
    fn what_is_put_is_there_until_it_is_deleted() {
        let mut groups = Groups::new(["orders".to_owned()]);
        assert_eq!(groups.get("orders").unwrap().plan, Some(Plan::default()));
        let plan = Plan { number: 3, term: 2, ..Plan::default() };
        let unknown = Bytes::from_static(b"of a later version");
        let entries = vec![
            entry(keys::plan("orders"), encode(&plan), 7),
            entry(keys::report("orders", "a"), unknown.clone(), 8),
            entry(keys::paused("orders"), Bytes::new(), 9),
            entry(keys::plan("another"), unknown.clone(), 10),
        ];
        groups.read(&Listing { revision: 10, entries, more: false });
        let stored = groups.get("orders").unwrap();
        assert_eq!((stored.plan.as_ref(), stored.plan_revision, stored.paused), (Some(&plan), 7, true));
        assert!(stored.reports.contains_key("a") && stored.report("a").is_none());
        let gone = |key: String| Change::Delete { key };
        let changes = vec![gone(keys::report("orders", "a")), gone(keys::plan("orders"))];
        groups.apply(&Batch { revision: 11, changes });
        // What is known comes again.
        groups.apply(&Batch { revision: 9, changes: vec![gone(keys::paused("orders"))] });
        let stored = groups.get("orders").unwrap();
        assert!(stored.reports.is_empty() && stored.paused);
        assert_eq!(stored.plan, Some(plan));
        groups.apply(&Batch { revision: 12, changes: vec![Change::Put(entry(keys::plan("orders"), unknown, 12))] });
        assert_eq!(groups.get("orders").unwrap().plan, None, "nobody plans over what cannot be read");
        assert!(groups.get("another").is_none());
    }
}

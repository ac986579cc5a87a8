//! What was changed lately, by revision.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::limits::{Limits, cost};
use crate::coordinator::{Batch, Change, Entry, Range, Revision};

/// One key's change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Step {
    pub(super) key: String,
    pub(super) before: Option<Entry>,
    pub(super) after: Option<Entry>,
}

impl Step {
    fn bytes(&self) -> usize {
        self.key.len() + self.before.as_ref().map_or(0, cost) + self.after.as_ref().map_or(0, cost)
    }

    fn change(&self) -> Change {
        match &self.after {
            Some(entry) => Change::Put(entry.clone()),
            None => Change::Delete { key: self.key.clone() },
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Past {
    revision: Revision,
    steps: Vec<Step>,
}

impl Past {
    fn bytes(&self) -> usize {
        self.steps.iter().map(Step::bytes).fold(0, usize::saturating_add)
    }
}

/// The last revisions, without gaps.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct History {
    /// The first revision whose changes are all here.
    oldest: Revision,
    past: VecDeque<Past>,
    bytes: usize,
}

impl History {
    pub(super) fn oldest(&self) -> Revision {
        self.oldest
    }

    /// The revisions that are here, first and last.
    pub(super) fn span(&self) -> Option<(Revision, Revision)> {
        Some((self.past.front()?.revision, self.past.back()?.revision))
    }

    /// Whether revisions follow each other without a gap and the bytes are counted right.
    pub(super) fn is_sound(&self) -> bool {
        let gapless =
            self.past.iter().zip(self.past.iter().skip(1)).all(|(a, b)| a.revision.checked_add(1) == Some(b.revision));
        let begins = self.past.front().is_none_or(|first| self.oldest <= first.revision);
        gapless && begins && self.bytes == self.past.iter().map(Past::bytes).fold(0, usize::saturating_add)
    }

    pub(super) fn push(&mut self, revision: Revision, steps: Vec<Step>, limits: &Limits) {
        let past = Past { revision, steps };
        self.bytes = self.bytes.saturating_add(past.bytes());
        self.past.push_back(past);
        while self.past.len() > 1
            && (self.past.len() > limits.history_revisions || self.bytes > limits.history_bytes)
            && let Some(first) = self.past.pop_front()
        {
            self.bytes = self.bytes.saturating_sub(first.bytes());
            self.oldest = first.revision.saturating_add(1);
        }
    }

    /// The first changes of `range` at `from` or later.
    pub(super) fn next(&self, range: &Range, from: Revision) -> Option<Batch> {
        let start = self.past.partition_point(|past| past.revision < from);
        self.past.range(start..).find_map(|past| {
            let changes: Vec<Change> =
                past.steps.iter().filter(|step| range.contains(&step.key)).map(Step::change).collect();
            (!changes.is_empty()).then_some(Batch { revision: past.revision, changes })
        })
    }

    /// The keys of `range` that were changed after `at`, with what they were then.
    pub(super) fn undone(&self, range: &Range, at: Revision) -> BTreeMap<&str, Option<&Entry>> {
        let start = self.past.partition_point(|past| past.revision <= at);
        let mut then = BTreeMap::new();
        for step in self.past.range(start..).flat_map(|past| &past.steps).filter(|step| range.contains(&step.key)) {
            // The first change after that revision is the one that knows.
            then.entry(step.key.as_str()).or_insert(step.before.as_ref());
        }
        then
    }
}

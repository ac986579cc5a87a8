//! What a node knows of the shared configuration, kept up to date by watches.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use mainstay_core::release::{Version, Vote};

use super::record::{self, Current, Record, Report};
use crate::coordinator::{
    Batch, Change, Consistency, Coordinator, Entry, Error, Operation, Outcome, Range, Revision, Transaction, Watch,
};

/// No question to the coordinator is waited for longer: what it would have said is looked up anew.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// The answer of the coordinator, if it comes in time.
pub(super) async fn within<T>(call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let late = || Error::Unknown(format!("no answer within {} s", ANSWER_WITHIN.as_secs()));
    tokio::time::timeout(ANSWER_WITHIN, call).await.unwrap_or_else(|_elapsed| Err(late()))
}

/// What is known at some revision.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct View {
    /// The revision.
    pub revision: Revision,
    /// The version that was released last as a whole.
    pub current: Option<Current>,
    /// The last release, with the revision that wrote it.
    pub record: Option<(Revision, Record)>,
    /// The version whose release an operator wants to end.
    pub abort: Option<Version>,
    /// What nodes say of the release's version, by node.
    pub votes: BTreeMap<String, Vote>,
    /// What nodes say of themselves, with the revision that wrote it, by node.
    pub reports: BTreeMap<String, (Revision, Report)>,
    /// The nodes that live.
    pub nodes: BTreeSet<String>,
}

impl View {
    /// The version that `node` has to serve; `None` if the cluster has no configuration and never had one.
    pub fn wanted(&self, node: &str) -> Option<Version> {
        match (&self.record, self.current) {
            (Some((_revision, record)), _) => Some(record.release.target(node)),
            (None, current) => current.map(|current| current.version),
        }
    }

    fn put(&mut self, entry: Entry) {
        let Entry { key, value, modified, .. } = entry;
        if key == record::CURRENT {
            self.current = record::decode(&key, &value);
        } else if key == record::RELEASE {
            let record: Option<Record> = record::decode(&key, &value);
            let before = self.record.as_ref().map(|(_revision, record)| record.release.version);
            if record.as_ref().map(|record| record.release.version) != before {
                self.votes.clear();
            }
            self.record = record.map(|record| (modified, record));
        } else if key == record::ABORT {
            self.abort = record::decode(&key, &value);
        } else if let Some(rest) = key.strip_prefix(record::VOTES) {
            let Some((version, node)) = rest.split_once('/') else { return };
            if self.is_about(version)
                && let Some(vote) = record::decode(&key, &value)
            {
                self.votes.insert(node.to_owned(), vote);
            }
        } else if let Some(node) = key.strip_prefix(record::REPORTS) {
            if let Some(report) = record::decode(&key, &value) {
                self.reports.insert(node.to_owned(), (modified, report));
            }
        } else if let Some(node) = key.strip_prefix(record::NODES) {
            self.nodes.insert(node.to_owned());
        }
    }

    fn is_about(&self, version: &str) -> bool {
        let release = self.record.as_ref().map(|(_revision, record)| record.release.version);
        version.parse().ok() == release
    }

    fn delete(&mut self, key: &str) {
        if key == record::CURRENT {
            self.current = None;
        } else if key == record::RELEASE {
            self.record = None;
        } else if key == record::ABORT {
            self.abort = None;
        } else if let Some((version, node)) = key.strip_prefix(record::VOTES).and_then(|rest| rest.split_once('/')) {
            if self.is_about(version) {
                self.votes.remove(node);
            }
        } else if let Some(node) = key.strip_prefix(record::REPORTS) {
            self.reports.remove(node);
        } else if let Some(node) = key.strip_prefix(record::NODES) {
            self.nodes.remove(node);
        }
    }

    fn take(&mut self, batch: Batch) {
        for change in batch.changes {
            match change {
                Change::Put(entry) => self.put(entry),
                Change::Delete { key } => self.delete(&key),
            }
        }
        self.revision = self.revision.max(batch.revision);
    }
}

/// A view that follows the store. After an error it has to be opened anew.
pub struct Feed {
    view: View,
    config: Box<dyn Watch>,
    nodes: Box<dyn Watch>,
}

impl Feed {
    /// Reads what is there, and watches what comes.
    ///
    /// # Errors
    /// If the coordinator cannot be reached.
    pub async fn open(store: &Arc<dyn Coordinator>) -> Result<Self, Error> {
        let every = |prefix: &str| Operation::Range { range: Range::prefix(prefix), limit: 0 };
        // The release comes before the votes, which are kept only if they are about it. Texts are not read: each is asked
        // for when it is needed.
        let reading = [
            Operation::get(record::CURRENT),
            Operation::get(record::RELEASE),
            Operation::get(record::ABORT),
            every(record::VOTES),
            every(record::REPORTS),
            every(record::NODES),
        ];
        let reply = within(store.transact(Transaction::always(reading))).await?;
        let mut view = View { revision: reply.revision, ..View::default() };
        for outcome in reply.outcomes {
            if let Outcome::Found { entries, .. } = outcome {
                entries.into_iter().for_each(|entry| view.put(entry));
            }
        }
        let from = view.revision.saturating_add(1);
        let config = within(store.watch(Range::prefix(record::PREFIX), from)).await?;
        let nodes = within(store.watch(Range::prefix(record::NODES), from)).await?;
        Ok(Self { view, config, nodes })
    }

    /// What is known now.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// Waits for a change. May be dropped while it waits.
    ///
    /// # Errors
    /// If the watch ends: the feed has to be opened anew.
    pub async fn next(&mut self) -> Result<(), Error> {
        let batch = tokio::select! {
            batch = self.config.next() => batch?,
            batch = self.nodes.next() => batch?,
        };
        self.view.take(batch);
        Ok(())
    }
}

/// The text of a version.
///
/// # Errors
/// If the coordinator cannot be reached.
pub(super) async fn text(store: &Arc<dyn Coordinator>, version: Version) -> Result<Option<Arc<str>>, Error> {
    let listing =
        within(store.range(Range::key(record::text_key(version)), None, 1, Consistency::Linearizable)).await?;
    let entry = listing.entries.into_iter().next();
    Ok(entry.and_then(|entry| std::str::from_utf8(&entry.value).ok().map(Arc::from)))
}

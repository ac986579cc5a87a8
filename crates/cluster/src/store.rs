//! The store as a pure state machine: it knows no time, no disk and no network. Replicas that apply the same commands in
//! the same order are the same, so that nothing in here may depend on anything but the commands.
//!
//! Keys are kept as they are, and beside them what was changed lately: a read at an earlier revision undoes those changes,
//! and a watch reads them. What is older than the history's bounds is forgotten, which is called compaction.

mod command;
mod history;
mod leases;
mod limits;
mod requests;
mod snapshot;
mod transact;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::coordinator::{Batch, Entry, Error, LeaseId, Listing, Range, Revision};
use history::{History, Step};
use leases::Leases;
use requests::Requests;

pub use command::{Command, Reply, Request};
pub use leases::Granted;
pub use limits::Limits;
pub use snapshot::Damaged;
pub(crate) use transact::{check, check_range};

/// The state machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Store {
    revision: Revision,
    /// How many commands were applied; requests are told apart from forgotten ones by it.
    commands: u64,
    /// The highest node number given so far.
    node: u64,
    keys: BTreeMap<String, Entry>,
    /// What `keys` count for the limit.
    bytes: usize,
    history: History,
    leases: Leases,
    requests: Requests,
    /// Not part of a snapshot: each version of the program brings its own.
    #[serde(skip)]
    limits: Limits,
}

impl Default for Store {
    fn default() -> Self {
        Self::new(Limits::default())
    }
}

impl Store {
    /// An empty store.
    pub fn new(limits: Limits) -> Self {
        Self {
            revision: 0,
            commands: 0,
            node: 0,
            keys: BTreeMap::new(),
            bytes: 0,
            history: History::default(),
            leases: Leases::default(),
            requests: Requests::default(),
            limits,
        }
    }

    /// Applies one command. `term` is that of the log entry that carries it, 0 for an engine without a log.
    ///
    /// # Errors
    /// Why it changed nothing. The answer is the same on every replica.
    pub fn apply(&mut self, command: Command, term: u64) -> Result<Reply, Error> {
        self.commands = self.commands.saturating_add(1);
        match command {
            Command::Transact { request: None, transaction } => self.transact(&transaction).map(Reply::Transaction),
            Command::Transact { request: Some(request), transaction } => {
                if let Some(reply) = self.requests.answered(&request)? {
                    return Ok(Reply::Transaction(reply));
                }
                let before = self.revision;
                let reply = self.transact(&transaction)?;
                // What changed nothing may as well be tried again later: nobody has seen that it was tried.
                if self.revision != before {
                    self.requests.remember(request, &reply, self.commands, &self.limits);
                }
                Ok(Reply::Transaction(reply))
            }
            Command::Grant { ttl } => self.leases.grant(ttl, &self.limits).map(Reply::Lease),
            Command::KeepAlive { lease } => self.leases.keep_alive(lease).map(Reply::Lease),
            Command::Revoke { lease } => Ok(Reply::Ended(self.end(lease))),
            Command::Expire { lease, epoch, term: proposed } => {
                // Renewed since, or proposed by a leader that has been another's follower in between: the one who
                // proposed it could not know how long the lease lives now.
                let due = proposed == term && self.leases.get(lease).is_some_and(|granted| granted.epoch == epoch);
                Ok(Reply::Ended(due && self.end(lease)))
            }
            Command::Number { above } => {
                self.node = self.node.max(above).saturating_add(1);
                Ok(Reply::Node(self.node))
            }
        }
    }

    /// The revision of the last change.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// How many commands were applied so far: what [`Request::issued`] is taken from.
    pub fn commands(&self) -> u64 {
        self.commands
    }

    /// Bytes that the keys and values take, as they count for [`Limits::bytes`].
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The oldest revision that can be read at, or watched from.
    pub fn oldest(&self) -> Revision {
        self.history.oldest()
    }

    /// Reads keys as they are, or were at a revision. An answer ends early, with `more`, at the bound of its bytes.
    ///
    /// # Errors
    /// [`Error::Compacted`], [`Error::Future`], or [`Error::Invalid`] if no key can be meant.
    pub fn range(&self, range: &Range, at: Option<Revision>, limit: usize) -> Result<Listing, Error> {
        transact::check_range(range)?;
        let entries = match at.filter(|at| *at != self.revision) {
            None => self.select(range, &BTreeMap::new(), limit, self.limits.answer_bytes),
            Some(asked) if asked > self.revision => {
                return Err(Error::Future { asked, present: self.revision });
            }
            Some(asked) if asked < self.oldest() => {
                return Err(Error::Compacted { asked, oldest: self.oldest() });
            }
            Some(asked) => self.select(range, &self.history.undone(range, asked), limit, self.limits.answer_bytes),
        };
        Ok(Listing { revision: self.revision, entries: entries.0, more: entries.1 })
    }

    /// The first batch of changes of `range` at `from` or later, `None` if there is none yet.
    ///
    /// # Errors
    /// [`Error::Compacted`] if there may have been some that are forgotten.
    pub fn next_batch(&self, range: &Range, from: Revision) -> Result<Option<Batch>, Error> {
        if from < self.oldest() {
            return Err(Error::Compacted { asked: from, oldest: self.oldest() });
        }
        Ok(self.history.next(range, from))
    }

    /// All leases that live, by name.
    pub fn leases(&self) -> impl Iterator<Item = (LeaseId, &Granted)> {
        self.leases.iter()
    }

    /// One lease.
    pub fn lease(&self, lease: LeaseId) -> Option<&Granted> {
        self.leases.get(lease)
    }

    /// What must hold after every command.
    ///
    /// # Errors
    /// What does not.
    pub fn check(&self) -> Result<(), Damaged> {
        snapshot::check(self)
    }

    /// Entries of `range`, where `instead` has what stands in for the present ones. Answers whether there is more.
    fn select(
        &self,
        range: &Range,
        instead: &BTreeMap<&str, Option<&Entry>>,
        limit: usize,
        bytes_max: usize,
    ) -> (Vec<Entry>, bool) {
        let present = self.within(range).filter(|entry| !instead.contains_key(entry.key.as_str()));
        let mut past = instead.values().filter_map(|entry| *entry).peekable();
        let mut present = present.peekable();
        let (mut entries, mut bytes) = (Vec::new(), 0usize);
        loop {
            // Both come by key, and a key is in one of them at most.
            let next = match (past.peek(), present.peek()) {
                (Some(old), Some(new)) if old.key < new.key => past.next(),
                (Some(_old), None) => past.next(),
                (_, Some(_new)) => present.next(),
                (None, None) => return (entries, false),
            };
            let Some(entry) = next else { return (entries, false) };
            bytes = bytes.saturating_add(limits::cost(entry));
            let full = bytes > bytes_max && (bytes_max == 0 || !entries.is_empty());
            if full || (limit != 0 && entries.len() == limit) {
                return (entries, true);
            }
            entries.push(entry.clone());
        }
    }

    fn within<'a>(&'a self, range: &'a Range) -> impl Iterator<Item = &'a Entry> {
        let from = (std::ops::Bound::Included(range.start()), std::ops::Bound::Unbounded);
        self.keys.range::<str, _>(from).map(|(_key, entry)| entry).take_while(|entry| range.contains(&entry.key))
    }

    /// Takes the place of what `key` has, and keeps the tables that hang on it right.
    fn replace(&mut self, key: &str, entry: Option<Entry>) -> Option<Entry> {
        let before = match entry {
            Some(entry) => {
                self.bytes = self.bytes.saturating_add(limits::cost(&entry));
                if let Some(lease) = entry.lease {
                    self.leases.attach(lease, key);
                }
                self.keys.insert(key.to_owned(), entry)
            }
            None => self.keys.remove(key),
        };
        if let Some(before) = &before {
            self.bytes = self.bytes.saturating_sub(limits::cost(before));
            if let Some(lease) = before.lease
                && self.keys.get(key).and_then(|entry| entry.lease) != Some(lease)
            {
                self.leases.detach(lease, key);
            }
        }
        before
    }

    /// Makes what was changed a revision, if it was anything.
    fn commit(&mut self, steps: Vec<Step>) {
        if !steps.is_empty() {
            self.revision = self.revision.saturating_add(1);
            self.history.push(self.revision, steps, &self.limits);
        }
    }

    fn end(&mut self, lease: LeaseId) -> bool {
        let Some(granted) = self.leases.remove(lease) else { return false };
        let steps = granted
            .keys
            .into_iter()
            .filter_map(|key| self.replace(&key, None).map(|before| Step { key, before: Some(before), after: None }))
            .collect();
        self.commit(steps);
        true
    }
}

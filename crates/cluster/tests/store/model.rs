//! The model: a copy of everything at each revision, and loops.

use std::collections::BTreeMap;
use std::time::Duration;

use mainstay_cluster::coordinator::{
    Batch, Change, Compare, Entry, Error, Lease, LeaseId, Listing, Operation, Outcome, Range, Relation, Target,
    Transaction, TransactionReply,
};
use mainstay_cluster::store::{Command, Reply};

type State = BTreeMap<String, Entry>;

pub(crate) struct Model {
    /// By revision.
    states: Vec<State>,
    /// What each revision changed; nothing at 0.
    changes: Vec<Vec<Change>>,
    leases: BTreeMap<LeaseId, (Duration, u64)>,
    last_lease: i64,
    node: u64,
}

impl Default for Model {
    fn default() -> Self {
        Self { states: vec![State::new()], changes: vec![Vec::new()], leases: BTreeMap::new(), last_lease: 0, node: 0 }
    }
}

impl Model {
    pub(crate) fn revision(&self) -> u64 {
        self.states.len() as u64 - 1
    }

    fn now(&self) -> &State {
        self.states.last().unwrap()
    }

    pub(crate) fn apply(&mut self, command: &Command, entry_term: u64) -> Result<Reply, Error> {
        match command {
            Command::Transact { request: _, transaction } => self.transact(transaction).map(Reply::Transaction),
            Command::Grant { ttl } => {
                self.last_lease += 1;
                self.leases.insert(LeaseId(self.last_lease), (*ttl, 0));
                Ok(Reply::Lease(Lease { id: LeaseId(self.last_lease), ttl: *ttl }))
            }
            Command::KeepAlive { lease } => match self.leases.get_mut(lease) {
                Some((ttl, epoch)) => {
                    *epoch += 1;
                    Ok(Reply::Lease(Lease { id: *lease, ttl: *ttl }))
                }
                None => Err(Error::LeaseNotFound(*lease)),
            },
            Command::Revoke { lease } => Ok(Reply::Ended(self.end(*lease))),
            Command::Expire { lease, epoch, term } => {
                let due = *term == entry_term && self.leases.get(lease).is_some_and(|(_ttl, now)| now == epoch);
                Ok(Reply::Ended(due && self.end(*lease)))
            }
            Command::Number { above } => {
                self.node = self.node.max(*above) + 1;
                Ok(Reply::Node(self.node))
            }
        }
    }

    fn end(&mut self, lease: LeaseId) -> bool {
        if self.leases.remove(&lease).is_none() {
            return false;
        }
        let mut state = self.now().clone();
        let gone: Vec<String> =
            state.values().filter(|entry| entry.lease == Some(lease)).map(|entry| entry.key.clone()).collect();
        gone.iter().for_each(|key| drop(state.remove(key)));
        self.commit(state, gone.into_iter().map(|key| Change::Delete { key }).collect());
        true
    }

    fn commit(&mut self, state: State, changes: Vec<Change>) {
        if !changes.is_empty() {
            self.states.push(state);
            self.changes.push(changes);
        }
    }

    fn transact(&mut self, transaction: &Transaction) -> Result<TransactionReply, Error> {
        for branch in [&transaction.then, &transaction.otherwise] {
            contradiction(branch)?;
        }
        let succeeded = transaction.compare.iter().all(|compare| holds(self.now(), compare));
        let branch = if succeeded { &transaction.then } else { &transaction.otherwise };
        for operation in branch {
            if let Operation::Put { lease: Some(lease), .. } = operation
                && !self.leases.contains_key(lease)
            {
                return Err(Error::LeaseNotFound(*lease));
            }
        }
        let (mut state, mut changes, mut outcomes) = (self.now().clone(), Vec::new(), Vec::new());
        let revision = self.revision() + 1;
        for operation in branch {
            outcomes.push(match operation {
                Operation::Put { key, value, lease } => {
                    let (created, version) =
                        state.get(key).map_or((revision, 0), |entry| (entry.created, entry.version));
                    let entry = Entry {
                        key: key.clone(),
                        value: value.clone(),
                        created,
                        modified: revision,
                        version: version + 1,
                        lease: *lease,
                    };
                    changes.push(Change::Put(entry.clone()));
                    state.insert(key.clone(), entry);
                    Outcome::Put
                }
                Operation::Delete(range) => {
                    let gone: Vec<String> = state.keys().filter(|key| range.contains(key)).cloned().collect();
                    gone.iter().for_each(|key| drop(state.remove(key)));
                    let count = gone.len() as u64;
                    changes.extend(gone.into_iter().map(|key| Change::Delete { key }));
                    Outcome::Deleted(count)
                }
                Operation::Range { range, limit } => {
                    let (entries, more) = found(&state, range, *limit);
                    Outcome::Found { entries, more }
                }
            });
        }
        self.commit(state, changes);
        Ok(TransactionReply { revision: self.revision(), succeeded, outcomes })
    }

    pub(crate) fn range(&self, range: &Range, at: u64, limit: usize) -> Result<Listing, Error> {
        let (entries, more) = found(&self.states[at as usize], range, limit);
        Ok(Listing { revision: self.revision(), entries, more })
    }

    pub(crate) fn next_batch(&self, range: &Range, from: u64) -> Option<Batch> {
        (from..=self.revision()).find_map(|revision| {
            let about = |change: &&Change| match change {
                Change::Put(entry) => range.contains(&entry.key),
                Change::Delete { key } => range.contains(key),
            };
            let changes: Vec<Change> = self.changes[revision as usize].iter().filter(about).cloned().collect();
            (!changes.is_empty()).then_some(Batch { revision, changes })
        })
    }
}

fn contradiction(branch: &[Operation]) -> Result<(), Error> {
    for (nth, one) in branch.iter().enumerate() {
        let Operation::Put { key, .. } = one else { continue };
        let twice = branch.iter().enumerate().any(|(other, operation)| match operation {
            Operation::Put { key: again, .. } => other != nth && key == again,
            Operation::Delete(range) => range.contains(key),
            Operation::Range { .. } => false,
        });
        if twice {
            return Err(Error::Invalid(String::new()));
        }
    }
    Ok(())
}

fn found(state: &State, range: &Range, limit: usize) -> (Vec<Entry>, bool) {
    let all: Vec<Entry> = state.values().filter(|entry| range.contains(&entry.key)).cloned().collect();
    let count = if limit == 0 { all.len() } else { limit.min(all.len()) };
    (all[..count].to_vec(), count < all.len())
}

fn holds(state: &State, compare: &Compare) -> bool {
    let entry = state.get(&compare.key);
    let number = |number: u64, other: &u64| number.cmp(other);
    let order = match &compare.target {
        Target::Value(value) => entry.map(|entry| entry.value.clone()).unwrap_or_default().cmp(value),
        Target::Version(version) => number(entry.map_or(0, |entry| entry.version), version),
        Target::Created(revision) => number(entry.map_or(0, |entry| entry.created), revision),
        Target::Modified(revision) => number(entry.map_or(0, |entry| entry.modified), revision),
    };
    match compare.relation {
        Relation::Equal => order.is_eq(),
        Relation::NotEqual => order.is_ne(),
        Relation::Less => order.is_lt(),
        Relation::Greater => order.is_gt(),
    }
}

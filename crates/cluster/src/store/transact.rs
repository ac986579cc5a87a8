//! Transactions on a store.

use std::collections::BTreeSet;

use super::history::Step;
use super::limits::{Limits, cost, cost_of};
use super::{Range, Store};
use crate::coordinator::{
    Compare, Entry, Error, KEY_BYTES_MAX, Operation, Outcome, Relation, TRANSACTION_PARTS_MAX, Target, Transaction,
    TransactionReply, VALUE_BYTES_MAX,
};

impl Store {
    pub(super) fn transact(&mut self, transaction: &Transaction) -> Result<TransactionReply, Error> {
        check(transaction, &self.limits)?;
        let succeeded = transaction.compare.iter().all(|compare| self.holds(compare));
        let branch = if succeeded { &transaction.then } else { &transaction.otherwise };
        self.admit(branch)?;
        let mut steps = Vec::new();
        let mut room = self.limits.answer_bytes;
        let outcomes = branch.iter().map(|operation| self.perform(operation, &mut steps, &mut room)).collect();
        self.commit(steps);
        Ok(TransactionReply { revision: self.revision, succeeded, outcomes })
    }

    /// Refuses a branch that cannot be performed as a whole.
    fn admit(&self, branch: &[Operation]) -> Result<(), Error> {
        let (mut added, mut freed) = (0usize, 0usize);
        for operation in branch {
            if let Operation::Put { key, value, lease } = operation {
                if let Some(lease) = lease
                    && self.leases.get(*lease).is_none()
                {
                    return Err(Error::LeaseNotFound(*lease));
                }
                added = added.saturating_add(cost_of(key, value.len()));
                freed = freed.saturating_add(self.keys.get(key).map_or(0, cost));
            }
        }
        // A full store still lets values be replaced by smaller ones, and deleted.
        if added > freed && self.bytes.saturating_add(added - freed) > self.limits.bytes {
            return Err(Error::Invalid(format!(
                "the store is full: {} of {} bytes are taken; delete keys that are not needed",
                self.bytes, self.limits.bytes
            )));
        }
        Ok(())
    }

    fn perform(&mut self, operation: &Operation, steps: &mut Vec<Step>, room: &mut usize) -> Outcome {
        let revision = self.revision.saturating_add(1);
        match operation {
            Operation::Put { key, value, lease } => {
                let before = self.keys.get(key);
                let entry = Entry {
                    key: key.clone(),
                    value: value.clone(),
                    created: before.map_or(revision, |before| before.created),
                    modified: revision,
                    version: before.map_or(1, |before| before.version.saturating_add(1)),
                    lease: *lease,
                };
                let before = self.replace(key, Some(entry.clone()));
                steps.push(Step { key: key.clone(), before, after: Some(entry) });
                Outcome::Put
            }
            Operation::Delete(range) => {
                let keys: Vec<String> = self.within(range).map(|entry| entry.key.clone()).collect();
                let count = keys.len() as u64;
                for key in keys {
                    let before = self.replace(&key, None);
                    steps.push(Step { key, before, after: None });
                }
                Outcome::Deleted(count)
            }
            Operation::Range { range, limit } => {
                let (entries, more) = self.select(range, &std::collections::BTreeMap::new(), *limit, *room);
                *room = room.saturating_sub(entries.iter().map(cost).fold(0, usize::saturating_add));
                Outcome::Found { entries, more }
            }
        }
    }

    fn holds(&self, compare: &Compare) -> bool {
        let entry = self.keys.get(&compare.key);
        let order = match &compare.target {
            Target::Value(value) => entry.map_or(&[][..], |entry| &entry.value[..]).cmp(&value[..]),
            Target::Version(version) => entry.map_or(0, |entry| entry.version).cmp(version),
            Target::Created(revision) => entry.map_or(0, |entry| entry.created).cmp(revision),
            Target::Modified(revision) => entry.map_or(0, |entry| entry.modified).cmp(revision),
        };
        match compare.relation {
            Relation::Equal => order.is_eq(),
            Relation::NotEqual => order.is_ne(),
            Relation::Less => order.is_lt(),
            Relation::Greater => order.is_gt(),
        }
    }
}

/// Refuses a transaction that breaks a limit, or would change a key twice.
pub(crate) fn check(transaction: &Transaction, limits: &Limits) -> Result<(), Error> {
    let parts = transaction.compare.len().max(transaction.then.len()).max(transaction.otherwise.len());
    if parts > TRANSACTION_PARTS_MAX {
        return Err(Error::Invalid(format!("a transaction has {parts} parts; {TRANSACTION_PARTS_MAX} are the most")));
    }
    let mut bytes = 0usize;
    for compare in &transaction.compare {
        check_key(&compare.key)?;
        if let Target::Value(value) = &compare.target {
            check_value(&compare.key, value.len())?;
            bytes = bytes.saturating_add(cost_of(&compare.key, value.len()));
        }
    }
    for branch in [&transaction.then, &transaction.otherwise] {
        bytes = bytes.saturating_add(check_branch(branch)?);
    }
    if bytes > limits.transaction_bytes {
        return Err(Error::Invalid(format!(
            "a transaction of {bytes} bytes is too large; {} are the most: split it",
            limits.transaction_bytes
        )));
    }
    Ok(())
}

fn check_branch(branch: &[Operation]) -> Result<usize, Error> {
    let mut bytes = 0usize;
    let mut put = BTreeSet::new();
    for operation in branch {
        match operation {
            Operation::Put { key, value, .. } => {
                check_key(key)?;
                check_value(key, value.len())?;
                bytes = bytes.saturating_add(cost_of(key, value.len()));
                if !put.insert(key.as_str()) {
                    return Err(twice(key));
                }
            }
            Operation::Delete(range) | Operation::Range { range, .. } => check_range(range)?,
        }
    }
    for operation in branch {
        if let Operation::Delete(range) = operation
            && let Some(key) = put.iter().find(|key| range.contains(key))
        {
            return Err(twice(key));
        }
    }
    Ok(bytes)
}

fn twice(key: &str) -> Error {
    Error::Invalid(format!("a branch of the transaction changes \"{}\" twice", shown(key)))
}

/// Refuses a range that no key can be in.
pub(crate) fn check_range(range: &Range) -> Result<(), Error> {
    match range {
        Range::Key(key) => check_key(key),
        Range::Prefix(prefix) if prefix.len() > KEY_BYTES_MAX => Err(too_long(prefix)),
        Range::Prefix(_) => Ok(()),
    }
}

fn check_key(key: &str) -> Result<(), Error> {
    if key.is_empty() {
        return Err(Error::Invalid("a key is empty".to_owned()));
    }
    if key.len() > KEY_BYTES_MAX {
        return Err(too_long(key));
    }
    Ok(())
}

fn too_long(key: &str) -> Error {
    Error::Invalid(format!("the key \"{}...\" has {} bytes; {KEY_BYTES_MAX} are the most", shown(key), key.len()))
}

fn check_value(key: &str, bytes: usize) -> Result<(), Error> {
    if bytes > VALUE_BYTES_MAX {
        let key = shown(key);
        return Err(Error::Invalid(format!(
            "the value of \"{key}\" has {bytes} bytes; {VALUE_BYTES_MAX} are the most"
        )));
    }
    Ok(())
}

/// Enough of a key for a message.
fn shown(key: &str) -> String {
    key.chars().take(64).collect()
}

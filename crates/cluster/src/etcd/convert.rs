//! Our words in etcd's, and back.

use etcd_client::{
    Compare as EtcdCompare, CompareOp, DeleteOptions, Event, EventType, GetOptions, KeyValue, PutOptions, Txn, TxnOp,
    TxnOpResponse, TxnResponse,
};

use crate::coordinator::{
    Change, Compare, Entry, LeaseId, Operation, Outcome, Range, Relation, Revision, Target, Transaction,
};

/// The part of etcd's keys that is ours: those that begin with a prefix, which the rest of the program does not see.
#[derive(Clone, Debug)]
pub(super) struct Space(String);

impl Space {
    pub(super) fn new(prefix: &str) -> Self {
        Self(prefix.to_owned())
    }

    pub(super) fn key(&self, key: &str) -> Vec<u8> {
        [self.0.as_bytes(), key.as_bytes()].concat()
    }

    /// An entry; `None` for a key that is not one of ours.
    pub(super) fn entry(&self, found: &KeyValue) -> Option<Entry> {
        Some(Entry {
            key: self.own(found.key())?,
            value: found.value().to_vec().into(),
            created: revision(found.create_revision()),
            modified: revision(found.mod_revision()),
            version: u64::try_from(found.version()).unwrap_or(0),
            lease: (found.lease() != 0).then_some(LeaseId(found.lease())),
        })
    }

    pub(super) fn entries(&self, found: &[KeyValue]) -> Vec<Entry> {
        found.iter().filter_map(|entry| self.entry(entry)).collect()
    }

    /// A change with its revision; `None` for a key that is not one of ours.
    pub(super) fn change(&self, event: &Event) -> Option<(Revision, Change)> {
        let about = event.kv()?;
        let change = match event.event_type() {
            EventType::Put => Change::Put(self.entry(about)?),
            EventType::Delete => Change::Delete { key: self.own(about.key())? },
        };
        Some((revision(about.mod_revision()), change))
    }

    fn own(&self, key: &[u8]) -> Option<String> {
        let rest = key.strip_prefix(self.0.as_bytes())?;
        Some(std::str::from_utf8(rest).ok()?.to_owned())
    }

    /// What etcd is asked for a transaction.
    pub(super) fn transaction(&self, transaction: &Transaction) -> Txn {
        let holds: Vec<EtcdCompare> =
            transaction.compare.iter().filter(|one| !holds_if_absent(one)).map(|one| self.compare(one)).collect();
        let otherwise = self.operations(&transaction.otherwise);
        let mut then = self.operations(&transaction.then);
        // Inside out: the last of the exceptions decides between the two branches themselves.
        for exception in self.exceptions(transaction).into_iter().rev() {
            then = vec![TxnOp::txn(Txn::new().when(vec![exception]).and_then(otherwise.clone()).or_else(then))];
        }
        Txn::new().when(holds).and_then(then).or_else(otherwise)
    }

    /// Whether the comparisons held, and the result of each operation.
    pub(super) fn reply(&self, transaction: &Transaction, reply: &TxnResponse) -> Option<(bool, Vec<Outcome>)> {
        let mut succeeded = reply.succeeded();
        let mut results = reply.op_responses();
        if succeeded {
            for _exception in self.exceptions(transaction) {
                let [TxnOpResponse::Txn(inner)] = results.as_slice() else { return None };
                succeeded = !inner.succeeded();
                results = inner.op_responses();
                if !succeeded {
                    break;
                }
            }
        }
        let outcomes = results.iter().map(|result| self.outcome(result)).collect::<Option<Vec<_>>>()?;
        Some((succeeded, outcomes))
    }

    /// For etcd a comparison of a value never holds if the key is not there, for us that key's value is "". Those that then
    /// hold for us are turned round: each of these comparisons, if it holds, means that ours does not.
    fn exceptions(&self, transaction: &Transaction) -> Vec<EtcdCompare> {
        let mut exceptions = Vec::new();
        for compare in transaction.compare.iter().filter(|one| holds_if_absent(one)) {
            let Target::Value(value) = &compare.target else { continue };
            let contrary: &[CompareOp] = match compare.relation {
                Relation::Equal => &[CompareOp::NotEqual],
                Relation::NotEqual => &[CompareOp::Equal],
                Relation::Less => &[CompareOp::Equal, CompareOp::Greater],
                Relation::Greater => &[],
            };
            let key = self.key(&compare.key);
            exceptions.extend(contrary.iter().map(|op| EtcdCompare::value(key.clone(), *op, value.to_vec())));
        }
        exceptions
    }

    fn compare(&self, compare: &Compare) -> EtcdCompare {
        let key = self.key(&compare.key);
        let op = match compare.relation {
            Relation::Equal => CompareOp::Equal,
            Relation::NotEqual => CompareOp::NotEqual,
            Relation::Less => CompareOp::Less,
            Relation::Greater => CompareOp::Greater,
        };
        match &compare.target {
            Target::Value(value) => EtcdCompare::value(key, op, value.to_vec()),
            Target::Version(version) => EtcdCompare::version(key, op, signed(*version)),
            Target::Created(at) => EtcdCompare::create_revision(key, op, signed(*at)),
            Target::Modified(at) => EtcdCompare::mod_revision(key, op, signed(*at)),
        }
    }

    fn operations(&self, operations: &[Operation]) -> Vec<TxnOp> {
        operations.iter().map(|operation| self.operation(operation)).collect()
    }

    fn operation(&self, operation: &Operation) -> TxnOp {
        match operation {
            Operation::Put { key, value, lease } => {
                let options = PutOptions::new().with_lease(lease.map_or(0, |lease| lease.0));
                TxnOp::put(self.key(key), value.to_vec(), Some(options))
            }
            Operation::Delete(range) => {
                let options = match range {
                    Range::Key(_) => DeleteOptions::new(),
                    Range::Prefix(_) => DeleteOptions::new().with_prefix(),
                };
                TxnOp::delete(self.key(range.start()), Some(options))
            }
            Operation::Range { range, limit } => TxnOp::get(self.key(range.start()), Some(reading(range, *limit))),
        }
    }

    fn outcome(&self, result: &TxnOpResponse) -> Option<Outcome> {
        match result {
            TxnOpResponse::Put(_) => Some(Outcome::Put),
            TxnOpResponse::Delete(deleted) => Some(Outcome::Deleted(u64::try_from(deleted.deleted()).unwrap_or(0))),
            TxnOpResponse::Get(found) => {
                Some(Outcome::Found { entries: self.entries(found.kvs()), more: found.more() })
            }
            TxnOpResponse::Txn(_) => None,
        }
    }
}

/// Options for reading a range.
pub(super) fn reading(range: &Range, limit: usize) -> GetOptions {
    let options = GetOptions::new().with_limit(i64::try_from(limit).unwrap_or(i64::MAX));
    match range {
        Range::Key(_) => options,
        Range::Prefix(_) => options.with_prefix(),
    }
}

/// A number of ours in etcd's type; what is greater than its greatest has not come yet either way.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A revision of etcd's in our type.
pub(super) fn revision(number: i64) -> Revision {
    u64::try_from(number).unwrap_or(0)
}

/// Whether a comparison of a value holds for a key that is not there.
fn holds_if_absent(compare: &Compare) -> bool {
    let Target::Value(value) = &compare.target else { return false };
    match compare.relation {
        Relation::Equal => value.is_empty(),
        Relation::NotEqual | Relation::Less => !value.is_empty(),
        Relation::Greater => false,
    }
}

//! The bounds of a store.

use std::time::Duration;

use bytes::Bytes;
use mainstay_cluster::coordinator::{
    Error, KEY_BYTES_MAX, Operation, Outcome, Range, TRANSACTION_PARTS_MAX, Transaction, VALUE_BYTES_MAX,
};
use mainstay_cluster::store::{Command, Limits, Reply, Store};

fn transact(store: &mut Store, operations: impl IntoIterator<Item = Operation>) -> Result<Vec<Outcome>, Error> {
    let command = Command::Transact { request: None, transaction: Transaction::always(operations) };
    match store.apply(command, 0)? {
        Reply::Transaction(reply) => Ok(reply.outcomes),
        other => panic!("{other:?}"),
    }
}

fn refused(answer: Result<Vec<Outcome>, Error>, word: &str) {
    match answer {
        Err(Error::Invalid(reason)) => assert!(reason.contains(word), "{reason}"),
        other => panic!("{other:?}"),
    }
}

fn zeros(count: usize) -> Bytes {
    Bytes::from(vec![0; count])
}

#[test]
fn what_is_too_large_is_refused_and_changes_nothing() {
    let mut store = Store::default();
    let put = |key: String, bytes: usize| [Operation::put(key, zeros(bytes), None)];
    transact(&mut store, put("k".repeat(KEY_BYTES_MAX), VALUE_BYTES_MAX)).unwrap();
    refused(transact(&mut store, put("k".repeat(KEY_BYTES_MAX + 1), 0)), "key");
    refused(transact(&mut store, put(String::new(), 0)), "empty");
    refused(transact(&mut store, put("k".to_owned(), VALUE_BYTES_MAX + 1)), "value");
    refused(transact(&mut store, [Operation::get("")]), "empty");
    let many = |count: usize| (0..count).map(|nth| Operation::put(format!("{nth}"), zeros(0), None));
    transact(&mut store, many(TRANSACTION_PARTS_MAX)).unwrap();
    refused(transact(&mut store, many(TRANSACTION_PARTS_MAX + 1)), "parts");
    let large = |count: usize| (0..count).map(|nth| Operation::put(format!("{nth}"), zeros(VALUE_BYTES_MAX), None));
    refused(transact(&mut store, large(4)), "split");
    assert_eq!(store.revision(), 2);
}

#[test]
fn a_full_store_still_shrinks() {
    let mut store = Store::new(Limits { bytes: 1000, ..Limits::default() });
    transact(&mut store, [Operation::put("a", zeros(400), None)]).unwrap();
    transact(&mut store, [Operation::put("b", zeros(400), None)]).unwrap();
    refused(transact(&mut store, [Operation::put("c", zeros(10), None)]), "full");
    transact(&mut store, [Operation::put("a", zeros(400), None)]).unwrap();
    refused(transact(&mut store, [Operation::put("a", zeros(500), None)]), "full");
    transact(&mut store, [Operation::delete("b")]).unwrap();
    transact(&mut store, [Operation::put("c", zeros(10), None)]).unwrap();
    assert!(store.bytes() <= 1000);
}

#[test]
fn answers_end_at_their_bound_and_say_so() {
    let mut store = Store::new(Limits { answer_bytes: 500, ..Limits::default() });
    transact(&mut store, ["a", "b", "c"].map(|key| Operation::put(key, zeros(200), None))).unwrap();
    let listing = store.range(&Range::prefix(""), None, 0).unwrap();
    assert_eq!((listing.entries.len(), listing.more), (1, true));
    transact(&mut store, [Operation::put("a", zeros(5000), None)]).unwrap();
    assert_eq!(store.range(&Range::key("a"), None, 0).unwrap().entries.len(), 1, "one comes in any case");
    // The reads of one transaction share the bound, whatever their number.
    let outcomes = transact(&mut store, (0..100).map(|_nth| Operation::get("a"))).unwrap();
    let found = |outcome: &Outcome| matches!(outcome, Outcome::Found { entries, .. } if !entries.is_empty());
    assert_eq!(outcomes.iter().filter(|outcome| found(outcome)).count(), 1);
    assert!(matches!(&outcomes[99], Outcome::Found { more: true, .. }));
}

#[test]
fn leases_are_bounded() {
    let mut store = Store::new(Limits { leases: 2, ..Limits::default() });
    let mut grant = |ttl: Duration| store.apply(Command::Grant { ttl }, 0);
    assert!(matches!(grant(Duration::from_millis(99)), Err(Error::Invalid(_))));
    assert!(matches!(grant(Duration::from_secs(24 * 3600 + 1)), Err(Error::Invalid(_))));
    grant(Duration::from_secs(1)).unwrap();
    grant(Duration::from_secs(1)).unwrap();
    assert!(matches!(grant(Duration::from_secs(1)), Err(Error::Invalid(_))));
}

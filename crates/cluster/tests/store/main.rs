//! The store beside a model that keeps every state that ever was, whole.

#![allow(clippy::unwrap_used, clippy::panic)]

mod limits;
mod model;

use std::time::Duration;

use bytes::Bytes;
use mainstay_cluster::coordinator::{
    Compare, Error, LeaseId, Operation, Range, Relation, Target, Transaction, TransactionReply,
};
use mainstay_cluster::store::{Command, Limits, Reply, Request, Store};
use model::Model;
use proptest::prelude::*;

fn key() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a", "ab", "abc", "b", "ba", "c"]).prop_map(str::to_owned)
}

fn range() -> impl Strategy<Value = Range> {
    prop_oneof![
        2 => key().prop_map(Range::Key),
        1 => prop::sample::select(vec!["", "a", "ab", "b", "x"]).prop_map(Range::prefix),
    ]
}

fn value() -> impl Strategy<Value = Bytes> {
    prop::sample::select(vec!["", "1", "2", "much longer than the others"])
        .prop_map(|text: &str| Bytes::copy_from_slice(text.as_bytes()))
}

fn lease() -> impl Strategy<Value = LeaseId> {
    (1i64..6).prop_map(LeaseId)
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        4 => (key(), value(), prop::option::weighted(0.3, lease()))
            .prop_map(|(key, value, lease)| Operation::Put { key, value, lease }),
        1 => range().prop_map(Operation::Delete),
        1 => (range(), 0usize..4).prop_map(|(range, limit)| Operation::Range { range, limit }),
    ]
}

fn compare() -> impl Strategy<Value = Compare> {
    let target = prop_oneof![
        value().prop_map(Target::Value),
        (0u64..4).prop_map(Target::Version),
        (0u64..12).prop_map(Target::Created),
        (0u64..12).prop_map(Target::Modified),
    ];
    let relation = prop::sample::select(vec![Relation::Equal, Relation::NotEqual, Relation::Less, Relation::Greater]);
    (key(), target, relation).prop_map(|(key, target, relation)| Compare { key, target, relation })
}

fn transaction() -> impl Strategy<Value = Transaction> {
    let branch = || prop::collection::vec(operation(), 0..4);
    (prop::collection::vec(compare(), 0..3), branch(), branch()).prop_map(|(compare, then, otherwise)| Transaction {
        compare,
        then,
        otherwise,
    })
}

/// A command with the term that its entry has.
fn command() -> impl Strategy<Value = (Command, u64)> {
    let term = || 1u64..3;
    let command = prop_oneof![
        8 => transaction().prop_map(|transaction| Command::Transact { request: None, transaction }),
        2 => Just(Command::Grant { ttl: Duration::from_secs(2) }),
        2 => lease().prop_map(|lease| Command::KeepAlive { lease }),
        1 => lease().prop_map(|lease| Command::Revoke { lease }),
        2 => (lease(), 0u64..3, term()).prop_map(|(lease, epoch, term)| Command::Expire { lease, epoch, term }),
        1 => (0u64..9).prop_map(|above| Command::Number { above }),
    ];
    (command, term())
}

/// Why a request is invalid is said in words, which the model does not have.
fn applied(store: &mut Store, command: &Command, term: u64) -> Result<Reply, Error> {
    store.apply(command.clone(), term).map_err(|error| match error {
        Error::Invalid(_reason) => Error::Invalid(String::new()),
        other => other,
    })
}

proptest! {
    #[test]
    fn the_store_does_what_the_model_does(commands in prop::collection::vec(command(), 1..60)) {
        let (mut store, mut model) = (Store::default(), Model::default());
        for (command, term) in commands {
            prop_assert_eq!(applied(&mut store, &command, term), model.apply(&command, term), "{:?}", command);
            prop_assert_eq!(store.check(), Ok(()));
            prop_assert_eq!(store.revision(), model.revision());
        }
        for at in 0..=model.revision() {
            for range in [Range::prefix(""), Range::prefix("a"), Range::key("b")] {
                for limit in 0..3 {
                    prop_assert_eq!(store.range(&range, Some(at), limit), model.range(&range, at, limit));
                }
                prop_assert_eq!(store.next_batch(&range, at), Ok(model.next_batch(&range, at)));
            }
        }
        let next = model.revision() + 1;
        prop_assert_eq!(
            store.range(&Range::prefix(""), Some(next), 0),
            Err(Error::Future { asked: next, present: model.revision() })
        );
    }

    #[test]
    fn a_store_with_a_short_memory_never_tells_anything_false(
        commands in prop::collection::vec(command(), 1..60),
        history_revisions in 1usize..6,
        history_bytes in 1usize..2000,
    ) {
        let limits = Limits { history_revisions, history_bytes, ..Limits::default() };
        let (mut store, mut model) = (Store::new(limits), Model::default());
        for (command, term) in commands {
            prop_assert_eq!(applied(&mut store, &command, term), model.apply(&command, term));
            prop_assert_eq!(store.check(), Ok(()));
        }
        let (oldest, range) = (store.oldest(), Range::prefix("a"));
        prop_assert!(oldest <= store.revision());
        for at in 0..=model.revision() {
            let compacted = Error::Compacted { asked: at, oldest };
            if at >= oldest {
                prop_assert_eq!(store.range(&range, Some(at), 0), model.range(&range, at, 0));
                prop_assert_eq!(store.next_batch(&range, at), Ok(model.next_batch(&range, at)));
            } else {
                prop_assert_eq!(store.range(&range, Some(at), 0), Err(compacted.clone()));
                prop_assert_eq!(store.next_batch(&range, at), Err(compacted));
            }
        }
    }

    #[test]
    fn a_snapshot_is_the_store_and_goes_on_as_the_store(
        before in prop::collection::vec(command(), 0..30),
        after in prop::collection::vec(command(), 0..30),
    ) {
        let mut store = Store::default();
        for (command, term) in before {
            let _answer = store.apply(command, term);
        }
        let mut other = Store::restore(&store.snapshot().unwrap(), Limits::default()).unwrap();
        prop_assert_eq!(&other, &store);
        for (command, term) in after {
            prop_assert_eq!(other.apply(command.clone(), term), store.apply(command, term));
        }
        prop_assert_eq!(other, store);
    }

    #[test]
    fn damaged_snapshots_are_refused_or_sound(
        commands in prop::collection::vec(command(), 0..20),
        flips in prop::collection::vec((any::<prop::sample::Index>(), 1u8..), 0..4),
        cut in any::<prop::sample::Index>(),
        shorten in any::<bool>(),
    ) {
        let mut store = Store::default();
        for (command, term) in commands {
            let _answer = store.apply(command, term);
        }
        let mut bytes = store.snapshot().unwrap();
        for (place, flip) in flips {
            let place = place.index(bytes.len());
            bytes[place] ^= flip;
        }
        if shorten {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(mut store) = Store::restore(&bytes, Limits::default()) {
            let _answer = store.apply(Command::Grant { ttl: Duration::from_secs(1) }, 1);
            let everything = Transaction::always([Operation::Delete(Range::prefix(""))]);
            let _answer = store.apply(Command::Transact { request: None, transaction: everything }, 1);
        }
    }

    /// Each request is sent several times, in any order: it is performed once, or it is said that this is not known.
    #[test]
    fn a_request_is_performed_once(
        order in prop::collection::vec(0u64..8, 1..60),
        requests in 1usize..6,
    ) {
        let mut store = Store::new(Limits { requests, ..Limits::default() });
        let mut first: [Option<(u64, TransactionReply)>; 8] = Default::default();
        for sequence in order {
            let issued = first[sequence as usize].as_ref().map_or(store.commands(), |(issued, _reply)| *issued);
            let request = Some(Request { node: 1, boot: 7, sequence, issued });
            let transaction = Transaction::always([
                Operation::put(format!("k{sequence}"), "v", None),
                Operation::get(format!("k{sequence}")),
            ]);
            match (store.apply(Command::Transact { request, transaction }, 1), &first[sequence as usize]) {
                (Ok(Reply::Transaction(reply)), None) => first[sequence as usize] = Some((issued, reply)),
                (Ok(Reply::Transaction(reply)), Some((_issued, earlier))) => prop_assert_eq!(&reply, earlier),
                (Err(Error::Unknown(_)), Some(_)) => {}
                (answer, earlier) => prop_assert!(false, "{:?} after {:?}", answer, earlier),
            }
            prop_assert_eq!(store.check(), Ok(()));
        }
        for (sequence, _reply) in first.iter().enumerate().filter(|(_sequence, reply)| reply.is_some()) {
            let found = store.range(&Range::key(format!("k{sequence}")), None, 0).unwrap();
            prop_assert_eq!(found.entries[0].version, 1);
        }
    }
}

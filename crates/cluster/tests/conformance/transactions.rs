//! Compare, then one of two branches.

use std::time::Duration;

use futures_util::future::join_all;
use mainstay_cluster::coordinator::{
    Compare, Error, LeaseId, Operation, Outcome, Range, Relation, Target, Transaction,
};

use crate::bench::{Bench, cases};

cases![
    comparisons_hold_as_they_say,
    all_comparisons_must_hold,
    each_operation_has_its_outcome,
    operations_see_those_before_them,
    both_branches_may_change_the_same,
    the_first_of_many_wins_a_key,
    increments_by_comparison_are_never_lost,
    writing_on_no_lease_changes_nothing,
    the_branch_not_taken_may_name_no_lease,
];

const RELATIONS: [Relation; 4] = [Relation::Equal, Relation::NotEqual, Relation::Less, Relation::Greater];

fn holds<T: Ord>(own: &T, relation: Relation, other: &T) -> bool {
    match relation {
        Relation::Equal => own == other,
        Relation::NotEqual => own != other,
        Relation::Less => own < other,
        Relation::Greater => own > other,
    }
}

/// Every comparison of a key that is there and of one that is not with values around its own.
async fn comparisons_hold_as_they_say(bench: &Bench) {
    let created = bench.put("compare/a", "k").await;
    bench.put("compare/a", "m").await;
    let modified = bench.put("compare/a", "m").await;
    bench.put("compare/empty", "").await;
    for (key, value, numbers) in [
        ("compare/a", "m", Some([3, created, modified])),
        ("compare/none", "", Some([0, 0, 0])),
        ("compare/empty", "", None),
    ] {
        let mut cases = Vec::new();
        for other in ["", "a", "m", "mm", "z"] {
            for relation in RELATIONS {
                let target = Target::Value(other.into());
                cases.push((target, relation, holds(&value.as_bytes(), relation, &other.as_bytes())));
            }
        }
        let makes: [fn(u64) -> Target; 3] = [Target::Version, Target::Created, Target::Modified];
        for (make, own) in makes.iter().zip(numbers.into_iter().flatten()) {
            for other in [0, own.saturating_sub(1), own, own + 1, u64::MAX] {
                for relation in RELATIONS {
                    cases.push((make(other), relation, holds(&own, relation, &other)));
                }
            }
        }
        for (target, relation, expected) in cases {
            let compare = Compare { key: key.to_owned(), target, relation };
            let transaction = Transaction::when([compare], [Operation::get("compare/a")])
                .or_else([Operation::get("compare/a"), Operation::get("compare/a")]);
            let reply = bench.transact(transaction.clone()).await;
            assert_eq!(reply.succeeded, expected, "{transaction:?}");
            assert_eq!(reply.outcomes.len(), if expected { 1 } else { 2 }, "{transaction:?}");
        }
    }
}

async fn all_comparisons_must_hold(bench: &Bench) {
    bench.put("all/a", "1").await;
    let yes = || Compare::value("all/a", "1");
    // Of the kind that etcd itself sees otherwise: nothing is there, so that its value is "".
    let yes_absent = || Compare::value("all/none", "");
    let no = || Compare::absent("all/a");
    let no_absent = || Compare::value("all/a", "");
    for (compare, expected) in [
        (vec![], true),
        (vec![yes(), yes()], true),
        (vec![yes(), yes_absent(), yes_absent()], true),
        (vec![yes_absent(), no()], false),
        (vec![no(), yes_absent()], false),
        (vec![yes_absent(), no_absent()], false),
        (vec![no_absent(), yes_absent(), yes()], false),
        (vec![yes(), yes_absent(), no_absent(), yes_absent()], false),
    ] {
        let transaction = Transaction::when(compare.clone(), [Operation::put("all/result", "then", None)])
            .or_else([Operation::put("all/result", "else", None)]);
        let reply = bench.transact(transaction).await;
        assert_eq!((reply.succeeded, reply.outcomes), (expected, vec![Outcome::Put]), "{compare:?}");
        let expected = if expected { "then" } else { "else" };
        assert_eq!(bench.get("all/result").await.unwrap().value, expected, "{compare:?}");
    }
}

async fn each_operation_has_its_outcome(bench: &Bench) {
    for key in ["outcome/a", "outcome/b", "outcome/c/1", "outcome/c/2"] {
        bench.put(key, "x").await;
    }
    let reply = bench
        .transact(Transaction::always([
            Operation::get("outcome/none"),
            Operation::put("outcome/new", "x", None),
            Operation::Delete(Range::prefix("outcome/c/")),
            Operation::delete("outcome/none"),
            Operation::Range { range: Range::prefix("outcome/"), limit: 2 },
        ]))
        .await;
    assert!(reply.succeeded);
    assert_eq!(reply.outcomes[0], Outcome::Found { entries: Vec::new(), more: false });
    assert_eq!(reply.outcomes[1..4], [Outcome::Put, Outcome::Deleted(2), Outcome::Deleted(0)]);
    let Outcome::Found { entries, more } = &reply.outcomes[4] else { panic!("{reply:?}") };
    let keys: Vec<_> = entries.iter().map(|entry| entry.key.as_str()).collect();
    assert_eq!((keys, *more), (vec!["outcome/a", "outcome/b"], true));
}

async fn operations_see_those_before_them(bench: &Bench) {
    bench.put("within/a", "old").await;
    let reply = bench
        .transact(Transaction::always([
            Operation::get("within/a"),
            Operation::put("within/a", "new", None),
            Operation::get("within/a"),
        ]))
        .await;
    let found: Vec<_> = [0, 2]
        .into_iter()
        .map(|index| match &reply.outcomes[index] {
            Outcome::Found { entries, .. } => entries[0].clone(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!((found[0].value.as_ref(), found[1].value.as_ref()), (b"old".as_slice(), b"new".as_slice()));
    assert_eq!((found[1].modified, found[1].version), (reply.revision, 2));
}

async fn both_branches_may_change_the_same(bench: &Bench) {
    let set = |value: &'static str| [Operation::put("either/a", value, None)];
    let transaction = Transaction::when([Compare::absent("either/a")], set("first")).or_else(set("later"));
    assert!(bench.transact(transaction.clone()).await.succeeded);
    assert!(!bench.transact(transaction).await.succeeded);
    assert_eq!(bench.get("either/a").await.unwrap().value, "later");
}

async fn the_first_of_many_wins_a_key(bench: &Bench) {
    for round in 0..10 {
        let key = format!("first/{round}");
        let tries = (0..8).map(|who: u32| {
            let put = Operation::put(key.as_str(), who.to_string(), None);
            let claim =
                Transaction::when([Compare::absent(key.as_str())], [put]).or_else([Operation::get(key.as_str())]);
            let store = if who.is_multiple_of(2) { &bench.store } else { &bench.other };
            async move { (who, store.transact(claim).await.unwrap()) }
        });
        let replies = join_all(tries).await;
        let winners: Vec<_> = replies.iter().filter(|(_who, reply)| reply.succeeded).collect();
        let [(winner, won)] = winners.as_slice() else { panic!("{replies:?}") };
        for (_who, reply) in replies.iter().filter(|(_who, reply)| !reply.succeeded) {
            let [Outcome::Found { entries, .. }] = reply.outcomes.as_slice() else { panic!("{reply:?}") };
            assert_eq!((entries[0].value.as_ref(), entries[0].created), (winner.to_string().as_bytes(), won.revision));
        }
    }
}

async fn increments_by_comparison_are_never_lost(bench: &Bench) {
    bench.put("count/a", "0").await;
    let clients = (0..4).map(|who| {
        let store = if who % 2 == 0 { &bench.store } else { &bench.other };
        async move {
            let mut done = 0;
            while done < 10 {
                let entry = store.get("count/a").await.unwrap().unwrap();
                let count: u32 = std::str::from_utf8(&entry.value).unwrap().parse().unwrap();
                let compare = Compare::modified("count/a", entry.modified);
                let next = Operation::put("count/a", (count + 1).to_string(), None);
                if store.transact(Transaction::when([compare], [next])).await.unwrap().succeeded {
                    done += 1;
                }
            }
        }
    });
    join_all(clients).await;
    assert_eq!(bench.get("count/a").await.unwrap().value, "40");
}

async fn writing_on_no_lease_changes_nothing(bench: &Bench) {
    let before = bench.put("leaseless/a", "1").await;
    let live = bench.store.grant(Duration::from_secs(60)).await.unwrap().id;
    let (never, ended) = (LeaseId(4711), bench.store.grant(Duration::from_secs(60)).await.unwrap().id);
    bench.store.revoke(ended).await.unwrap();
    for missing in [never, ended] {
        let transaction = Transaction::always([
            Operation::put("leaseless/a", "2", None),
            Operation::put("leaseless/b", "2", Some(live)),
            Operation::put("leaseless/c", "2", Some(missing)),
        ]);
        assert_eq!(bench.store.transact(transaction).await, Err(Error::LeaseNotFound(missing)));
    }
    let after = bench.list("leaseless/").await;
    assert_eq!((after.revision, after.entries.len()), (before, 1));
    bench.store.revoke(live).await.unwrap();
}

async fn the_branch_not_taken_may_name_no_lease(bench: &Bench) {
    let nowhere = || [Operation::put("untaken/a", "1", Some(LeaseId(4711)))];
    let transaction = Transaction::when([Compare::created("untaken/none", 1)], nowhere());
    assert!(!bench.transact(transaction).await.succeeded);
    let transaction = Transaction::when([Compare::absent("untaken/none")], []).or_else(nowhere());
    assert!(bench.transact(transaction).await.succeeded);
}

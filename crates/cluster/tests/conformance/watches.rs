//! Watches: each revision once and in order, whole.

use std::time::Duration;

use mainstay_cluster::coordinator::{Batch, Change, Error, Operation, Range, Revision, Transaction, Watch};

use crate::bench::{Bench, cases, next, within};

cases![
    the_past_and_the_present_follow_each_other,
    a_transaction_is_told_whole_and_in_order,
    only_the_range_is_told_of,
    a_watch_may_begin_in_the_future,
    giving_up_waiting_loses_nothing,
    changes_tell_the_whole_entry,
    keys_of_a_lease_go_in_one_batch,
    a_long_history_is_told_completely,
    all_watches_tell_the_same,
    what_is_compacted_is_said,
];

/// Of each change whether it is a write, and its key.
fn keys(batch: &Batch) -> Vec<(bool, &str)> {
    batch
        .changes
        .iter()
        .map(|change| match change {
            Change::Put(entry) => (true, entry.key.as_str()),
            Change::Delete { key } => (false, key.as_str()),
        })
        .collect()
}

async fn the_past_and_the_present_follow_each_other(bench: &Bench) {
    let first = bench.put("follow/a", "1").await;
    let second = bench.put("follow/a", "2").await;
    let mut from_first = bench.watch(Range::prefix("follow/"), first).await;
    let mut from_second = bench.watch(Range::prefix("follow/"), second).await;
    let third = bench.delete("follow/a").await;
    for (watch, expected) in [(&mut from_first, vec![first, second, third]), (&mut from_second, vec![second, third])] {
        for revision in expected {
            assert_eq!(next(watch).await.revision, revision);
        }
    }
    let fourth = bench.put("follow/a", "4").await;
    assert_eq!(next(&mut from_first).await.revision, fourth);
}

async fn a_transaction_is_told_whole_and_in_order(bench: &Bench) {
    bench.put("whole/gone", "1").await;
    let start = bench.list("whole/").await.revision + 1;
    let mut live = bench.watch(Range::prefix("whole/"), start).await;
    let put = |key: &str| Operation::put(key, "x", None);
    let transaction =
        Transaction::always([put("whole/c"), put("whole/a"), Operation::delete("whole/gone"), put("whole/b")]);
    let revision = bench.transact(transaction).await.revision;
    bench.put("whole/last", "1").await;
    let mut late = bench.watch(Range::prefix("whole/"), start).await;
    for watch in [&mut live, &mut late] {
        let batch = next(watch).await;
        assert_eq!(batch.revision, revision);
        let expected = [(true, "whole/c"), (true, "whole/a"), (false, "whole/gone"), (true, "whole/b")];
        assert_eq!(keys(&batch), expected);
        assert_eq!(keys(&next(watch).await), [(true, "whole/last")]);
    }
}

async fn only_the_range_is_told_of(bench: &Bench) {
    let start = bench.list("only/").await.revision + 1;
    let mut key = bench.watch(Range::key("only/a"), start).await;
    let mut prefix = bench.watch(Range::prefix("only/b/"), start).await;
    let put = |key: &str| Operation::put(key, "x", None);
    bench.put("only/b", "1").await;
    let both =
        bench.transact(Transaction::always([put("only/a"), put("only/ab"), put("only/b/1"), put("only/c")])).await;
    bench.put("only/ab", "2").await;
    let mine = bench.put("only/a", "2").await;
    let batch = next(&mut key).await;
    assert_eq!((batch.revision, keys(&batch)), (both.revision, vec![(true, "only/a")]));
    let batch = next(&mut key).await;
    assert_eq!((batch.revision, keys(&batch)), (mine, vec![(true, "only/a")]));
    let batch = next(&mut prefix).await;
    assert_eq!((batch.revision, keys(&batch)), (both.revision, vec![(true, "only/b/1")]));
}

async fn a_watch_may_begin_in_the_future(bench: &Bench) {
    let now = bench.put("future/a", "0").await;
    let mut watch = bench.watch(Range::prefix("future/"), now + 3).await;
    for step in 1..=4 {
        assert_eq!(bench.put("future/a", &step.to_string()).await, now + step);
    }
    assert_eq!(next(&mut watch).await.revision, now + 3);
    assert_eq!(next(&mut watch).await.revision, now + 4);
}

async fn giving_up_waiting_loses_nothing(bench: &Bench) {
    let start = bench.list("patience/").await.revision + 1;
    let mut watch = bench.watch(Range::prefix("patience/"), start).await;
    let mut told: Vec<Revision> = Vec::new();
    let mut made = Vec::new();
    for round in 0..60_u32 {
        made.push(bench.put("patience/a", &round.to_string()).await);
        while let Ok(batch) = tokio::time::timeout(Duration::from_micros(50), watch.next()).await {
            told.push(batch.unwrap().revision);
        }
    }
    while told.len() < made.len() {
        told.push(next(&mut watch).await.revision);
    }
    assert_eq!(told, made);
}

async fn changes_tell_the_whole_entry(bench: &Bench) {
    let lease = bench.store.grant(Duration::from_secs(60)).await.unwrap().id;
    let created = bench.put("entry/a", "1").await;
    let modified = bench.store.put("entry/a", "2".into(), Some(lease)).await.unwrap();
    let mut watch = bench.watch(Range::key("entry/a"), modified).await;
    let batch = next(&mut watch).await;
    let [Change::Put(entry)] = batch.changes.as_slice() else { panic!("{batch:?}") };
    assert_eq!(*entry, bench.get("entry/a").await.unwrap());
    assert_eq!((entry.created, entry.modified, entry.version, entry.lease), (created, modified, 2, Some(lease)));
    bench.store.revoke(lease).await.unwrap();
    assert_eq!(next(&mut watch).await.changes, [Change::Delete { key: "entry/a".to_owned() }]);
}

async fn keys_of_a_lease_go_in_one_batch(bench: &Bench) {
    for by_itself in [false, true] {
        let ttl = if by_itself { bench.ttl } else { Duration::from_secs(60) };
        let lease = bench.store.grant(ttl).await.unwrap().id;
        let puts = ["a", "b", "c"].map(|name| Operation::put(format!("bundle/{name}"), "x", Some(lease)));
        let start = bench.transact(Transaction::always(puts)).await.revision + 1;
        let mut watch = bench.watch(Range::prefix("bundle/"), start).await;
        if !by_itself {
            bench.store.revoke(lease).await.unwrap();
        }
        let batch = next(&mut watch).await;
        let mut gone = keys(&batch);
        gone.sort_unstable();
        assert_eq!(gone, [(false, "bundle/a"), (false, "bundle/b"), (false, "bundle/c")]);
        assert_eq!(batch.revision, start, "nothing else has happened");
    }
}

async fn a_long_history_is_told_completely(bench: &Bench) {
    // More than etcd sends to a watch that lags at a time.
    const CHANGES: u64 = 1200;
    let mut made = Vec::new();
    for chunk in 0..CHANGES / 50 {
        let puts = (0..50).map(|index| {
            let value = (chunk * 50 + index).to_string();
            async move { bench.put("long/a", &value).await }
        });
        made.extend(futures_util::future::join_all(puts).await);
    }
    made.sort_unstable();
    let mut watch = bench.watch(Range::prefix("long/"), made[0]).await;
    for (index, expected) in made.iter().enumerate() {
        let batch = next(&mut watch).await;
        assert_eq!(batch.revision, *expected);
        let [Change::Put(entry)] = batch.changes.as_slice() else { panic!("{batch:?}") };
        assert_eq!(entry.version, index as u64 + 1);
    }
}

async fn all_watches_tell_the_same(bench: &Bench) {
    let start = bench.list("same/").await.revision + 1;
    let mut watches = Vec::new();
    for index in 0..6 {
        let store = if index % 2 == 0 { &bench.store } else { &bench.other };
        watches.push(store.watch(Range::prefix("same/"), start).await.unwrap());
    }
    let puts = (0..40).map(|index: u32| async move { bench.put(&format!("same/{}", index % 5), "x").await });
    futures_util::future::join_all(puts).await;
    let mut told = Vec::new();
    for watch in &mut watches {
        let mut one = Vec::new();
        for _change in 0..40 {
            one.push(next(watch).await);
        }
        told.push(one);
    }
    assert!(told[0].windows(2).all(|pair| pair[0].revision < pair[1].revision));
    assert!(told.iter().all(|one| *one == told[0]));
}

async fn what_is_compacted_is_said(bench: &Bench) {
    let forgotten = bench.put("forget/a", "1").await;
    let kept = bench.put("forget/a", "2").await;
    // The last change before the compaction is a deletion, which a store that keeps only what is there would swallow.
    let deleted = bench.delete("forget/a").await;
    bench.put("forget/b", "1").await;
    (bench.compact)(deleted).await;
    for from in [1, forgotten, kept] {
        let mut watch = bench.watch(Range::prefix("forget/"), from).await;
        match within(watch.next()).await {
            Err(Error::Compacted { asked, oldest }) => {
                assert_eq!(asked, from);
                assert!(oldest > from, "{oldest} is not after {from}");
                recovers(bench, oldest).await;
            }
            other => panic!("from {from}: {other:?}"),
        }
        assert!(within(watch.next()).await.is_err(), "after an error the watch is over");
    }
    // It is either told or said to be forgotten, never left out.
    let mut watch = bench.watch(Range::prefix("forget/"), deleted).await;
    match within(watch.next()).await {
        Ok(batch) => assert_eq!((batch.revision, keys(&batch)), (deleted, vec![(false, "forget/a")])),
        Err(error) => assert!(matches!(error, Error::Compacted { .. }), "{error:?}"),
    }
}

/// What a caller does that is told of a compaction: read anew, and watch from the revision after that.
async fn recovers(bench: &Bench, oldest: Revision) {
    let listing = bench.list("forget/").await;
    assert!(listing.revision + 1 >= oldest);
    let mut watch: Box<dyn Watch> = bench.watch(Range::prefix("forget/"), listing.revision + 1).await;
    let made = bench.put("forget/c", "1").await;
    assert_eq!(next(&mut watch).await.revision, made);
}

//! Revisions and reads.

use bytes::Bytes;
use mainstay_cluster::coordinator::{Consistency, Error, Operation, Range, Transaction, VALUE_BYTES_MAX};

use crate::bench::{Bench, SOON, cases, values};

cases![
    a_key_has_its_revisions_and_version,
    each_change_raises_the_revision_by_one,
    what_changes_nothing_leaves_the_revision,
    keys_are_listed_in_order_up_to_the_limit,
    the_past_can_be_read,
    what_is_compacted_or_to_come_is_refused,
    reads_see_what_another_has_written,
    local_reads_come_to_see_it,
    keys_and_values_are_kept_as_they_are,
];

async fn a_key_has_its_revisions_and_version(bench: &Bench) {
    assert_eq!(bench.get("life/a").await, None);
    let made = bench.put("life/a", "1").await;
    let entry = bench.get("life/a").await.unwrap();
    assert_eq!((entry.key.as_str(), entry.value.as_ref()), ("life/a", b"1".as_slice()));
    assert_eq!((entry.created, entry.modified, entry.version, entry.lease), (made, made, 1, None));
    let changed = bench.put("life/a", "2").await;
    let entry = bench.get("life/a").await.unwrap();
    assert_eq!((entry.created, entry.modified, entry.version), (made, changed, 2));
    // A key that comes back is another one: its revision of creation serves as a fencing token.
    bench.delete("life/a").await;
    let again = bench.put("life/a", "3").await;
    let entry = bench.get("life/a").await.unwrap();
    assert_eq!((entry.created, entry.modified, entry.version), (again, again, 1));
}

async fn each_change_raises_the_revision_by_one(bench: &Bench) {
    let first = bench.put("step/a", "1").await;
    assert_eq!(bench.list("step/").await.revision, first);
    assert_eq!(bench.put("step/a", "1").await, first + 1, "writing the same value is a change");
    assert_eq!(bench.delete("step/a").await, first + 2);
    let together = Transaction::always(["x", "y", "z"].map(|name| Operation::put(format!("step/{name}"), name, None)));
    assert_eq!(bench.transact(together).await.revision, first + 3);
    let listing = bench.list("step/").await;
    assert_eq!((listing.revision, listing.entries.len()), (first + 3, 3));
    assert!(listing.entries.iter().all(|entry| entry.created == first + 3 && entry.modified == first + 3));
    let several = Transaction::always([Operation::Delete(Range::prefix("step/"))]);
    assert_eq!(bench.transact(several).await.revision, first + 4);
}

async fn what_changes_nothing_leaves_the_revision(bench: &Bench) {
    let before = bench.put("still/a", "1").await;
    for transaction in [
        Transaction::default(),
        Transaction::always([Operation::delete("still/none")]),
        Transaction::always([Operation::Delete(Range::prefix("still/none/"))]),
        Transaction::always([Operation::get("still/a")]),
        Transaction::when(
            [mainstay_cluster::coordinator::Compare::absent("still/a")],
            [Operation::put("still/a", "2", None)],
        ),
    ] {
        assert_eq!(bench.transact(transaction.clone()).await.revision, before, "{transaction:?}");
    }
    assert_eq!(bench.list("still/").await.revision, before);
}

async fn keys_are_listed_in_order_up_to_the_limit(bench: &Bench) {
    for key in ["order/b", "order/a", "order", "order0", "order/ab", "order/b/c"] {
        bench.put(key, "").await;
    }
    let names = |listing: &mainstay_cluster::coordinator::Listing| {
        listing.entries.iter().map(|entry| entry.key.clone()).collect::<Vec<_>>()
    };
    let read = |range: Range, limit| bench.store.range(range, None, limit, Consistency::Linearizable);
    let all = read(Range::prefix("order/"), 0).await.unwrap();
    assert_eq!(
        (names(&all), all.more),
        (["order/a", "order/ab", "order/b", "order/b/c"].map(str::to_owned).into(), false)
    );
    let some = read(Range::prefix("order/"), 2).await.unwrap();
    assert_eq!((names(&some), some.more), (["order/a", "order/ab"].map(str::to_owned).into(), true));
    let exact = read(Range::prefix("order/"), 4).await.unwrap();
    assert_eq!((exact.entries.len(), exact.more), (4, false));
    let one = read(Range::key("order"), 0).await.unwrap();
    assert_eq!((names(&one), one.more), (vec!["order".to_owned()], false));
    assert!(names(&read(Range::prefix(""), 0).await.unwrap()).len() >= 6, "the empty prefix stands for all");
    assert!(read(Range::prefix("order/nothing"), 0).await.unwrap().entries.is_empty());
}

async fn the_past_can_be_read(bench: &Bench) {
    let first = bench.put("past/a", "1").await;
    let second = bench.put("past/a", "2").await;
    bench.put("past/b", "1").await;
    let third = bench.delete("past/a").await;
    let now = bench.put("past/c", "1").await;
    for (at, expected) in [
        (first, vec![("past/a", "1")]),
        (second, vec![("past/a", "2")]),
        (third, vec![("past/b", "1")]),
        (now, vec![("past/b", "1"), ("past/c", "1")]),
    ] {
        let listing = bench.try_list("past/", Some(at)).await.unwrap();
        let found = values(&listing);
        let found: Vec<_> = found.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!(found, expected, "at {at}");
        assert_eq!(listing.revision, now, "the listing has the revision of the store");
    }
    let old = bench.try_list("past/", Some(second)).await.unwrap().entries.remove(0);
    assert_eq!((old.created, old.modified, old.version), (first, second, 2));
}

async fn what_is_compacted_or_to_come_is_refused(bench: &Bench) {
    let forgotten = bench.put("compact/a", "1").await;
    let kept = bench.put("compact/a", "2").await;
    bench.put("compact/a", "3").await;
    (bench.compact)(kept).await;
    match bench.try_list("compact/", Some(forgotten)).await {
        Err(Error::Compacted { asked, oldest }) => {
            assert_eq!(asked, forgotten);
            assert!(oldest > forgotten, "{oldest} is not after {forgotten}");
            let listing = bench.try_list("compact/", Some(oldest)).await.unwrap();
            assert_eq!(listing.entries.len(), 1, "the oldest that is named can be read");
        }
        other => panic!("{other:?}"),
    }
    let now = bench.list("compact/").await;
    assert_eq!(values(&now)["compact/a"], "3", "the present is not compacted");
    match bench.try_list("compact/", Some(now.revision + 1000)).await {
        Err(Error::Future { asked, present }) => assert_eq!((asked, present), (now.revision + 1000, now.revision)),
        other => panic!("{other:?}"),
    }
}

async fn reads_see_what_another_has_written(bench: &Bench) {
    for round in 0..50_u32 {
        let value = Bytes::from(round.to_string());
        let (writer, reader) = if round % 2 == 0 { (&bench.store, &bench.other) } else { (&bench.other, &bench.store) };
        let written = writer.put("fresh/a", value.clone(), None).await.unwrap();
        let read = reader.get("fresh/a").await.unwrap().unwrap();
        assert_eq!((read.value, read.modified), (value, written));
    }
}

async fn local_reads_come_to_see_it(bench: &Bench) {
    let written = bench.put("local/a", "1").await;
    let end = tokio::time::Instant::now() + SOON;
    loop {
        let local = bench.other.range(Range::key("local/a"), None, 1, Consistency::Local).await.unwrap();
        if local.entries.first().is_some_and(|entry| entry.modified == written) {
            return;
        }
        assert!(tokio::time::Instant::now() < end, "the other node never saw it: {local:?}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

async fn keys_and_values_are_kept_as_they_are(bench: &Bench) {
    let all_bytes: Vec<u8> = (0..=255).collect();
    for (key, value) in [
        ("as-is/empty", Vec::new()),
        ("as-is/bytes", all_bytes),
        ("as-is/ключ/鍵 with spaces\n", b"\0".to_vec()),
        ("as-is/large", vec![7; VALUE_BYTES_MAX]),
    ] {
        bench.store.put(key, value.clone().into(), None).await.unwrap();
        let entry = bench.get(key).await.unwrap();
        assert_eq!(entry.key, key);
        assert!(entry.value == value, "{key} has {} bytes", entry.value.len());
    }
}

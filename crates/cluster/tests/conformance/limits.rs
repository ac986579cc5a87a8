//! What every engine refuses.

use std::time::Duration;

use mainstay_cluster::coordinator::{
    Consistency, Error, KEY_BYTES_MAX, Operation, Range, TRANSACTION_PARTS_MAX, Transaction, VALUE_BYTES_MAX,
};

use crate::bench::{Bench, cases};

cases![requests_beyond_the_limits_are_refused_whole, requests_at_the_limits_are_served];

async fn requests_beyond_the_limits_are_refused_whole(bench: &Bench) {
    let before = bench.put("limit/a", "1").await;
    let long = format!("limit/{}", "k".repeat(KEY_BYTES_MAX));
    let put = |key: &str| Operation::put(key, "x", None);
    let many: Vec<_> = (0..=TRANSACTION_PARTS_MAX).map(|index| put(&format!("limit/{index}"))).collect();
    for refused in [
        Transaction::always([put("limit/b"), put("")]),
        Transaction::always([put("limit/b"), put(&long)]),
        Transaction::always([put("limit/b"), Operation::put("limit/c", vec![0; VALUE_BYTES_MAX + 1], None)]),
        Transaction::always(many),
        Transaction::always([put("limit/b"), put("limit/b")]),
        Transaction::always([put("limit/b"), Operation::delete("limit/b")]),
        Transaction::always([Operation::Delete(Range::prefix("limit/")), put("limit/b")]),
    ] {
        let answer = bench.store.transact(refused).await;
        assert!(matches!(answer, Err(Error::Invalid(_))), "{answer:?}");
    }
    for refused in [Range::key(""), Range::key(long.as_str()), Range::prefix(long)] {
        let read = bench.store.range(refused.clone(), None, 0, Consistency::Linearizable).await;
        assert!(matches!(read, Err(Error::Invalid(_))), "{read:?}");
        assert!(matches!(bench.store.watch(refused, 1).await.map(drop), Err(Error::Invalid(_))));
    }
    assert!(matches!(bench.store.grant(Duration::ZERO).await, Err(Error::Invalid(_))));
    let after = bench.list("limit/").await;
    assert_eq!((after.revision, after.entries.len()), (before, 1));
}

async fn requests_at_the_limits_are_served(bench: &Bench) {
    let key = format!("{:k<KEY_BYTES_MAX$}", "most/");
    bench.store.put(&key, vec![1; VALUE_BYTES_MAX].into(), None).await.unwrap();
    assert_eq!(bench.get(&key).await.unwrap().value.len(), VALUE_BYTES_MAX);
    let many = (0..TRANSACTION_PARTS_MAX).map(|index| Operation::put(format!("most/{index}"), "x", None));
    let reply = bench.transact(Transaction::always(many)).await;
    assert_eq!(reply.outcomes.len(), TRANSACTION_PARTS_MAX);
    assert_eq!(bench.list("most/").await.entries.len(), TRANSACTION_PARTS_MAX + 1);
}

//! Leases: how long they live at least, and what goes with them.

use std::collections::HashSet;
use std::time::Duration;

use mainstay_cluster::coordinator::{Error, LeaseId, Operation, Range, Transaction};
use tokio::time::Instant;

use crate::bench::{Bench, SOON, cases, next};

cases![
    leases_have_names_of_their_own,
    a_lease_lives_its_time_and_then_ends,
    renewals_keep_a_lease,
    a_lease_that_is_not_there_cannot_be_renewed,
    revoking_deletes_the_keys,
    a_key_goes_with_its_last_lease_only,
    a_writer_elsewhere_sees_the_lease,
];

async fn leases_have_names_of_their_own(bench: &Bench) {
    let mut seen = HashSet::new();
    for round in 0..20 {
        let store = if round % 2 == 0 { &bench.store } else { &bench.other };
        let lease = store.grant(Duration::from_secs(30)).await.unwrap();
        assert!(lease.id.0 != 0 && seen.insert(lease.id), "{lease:?}");
        assert!(lease.ttl >= Duration::from_secs(30), "{lease:?}");
        store.revoke(lease.id).await.unwrap();
    }
    // Also not that of one that has ended.
    let fractional = bench.store.grant(Duration::from_millis(30_500)).await.unwrap();
    assert!(seen.insert(fractional.id) && fractional.ttl >= Duration::from_millis(30_500), "{fractional:?}");
}

/// Waits for the deletion of `key` and checks that it does not come before `least` after `sent`.
async fn ends(bench: &Bench, key: &str, sent: Instant, least: Duration) {
    let mut watch = {
        let from = bench.get(key).await.expect("it is there").modified + 1;
        bench.watch(Range::key(key), from).await
    };
    next(&mut watch).await;
    let lived = sent.elapsed();
    assert!(lived >= least, "it ended after {lived:?} of {least:?}");
    assert_eq!(bench.get(key).await, None);
}

async fn a_lease_lives_its_time_and_then_ends(bench: &Bench) {
    let sent = Instant::now();
    let lease = bench.store.grant(bench.ttl).await.unwrap();
    bench.store.put("expire/a", "1".into(), Some(lease.id)).await.unwrap();
    ends(bench, "expire/a", sent, lease.ttl).await;
    assert_eq!(bench.store.keep_alive(lease.id).await, Err(Error::LeaseNotFound(lease.id)));
}

async fn renewals_keep_a_lease(bench: &Bench) {
    let lease = bench.store.grant(bench.ttl).await.unwrap();
    bench.store.put("renew/a", "1".into(), Some(lease.id)).await.unwrap();
    let begun = Instant::now();
    let mut renewed = begun;
    // Twice as long as it would live by itself.
    while begun.elapsed() < lease.ttl * 2 {
        let sent = Instant::now();
        let answer = bench.store.keep_alive(lease.id).await.unwrap();
        assert_eq!(answer.id, lease.id);
        assert!(answer.ttl >= bench.ttl, "{answer:?}");
        renewed = sent;
        assert!(bench.get("renew/a").await.is_some());
        tokio::time::sleep(lease.ttl / 5).await;
    }
    ends(bench, "renew/a", renewed, lease.ttl).await;
}

async fn a_lease_that_is_not_there_cannot_be_renewed(bench: &Bench) {
    let never = LeaseId(0x4711);
    assert_eq!(bench.store.keep_alive(never).await, Err(Error::LeaseNotFound(never)));
    bench.store.revoke(never).await.expect("ending what is not there succeeds");
}

async fn revoking_deletes_the_keys(bench: &Bench) {
    let lease = bench.store.grant(Duration::from_secs(60)).await.unwrap().id;
    let puts = ["a", "b"].map(|name| Operation::put(format!("revoke/{name}"), "x", Some(lease)));
    let before = bench.transact(Transaction::always(puts)).await.revision;
    bench.put("revoke/other", "x").await;
    bench.store.revoke(lease).await.unwrap();
    let listing = bench.list("revoke/").await;
    let left: Vec<_> = listing.entries.iter().map(|entry| entry.key.as_str()).collect();
    assert_eq!((left, listing.revision), (vec!["revoke/other"], before + 2), "its keys go in one revision");
    assert_eq!(bench.store.keep_alive(lease).await, Err(Error::LeaseNotFound(lease)));
    let late = bench.store.put("revoke/a", "x".into(), Some(lease)).await;
    assert_eq!(late, Err(Error::LeaseNotFound(lease)));
    bench.store.revoke(lease).await.expect("ending it again succeeds");
    assert_eq!(bench.list("revoke/").await.revision, before + 2, "and changes nothing");
}

async fn a_key_goes_with_its_last_lease_only(bench: &Bench) {
    let first = bench.store.grant(Duration::from_secs(60)).await.unwrap().id;
    let second = bench.store.grant(Duration::from_secs(60)).await.unwrap().id;
    for key in ["attach/moved", "attach/freed", "attach/kept", "attach/again"] {
        bench.store.put(key, "1".into(), Some(first)).await.unwrap();
    }
    bench.store.put("attach/moved", "2".into(), Some(second)).await.unwrap();
    bench.put("attach/freed", "2").await;
    assert_eq!(bench.get("attach/freed").await.unwrap().lease, None);
    // Deleted and made again without a lease, it is another key.
    bench.delete("attach/again").await;
    bench.put("attach/again", "2").await;
    bench.store.revoke(first).await.unwrap();
    let left = bench.list("attach/").await;
    let left: Vec<_> = left.entries.iter().map(|entry| (entry.key.as_str(), entry.lease)).collect();
    assert_eq!(left, [("attach/again", None), ("attach/freed", None), ("attach/moved", Some(second))]);
    bench.store.revoke(second).await.unwrap();
    assert_eq!(bench.list("attach/").await.entries.len(), 2);
}

async fn a_writer_elsewhere_sees_the_lease(bench: &Bench) {
    let sent = Instant::now();
    let lease = bench.store.grant(Duration::from_secs(60)).await.unwrap();
    bench.other.put("elsewhere/a", "1".into(), Some(lease.id)).await.unwrap();
    assert_eq!(bench.other.keep_alive(lease.id).await.unwrap().id, lease.id);
    bench.other.revoke(lease.id).await.unwrap();
    assert_eq!(bench.store.keep_alive(lease.id).await, Err(Error::LeaseNotFound(lease.id)));
    assert_eq!(bench.get("elsewhere/a").await, None);
    assert!(sent.elapsed() < SOON + Duration::from_secs(30), "and not because its time was over");
}

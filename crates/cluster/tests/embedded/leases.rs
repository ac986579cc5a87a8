//! Leases on a log: they end by the leader's clock, and not when leaders change.

use std::time::{Duration, Instant};

use mainstay_cluster::coordinator::{Change, Coordinator, Error, LeaseId, Range};
use mainstay_cluster::keys;
use mainstay_cluster::role::Holder;

use crate::cluster::{Cluster, eventually, run, text};

const LONG: Duration = Duration::from_secs(60);

async fn keep(cluster: &Cluster, node: u64, lease: LeaseId, every: Duration, until: Instant) {
    while Instant::now() < until {
        match cluster.on(node).keep_alive(lease).await {
            Ok(_) | Err(Error::Unknown(_) | Error::Unavailable(_)) => {}
            Err(error) => panic!("{error}"),
        }
        tokio::time::sleep(every).await;
    }
}

#[test]
fn a_lease_lives_its_time_and_its_keys_end_with_it_on_every_node() {
    run(async || {
        let cluster = Cluster::of(3).await;
        let ttl = Duration::from_millis(700);
        let sent = Instant::now();
        let lease = cluster.on(2).grant(ttl).await.unwrap();
        cluster.on(3).put("a", text("1"), Some(lease.id)).await.unwrap();
        cluster.on(3).put("b", text("2"), Some(lease.id)).await.unwrap();
        let mut watch = cluster.on(1).watch(Range::prefix(""), 3).await.unwrap();
        let batch = watch.next().await.unwrap();
        assert!(sent.elapsed() >= ttl, "{:?}", sent.elapsed());
        let gone = |key: &str| Change::Delete { key: key.to_owned() };
        assert_eq!(batch.changes, [gone("a"), gone("b")]);
        assert_eq!(cluster.on(2).keep_alive(lease.id).await, Err(Error::LeaseNotFound(lease.id)));
    });
}

#[test]
fn a_lease_that_is_renewed_outlives_its_leader_and_then_ends() {
    run(async || {
        let mut cluster = Cluster::of(3).await;
        let (ttl, renew) = (cluster.timings.ttl, cluster.timings.renew);
        let leader = cluster.leader().await;
        let holder = cluster.ids().into_iter().find(|node| *node != leader).unwrap();
        let lease = cluster.on(holder).grant(ttl).await.unwrap();
        cluster.on(holder).put("held", text("v"), Some(lease.id)).await.unwrap();
        keep(&cluster, holder, lease.id, renew, Instant::now() + renew * 2).await;
        cluster.kill(leader).await;
        keep(&cluster, holder, lease.id, renew, Instant::now() + ttl * 2).await;
        let last = Instant::now();
        cluster.on(holder).keep_alive(lease.id).await.expect("it was renewed all the time");
        let mut watch = cluster.on(holder).watch(Range::key("held"), 2).await.unwrap();
        watch.next().await.unwrap();
        assert!(last.elapsed() >= ttl, "{:?}", last.elapsed());
    });
}

#[test]
fn a_leader_without_a_majority_ends_no_lease() {
    run(async || {
        let cluster = Cluster::of(3).await;
        let leader = cluster.leader().await;
        let lease = cluster.on(leader).grant(Duration::from_millis(500)).await.unwrap();
        cluster.on(leader).put("held", text("v"), Some(lease.id)).await.unwrap();
        cluster.isolate(leader);
        tokio::time::sleep(Duration::from_secs(2)).await;
        let range = Range::key("held");
        let listing =
            cluster.on(leader).range(range, None, 0, mainstay_cluster::coordinator::Consistency::Local).await.unwrap();
        assert_eq!(listing.entries.len(), 1, "it has not applied what nobody decided");
        assert!(matches!(
            cluster.on(leader).keep_alive(lease.id).await,
            Err(Error::Unknown(_) | Error::Unavailable(_))
        ));
        let other = cluster.ids().into_iter().find(|node| *node != leader).unwrap();
        let mut watch = cluster.on(other).watch(Range::key("held"), 2).await.unwrap();
        watch.next().await.unwrap();
        cluster.network.heal();
        cluster.agreed().await;
    });
}

#[test]
fn a_revoked_lease_ends_at_once() {
    run(async || {
        let cluster = Cluster::of(3).await;
        let lease = cluster.on(1).grant(Duration::from_secs(60)).await.unwrap();
        cluster.on(2).put("held", text("v"), Some(lease.id)).await.unwrap();
        cluster.on(3).revoke(lease.id).await.unwrap();
        assert!(cluster.on(1).get("held").await.unwrap().is_none());
        eventually("all have applied it", || cluster.ids().into_iter().all(|node| cluster.status(node).revision == 2))
            .await;
    });
}

#[test]
fn a_lease_is_its_nodes_by_the_nodes_own_keys_or_by_the_roles_that_it_holds() {
    run(async || {
        let cluster = Cluster::of(1).await;
        let node = cluster.node(1);
        let [one, two, bare] = [node.grant(LONG).await, node.grant(LONG).await, node.grant(LONG).await];
        let (one, two, bare) = (one.unwrap().id, two.unwrap().id, bare.unwrap().id);
        cluster.on(1).put(&keys::node("a"), text("{}"), Some(one)).await.unwrap();
        cluster.on(1).put(&keys::role("r"), Holder { node: "b".to_owned() }.to_bytes(), Some(two)).await.unwrap();
        let of = |lease| ["a", "b", "r", ""].map(|name| node.lease_is_of(lease, name));
        assert_eq!(of(one), [true, false, false, false]);
        assert_eq!(of(two), [false, true, false, false]);
        assert_eq!(of(bare), [false; 4]);
        assert_eq!(of(LeaseId(77)), [false; 4]);
        node.revoke(one).await.unwrap();
        assert_eq!(of(one), [false; 4]);
    });
}

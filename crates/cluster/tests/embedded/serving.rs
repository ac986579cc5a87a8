//! What works while nothing fails.

use bytes::Bytes;
use mainstay_cluster::coordinator::{Compare, Error, Operation, Range, Transaction};
use mainstay_cluster::embedded::Part;

use crate::cluster::{Cluster, copy, run, text};

#[test]
fn one_node_is_a_cluster_and_comes_back_with_everything() {
    run(async || {
        let mut cluster = Cluster::of(1).await;
        let lease = cluster.on(1).grant(cluster.timings.ttl).await.unwrap();
        cluster.on(1).put("a", text("1"), Some(lease.id)).await.unwrap();
        let revision = cluster.on(1).put("b", text("2"), None).await.unwrap();
        let before = cluster.all(1).await.unwrap();
        cluster.kill(1).await;
        cluster.start(1).await;
        cluster.leader().await;
        assert_eq!(cluster.all(1).await.unwrap(), before);
        assert_eq!(cluster.on(1).keep_alive(lease.id).await.unwrap(), lease);
        assert_eq!(cluster.on(1).put("b", text("3"), None).await.unwrap(), revision + 1);
    });
}

#[test]
fn a_copy_of_a_running_nodes_disk_is_as_good_as_the_disk_after_a_kill() {
    run(async || {
        let mut cluster = Cluster::of(1).await;
        for nth in 0..20 {
            cluster.on(1).put(&format!("k{nth}"), text("v"), None).await.unwrap();
        }
        let before = cluster.all(1).await.unwrap();
        let saved = cluster.folder(9);
        copy(&cluster.folder(1), &saved);
        cluster.kill(1).await;
        std::fs::remove_dir_all(cluster.folder(1)).unwrap();
        std::fs::rename(saved, cluster.folder(1)).unwrap();
        cluster.start(1).await;
        cluster.leader().await;
        assert_eq!(cluster.all(1).await.unwrap(), before);
    });
}

#[test]
fn every_node_writes_and_reads_and_watches() {
    run(async || {
        let cluster = Cluster::of(3).await;
        let mut watches = Vec::new();
        for node in cluster.ids() {
            watches.push(cluster.on(node).watch(Range::prefix("k"), 1).await.unwrap());
        }
        for nth in 0..12u64 {
            let (writer, reader) = (nth % 3 + 1, (nth + 1) % 3 + 1);
            let key = format!("k{nth}");
            cluster.on(writer).put(&key, text("v"), None).await.unwrap();
            assert!(cluster.on(reader).get(&key).await.unwrap().is_some(), "a read sees every write before it");
        }
        for watch in &mut watches {
            for revision in 1..=12 {
                assert_eq!(watch.next().await.unwrap().revision, revision);
            }
        }
        let parts: Vec<Part> = cluster.ids().into_iter().map(|node| cluster.status(node).part).collect();
        assert_eq!(parts.iter().filter(|part| **part == Part::Leader).count(), 1);
        assert_eq!(parts.iter().filter(|part| **part == Part::Follower).count(), 2);
    });
}

#[test]
fn concurrent_transactions_on_all_nodes_lose_no_count() {
    run(async || {
        let cluster = Cluster::of(3).await;
        cluster.on(1).put("count", text("0"), None).await.unwrap();
        let count = |node: u64| {
            let coordinator = cluster.on(node);
            async move {
                let mut done = 0;
                while done < 20 {
                    let entry = coordinator.get("count").await.unwrap().unwrap();
                    let next = std::str::from_utf8(&entry.value).unwrap().parse::<u64>().unwrap() + 1;
                    let transaction = Transaction::when(
                        [Compare::modified("count", entry.modified)],
                        [Operation::put("count", next.to_string(), None)],
                    );
                    done += u64::from(coordinator.transact(transaction).await.unwrap().succeeded);
                }
            }
        };
        tokio::join!(count(1), count(2), count(3));
        assert_eq!(cluster.on(1).get("count").await.unwrap().unwrap().value, Bytes::from_static(b"60"));
    });
}

#[test]
fn what_is_invalid_is_said_on_every_node_and_changes_nothing() {
    run(async || {
        let cluster = Cluster::of(3).await;
        for node in cluster.ids() {
            let twice = Transaction::always([Operation::put("a", "1", None), Operation::put("a", "2", None)]);
            assert!(matches!(cluster.on(node).transact(twice).await, Err(Error::Invalid(_))));
            let lease = mainstay_cluster::coordinator::LeaseId(404);
            assert_eq!(cluster.on(node).put("a", text("1"), Some(lease)).await, Err(Error::LeaseNotFound(lease)));
            assert_eq!(cluster.on(node).keep_alive(lease).await, Err(Error::LeaseNotFound(lease)));
            assert_eq!(cluster.on(node).revoke(lease).await, Ok(()));
        }
        assert!(cluster.agreed().await.is_empty());
    });
}

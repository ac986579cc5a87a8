//! Nodes that die and links that fail.

use std::time::{Duration, Instant};

use mainstay_cluster::coordinator::{Consistency, Error, Operation, Range, Transaction};
use mainstay_cluster::embedded::Part;
use mainstay_cluster::peer::NodeId;

use crate::cluster::{Cluster, copy, eventually, run, run_thrice, text};

/// Two keys that are written together.
fn pair(nth: usize) -> Transaction {
    Transaction::always([
        Operation::put(format!("a{nth:04}"), "v", None),
        Operation::put(format!("b{nth:04}"), "v", None),
    ])
}

#[test]
fn a_leader_killed_during_writes_loses_nothing_that_was_confirmed() {
    run(async || {
        let mut cluster = Cluster::of(3).await;
        let mut nth = 0;
        for round in 0..3u64 {
            let leader = cluster.leader().await;
            let writer = cluster.ids().into_iter().find(|node| *node != leader).unwrap();
            let mut confirmed = Vec::new();
            let first = nth;
            let kill_at = Instant::now() + Duration::from_millis(30 + 45 * round);
            let mut killed = false;
            // Writes go on while the leader dies: the kill happens between two polls of a write that is under way.
            while confirmed.iter().filter(|(_nth, after)| *after).count() < 10 {
                let write = cluster.on(writer).transact(pair(nth));
                let answer = if killed {
                    write.await
                } else {
                    match tokio::time::timeout_at(kill_at.into(), write).await {
                        Ok(answer) => answer,
                        Err(_elapsed) => {
                            cluster.kill(leader).await;
                            killed = true;
                            Err(Error::Unknown("dropped".to_owned()))
                        }
                    }
                };
                if answer.is_ok() {
                    confirmed.push((nth, killed));
                }
                nth += 1;
                assert!(nth < 10_000);
            }
            cluster.start(leader).await;
            let keys: Vec<String> = cluster.agreed().await.into_iter().map(|entry| entry.key).collect();
            let has = |letter: char, nth: usize| keys.binary_search(&format!("{letter}{nth:04}")).is_ok();
            for nth in first..nth {
                assert_eq!(has('a', nth), has('b', nth), "write {nth} is whole or absent");
                assert!(
                    has('a', nth) || !confirmed.iter().any(|(done, _after)| *done == nth),
                    "write {nth} was confirmed"
                );
            }
        }
    });
}

/// How long writes stand still when a leader dies whose port is refused from then on, beside one that just falls silent.
#[test]
fn a_leader_whose_process_is_gone_is_missed_sooner_than_one_that_is_silent() {
    run(async || {
        let (mut gone, mut silent) = (Vec::new(), Vec::new());
        for round in 0..6u32 {
            let mut cluster = Cluster::of(3).await;
            let leader = cluster.leader().await;
            let other = cluster.ids().into_iter().find(|node| *node != leader).unwrap();
            let since = Instant::now();
            if round % 2 == 0 {
                cluster.kill(leader).await;
            } else {
                cluster.isolate(leader);
            }
            while cluster.on(other).put("k", text("v"), None).await.is_err() {}
            if round % 2 == 0 { gone.push(since.elapsed()) } else { silent.push(since.elapsed()) }
        }
        println!("writes stood still: process gone {gone:?}, silent {silent:?}");
        assert!(gone.iter().min() < silent.iter().min(), "{gone:?} {silent:?}");
        let ttl = mainstay_cluster::timings::Timings::DEFAULT.ttl;
        assert!(
            silent.iter().min().is_some_and(|least| *least < ttl),
            "sessions would end with their leader: {silent:?}"
        );
    });
}

#[test]
fn a_majority_goes_on_and_a_minority_says_no() {
    run_thrice(async || {
        let cluster = Cluster::of(3).await;
        cluster.on(1).put("k", text("before"), None).await.unwrap();
        cluster.agreed().await;
        let cut_off = cluster.leader().await;
        let others: Vec<u64> = cluster.ids().into_iter().filter(|node| *node != cut_off).collect();
        cluster.isolate(cut_off);
        assert!(cluster.on(others[0]).put("k", text("majority"), None).await.is_ok());
        let listing = cluster.on(cut_off).range(Range::key("k"), None, 0, Consistency::Local).await.unwrap();
        assert_eq!(listing.entries[0].value, text("before"), "what it has it serves to those who ask for that");
        assert!(matches!(cluster.all(cut_off).await, Err(Error::Unavailable(_))));
        let write = cluster.on(cut_off).put("k", text("minority"), None).await;
        assert!(matches!(write, Err(Error::Unknown(_) | Error::Unavailable(_))), "{write:?}");
        eventually("it says that it has no quorum", || !cluster.status(cut_off).quorum.reached).await;
        cluster.network.heal();
        let entries = cluster.agreed().await;
        assert!(entries[0].value == text("majority") || entries[0].value == text("minority"));
        // The write was passed to nobody who could decide it, and the leader that took it is none any more.
        assert_eq!(entries[0].value, text("majority"));
    });
}

#[test]
fn without_any_majority_nothing_is_accepted_and_all_is_there_afterwards() {
    run_thrice(async || {
        let cluster = Cluster::of(3).await;
        cluster.on(2).put("k", text("before"), None).await.unwrap();
        cluster.agreed().await;
        cluster.ids().into_iter().for_each(|node| cluster.isolate(node));
        let refused = async |node: u64| {
            assert!(cluster.on(node).put("k", text("alone"), None).await.is_err());
            assert!(cluster.all(node).await.is_err());
            let listing = cluster.on(node).range(Range::key("k"), None, 0, Consistency::Local).await.unwrap();
            assert_eq!(listing.entries[0].value, text("before"));
        };
        tokio::join!(refused(1), refused(2), refused(3));
        cluster.network.heal();
        let healed = Instant::now();
        cluster.agreed().await;
        cluster.on(3).put("k", text("after"), None).await.unwrap();
        assert!(healed.elapsed() < Duration::from_secs(10), "{:?}", healed.elapsed());
    });
}

#[test]
fn a_node_that_was_alone_does_not_disturb_the_others_when_it_comes_back() {
    run(async || {
        let cluster = Cluster::of(3).await;
        let leader = cluster.leader().await;
        let alone = cluster.ids().into_iter().find(|node| *node != leader).unwrap();
        let term = cluster.status(leader).term;
        cluster.isolate(alone);
        tokio::time::sleep(cluster.timings.election_max * 4).await;
        cluster.network.heal();
        eventually("it follows again", || cluster.status(alone).quorum.reached).await;
        tokio::time::sleep(cluster.timings.election_max).await;
        assert_eq!(cluster.status(alone).leader, Some(NodeId(leader)));
        assert_eq!(cluster.status(leader).term, term, "its elections alone were none");
    });
}

#[test]
fn a_leader_that_is_heard_but_hears_nobody_is_replaced() {
    run(async || {
        let cluster = Cluster::of(3).await;
        let deaf = cluster.leader().await;
        let others: Vec<u64> = cluster.ids().into_iter().filter(|node| *node != deaf).collect();
        others.iter().for_each(|other| cluster.network.cut(NodeId(*other), NodeId(deaf), true));
        eventually("another leads", || others.iter().any(|node| cluster.status(*node).part == Part::Leader)).await;
        cluster.on(others[0]).put("k", text("v"), None).await.unwrap();
        cluster.network.heal();
        cluster.agreed().await;
    });
}

#[test]
fn all_three_killed_at_once_come_back_with_everything() {
    run(async || {
        let mut cluster = Cluster::of(3).await;
        for round in 1..=3 {
            let leader = cluster.leader().await;
            for nth in 0..10 {
                cluster.on(nth as u64 % 3 + 1).transact(pair(round * 10 + nth)).await.unwrap();
            }
            // As after a power cut: the files as they are at this moment, not as they would be closed.
            for node in cluster.ids() {
                copy(&cluster.folder(node), &cluster.folder(node + 10));
            }
            for node in cluster.ids() {
                cluster.kill(node).await;
                std::fs::remove_dir_all(cluster.folder(node)).unwrap();
                std::fs::rename(cluster.folder(node + 10), cluster.folder(node)).unwrap();
            }
            for node in 1..=3 {
                cluster.start(node).await;
            }
            // The first read of all, where it is most tempting to answer too early.
            assert_eq!(cluster.all(leader).await.unwrap().len(), round * 20);
            assert_eq!(cluster.agreed().await.len(), round * 20);
        }
    });
}

#[test]
fn slow_links_do_not_cost_the_leader_its_place() {
    run(async || {
        let cluster = Cluster::of(3).await;
        let leader = cluster.leader().await;
        let term = cluster.status(leader).term;
        for (from, to) in [(1, 2), (2, 1), (1, 3), (3, 1), (2, 3), (3, 2)] {
            cluster.network.slow(NodeId(from), NodeId(to), Duration::from_millis(100));
        }
        let started = Instant::now();
        let mut writes = 0;
        while started.elapsed() < Duration::from_secs(4) {
            cluster.on(writes % 3 + 1).put("k", text("v"), None).await.unwrap();
            writes += 1;
        }
        assert_eq!(cluster.status(leader).term, term);
        assert!(writes >= 3, "{writes}");
    });
}

#[test]
fn over_slow_links_another_leader_is_elected_in_a_few_attempts() {
    run(async || {
        let mut cluster = Cluster::of(3).await;
        let leader = cluster.leader().await;
        let others: Vec<u64> = cluster.ids().into_iter().filter(|node| *node != leader).collect();
        for (from, to) in [(1, 2), (2, 1), (1, 3), (3, 1), (2, 3), (3, 2)] {
            cluster.network.slow(NodeId(from), NodeId(to), Duration::from_millis(180));
        }
        let term = cluster.status(leader).term;
        cluster.kill(leader).await;
        eventually("another node leads", || others.iter().any(|node| cluster.status(*node).part == Part::Leader)).await;
        let elections = cluster.status(others[0]).term - term;
        assert!(elections < 20, "{elections} elections for one leader");
        // Over such links a busy machine may keep one write from its answer in time.
        let end = Instant::now() + Duration::from_secs(30);
        while let Err(error) = cluster.on(others[0]).put("k", text("v"), None).await {
            assert!(Instant::now() < end, "{error}");
        }
    });
}

#[test]
fn a_node_that_missed_much_gets_a_snapshot() {
    run(async || {
        let mut cluster = Cluster::empty();
        cluster.snapshot_entries = 40;
        cluster.found(3).await;
        let leader = cluster.leader().await;
        let behind = cluster.ids().into_iter().find(|node| *node != leader).unwrap();
        let mut watch = cluster.on(behind).watch(Range::prefix("a"), 1).await.unwrap();
        cluster.isolate(behind);
        for nth in 0..150 {
            cluster.on(leader).transact(pair(nth)).await.unwrap();
        }
        cluster.network.heal();
        assert_eq!(cluster.agreed().await.len(), 300);
        eventually("it got a snapshot", || cluster.status(behind).snapshot.is_some_and(|last| last > 40)).await;
        // The store's history came along, so that the watch has missed nothing.
        for revision in 1..=150 {
            assert_eq!(watch.next().await.unwrap().revision, revision);
        }
        cluster.kill(behind).await;
        cluster.start(behind).await;
        assert_eq!(cluster.agreed().await.len(), 300);
    });
}

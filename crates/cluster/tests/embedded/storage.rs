//! Disks that are full, cut short, or say something else than was written.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;

use bytes::Bytes;
use mainstay_cluster::coordinator::{Error, Range};
use mainstay_cluster::embedded::{DiskError, Part, StartError};

use crate::cluster::{Cluster, copy, eventually, run, run_thrice, text};

/// A cluster of which one follower is down, after some writes.
async fn one_down() -> (Cluster, u64, u64) {
    let mut cluster = Cluster::of(3).await;
    for nth in 0..20 {
        cluster.on(1).put(&format!("k{nth}"), text("v"), None).await.unwrap();
    }
    cluster.agreed().await;
    let leader = cluster.leader().await;
    let down = cluster.ids().into_iter().find(|node| *node != leader).unwrap();
    // Its disk as after a kill: not closed properly.
    copy(&cluster.folder(down), &cluster.folder(9));
    cluster.kill(down).await;
    std::fs::remove_dir_all(cluster.folder(down)).unwrap();
    (cluster, leader, down)
}

fn damaged(result: Result<(), StartError>) -> String {
    match result {
        Err(StartError::Disk(error @ DiskError::Damaged { .. })) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_disk_with_a_cut_or_a_changed_page_is_refused_and_the_others_go_on() {
    run(async || {
        let (mut cluster, leader, down) = one_down().await;
        let saved = cluster.folder(9);
        let length = std::fs::metadata(saved.join("raft.redb")).unwrap().len();
        let mut refused = 0;
        let mut tried = 0;
        // Each page in turn. Some hold nothing that counts; none may be taken for something else.
        for place in (0..length).step_by(4096) {
            copy(&saved, &cluster.folder(down));
            let file = OpenOptions::new().read(true).write(true).open(cluster.folder(down).join("raft.redb")).unwrap();
            let mut bytes = [0; 64];
            file.read_exact_at(&mut bytes, place + 200).unwrap();
            if bytes == [0; 64] {
                continue;
            }
            bytes.iter_mut().for_each(|byte| *byte ^= 0x55);
            file.write_all_at(&bytes, place + 200).unwrap();
            drop(file);
            tried += 1;
            match cluster.try_start(down).await {
                Ok(()) => {
                    // Nothing that counts was changed: it has all that it had.
                    assert_eq!(cluster.agreed().await.len(), 20);
                    cluster.kill(down).await;
                    std::fs::remove_dir_all(cluster.folder(down)).unwrap();
                }
                error => {
                    assert!(damaged(error).contains("join anew"));
                    refused += 1;
                }
            }
        }
        assert!(refused >= 2, "{refused} of {tried}");
        cluster.on(leader).put("after", text("v"), None).await.unwrap();
    });
}

#[test]
fn a_disk_that_ends_early_is_refused() {
    run(async || {
        let (mut cluster, leader, down) = one_down().await;
        let saved = cluster.folder(9);
        let length = std::fs::metadata(saved.join("raft.redb")).unwrap().len();
        for keep in [0, 100, 4096, length / 2, length - 1] {
            copy(&saved, &cluster.folder(down));
            let file = OpenOptions::new().write(true).open(cluster.folder(down).join("raft.redb")).unwrap();
            file.set_len(keep).unwrap();
            drop(file);
            damaged(cluster.try_start(down).await);
        }
        std::fs::remove_file(cluster.folder(down).join("raft.redb")).unwrap();
        assert!(
            damaged(cluster.try_start(down).await).contains("confirmed"),
            "a file that is gone is a memory that is gone"
        );
        cluster.on(leader).put("after", text("v"), None).await.unwrap();
    });
}

#[test]
fn an_older_copy_of_the_disk_is_refused() {
    run(async || {
        let mut cluster = Cluster::of(1).await;
        cluster.on(1).put("k", text("old"), None).await.unwrap();
        copy(&cluster.folder(1), &cluster.folder(9));
        cluster.on(1).put("k", text("new"), None).await.unwrap();
        cluster.kill(1).await;
        std::fs::copy(cluster.folder(9).join("raft.redb"), cluster.folder(1).join("raft.redb")).unwrap();
        assert!(damaged(cluster.try_start(1).await).contains("confirmed"));
    });
}

#[test]
fn another_nodes_disk_is_refused() {
    run(async || {
        let mut cluster = Cluster::of(1).await;
        cluster.on(1).put("k", text("v"), None).await.unwrap();
        cluster.kill(1).await;
        copy(&cluster.folder(1), &cluster.folder(2));
        assert!(damaged(cluster.try_start(2).await).contains("belongs to node 1"));
    });
}

#[test]
fn a_full_disk_ends_a_nodes_part_and_the_others_go_on() {
    run_thrice(async || {
        let mut cluster = Cluster::empty();
        cluster.disk_bytes_max.insert(2, 4 << 20);
        cluster.found(3).await;
        let mut watch = cluster.on(2).watch(Range::key("never"), 1).await.unwrap();
        let large = Bytes::from(vec![7; 300_000]);
        let mut written = 0;
        for nth in 0..20 {
            // The one whose disk is full may lead: then another has to be found first.
            if cluster.on(1).put(&format!("k{nth}"), large.clone(), None).await.is_ok() {
                written += 1;
            }
        }
        assert!(written >= 15, "{written}");
        eventually("node 2 has stopped and says why", || {
            let status = cluster.status(2);
            status.part == Part::Stopped && status.failure.is_some_and(|why| why.contains("bound"))
        })
        .await;
        assert!(matches!(cluster.on(2).put("k", text("v"), None).await, Err(Error::Storage(_))));
        assert!(matches!(cluster.all(2).await, Err(Error::Storage(_))));
        assert!(matches!(watch.next().await, Err(Error::Storage(_))), "a watch does not wait for what will never come");
        let leader = cluster.leader().await;
        assert_ne!(leader, 2);
        cluster.on(3).put("after", text("v"), None).await.unwrap();
        // With room again it comes back with what it had and gets the rest.
        cluster.kill(2).await;
        cluster.disk_bytes_max.clear();
        cluster.start(2).await;
        assert_eq!(cluster.agreed().await.len(), written + 1);
    });
}

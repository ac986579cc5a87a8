//! The planner, the agents' machine and what carries it out, on real servers of Redis.

#[path = "redis/adoption.rs"]
mod adoption;
#[path = "redis/group.rs"]
mod group;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use group::{Group, connect};
use mainstay_core::database::agent::{Action, Stop};
use mainstay_core::database::{Request, Risk, Server};
use rustix::process::Signal;

/// Nothing is written to the disk, unless a server is told to.
const VOLATILE: &str = "save \"\"";

/// Writes numbered keys to whoever takes them, until it is told to stop; answers how many were acknowledged.
struct Writer {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<Vec<u32>>,
}

impl Writer {
    fn start(addresses: Vec<SocketAddr>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let (mut acknowledged, mut at, mut key) = (Vec::new(), 0, 1000);
            let mut connection = None;
            while !stopped.load(Ordering::Relaxed) {
                key += 1;
                connection = connection.or_else(|| connect(addresses[at]).ok());
                let set = |connection| redis::cmd("SET").arg(format!("key{key}")).arg(key).exec(connection);
                if connection.as_mut().is_some_and(|connection| set(connection).is_ok()) {
                    acknowledged.push(key);
                } else {
                    (connection, at) = (None, (at + 1) % addresses.len());
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
            acknowledged
        });
        Self { stop, thread }
    }

    fn end(self) -> Vec<u32> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("it does not panic")
    }
}

#[tokio::test]
async fn switchovers_in_order_lose_nothing_that_a_writer_was_told() {
    let mut group = Group::new("").await;
    let writer = Writer::start(group.nodes.iter().map(|node| node.settings.listen).collect());
    for to in ["b", "c", "a"] {
        group.request = Some(Request::Switchover { to: Some(to.to_owned()) });
        group.nodes.iter_mut().for_each(|node| node.did.clear());
        group.until("a switchover", |group| group.serves(to) && group.is_whole(2)).await;
        assert_eq!(group.plan.risk, None);
        let restarts = |action: &Action| matches!(action, Action::Clone { .. } | Action::StartReplica { .. });
        assert!(group.nodes.iter().all(|node| !node.did(restarts)), "nobody was restarted or copied whole");
    }
    let acknowledged = writer.end();
    assert!(!acknowledged.is_empty());
    let lost = acknowledged.iter().filter(|key| group.has(0, **key..**key + 1) == 0).count();
    assert_eq!(lost, 0, "of {}", acknowledged.len());
    group.stop().await;
}

#[tokio::test]
async fn a_primary_that_comes_back_with_more_than_its_successor_gives_it_up_counted_and_kept() {
    let mut group = Group::new("").await;
    group.write(0..100);
    // Its agent is gone, and nothing fences it: it goes on alone.
    group.lose_agent(0);
    group.until("a successor", |group| group.is_whole(1) && !group.serves("a")).await;
    for key in 100..130 {
        let _one_of_them: () = group.nodes[0].ask(&["SET", &format!("key{key}"), "x"]).expect("it takes writes");
    }
    group.write(200..210);
    group.power_on(0);
    group.until("its return", |group| group.is_whole(2)).await;
    assert_eq!((group.has(0, 0..100), group.has(0, 100..130), group.has(0, 200..210)), (100, 0, 10));
    let discarded = group.nodes[0].discarded.first().expect("it has said what it threw away").clone();
    assert_eq!((discarded.keys, Some(discarded.of.as_str())), (Some(30), group.plan.serving()));
    assert!(discarded.bytes.is_some_and(|bytes| bytes > 30 * 30), "{discarded:?}");
    assert!(discarded.kept.join("dump.rdb").is_file());
    group.stop().await;
}

#[tokio::test]
async fn a_crash_of_the_server_alone_makes_another_one_primary_and_an_empty_one_never() {
    let mut group = Group::new(VOLATILE).await;
    group.write(0..100);
    group.nodes[0].signal(Signal::KILL);
    group.until("a successor", |group| group.is_whole(2) && !group.serves("a")).await;
    assert!(matches!(group.plan.risk, Some(Risk::Behind(_))), "{:?}", group.plan);
    for index in 0..3 {
        assert_eq!(group.has(index, 0..100), 100, "on {index}");
    }
    let takes_writes = |action: &Action| matches!(action, Action::StartPrimary { .. });
    assert!(!group.nodes[0].did(takes_writes));

    // Nobody else is heard, and what is left of the primary is a snapshot from before the last writes, and then nothing at
    // all: nobody may serve that.
    let primary = group.index(group.plan.serving().expect("one"));
    let others: Vec<usize> = (0..3).filter(|index| *index != primary).collect();
    group.write(100..110);
    others.iter().for_each(|index| group.lose_agent(*index));
    let snapshot = group.nodes[primary].settings.data_dir.join("dump.rdb");
    assert!(snapshot.is_file(), "it came to it as a replica");
    let ends = [Server::Replica { upstream: None }, Server::Empty];
    for end in &ends {
        if *end == Server::Empty {
            std::fs::remove_file(&snapshot).expect("it is there");
        }
        group.nodes[primary].signal(Signal::KILL);
        group.until("what is left of it", |group| group.nodes[primary].server() == Some(end)).await;
        for _ in 0..150 {
            group.turn().await;
            assert_eq!(group.plan.serving(), None);
            assert_ne!(group.nodes[primary].server(), Some(&Server::Primary), "{:?}", group.plan);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    others.iter().for_each(|index| group.power_on(*index));
    group.until("those with data", |group| group.is_whole(2)).await;
    for index in 0..3 {
        assert_eq!(group.has(index, 0..110), 110, "on {index}");
    }
    group.stop().await;
}

#[tokio::test]
async fn a_frozen_one_is_ended_and_a_host_without_power_replaced() {
    let mut group = Group::new("").await;
    group.write(0..50);
    let hangs = 2;
    group.nodes[hangs].did.clear();
    group.nodes[hangs].signal(Signal::STOP);
    group.until("its silence", |group| group.nodes[hangs].server() == Some(&Server::Unknown)).await;
    group.until("its start", |group| group.is_whole(2)).await;
    assert!(group.nodes[hangs].did(|action| *action == Action::Stop(Stop::Immediate)));
    assert_eq!(group.has(hangs, 0..50), 50);

    group.nodes[0].signal(Signal::STOP);
    group.request = Some(Request::Failover { to: None });
    group.until("a failover", |group| group.is_whole(2) && !group.serves("a")).await;
    assert_eq!(group.has(0, 0..50), 50);
    let second = group.index(group.plan.serving().expect("one"));
    group.power_off(second);
    group
        .until("another one", |group| group.is_whole(1) && group.index(group.plan.serving().expect("one")) != second)
        .await;
    group.write(50..60);
    // A replica whose data cannot be read sets it aside, and gets a copy.
    std::fs::write(group.nodes[second].settings.data_dir.join("dump.rdb"), "REDIS0010 but not so").expect("a file");
    group.power_on(second);
    group.until("its return", |group| group.is_whole(2)).await;
    assert_eq!(group.has(second, 0..60), 60);
    let kept = std::fs::read_dir(group.nodes[second].settings.state_dir.join("kept")).expect("something is kept");
    let mut kept = kept.map(|entry| entry.expect("an entry").path());
    assert!(kept.any(|path| path.display().to_string().contains("unreadable-") && path.join("dump.rdb").is_file()));
    group.stop().await;
}

#[tokio::test]
async fn after_a_restart_of_everything_whoever_has_most_leads() {
    let mut group = Group::new("save \"\"").await;
    group.write(0..50);
    let _done: () = group.nodes[0].ask(&["SAVE"]).expect("it saves");
    group.write(50..100);
    let _done: () = group.nodes[2].ask(&["SAVE"]).expect("it saves");
    (0..3).for_each(|index| group.power_off(index));
    // The primary has the older half on its disk, the second one nothing, the third everything.
    group.until("an election", |group| group.plan.serving().is_none()).await;
    (0..3).for_each(|index| group.power_on(index));
    group.until("everybody's return", |group| group.is_whole(2)).await;
    assert!(group.serves("c"), "{:?}", group.plan);
    for index in 0..3 {
        assert_eq!(group.has(index, 0..100), 100, "on {index}");
    }
    // Where nothing is left anywhere there is nothing to lose: it begins anew.
    (0..3).for_each(|index| group.power_off(index));
    for node in &group.nodes {
        let _none = std::fs::remove_file(node.settings.data_dir.join("dump.rdb"));
    }
    group.until("an election", |group| group.plan.serving().is_none()).await;
    (0..3).for_each(|index| group.power_on(index));
    group.until("a new beginning", |group| group.is_whole(2)).await;
    assert_eq!(group.has(0, 0..100), 0);
    group.stop().await;
}

#[tokio::test]
async fn with_an_append_only_file_everything_survives_a_restart_of_everything() {
    let mut group = Group::new("appendonly yes\nappendfsync always").await;
    group.write(0..50);
    (0..3).for_each(|index| group.power_off(index));
    group.until("an election", |group| group.plan.serving().is_none()).await;
    (0..3).for_each(|index| group.power_on(index));
    group.until("everybody's return", |group| group.is_whole(2)).await;
    for index in 0..3 {
        assert_eq!(group.has(index, 0..50), 50, "on {index}");
    }
    group.write(50..60);
    group.request = Some(Request::Switchover { to: None });
    let before = group.plan.serving().map(str::to_owned).expect("one");
    group.until("a switchover", |group| group.is_whole(2) && !group.serves(&before)).await;
    assert_eq!((0..3).map(|index| group.has(index, 0..60)).collect::<Vec<_>>(), [60, 60, 60]);
    group.stop().await;
}

#[tokio::test]
async fn an_operators_choice_of_one_that_lacks_writes_is_carried_out_and_the_others_give_theirs_up() {
    let mut group = Group::new("").await;
    group.write(0..50);
    group.lose_agent(2);
    let _done: () = group.nodes[2].ask(&["REPLICAOF", "127.0.0.1", "0"]).expect("it obeys");
    let mut connection = group.nodes[0].connect().expect("it serves");
    for key in 50..70 {
        redis::cmd("SET").arg(format!("key{key}")).arg(key).exec(&mut connection).expect("it takes writes");
    }
    group.power_on(2);
    group.request = Some(Request::Failover { to: Some("c".to_owned()) });
    group.think_now();
    group.until("the operator's choice", |group| group.serves("c") && group.is_whole(2)).await;
    assert_eq!(group.plan.risk, Some(Risk::Forced));
    for index in 0..3 {
        assert_eq!((group.has(index, 0..50), group.has(index, 50..70)), (50, 0), "on {index}");
    }
    for index in 0..2 {
        let discarded = group.nodes[index].discarded.first().expect("it has said what it threw away");
        assert_eq!(discarded.keys, Some(20), "on {index}");
        assert!(discarded.bytes.is_some_and(|bytes| bytes > 20 * 30), "{discarded:?}");
    }
    group.stop().await;
}

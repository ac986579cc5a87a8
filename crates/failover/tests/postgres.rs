//! The planner, the agents' machine and what carries it out, on real servers of PostgreSQL.

#[path = "postgres/adoption.rs"]
mod adoption;
#[path = "postgres/driven.rs"]
mod driven;
#[path = "postgres/group.rs"]
mod group;
#[path = "postgres/traps.rs"]
mod traps;
#[path = "postgres/work.rs"]
mod work;

use std::collections::BTreeSet;
use std::time::Duration;

use group::{Group, kill_server};
use mainstay_core::database::agent::{Action, Stop};
use mainstay_core::database::{Durability, Request, Server};
use mainstay_failover::Executor;
use mainstay_failover::postgres::Settings;
use tokio_postgres::{Config, NoTls};

/// Runs commands over the server's local socket; the rows' first columns, as text.
async fn sql(settings: &Settings, text: &str) -> Result<Vec<String>, tokio_postgres::Error> {
    let mut config = Config::new();
    config.host_path(&settings.state_dir).port(settings.listen.port()).user("postgres").dbname("postgres");
    let (client, connection) = config.connect(NoTls).await?;
    let answer = client.simple_query(text);
    tokio::pin!(answer, connection);
    let messages = tokio::select! {
        messages = &mut answer => messages?,
        ended = &mut connection => { ended?; answer.await? }
    };
    let rows = messages.iter().filter_map(|message| match message {
        tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    });
    Ok(rows.collect())
}

/// Writes rows to the primary, and answers those that it has acknowledged.
async fn write(group: &Group, rows: std::ops::Range<u32>) -> BTreeSet<String> {
    let primary = group.plan.serving().expect("somebody serves");
    let settings = &group.nodes[group.index(primary)].settings;
    let mut acknowledged = BTreeSet::new();
    for row in rows {
        if sql(settings, &format!("INSERT INTO rows VALUES ({row})")).await.is_ok() {
            acknowledged.insert(row.to_string());
        }
    }
    acknowledged
}

async fn found(group: &Group) -> BTreeSet<String> {
    let primary = group.plan.serving().expect("somebody serves");
    let settings = &group.nodes[group.index(primary)].settings;
    sql(settings, "SELECT n FROM rows").await.expect("it serves").into_iter().collect()
}

#[tokio::test]
async fn a_group_founds_itself_survives_its_primary_and_changes_over_in_order() {
    let mut group = Group::new(Durability::SyncStrict);
    group.until("three members", |group| group.is_whole(2)).await;
    assert!(group.serves("a"), "{:?}", group.plan);
    sql(&group.nodes[0].settings, "CREATE TABLE rows (n int)").await.expect("it serves");
    let mut acknowledged = write(&group, 0..50).await;
    assert_eq!(acknowledged.len(), 50);

    // The power of the primary's host is cut; another one takes over, with everything.
    group.power_off(0);
    group.until("a successor", |group| group.is_whole(1) && !group.serves("a")).await;
    assert!(group.plan.risk.is_none());
    assert_eq!(found(&group).await, acknowledged);
    acknowledged.extend(write(&group, 50..100).await);

    // It comes back, and follows without anybody's doing.
    group.power_on(0);
    group.until("the old primary's return", |group| group.is_whole(2)).await;
    let joined = |action: &Action| matches!(action, Action::Rewind { .. } | Action::Clone { .. });
    assert!(group.nodes[0].did.iter().any(joined), "{:?}", group.nodes[0].did);
    let at_first = sql(&group.nodes[0].settings, "SELECT count(*) FROM rows").await;
    assert!(at_first.is_ok(), "it can be read: {at_first:?}");

    // A planned switchover back loses nothing, and the other one needs no rewind.
    let before = group.plan.serving().map(str::to_owned).expect("somebody serves");
    group.request = Some(Request::Switchover { to: Some("a".to_owned()) });
    group.nodes.iter_mut().for_each(|node| node.did.clear());
    group.until("a switchover", |group| group.serves("a") && group.is_whole(2)).await;
    assert_eq!(found(&group).await, acknowledged);
    let other = group.index(&before);
    assert!(group.nodes[other].report_is_replica_of("a"));
    let did = &group.nodes[other].did;
    assert!(did.contains(&Action::Resign) && !did.iter().any(joined), "{did:?}");
    let missing = "SELECT count(*) FROM rows WHERE n = 99";
    assert_eq!(sql(&group.nodes[other].settings, missing).await.expect("it can be read"), ["1"]);
    a_commit_that_waits_when_its_server_is_fenced_is_not_acknowledged(&mut group).await;
    what_nobody_else_has_is_counted_when_it_is_thrown_away(&mut group).await;
    group.stop().await;
}

/// Trap 3: a commit that waits for a replica is there already, and ending its wait in order would say that it is done.
async fn a_commit_that_waits_when_its_server_is_fenced_is_not_acknowledged(group: &mut Group) {
    let settings = group.nodes[0].settings.clone();
    for replica in [1, 2] {
        let instance = group.nodes[replica].instance.as_mut().expect("its agent lives");
        instance.stop(Stop::Immediate).await;
    }
    let waiting = sql(&settings, "INSERT INTO rows VALUES (1000)");
    let fence = async {
        let waits = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
        while sql(&settings, waits).await.is_ok_and(|rows| rows.is_empty()) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let instance = group.nodes[0].instance.as_mut().expect("its agent lives");
        instance.stop(Stop::Immediate).await;
        assert_eq!(instance.process(), None);
    };
    let (answer, ()) = tokio::join!(waiting, fence);
    assert!(answer.is_err(), "it must not be told that its row is safe: {answer:?}");
}

/// The row that nobody has heard of is on the old primary's disk, and goes with the rewind.
async fn what_nobody_else_has_is_counted_when_it_is_thrown_away(group: &mut Group) {
    let instance = group.nodes[0].instance.as_mut().expect("its agent lives");
    let _earlier = instance.discarded();
    group.power_off(0);
    group.until("another successor", |group| group.is_whole(1) && !group.serves("a")).await;
    assert!(!found(group).await.contains("1000"));
    group.power_on(0);
    group.until("its return", |group| group.is_whole(2)).await;
    let instance = group.nodes[0].instance.as_mut().expect("its agent lives");
    let discarded = instance.discarded().expect("it has said what it threw away");
    assert!(discarded.bytes.is_some_and(|bytes| bytes > 0), "{discarded:?}");
    assert!(discarded.commits.is_some_and(|commits| commits > 0), "{discarded:?}");
    assert_eq!(Some(discarded.of.as_str()), group.plan.serving());
    assert!(discarded.kept.is_dir(), "{discarded:?}");
}

#[tokio::test]
async fn a_crash_of_the_server_alone_is_mended_in_place_and_a_frozen_one_is_stopped() {
    let mut group = Group::new(Durability::SyncPreferred);
    group.until("three members", |group| group.is_whole(2)).await;
    let term = group.plan.term;
    kill_server(&group.nodes[0].settings);
    group.turn().await;
    group.until("the same primary", |group| group.is_whole(2)).await;
    assert!(group.serves("a") && group.plan.term == term, "{:?}", group.plan);
    assert!(group.nodes[0].did.iter().any(|action| matches!(action, Action::StartPrimary { .. })));

    // The server is frozen, so that it neither answers nor stops when it is told to.
    group.nodes[0].freeze();
    group.request = Some(Request::Failover { to: None });
    group.until("a failover", |group| !group.serves("a") && group.plan.serving().is_some()).await;
    group.until("its return", |group| group.is_whole(2)).await;
    assert!(matches!(group.nodes[0].server(), Some(Server::Replica { .. })));
    group.stop().await;
}

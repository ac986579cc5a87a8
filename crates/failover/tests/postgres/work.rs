//! Work on a server that is broken off, processes that are left, and settings that somebody else has made.

use std::time::Duration;

use mainstay_cluster::guard;
use mainstay_core::database::agent::{Action, Stop};
use mainstay_core::database::{Durability, Server};
use mainstay_failover::Executor;
use mainstay_failover::postgres::{Instance, Settings};

use super::group::{Group, kill_server};
use super::sql;

/// Processes of any program of PostgreSQL's that were told this data directory.
fn programs_on(settings: &Settings) -> Vec<String> {
    let data = settings.data_dir.display().to_string();
    let processes = std::fs::read_dir("/proc").expect("it is mounted").flatten();
    let lines = processes.filter_map(|entry| std::fs::read_to_string(entry.path().join("cmdline")).ok());
    lines.map(|line| line.replace('\0', " ")).filter(|line| line.contains(&data)).collect()
}

pub(crate) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let mut looks = 0;
    while !condition() {
        looks += 1;
        assert!(looks < 3_000, "{what}: not within a minute");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(crate) fn all_of(settings: &Settings) -> guard::Server {
    guard::Server { directory: settings.data_dir.clone(), program: "postgres".to_owned(), asks: true }
}

/// Begins something and drops it after a while, as the driver does when something else has been decided.
async fn broken_off(instance: &mut Instance, action: &Action, after: Duration) {
    let _unless_it_was_faster = tokio::time::timeout(after, instance.carry_out(action)).await;
}

#[tokio::test]
async fn work_that_is_broken_off() {
    let mut group = Group::new(Durability::SyncPreferred);
    group.until("three members", |group| group.is_whole(2)).await;
    a_copy_or_a_rewind_that_is_broken_off_leaves_nobody_writing_and_is_told_truly(&mut group).await;
    a_rewind_that_could_not_begin_costs_no_copy(&mut group).await;
    a_promotion_that_is_broken_off_counts_as_leading(&mut group).await;
    group.stop().await;
}

#[tokio::test]
async fn what_is_left_of_earlier_times() {
    let mut group = Group::new(Durability::SyncPreferred);
    group.until("three members", |group| group.is_whole(2)).await;
    a_server_has_stopped_when_the_processes_that_its_postmaster_left_have(&mut group).await;
    group.until("three members again", |group| group.is_whole(2)).await;
    slots_follow_the_primary_and_what_alter_system_overrides_is_taken_out(&mut group).await;
    group.stop().await;
}

async fn a_copy_or_a_rewind_that_is_broken_off_leaves_nobody_writing_and_is_told_truly(group: &mut Group) {
    let settings = group.nodes[2].settings.clone();
    for (after, action) in [
        (5, Action::Clone { of: "a".to_owned() }),
        (60, Action::Clone { of: "a".to_owned() }),
        (200, Action::Clone { of: "a".to_owned() }),
        (30, Action::Rewind { of: "a".to_owned() }),
    ] {
        let instance = group.nodes[2].instance.as_mut().expect("its agent lives");
        broken_off(instance, &action, Duration::from_millis(after)).await;
        eventually("no program is left", || programs_on(&settings).is_empty()).await;
        let local = instance.observe(0).await.expect("it can be looked at");
        // Whether it was done, was not begun, or is half done: it is never taken for whole when it is half.
        let torn = std::fs::read_to_string(settings.state_dir.join("standing.json")).expect("it stands");
        let is_torn = torn.contains("\"torn\":true");
        assert_eq!(local.report.server == Server::Empty, is_torn, "{action:?} after {after} ms: {local:?} {torn}");
        assert_eq!((local.rewinds, local.clones), (0, 0), "what was broken off has not failed");
    }
    // The agent is killed in the middle, and another one finds what it has left.
    let instance = group.nodes[2].instance.as_mut().expect("its agent lives");
    broken_off(instance, &Action::Clone { of: "a".to_owned() }, Duration::from_millis(60)).await;
    group.power_off(2);
    group.power_on(2);
    group.until("it follows", |group| group.is_whole(2)).await;
}

async fn a_rewind_that_could_not_begin_costs_no_copy(group: &mut Group) {
    // Nobody answers there any more.
    let primary = group.nodes[0].settings.clone();
    kill_server(&primary);
    eventually("the primary is gone", || !all_of(&primary).runs()).await;
    let instance = group.nodes[2].instance.as_mut().expect("its agent lives");
    let error = instance.carry_out(&Action::Rewind { of: "a".to_owned() }).await.expect_err("nobody answers");
    assert!(error.to_string().contains("pg_rewind"), "{error}");
    let local = instance.observe(0).await.expect("it can be looked at");
    assert!(matches!(local.report.server, Server::Stopped { .. }), "{local:?}");
    assert_eq!(local.rewinds, 0, "whoever cannot be reached says nothing of the data");
    let again = instance.carry_out(&Action::Rewind { of: "a".to_owned() }).await.expect_err("not at once");
    assert!(again.to_string().contains("tried again"), "{again}");
    group.until("all are back", |group| group.is_whole(2)).await;
}

async fn a_server_has_stopped_when_the_processes_that_its_postmaster_left_have(group: &mut Group) {
    let settings = group.nodes[0].settings.clone();
    let (server, of_busy) = (all_of(&settings), settings.clone());
    // A session that never waits for anything does not notice that its postmaster is dead.
    let spin = async move { sql(&of_busy, "DO $$ BEGIN LOOP END LOOP; END $$").await };
    let look = async {
        let is_busy = "SELECT pid FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'DO %'";
        loop {
            if sql(&settings, is_busy).await.is_ok_and(|rows| !rows.is_empty()) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        kill_server(&settings);
        // The others notice; this one would go on.
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(server.runs(), "the busy one is there");
        let instance = group.nodes[0].instance.as_mut().expect("its agent lives");
        let local = loop {
            let local = instance.observe(0).await.expect("it can be looked at");
            if local.report.server != Server::Unknown {
                break local;
            }
        };
        assert!(matches!(local.report.server, Server::Stopped { clean: None }), "{local:?}");
        assert!(!server.runs(), "nothing is left that could acknowledge");
        assert!(!local.leads);
    };
    let (ended, ()) = tokio::join!(spin, look);
    assert!(ended.is_err(), "its session ended");
}

async fn a_promotion_that_is_broken_off_counts_as_leading(group: &mut Group) {
    let instance = group.nodes[1].instance.as_mut().expect("its agent lives");
    instance.carry_out(&Action::Follow { of: None }).await.expect("it detaches");
    let promote = Action::Promote { term: 99, sync: Default::default() };
    broken_off(instance, &promote, Duration::from_millis(5)).await;
    let local = instance.observe(0).await.expect("it can be looked at");
    let began = local.report.led == Some(99);
    assert!(!began || local.leads, "it may take writes at any moment: {local:?}");
    instance.stop(Stop::Immediate).await;
    assert!(!all_of(&group.nodes[1].settings).runs());
}

async fn slots_follow_the_primary_and_what_alter_system_overrides_is_taken_out(group: &mut Group) {
    const SLOTS: &str = "SELECT slot_name FROM pg_replication_slots ORDER BY 1";
    let (a, b) = (group.nodes[0].settings.clone(), group.nodes[1].settings.clone());
    let active = format!("{} ", SLOTS.replace("ORDER", "WHERE active ORDER"));
    for _ in 0..600 {
        if sql(&a, &active).await.is_ok_and(|slots| slots.len() == 2) {
            break;
        }
        group.turn().await;
    }
    assert_eq!(sql(&a, &active).await.expect("it serves"), ["mainstay_b", "mainstay_c"]);
    // Trap 2 the other way round: what stands in the data directory goes with it to the next primary.
    sql(&b, "ALTER SYSTEM SET primary_conninfo = 'host=192.0.2.1'").await.expect("a replica may");
    sql(&b, "ALTER SYSTEM SET synchronous_standby_names = 'nobody'").await.expect("a replica may");
    group.power_off(0);
    group.until("a successor", |group| group.is_whole(1) && !group.serves("a")).await;
    group.power_on(0);
    group.until("three members again", |group| group.is_whole(2)).await;
    let primary = group.nodes[group.index(group.plan.serving().expect("somebody serves"))].settings.clone();
    for _ in 0..600 {
        if sql(&a, SLOTS).await.is_ok_and(|slots| slots.is_empty())
            && sql(&primary, &active).await.is_ok_and(|s| s.len() == 2)
        {
            break;
        }
        group.turn().await;
    }
    assert_eq!(sql(&a, SLOTS).await.expect("it can be read"), Vec::<String>::new(), "a replica keeps nothing");
    assert_eq!(sql(&primary, &active).await.expect("it serves").len(), 2);
}

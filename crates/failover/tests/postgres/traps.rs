//! What PostgreSQL does that one who writes a failover for it does not expect, on real servers. Further ones: what a commit that
//! waits is told (trap 3, `postgres.rs` and the end-to-end tests), what stands in the data directory (trap 2, `work.rs`).

use std::os::unix::fs::{MetadataExt, chown};
use std::time::Duration;

use mainstay_core::database::agent::{Action, Local, Stop, step};
use mainstay_core::database::{Durability, Phase, Plan, Risk, Server};
use mainstay_core::time::Moment;
use mainstay_failover::Executor;
use mainstay_failover::postgres::Settings;
use rustix::process::{Pid, Signal, kill_process};
use tokio_postgres::{Client, Config, NoTls};

use super::group::{Group, NAMES, server_pid};
use super::sql;
use super::work::{all_of, eventually};

/// Rows of this count take some three megabytes of log, which is more than [`super::group::policy`] lets a replica lack.
const MANY: &str = "INSERT INTO rows SELECT n FROM generate_series(100001, 150000) AS n";

#[tokio::test]
async fn traps() {
    let mut group = Group::new(Durability::Async);
    group.until("three members", |group| group.is_whole(2)).await;
    sql(&group.nodes[0].settings, "CREATE TABLE rows (n int)").await.expect("it serves");
    a_smart_shutdown_is_no_fence(&mut group).await;
    group.turn().await;
    group.until("three members again", |group| group.is_whole(2)).await;
    a_lag_limit_does_not_bound_what_is_lost_and_a_crashed_primary_is_rewound(&mut group).await;
    a_replica_whose_primary_has_no_more_what_it_lacks_is_copied(&mut group).await;
    a_replica_that_lacks_what_its_data_begin_with_is_copied(&mut group).await;
    a_replica_that_waits_for_the_log_of_a_former_primary_is_led_to_the_new_one(&mut group).await;
    a_replica_that_hangs_is_started_again(&mut group).await;
    nobody_rewinds_before_the_new_primary_has_written_a_checkpoint(&mut group).await;
    group.stop().await;
}

/// Trap 7: a server that was told to shut down when its sessions have ended goes on acknowledging to those.
async fn a_smart_shutdown_is_no_fence(group: &mut Group) {
    let settings = group.nodes[0].settings.clone();
    let session = session(&settings).await;
    session.batch_execute("BEGIN; INSERT INTO rows VALUES (1)").await.expect("it serves");
    kill_process(server_pid(&settings).expect("it runs"), Signal::TERM).expect("it runs");
    let refuses = async {
        while sql(&settings, "SELECT 1").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), refuses).await.expect("it shuts down");
    session.batch_execute("COMMIT; INSERT INTO rows VALUES (2)").await.expect("which is the trap");
    let instance = group.nodes[0].instance.as_mut().expect("its agent lives");
    let local = instance.observe(0).await.expect("it can be looked at");
    assert!(local.leads && local.report.server == Server::Unknown, "it has not stopped: {local:?}");
    // In order all the same: sessions are ended and not waited for, which would last until it was killed.
    session.batch_execute("BEGIN; INSERT INTO rows VALUES (3)").await.expect("it goes on");
    instance.stop(Stop::Fast).await;
    assert!(!all_of(&settings).runs());
    let local = instance.observe(0).await.expect("it can be looked at");
    assert!(matches!(local.report.server, Server::Stopped { clean: Some(_) }), "{local:?}");
    session.batch_execute("COMMIT").await.expect_err("its server has gone");
}

/// Trap 5: what was written since the primary was seen last comes on top of what a replica lacked then. Trap 4: the dry run of a
/// rewind fails on a server that crashed; it is never asked for, and the real one lets the server recover first.
async fn a_lag_limit_does_not_bound_what_is_lost_and_a_crashed_primary_is_rewound(group: &mut Group) {
    let old = primary(group);
    for replica in others(old) {
        let instance = group.nodes[replica].instance.as_mut().expect("its agent lives");
        instance.carry_out(&Action::Follow { of: None }).await.expect("it detaches");
    }
    let settings = group.nodes[old].settings.clone();
    let before = position(&settings).await;
    sql(&settings, MANY).await.expect("it serves");
    let lost = position(&settings).await - before;
    assert!(lost > group.policy.lag_max, "{lost} bytes");
    group.power_off(old);
    group.until("a successor", |group| group.plan.serving().is_some_and(|now| now != NAMES[old])).await;
    // It was within the limit as far as anybody had seen, and nobody says that nothing was lost.
    let seen = match group.plan.risk {
        Some(Risk::Behind(seen)) => seen,
        Some(Risk::Forced) | None => None,
    };
    let seen = seen.expect("it says how much, as far as it was seen");
    assert!(seen <= group.policy.lag_max && seen < lost, "{seen} of {lost} bytes");
    let new = group.nodes[primary(group)].settings.clone();
    let there = sql(&new, "SELECT count(*) FROM rows WHERE n > 100000").await;
    assert_eq!(there.expect("it serves"), ["0"]);

    group.power_on(old);
    let instance = group.nodes[old].instance.as_mut().expect("it was just opened");
    let local = instance.observe(0).await.expect("it can be looked at");
    assert_eq!(local.report.server, Server::Stopped { clean: None });
    group.until("its return", |group| group.is_whole(2)).await;
    let did = &group.nodes[old].did;
    assert!(did.iter().any(|action| matches!(action, Action::Rewind { .. })), "{did:?}");
    assert!(!did.iter().any(|action| matches!(action, Action::Clone { .. })), "{did:?}");
}

/// A replica that was away for longer than the log is kept for it would ask for it for ever.
async fn a_replica_whose_primary_has_no_more_what_it_lacks_is_copied(group: &mut Group) {
    let leads = primary(group);
    let [away, _stays] = others(leads);
    group.power_off(away);
    let settings = group.nodes[leads].settings.clone();
    forget(&settings, NAMES[away]).await;
    use_up_the_log(&settings).await;
    group.power_on(away);
    let is_copied = |group: &Group| group.nodes[away].did.iter().any(|did| matches!(did, Action::Clone { .. }));
    group.until("its copy", |group| is_copied(group) && group.is_whole(2)).await;
}

/// It lets nobody in before its data are consistent, so that nobody could ask it what it waits for.
async fn a_replica_that_lacks_what_its_data_begin_with_is_copied(group: &mut Group) {
    let leads = primary(group);
    let [away, _stays] = others(leads);
    group.power_off(away);
    let settings = group.nodes[leads].settings.clone();
    let replica = group.nodes[away].settings.clone();
    eventually("it is gone", || !all_of(&replica).runs()).await;
    forget(&settings, NAMES[away]).await;
    copy_files(&settings, &replica).await;
    use_up_the_log(&settings).await;
    group.power_on(away);
    let is_copied = |group: &Group| group.nodes[away].did.iter().any(|did| matches!(did, Action::Clone { .. }));
    group.until("its copy", |group| is_copied(group) && group.is_whole(2)).await;
    let did = &group.nodes[away].did;
    assert!(matches!(did[0], Action::StartReplica { of: Some(_) }), "it was tried as it was: {did:?}");
}

/// Gives a server that is down the files of a primary alone, which are consistent only with the log that was written meanwhile.
async fn copy_files(settings: &Settings, replica: &Settings) {
    let session = session(settings).await;
    session.execute("SELECT pg_backup_start('files', true)", &[]).await.expect("it serves");
    std::fs::remove_dir_all(&replica.data_dir).expect("its data");
    let copied = std::process::Command::new("cp").arg("-a").args([&settings.data_dir, &replica.data_dir]).status();
    assert!(copied.expect("cp").success());
    session.batch_execute("INSERT INTO rows VALUES (6)").await.expect("it serves");
    let label: String =
        session.query_one("SELECT labelfile FROM pg_backup_stop(false)", &[]).await.expect("it serves").get(0);
    let log = replica.data_dir.join("pg_wal");
    let segments = std::fs::read_dir(&log).expect("its log").map(|entry| entry.expect("an entry").path());
    segments.filter(|path| path.is_file()).for_each(|path| std::fs::remove_file(path).expect("a segment"));
    std::fs::remove_file(replica.data_dir.join("postmaster.pid")).expect("the other one's");
    let file = replica.data_dir.join("backup_label");
    std::fs::write(&file, label).expect("a label");
    // As all that a server reads, it belongs to the server's user.
    let owner = replica.data_dir.metadata().expect("its data");
    chown(&file, Some(owner.uid()), Some(owner.gid())).expect("the label is its own");
}

/// It was made to go on from one that has been replaced since, and lets nobody in before it has what it lacks.
async fn a_replica_that_waits_for_the_log_of_a_former_primary_is_led_to_the_new_one(group: &mut Group) {
    let leads = primary(group);
    let [away, other] = others(leads);
    group.power_off(away);
    let (settings, replica) = (group.nodes[leads].settings.clone(), group.nodes[away].settings.clone());
    eventually("it is gone", || !all_of(&replica).runs()).await;
    copy_files(&settings, &replica).await;
    group.power_on(away);
    carry_out(group, away, &Action::StartReplica { of: Some(NAMES[other].to_owned()) }).await;
    group.until("its return", |group| group.is_whole(2)).await;
    let did = &group.nodes[away].did;
    assert_eq!(did[0], Action::Stop(Stop::Fast), "{did:?}");
}

/// Neither its postmaster nor any other of its processes says anything.
async fn a_replica_that_hangs_is_started_again(group: &mut Group) {
    let [hangs, _other] = others(primary(group));
    let settings = group.nodes[hangs].settings.clone();
    group.nodes[hangs].did.clear();
    let frozen = server_pid(&settings).expect("it runs");
    let pid = frozen.as_raw_nonzero();
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).expect("its processes");
    let children: Vec<Pid> = children.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect();
    assert!(!children.is_empty());
    for pid in [frozen].into_iter().chain(children) {
        let _it_may_have_ended = kill_process(pid, Signal::STOP);
    }
    group.until("its silence", |group| group.nodes[hangs].server() == Some(&Server::Unknown)).await;
    group.until("its start", |group| group.is_whole(2)).await;
    assert_ne!(server_pid(&settings), Some(frozen));
    let did = &group.nodes[hangs].did;
    assert_eq!(did[0], Action::Stop(Stop::Immediate), "{did:?}");
}

/// Has a primary keep nothing for a replica that is gone.
async fn forget(settings: &Settings, replica: &str) {
    let slot = format!("mainstay_{replica}");
    let gone = format!("SELECT slot_name FROM pg_replication_slots WHERE slot_name = '{slot}' AND active");
    while !sql(settings, &gone).await.expect("it serves").is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let drop =
        format!("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = '{slot}'");
    for forget in [drop.as_str(), "ALTER SYSTEM SET wal_keep_size = 0", "SELECT pg_reload_conf()"] {
        sql(settings, forget).await.expect("it serves");
    }
}

/// Has a primary write so much that what it has now is removed from its log, unless it is kept for somebody.
async fn use_up_the_log(settings: &Settings) {
    for _segment in 0..4 {
        sql(settings, "INSERT INTO rows VALUES (5)").await.expect("it serves");
        sql(settings, "SELECT pg_switch_wal()").await.expect("it serves");
    }
    sql(settings, "CHECKPOINT").await.expect("it serves");
}

/// Trap 1: until its first checkpoint the new primary's control file tells of the timeline before, and a rewind that goes by it
/// finds nothing to do.
async fn nobody_rewinds_before_the_new_primary_has_written_a_checkpoint(group: &mut Group) {
    let old = primary(group);
    let [new, third] = others(old);
    let settings = group.nodes[old].settings.clone();
    // The checkpoint that a promotion asks for spreads this over minutes.
    let filler = "CREATE TABLE filler AS SELECT n, repeat('x', 500) FROM generate_series(1, 20000) AS n";
    sql(&settings, filler).await.expect("it serves");
    let end = position(&settings).await;
    let replica = group.nodes[new].settings.clone();
    let replayed = format!("SELECT pg_wal_lsn_diff(pg_last_wal_replay_lsn(), '0/0') >= {end}");
    while sql(&replica, &replayed).await.expect("it is hot") != ["t"] {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for replica in [new, third] {
        let instance = group.nodes[replica].instance.as_mut().expect("its agent lives");
        instance.carry_out(&Action::Follow { of: None }).await.expect("it detaches");
    }
    sql(&settings, "INSERT INTO rows VALUES (4)").await.expect("it serves");
    group.power_off(old);
    eventually("it is gone", || !all_of(&settings).runs()).await;
    let term = group.plan.term + 1;
    let sync = Default::default();
    carry_out(group, new, &Action::Promote { term, sync }).await;
    let plan = Plan { term, phase: Phase::Serving { primary: NAMES[new].to_owned() }, ..group.plan.clone() };

    group.power_on(old);
    let (leads, follows) = (observe(group, new).await, observe(group, old).await);
    assert!(leads.report.server == Server::Primary && !leads.report.checkpointed, "{leads:?}");
    assert!(leads.report.timeline > follows.report.timeline, "{leads:?} {follows:?}");
    let next = |of: usize, local: &Local, source: &Local| {
        step(NAMES[of], local, &plan, Some(&source.report), Some(Moment::NEVER), Moment::ZERO)
    };
    assert_eq!(next(old, &follows, &leads), Action::Wait);
    assert_eq!(next(new, &leads, &leads), Action::Checkpoint);
    carry_out(group, new, &Action::Checkpoint).await;
    let leads = observe(group, new).await;
    assert!(leads.report.checkpointed, "{leads:?}");
    let of = NAMES[new].to_owned();
    assert_eq!(next(old, &follows, &leads), Action::Rewind { of: of.clone() });
    carry_out(group, old, &Action::Rewind { of: of.clone() }).await;
    carry_out(group, old, &Action::StartReplica { of: Some(of) }).await;
    let settings = group.nodes[old].settings.clone();
    let streams = "SELECT status FROM pg_stat_wal_receiver";
    for _look in 0..600 {
        if sql(&settings, streams).await.is_ok_and(|status| status == ["streaming"]) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(sql(&settings, streams).await.expect("it is hot"), ["streaming"]);
    assert_eq!(sql(&settings, "SELECT n FROM rows WHERE n = 4").await.expect("it is hot"), Vec::<String>::new());
}

async fn carry_out(group: &mut Group, at: usize, action: &Action) {
    let instance = group.nodes[at].instance.as_mut().expect("its agent lives");
    let outcome = instance.carry_out(action).await;
    assert!(outcome.is_ok(), "{action:?}: {outcome:?}");
}

async fn observe(group: &mut Group, at: usize) -> Local {
    let instance = group.nodes[at].instance.as_mut().expect("its agent lives");
    instance.observe(0).await.expect("it can be looked at")
}

fn primary(group: &Group) -> usize {
    group.index(group.plan.serving().expect("somebody serves"))
}

fn others(than: usize) -> [usize; 2] {
    [(than + 1) % 3, (than + 2) % 3]
}

/// Where a primary's log ends.
async fn position(settings: &Settings) -> u64 {
    let end = sql(settings, "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')").await.expect("it serves");
    end[0].parse().expect("bytes")
}

/// A session over the local socket.
async fn session(settings: &Settings) -> Client {
    let mut config = Config::new();
    config.host_path(&settings.state_dir).port(settings.listen.port()).user("postgres").dbname("postgres");
    let (client, connection) = config.connect(NoTls).await.expect("it serves");
    // It ends with the server.
    drop(tokio::spawn(connection));
    client
}

//! Objectives on a PostgreSQL group of three machines: the seconds in which it can be read, and what its clients wait.

use std::time::Duration;

use mainstay_e2e::eventually;
use mainstay_e2e::lab::databases::{Databases, GROUP};
use mainstay_e2e::lab::{enter, signal_tree, within, writer};
use postgres::{Client, NoTls};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(120);
/// The greatest bound that there is, so that nothing takes longer by chance.
const BOUND: Duration = Duration::from_secs(10);
/// Clients that wait for a lock.
const BLOCKED: u64 = 3;
const QUIET: u64 = 40;

/// An objective by the counts of a node.
fn objective(databases: &Databases, node: usize, name: &str) -> Value {
    let told = databases.command(node, &["slo", "--json"]);
    let objectives: Value = serde_json::from_slice(&told.stdout).unwrap_or_default();
    let items = objectives["items"].as_array().cloned().unwrap_or_default();
    items.into_iter().find(|it| it["name"] == name).unwrap_or_default()
}

/// Its events, and the bad ones.
fn counted(databases: &Databases, node: usize, name: &str) -> (u64, u64) {
    let it = objective(databases, node, name);
    (it["events"].as_u64().unwrap_or_default(), it["bad"].as_u64().unwrap_or_default())
}

/// Waits until it can be read for some seconds in a row, or cannot in a few.
fn await_reads(databases: &Databases, node: usize, what: &str, can_read: bool) {
    let mut before = counted(databases, node, "reads");
    eventually(what, SOON, || {
        std::thread::sleep(Duration::from_secs(1));
        let now = counted(databases, node, "reads");
        if can_read && now.1 > before.1 {
            before = now;
        }
        if can_read { now.0 >= before.0 + 5 } else { now.1 >= before.1 + 3 }
    });
}

fn connect(databases: &Databases, node: usize) -> Option<Client> {
    let login = writer::to(&Databases::login(), databases.writes()[node]);
    within(&databases.lab().client(), || login.connect(NoTls).ok())
}

#[test]
fn slow_commands_and_missing_replicas_use_the_budget_up() {
    let of = |name: &str, good: &str| {
        format!(
            "[[objective]]\nname = \"{name}\"\ndatabase = \"{GROUP}\"\ngood = \"{good}\"\ntarget = \"99.9%\"\nmin_events = 10\n"
        )
    };
    let objectives = of("waits", "latency < 10s") + &of("reads", "readable");
    let lines = "durability = \"async\"\nread = \"0.0.0.0:5001\"\nread_fallback = \"refuse\"\nread_lag_max = \"1MB\"";
    let databases = Databases::with_servers("", lines, &objectives);
    let primary = databases.settle();
    let replicas: Vec<usize> = (0..3).filter(|node| *node != primary).collect();
    a_lock_is_waited_for(&databases, primary);
    replicas_are_gone_and_come_back(&databases, primary, &replicas);
    replicas_lag_and_catch_up(&databases, primary, &replicas);
}

fn a_lock_is_waited_for(databases: &Databases, primary: usize) {
    let mut client = None;
    eventually("a session", SOON, || {
        client = connect(databases, primary);
        client.is_some()
    });
    let mut client = client.expect("a session");
    client.batch_execute("CREATE TABLE stock (n int)").expect("a table");
    for _command in 0..QUIET {
        client.batch_execute("INSERT INTO stock VALUES (1)").expect("a row");
    }
    eventually("every command is an event", SOON, || counted(databases, primary, "waits").0 > QUIET);
    let calm = objective(databases, primary, "waits");
    assert_eq!((&calm["bad"], &calm["threshold_ms"]), (&0.into(), &10_000.into()), "{calm}");
    assert!(calm["burn"].as_array().is_some_and(|rules| rules.iter().all(|rule| rule["firing"] == false)), "{calm}");

    let mut holder = databases.superuser(primary).expect("it answers");
    let mut lock = holder.transaction().expect("a transaction");
    lock.batch_execute("LOCK TABLE stock").expect("a lock");
    let (namespace, login) = (databases.lab().client(), writer::to(&Databases::login(), databases.writes()[primary]));
    let blocked: Vec<_> = (0..BLOCKED)
        .map(|_client| {
            let (namespace, login) = (namespace.clone(), login.clone());
            std::thread::spawn(move || {
                enter(&namespace);
                login.connect(NoTls)?.batch_execute("INSERT INTO stock VALUES (2)")
            })
        })
        .collect();
    let waiting = format!("SELECT count(*) = {BLOCKED} FROM pg_locks WHERE NOT granted");
    eventually("they wait", SOON, || lock.query_one(&waiting, &[]).is_ok_and(|row| row.get(0)));
    std::thread::sleep(BOUND + Duration::from_secs(1));
    lock.commit().expect("the lock is given back");
    for client in blocked {
        client.join().expect("no panic").expect("a row");
    }
    eventually("they are bad", SOON, || counted(databases, primary, "waits").1 == BLOCKED);
    let burning = objective(databases, primary, "waits");
    assert_eq!(
        (&burning["burn"][0]["severity"], &burning["burn"][0]["firing"]),
        (&"P1".into(), &true.into()),
        "{burning}"
    );
    let rules = databases.command(primary, &["slo"]);
    let rules = String::from_utf8_lossy(&rules.stdout).into_owned();
    assert!(rules.contains(&format!("database {GROUP} < 10000ms")) && rules.contains("FIRING"), "{rules}");
}

fn replicas_are_gone_and_come_back(databases: &Databases, primary: usize, replicas: &[usize]) {
    await_reads(databases, primary, "it can be read", true);
    let frozen: Vec<u32> = replicas.iter().filter_map(|node| databases.postmaster(*node)).collect();
    assert_eq!(frozen.len(), 2);
    frozen.iter().for_each(|pid| signal_tree(*pid, "STOP"));
    await_reads(databases, primary, "nobody is left to read from", false);
    frozen.iter().for_each(|pid| signal_tree(*pid, "CONT"));
    await_reads(databases, primary, "it can be read again", true);
}

fn replicas_lag_and_catch_up(databases: &Databases, primary: usize, replicas: &[usize]) {
    databases.settle();
    let receiver = |node: &usize| -> Option<u32> {
        let row = databases.superuser(*node).ok()?.query_one("SELECT pid FROM pg_stat_wal_receiver", &[]).ok()?;
        u32::try_from(row.try_get::<_, i32>(0).ok()?).ok()
    };
    let receivers: Vec<u32> = replicas.iter().filter_map(receiver).collect();
    assert_eq!(receivers.len(), 2);
    receivers.iter().for_each(|pid| signal_tree(*pid, "STOP"));
    let mut writes = databases.superuser(primary).expect("it answers");
    writes.batch_execute("CREATE TABLE wide AS SELECT repeat('x', 1000) FROM generate_series(1, 5000)").expect("rows");
    await_reads(databases, primary, "they lag too far", false);
    receivers.iter().for_each(|pid| signal_tree(*pid, "CONT"));
    await_reads(databases, primary, "they have caught up", true);
}

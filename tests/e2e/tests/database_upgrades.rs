//! Nodes that keep databases are upgraded while clients write: the servers run on, in the roles that they have.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mainstay_e2e::eventually;
use mainstay_e2e::lab::databases::Databases;
use mainstay_e2e::lab::nodes::{Engine, Nodes};
use mainstay_e2e::lab::redis::Redis;
use mainstay_e2e::lab::writer::{Writer, prepare, rows, to};
use mainstay_e2e::lab::{keys, within};
use postgres::NoTls;

const SOON: Duration = Duration::from_secs(120);
/// Longer than what a lease that nobody renews has left.
const LEASE: Duration = Duration::from_secs(7);
/// Nothing that a slow machine does to a lease is to look like a failover. Nor is each old process waited for any longer than for
/// its lease.
const STEADY: &str = "timings = \"conservative\"\n[node.shutdown]\ndeadline = \"7s\"";
/// The same with the times that nodes have unless they are told otherwise. etcd makes 3 s of a lease.
const LEASE_BY_DEFAULT: Duration = Duration::from_secs(4);
const BY_DEFAULT: &str = "timings = \"default\"\n[node.shutdown]\ndeadline = \"3s\"";

/// What an upgrade of any node must leave as it is.
#[derive(Debug, PartialEq, Eq)]
struct Standing {
    servers: Vec<Option<u32>>,
    primary: Option<usize>,
    term: u64,
    changes: usize,
}

fn standing(databases: &Databases) -> Standing {
    let mut group = serde_json::Value::Null;
    eventually("the group's status", SOON, || {
        group = databases.group();
        group["term"].is_u64()
    });
    Standing {
        servers: (0..3).map(|node| databases.postmaster(node)).collect(),
        primary: databases.primary(),
        term: group["term"].as_u64().expect("just read"),
        changes: group["failovers"].as_array().map_or(0, Vec::len),
    }
}

/// A group, and clients that write through the nodes' listeners all the time.
struct Trial {
    // They end before the machines do.
    writers: Vec<Writer>,
    databases: Databases,
}

impl Trial {
    fn start(durability: &str) -> Self {
        let databases = Databases::start(STEADY, &format!("durability = \"{durability}\""));
        eventually("a table", SOON, || {
            let primary = databases.primary().and_then(|primary| databases.superuser(primary).ok());
            primary.is_some_and(|mut client| {
                prepare(&mut client).is_ok() && client.batch_execute("GRANT ALL ON rows TO app").is_ok()
            })
        });
        let client = databases.lab().client();
        let writer = |(node, target): (usize, SocketAddr)| {
            let first = i64::try_from(node).expect("three");
            Writer::stepping(&client, &[target], &Databases::login(), first, 3)
        };
        let writers = databases.writes().into_iter().enumerate().map(writer).collect();
        let trial = Self { writers, databases };
        trial.goes_on("the first writes", Instant::now());
        trial
    }

    /// Waits until each client was told of a write after that.
    fn goes_on(&self, what: &str, since: Instant) {
        eventually(what, SOON, || self.writers.iter().all(|writer| writer.goes_on(since)));
    }

    /// Upgrades a node, and waits until what the process before held is over.
    fn upgrade(&mut self, node: usize) {
        let before = standing(&self.databases);
        let mut client = within(&self.databases.lab().client(), || {
            to(&Databases::login(), self.databases.writes()[node]).connect(NoTls).expect("the primary is led to")
        });
        let began = Instant::now();
        let is_primary = before.primary == Some(node);
        self.databases.nodes().hand_over(node);
        let took_part = Instant::now();
        self.goes_on("writes after the upgrade", took_part);
        // A connection of before is there still, and leads to where it led.
        client.batch_execute("SELECT 1").expect("no connection is cut");
        drop(client);
        while took_part.elapsed() < LEASE {
            std::thread::sleep(Duration::from_millis(200));
        }
        self.databases.nodes().relieved(node);
        self.goes_on("writes after the old process", Instant::now());
        self.databases.settle();
        let gaps: Vec<Duration> = self.writers.iter().map(|writer| writer.gap(began, Instant::now())).collect();
        let what = if is_primary { "primary" } else { "replica" };
        eprintln!(
            "upgrade of the {what}'s node: it took part after {:.1?}; longest gaps {gaps:.1?}",
            took_part - began
        );
        assert_eq!(standing(&self.databases), before, "an upgrade changes nothing");
    }

    fn has_everything(&self) {
        let acknowledged: BTreeSet<i64> = self.writers.iter().flat_map(Writer::acknowledged).collect();
        let primary = self.databases.settle();
        let found = rows(&mut self.databases.superuser(primary).expect("it answers")).expect("it can be read");
        let lost = acknowledged.difference(&found).count();
        assert_eq!(lost, 0, "of {} acknowledged rows {lost} are lost", acknowledged.len());
    }
}

#[test]
fn nodes_are_upgraded_in_turn_and_their_postgresql_runs_on() {
    let mut trial = Trial::start("sync-strict");
    let primary = trial.databases.settle();
    // The primary's node twice: as the one that founded the group, and as one whose server another process has started.
    for node in [primary, (primary + 1) % 3, primary] {
        trial.upgrade(node);
    }
    trial.has_everything();
}

/// Whether a process runs. One that has ended and that nobody has asked about does not.
fn runs(process: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_name, rest)| !rest.trim_start().starts_with('Z'))
}

#[test]
fn a_process_that_stands_still_loses_the_role_and_nothing_that_was_acknowledged() {
    let mut trial = Trial::start("sync-strict");
    let before = standing(&trial.databases);
    let old = before.primary.expect("there is one");
    let server = before.servers[old].expect("it runs");
    let nodes = trial.databases.nodes();
    nodes.hand_over_only(old);
    let signal = |nodes: &Nodes, signal| nodes.successors_of(old).for_each(|process| process.signal(signal));
    signal(nodes, libc::SIGSTOP);
    // The server is ended by whoever was told of the lease last, and another one is primary then.
    eventually("another primary", SOON, || {
        let primaries = trial.databases.primaries();
        !primaries.contains(&old) && primaries.len() == 1
    });
    assert!(!runs(server), "nothing of it does");
    signal(trial.databases.nodes(), libc::SIGCONT);
    trial.databases.settle();
    trial.goes_on("writes by all nodes", Instant::now());
    let after = standing(&trial.databases);
    assert!(after.primary != before.primary && after.term > before.term, "{after:?} after {before:?}");
    trial.has_everything();
}

#[test]
fn nodes_that_agree_by_etcd_are_upgraded_in_turn_and_their_redis_runs_on() {
    let mut redis = Redis::start(Engine::Etcd, BY_DEFAULT);
    let primary = redis.settle();
    let servers: Vec<SocketAddr> = (0..3).map(|node| redis.server(node)).collect();
    let writer = keys::Writer::start(&redis.lab().client(), &servers, 0);
    let processes = |redis: &Redis| (0..3).map(|node| redis.process(node)).collect::<Vec<_>>();
    let before = processes(&redis);
    let term = redis.status(primary)[0]["term"].clone();
    for node in [primary, (primary + 1) % 3, primary] {
        let began = Instant::now();
        redis.nodes().hand_over(node);
        let took_part = Instant::now();
        eventually("writes after the upgrade", SOON, || writer.goes_on(took_part));
        std::thread::sleep(LEASE_BY_DEFAULT.saturating_sub(took_part.elapsed()));
        redis.nodes().relieved(node);
        assert_eq!((redis.settle(), processes(&redis)), (primary, before.clone()), "an upgrade changes nothing");
        eprintln!("upgrade of n{node}: longest gap {:.1?}", writer.gap(began, Instant::now()));
    }
    assert_eq!(redis.status(primary)[0]["term"], term);
    let lost = keys::lost(&redis.lab().client(), redis.server(primary), &writer.acknowledged());
    assert_eq!(lost, 0, "acknowledged keys are lost");
}

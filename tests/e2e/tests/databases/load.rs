//! Three machines with a PostgreSQL each, whose clients never pause: what operators do to the group loses no transaction, and what
//! sessions are in the middle of when their primary dies is either acknowledged and there, or not acknowledged.

use std::os::unix::fs::MetadataExt;
use std::process::Output;
use std::time::{Duration, Instant};

use mainstay_e2e::lab::databases::{Databases, GROUP};
use mainstay_e2e::lab::pgbench::{self, Pgbench};
use mainstay_e2e::lab::writer::{self, Writer};
use mainstay_e2e::{eventually, soak};
use postgres::Client;
use tempfile::TempDir;

use crate::sessions::Sessions;

const SOON: Duration = Duration::from_secs(120);
/// Clients that write all the time while primaries change in order, and while one dies. Together they begin so many transactions a
/// second, which leaves the machine the time to renew leases.
const CLIENTS: u32 = 8;
const BUSY: u32 = 200;
const RATE: u32 = 300;
/// How often a primary may be lost to a machine that has no time for its lease.
const ATTEMPTS: usize = 5;
/// What a node says that has lost its lease.
const LOST: &str = "the session is lost";

/// The group with clients that write through the port for that on one of the nodes, and beside them one that writes a row
/// every 50 ms through any.
struct Trial {
    // They end before the machines do.
    load: Option<Pgbench>,
    writer: Writer,
    dir: TempDir,
    databases: Databases,
}

impl Trial {
    fn start(clients: u32) -> Self {
        let database = "durability = \"sync-strict\"\nread = \"0.0.0.0:5001\"\nhold = \"30s\"";
        let databases = Databases::start_with("timings = \"conservative\"", database, "max_connections = 300\n");
        eventually("tables", SOON, || {
            let primary = databases.primary().and_then(|primary| databases.superuser(primary).ok());
            primary.is_some_and(|mut client| {
                pgbench::prepare(&mut client).is_ok()
                    && writer::prepare(&mut client).is_ok()
                    && client.batch_execute("GRANT ALL ON rows TO app").is_ok()
            })
        });
        let writer = Writer::start(&databases.lab().client(), &databases.writes(), &Databases::login());
        let mut trial = Self { load: None, writer, dir: tempfile::tempdir().expect("a directory"), databases };
        trial.begin(clients, 0);
        trial
    }

    /// So many clients come in at a node.
    fn begin(&mut self, clients: u32, at: usize) {
        let dir = self.dir.path().join(format!("clients-{clients}"));
        std::fs::create_dir(&dir).expect("it is new");
        self.load = Some(Pgbench::start(self.databases.lab(), &dir, self.databases.writes()[at], clients, RATE));
        self.writes_go_on();
    }

    /// Both kinds of clients are answered from now on.
    fn writes_go_on(&self) {
        let (since, before) = (Instant::now(), self.count());
        eventually("writes go on", SOON, || self.writer.goes_on(since) && self.count() > before);
    }

    /// How many transactions of pgbench's are there; 0 while nobody can be asked.
    fn count(&self) -> i64 {
        let primary = self.databases.primary().and_then(|primary| self.databases.superuser(primary).ok());
        let row = primary.and_then(|mut client| client.query_one("SELECT count(*) FROM noted", &[]).ok());
        row.map_or(0, |row| row.get(0))
    }

    /// Carries a command of `mainstay database` out, asking a node.
    fn command(&mut self, node: usize, arguments: &[&str]) -> Output {
        self.databases.nodes().command(node, &[&["database"], arguments].concat())
    }

    /// The same until it is not refused: a replica that has just come back may not stream yet, and a machine that has no time for
    /// leases changes its primary by itself.
    fn order(&mut self, arguments: impl Fn(usize) -> Vec<String>) -> (usize, String) {
        let mut done = None;
        eventually("an order", SOON, || {
            self.databases.settle();
            let Some(primary) = self.databases.primary() else { return false };
            let arguments = arguments(primary);
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            let output = self.command(primary, &[&arguments[..], &["--yes"]].concat());
            let said = String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned();
            done = output.status.success().then(|| (primary, said.clone()));
            done.is_some() || {
                eprintln!("{arguments:?}: {said}");
                false
            }
        });
        done.expect("just done")
    }

    /// Changes the primary by a command; how long no row was acknowledged meanwhile. One thing alone excuses a switchover that
    /// becomes a failover: a node lost its lease meanwhile, since the machine had no time for it. Then it is ordered again.
    fn change(&mut self, command: &str) -> Duration {
        for _attempt in 0..ATTEMPTS {
            self.databases.settle();
            self.writes_go_on();
            let (began, lost) = (Instant::now(), self.leases_lost());
            let to = |from: usize| format!("n{}", (from + 1) % 3);
            let (from, said) = self.order(|primary| match command {
                "switchover" => vec![command.to_owned(), GROUP.to_owned(), "--to".to_owned(), to(primary)],
                _without_name => vec![command.to_owned(), GROUP.to_owned()],
            });
            let is_there = if command == "switchover" {
                said.contains(&format!("{} takes writes", to(from)))
            } else {
                said.contains("takes writes") && !said.contains(&format!("n{from} takes writes"))
            };
            self.writes_go_on();
            let gap = self.writer.gap(began, Instant::now());
            eprintln!("{command} from n{from}: nobody acknowledged for {gap:?}; {}", said.lines().last().unwrap_or(""));
            if is_there {
                return gap;
            }
            let is_excused = command != "switchover" || self.leases_lost() > lost;
            assert!(is_excused, "a switchover from n{from} became a failover, and no node has lost its lease: {said}");
        }
        panic!("{command}: another one than was asked for has become primary {ATTEMPTS} times in a row");
    }

    /// How many leases nodes have lost so far.
    fn leases_lost(&mut self) -> usize {
        (0..3).map(|node| self.databases.nodes().said(node, LOST)).sum()
    }

    /// Ends the clients; nothing that was acknowledged to any of them is missing.
    fn has_everything(&mut self) {
        let superuser = || self.databases.superuser(self.databases.primary()?).ok();
        let acknowledged = self.load.take().expect("it was begun").finish(superuser);
        let rows = self.writer.acknowledged();
        let mut found = None;
        eventually("the tables", SOON, || {
            found = superuser().and_then(|mut it| Some((pgbench::noted(&mut it).ok()?, writer::rows(&mut it).ok()?)));
            found.is_some()
        });
        let (noted, written) = found.expect("just read");
        let lost: Vec<_> = acknowledged.difference(&noted).collect();
        assert!(
            lost.is_empty(),
            "{} of {} acknowledged transactions are lost: {lost:?}",
            lost.len(),
            acknowledged.len()
        );
        let lost: Vec<_> = rows.difference(&written).collect();
        assert!(lost.is_empty(), "{} of {} acknowledged rows are lost: {lost:?}", lost.len(), rows.len());
        eprintln!("{} transactions and {} rows were acknowledged, and are there", acknowledged.len(), rows.len());
        assert!(acknowledged.len() > 100 && rows.len() > 10, "too few to say anything");
    }
}

/// Planned changes in a row: four, or 24 with `MAINSTAY_SOAK=1`.
fn switch_over(trial: &mut Trial) {
    let times = soak::or(4, 24);
    let mut gaps: Vec<Duration> = (0..times).map(|_| trial.change("switchover")).collect();
    gaps.sort();
    eprintln!(
        "{times} switchovers under load: median {:?} without a write, worst {:?}",
        gaps[times / 2],
        gaps[times - 1]
    );
}

#[test]
fn orders_under_load_lose_no_transaction_and_neither_does_a_primary_that_dies_among_busy_sessions() {
    let mut trial = Trial::start(CLIENTS);
    switch_over(&mut trial);
    trial.change("failover");
    a_pause_keeps_things_as_they_are_until_it_ends(&mut trial);
    a_replica_is_copied_anew(&mut trial);
    trial.has_everything();
    // Clients are told apart by how many they are.
    let mut clients = BUSY..;
    soak::repeat("busy sessions", || {
        let clients = clients.next().unwrap_or(BUSY);
        sessions_that_are_in_the_middle_of_something_when_their_primary_dies(&mut trial, clients);
    });
}

fn a_pause_keeps_things_as_they_are_until_it_ends(trial: &mut Trial) {
    trial.order(|_primary| vec!["pause".to_owned(), GROUP.to_owned()]);
    eventually("a pause", SOON, || (0..3).all(|node| trial.databases.status(node)[0]["paused"] == true));
    let primary = trial.databases.settle();
    let other = (primary + 1) % 3;
    trial.databases.power_off(primary);
    // Whoever would be replaced without a pause is known to be gone.
    let member = format!("n{primary}");
    eventually("its lease has ended", SOON, || {
        let status = trial.databases.status(other);
        let members = status[0]["members"].as_array().cloned().unwrap_or_default();
        members.iter().any(|it| it["node"] == member.as_str() && it["state"] == "away")
    });
    std::thread::sleep(Duration::from_secs(1));
    let is_paused = trial.databases.status(other)[0]["paused"] == true;
    assert_eq!((trial.databases.primaries(), is_paused), (Vec::new(), true), "nobody takes over");
    let resumed = trial.command(other, &["resume", GROUP, "--yes"]);
    assert!(resumed.status.success(), "{}", String::from_utf8_lossy(&resumed.stderr));
    eventually("a successor", SOON, || trial.databases.primary().is_some_and(|now| now != primary));
    trial.databases.power_on(primary);
    trial.databases.settle();
    trial.writes_go_on();
}

fn a_replica_is_copied_anew(trial: &mut Trial) {
    let made = |trial: &Trial, node: usize| {
        let file = trial.databases.data_dir(node).join("PG_VERSION").metadata().ok()?;
        Some((file.ctime(), file.ctime_nsec()))
    };
    let before: Vec<_> = (0..3).map(|node| made(trial, node)).collect();
    let replica = |primary: usize| (primary + 1) % 3;
    let (primary, _said) =
        trial.order(|primary| vec!["reinit".to_owned(), GROUP.to_owned(), format!("n{}", replica(primary))]);
    let replica = replica(primary);
    eventually("another copy", SOON, || made(trial, replica).is_some_and(|now| Some(now) != before[replica]));
    trial.databases.settle();
}

/// Traps 3 and 6 of what goes wrong with synchronous replication: a commit whose wait was cancelled is there and is told to have
/// succeeded, with a warning; and a session may have set that it waits for nobody. Neither is promised anything.
fn sessions_that_are_in_the_middle_of_something_when_their_primary_dies(trial: &mut Trial, clients: u32) {
    trial.databases.settle();
    trial.begin(clients, 0);
    let (primary, sessions) = (0..ATTEMPTS).find_map(|_| begin_sessions(trial, clients)).expect("a primary that stays");
    trial.databases.power_off(primary);
    eventually("a successor", SOON, || trial.databases.primary().is_some_and(|now| now != primary));
    // Not earlier: this kernel, which has not lost its power, would still deliver what the dead server has sent.
    trial.databases.lab().heal(primary);
    trial.databases.power_on(primary);
    trial.databases.settle();
    trial.writes_go_on();
    sessions.end(|| trial.databases.superuser(trial.databases.primary()?).ok());
    trial.has_everything();
}

/// Sessions on a primary whose replicas do not reach it any more; `None` if it did not stay primary for so long.
fn begin_sessions(trial: &mut Trial, clients: u32) -> Option<(usize, Sessions)> {
    let count = |client: &mut Client| {
        let sessions = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgbench'";
        client.query_one(sessions, &[]).map_or(0, |row| row.get::<_, i64>(0))
    };
    let mut found = None;
    eventually("all are busy", SOON, || {
        let primary = trial.databases.primary();
        let client = primary.and_then(|primary| trial.databases.superuser(primary).ok());
        found = primary.zip(client);
        found.as_mut().is_some_and(|(_, client)| count(client) == i64::from(clients))
    });
    let (primary, mut superuser) = found.expect("just found");
    // Through its own machine: from the others it will not be reached.
    let mut sessions = Sessions::begin(&trial.databases, primary, &mut superuser).ok()?;
    // From here on nothing that the primary writes gets to anybody.
    trial.databases.lab().part(primary, 5432);
    if let Err(error) = sessions.commit_alone(&mut superuser) {
        eprintln!("n{primary} did not stay primary: {error}");
        trial.databases.lab().heal(primary);
        trial.databases.settle();
        return None;
    }
    Some((primary, sessions))
}

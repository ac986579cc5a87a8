//! Three machines with a PostgreSQL each: whatever befalls them, rows that were acknowledged are there, and writes go on.
//!
//! A client writes numbered rows to each server directly, all the time. With `sync-strict`, a second primary that acknowledged
//! something would show by rows that the group does not have in the end.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use mainstay_e2e::eventually;
use mainstay_e2e::lab::databases::Databases;
use mainstay_e2e::lab::writer::{Writer, prepare, rows};
use mainstay_e2e::lab::{Cut, signal_tree};

const SOON: Duration = Duration::from_secs(90);
/// Where nodes keep the agreement, and where servers listen.
const PEERS: u16 = 7946;
const SERVERS: u16 = 5432;

/// What befalls the primary's machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// `kill -9` of the server alone.
    Server,
    /// `kill -9` of the node alone.
    Agent,
    /// Everything on the machine ends.
    Power,
    /// SIGSTOP of the node, with its guard.
    FrozenAgent,
    /// SIGSTOP of the server.
    FrozenServer,
    /// SIGSTOP of both.
    FrozenBoth,
    /// Nothing comes or goes.
    Cut(Cut),
    /// It cannot reach the other nodes, while replicas reach the server.
    FromQuorum,
    /// Replicas cannot reach the server, while nodes reach each other.
    FromReplicas,
}

const ALL: [Fault; 11] = [
    Fault::Server,
    Fault::Agent,
    Fault::Power,
    Fault::FrozenAgent,
    Fault::FrozenServer,
    Fault::FrozenBoth,
    Fault::Cut(Cut::Both),
    Fault::Cut(Cut::In),
    Fault::Cut(Cut::Out),
    Fault::FromQuorum,
    Fault::FromReplicas,
];

/// The group with its clients.
struct Trial {
    // They end before the machines do.
    probes: Vec<Writer>,
    databases: Databases,
}

impl Trial {
    fn start() -> Self {
        let databases = Databases::start("", "durability = \"sync-strict\"");
        eventually("a table", SOON, || {
            let primary = databases.primary().and_then(|primary| databases.superuser(primary).ok());
            primary.is_some_and(|mut client| {
                prepare(&mut client).is_ok() && client.batch_execute("GRANT ALL ON rows TO app").is_ok()
            })
        });
        let (client, login) = (databases.lab().client(), Databases::login());
        let probe = |node: usize| {
            let first = i64::try_from(node).expect("three");
            Writer::stepping(&client, &[databases.server(node)], &login, first, 3)
        };
        let probes = (0..3).map(probe).collect();
        let trial = Self { probes, databases };
        trial.goes_on("the first writes");
        trial
    }

    /// Somebody acknowledges writes.
    fn goes_on(&self, what: &str) {
        let since = Instant::now();
        eventually(what, SOON, || self.probes.iter().any(|probe| probe.goes_on(since)));
    }

    /// A fault, what follows from it, and its end; answers how long nobody acknowledged.
    fn befall(&mut self, fault: Fault) -> Duration {
        self.databases.settle();
        let primary = self.databases.primary().expect("it has settled");
        let server = self.databases.postmaster(primary).expect("it runs");
        let agent = self.databases.nodes().process(primary).pid();
        let began = Instant::now();
        match fault {
            Fault::Server => signal_tree(server, "KILL"),
            Fault::Agent => drop(self.databases.nodes().kill(primary)),
            Fault::Power => self.databases.power_off(primary),
            Fault::FrozenAgent => signal_tree(agent, "STOP"),
            Fault::FrozenServer => signal_tree(server, "STOP"),
            Fault::FrozenBoth => [agent, server].into_iter().for_each(|pid| signal_tree(pid, "STOP")),
            Fault::Cut(cut) => self.databases.lab().cut(primary, cut),
            Fault::FromQuorum => self.databases.lab().part(primary, PEERS),
            Fault::FromReplicas => self.databases.lab().part(primary, SERVERS),
        }
        // What was on its way when it happened does not count as going on.
        std::thread::sleep(Duration::from_secs(1));
        if fault == Fault::FromReplicas {
            // Nobody else can be certain to have more than it does, and it needs them: it goes on once they can reach it.
            std::thread::sleep(Duration::from_secs(3));
            self.databases.lab().heal(primary);
        }
        self.goes_on(&format!("writes after {fault:?}"));
        let gap = self.gap(began);
        self.end(fault, primary, agent, server);
        self.databases.settle();
        self.has_everything(fault);
        gap
    }

    fn end(&mut self, fault: Fault, node: usize, agent: u32, server: u32) {
        match fault {
            Fault::Agent | Fault::Power => self.databases.power_on(node),
            Fault::FrozenAgent => signal_tree(agent, "CONT"),
            Fault::FrozenBoth => [server, agent].into_iter().for_each(|pid| signal_tree(pid, "CONT")),
            Fault::Cut(_) | Fault::FromQuorum => self.databases.lab().heal(node),
            // They have been ended meanwhile, or go on by themselves.
            Fault::Server | Fault::FrozenServer | Fault::FromReplicas => {}
        }
    }

    /// The longest time without an acknowledgement from anybody since then.
    fn gap(&self, since: Instant) -> Duration {
        let mut times: Vec<Instant> = self.probes.iter().flat_map(Writer::times).filter(|at| *at >= since).collect();
        times.push(since);
        times.sort();
        times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
    }

    fn has_everything(&self, fault: Fault) {
        let acknowledged: BTreeSet<i64> = self.probes.iter().flat_map(Writer::acknowledged).collect();
        let mut found = None;
        eventually("the rows", SOON, || {
            let primary = self.databases.primary().and_then(|primary| self.databases.superuser(primary).ok());
            found = primary.and_then(|mut client| rows(&mut client).ok());
            found.is_some()
        });
        let found = found.expect("just read");
        let lost: Vec<&i64> = acknowledged.difference(&found).collect();
        assert!(
            lost.is_empty(),
            "{fault:?}: {} of {} acknowledged rows are lost: {lost:?}",
            lost.len(),
            acknowledged.len()
        );
    }
}

#[test]
fn rows_that_were_acknowledged_outlive_a_server_a_machine_and_a_cable() {
    let mut trial = Trial::start();
    for fault in [Fault::Server, Fault::Power, Fault::Cut(Cut::Both)] {
        let gap = trial.befall(fault);
        eprintln!("{fault:?}: nobody acknowledged for {gap:?}");
    }
}

/// Every fault, many times: `make soak`.
#[test]
fn whatever_befalls_the_primary_many_times() {
    const TIMES: usize = 20;
    if std::env::var_os("MAINSTAY_SOAK").is_none() {
        return;
    }
    let mut trial = Trial::start();
    for fault in ALL {
        let mut gaps: Vec<Duration> = (0..TIMES).map(|_| trial.befall(fault)).collect();
        gaps.sort();
        eprintln!("{fault:?}: {TIMES} times, median {:?}, worst {:?}", gaps[TIMES / 2], gaps[TIMES - 1]);
    }
}

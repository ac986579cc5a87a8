//! Measures failovers of PostgreSQL by Patroni and by ours on the same machines, under the same faults, and prints a table:
//! `make databases`. Arguments choose rows: those whose fault contains one of them. `ROUNDS` (3) says how often each; `ONLY`
//! (`patroni`, `ours`) leaves the other one out; `SYNC=1` has commits wait for one replica.

use std::net::SocketAddr;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use mainstay_e2e::eventually;
use mainstay_e2e::lab::databases::Databases;
use mainstay_e2e::lab::patroni::{Patroni, Timing};
use mainstay_e2e::lab::writer::{self, Writer};
use mainstay_e2e::lab::{Cut, Lab, enter, signal_tree, within};
use postgres::{Config, NoTls};

/// The longest that writes are waited for.
const PATIENCE: Duration = Duration::from_secs(120);

const WARM_UP: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug)]
enum Fault {
    KillServer,
    PowerOff,
    FreezeAgent,
    FreezeBoth,
    Cut(Cut),
}

const FAULTS: [(&str, Fault); 5] = [
    ("kill -9 of the postmaster", Fault::KillServer),
    ("power-off of the primary's host", Fault::PowerOff),
    ("SIGSTOP of the agent", Fault::FreezeAgent),
    ("SIGSTOP of agent and server", Fault::FreezeBoth),
    ("the primary's host cut off", Fault::Cut(Cut::Both)),
];

/// Three machines that one of the two keeps.
trait Site {
    fn lab(&self) -> &Lab;
    fn login(&self) -> Config;
    /// Where clients write.
    fn writes(&self) -> Vec<SocketAddr>;
    fn server(&self, node: usize) -> SocketAddr;
    fn settle(&self);
    fn primaries(&self) -> Vec<usize>;
    fn postmaster(&self, node: usize) -> Option<u32>;
    fn signal_agent(&mut self, node: usize, signal: i32);
    fn power_off(&mut self, node: usize);
    fn power_on(&mut self, node: usize);
}

/// Both have it under the same names.
macro_rules! site {
    ($system:ty) => {
        impl Site for $system {
            fn lab(&self) -> &Lab {
                self.lab()
            }
            fn login(&self) -> Config {
                Self::login()
            }
            fn writes(&self) -> Vec<SocketAddr> {
                self.writes()
            }
            fn server(&self, node: usize) -> SocketAddr {
                self.server(node)
            }
            fn settle(&self) {
                self.settle();
            }
            fn primaries(&self) -> Vec<usize> {
                self.primaries()
            }
            fn postmaster(&self, node: usize) -> Option<u32> {
                self.postmaster(node)
            }
            fn signal_agent(&mut self, node: usize, signal: i32) {
                self.agent(node).signal(signal);
            }
            fn power_off(&mut self, node: usize) {
                self.power_off(node);
            }
            fn power_on(&mut self, node: usize) {
                self.power_on(node);
            }
        }
    };
}

site!(Patroni);
site!(Databases);

/// What was seen of one fault.
struct Seen {
    gap: Duration,
    /// Acknowledged rows that nobody has any more.
    lost: usize,
    /// The old primary took a write after the new one did.
    two_primaries: bool,
}

fn main() {
    let setting = |name: &str| std::env::var(name).unwrap_or_default();
    let (rounds, only, sync) = (setting("ROUNDS").parse().unwrap_or(3), setting("ONLY"), setting("SYNC") == "1");
    let durability = if sync { "durability = \"sync-strict\"" } else { "" };
    let chosen: Vec<String> = std::env::args().skip(1).collect();
    let is_chosen = |name: &str| chosen.is_empty() || chosen.iter().any(|part| name.contains(part.as_str()));
    println!("| fault | Patroni, default | Patroni, tuned | ours, default | ours, fast |\n|---|---|---|---|---|");
    for (name, fault) in FAULTS.into_iter().filter(|(name, _fault)| is_chosen(name)) {
        let patroni = |timing| match only.as_str() {
            "ours" => String::new(),
            _both => told(&measure(Patroni::start(timing, sync), fault, rounds)),
        };
        let ours = |cluster| match only.as_str() {
            "patroni" => String::new(),
            _both => told(&measure(Databases::start(cluster, durability), fault, rounds)),
        };
        let cells = [patroni(Timing::DEFAULT), patroni(Timing::TUNED), ours(""), ours("timings = \"fast\"")];
        println!("| {name} | {} |", cells.join(" | "));
    }
}

fn told(seen: &[Seen]) -> String {
    let mut gaps: Vec<Duration> = seen.iter().map(|seen| seen.gap).collect();
    gaps.sort();
    let lost: Vec<String> = seen.iter().map(|seen| seen.lost.to_string()).collect();
    let two = seen.iter().filter(|seen| seen.two_primaries).count();
    let split = if two > 0 { format!(", **two primaries in {two} of {}**", seen.len()) } else { String::new() };
    format!("{:.1?} / {:.1?}, lost {}{split}", gaps[gaps.len() / 2], gaps[gaps.len() - 1], lost.join(" "))
}

fn measure(mut site: impl Site, fault: Fault, rounds: usize) -> Vec<Seen> {
    let login = site.login();
    let client = site.lab().client();
    let public: Vec<Config> = site.writes().into_iter().map(|address| writer::to(&login, address)).collect();
    // One statement at the primary, through whichever way leads there.
    let run = |statement: &str| {
        within(&client, || {
            let mut clients = public.iter().filter_map(|way| way.connect(NoTls).ok());
            clients.any(|mut client| client.batch_execute(statement).is_ok())
        })
    };
    eventually("writes are taken", PATIENCE, || run("CREATE TABLE IF NOT EXISTS rows (n bigint PRIMARY KEY)"));
    // Replicas that have just come are still being set up.
    std::thread::sleep(WARM_UP);
    let mut seen = Vec::new();
    for round in 0..rounds {
        site.settle();
        let writer = Writer::start(&client, &site.writes(), &login);
        std::thread::sleep(Duration::from_millis(3000 + 731 * round as u64));
        let primary = site.primaries()[0];
        let server = site.postmaster(primary);
        let since = Instant::now();
        strike(&mut site, fault, primary, server);
        std::thread::sleep(Duration::from_secs(2));
        eventually("writes go on, through another primary unless the server alone was killed", PATIENCE, || {
            let gone = matches!(fault, Fault::KillServer) || site.primaries().iter().any(|node| *node != primary);
            gone && writer.goes_on(Instant::now() - Duration::from_millis(200))
        });
        // A server beside the new primary that still takes writes is a second one.
        let is_other = site.primaries().iter().any(|node| *node != primary);
        let two_primaries = is_other && takes_writes(&client, &writer::to(&login, site.server(primary)));
        let gap = writer.gap(since, Instant::now());
        mend(&mut site, fault, primary, server);
        let acknowledged = writer.acknowledged();
        drop(writer);
        site.settle();
        let ways = || public.iter().filter_map(|way| way.connect(NoTls).ok());
        let has = within(&client, || ways().find_map(|mut client| writer::rows(&mut client).ok())).expect("a primary");
        let lost = acknowledged.difference(&has).count();
        eventually("the rows are deleted", PATIENCE, || run("TRUNCATE rows"));
        eprintln!("{fault:?}, round {round}: {gap:.2?}, lost {lost}, two primaries: {two_primaries}");
        seen.push(Seen { gap, lost, two_primaries });
    }
    seen
}

fn strike(site: &mut impl Site, fault: Fault, primary: usize, server: Option<u32>) {
    match fault {
        Fault::KillServer => server.into_iter().for_each(|pid| signal_tree(pid, "KILL")),
        Fault::PowerOff => site.power_off(primary),
        Fault::FreezeAgent => site.signal_agent(primary, libc::SIGSTOP),
        Fault::FreezeBoth => {
            site.signal_agent(primary, libc::SIGSTOP);
            server.into_iter().for_each(|pid| signal_tree(pid, "STOP"));
        }
        Fault::Cut(cut) => site.lab().cut(primary, cut),
    }
}

fn mend(site: &mut impl Site, fault: Fault, primary: usize, server: Option<u32>) {
    match fault {
        Fault::KillServer => {}
        Fault::PowerOff => site.power_on(primary),
        Fault::FreezeAgent => site.signal_agent(primary, libc::SIGCONT),
        Fault::FreezeBoth => {
            server.into_iter().for_each(|pid| signal_tree(pid, "CONT"));
            site.signal_agent(primary, libc::SIGCONT);
        }
        Fault::Cut(_) => site.lab().heal(primary),
    }
}

/// Whether a server acknowledges a write that comes over the network.
fn takes_writes(client: &str, server: &Config) -> bool {
    let (told, tells) = channel();
    let (client, server) = (client.to_owned(), server.clone());
    std::thread::spawn(move || {
        enter(&client);
        let mut connection = server.connect(NoTls).ok();
        let write = "INSERT INTO rows VALUES (-1)";
        let _nobody_waits = told.send(connection.as_mut().is_some_and(|it| it.batch_execute(write).is_ok()));
    });
    tells.recv_timeout(Duration::from_secs(2)).unwrap_or(false)
}

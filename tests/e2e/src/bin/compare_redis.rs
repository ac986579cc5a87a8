//! Measures failovers of Redis by Sentinel and by ours on the same machines, under the same faults, and prints a table:
//! `make redis`. Arguments choose rows: those whose fault contains one of them. `ROUNDS` (3) says how often each;
//! `ONLY` (`sentinel`, `ours`) leaves the other one out.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mainstay_e2e::eventually;
use mainstay_e2e::lab::Lab;
use mainstay_e2e::lab::keys::{Writer, ask, lost};
use mainstay_e2e::lab::nodes::Engine;
use mainstay_e2e::lab::redis::Redis;
use mainstay_e2e::lab::sentinel::{Sentinel, Timing};

/// The longest that writes are waited for.
const PATIENCE: Duration = Duration::from_secs(120);
/// A server that was frozen goes on so long after its successor took writes.
const FROZEN: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Kill,
    PowerOff,
    Freeze,
}

const FAULTS: [(&str, Fault); 3] = [
    ("kill -9 of the server", Fault::Kill),
    ("power-off of the primary's host", Fault::PowerOff),
    ("SIGSTOP of the server, SIGCONT 2 s after the failover", Fault::Freeze),
];

/// What keeps three servers.
trait Keeper {
    fn lab(&self) -> &Lab;
    fn servers(&self) -> Vec<SocketAddr>;
    /// Waits until one is primary and two follow it; which one.
    fn settle(&mut self) -> usize;
    fn hurt(&mut self, node: usize, fault: Fault);
    /// A frozen server goes on.
    fn thaw(&mut self, node: usize);
    fn mend(&mut self, node: usize);
}

impl Keeper for Sentinel {
    fn lab(&self) -> &Lab {
        self.lab()
    }

    fn servers(&self) -> Vec<SocketAddr> {
        (0..3).map(|node| self.server(node)).collect()
    }

    fn settle(&mut self) -> usize {
        Self::settle(self);
        self.primary(2).expect("it has settled")
    }

    fn hurt(&mut self, node: usize, fault: Fault) {
        match fault {
            Fault::Kill => self.process(node).kill(),
            Fault::PowerOff => self.power_off(node),
            Fault::Freeze => self.process(node).signal(libc::SIGSTOP),
        }
    }

    fn thaw(&mut self, node: usize) {
        self.process(node).signal(libc::SIGCONT);
    }

    fn mend(&mut self, node: usize) {
        self.power_on(node);
    }
}

impl Keeper for Redis {
    fn lab(&self) -> &Lab {
        self.lab()
    }

    fn servers(&self) -> Vec<SocketAddr> {
        (0..3).map(|node| self.server(node)).collect()
    }

    fn settle(&mut self) -> usize {
        Self::settle(self)
    }

    fn hurt(&mut self, node: usize, fault: Fault) {
        match fault {
            Fault::Kill => self.signal(node, "KILL"),
            Fault::PowerOff => self.power_off(node),
            Fault::Freeze => self.signal(node, "STOP"),
        }
    }

    fn thaw(&mut self, node: usize) {
        self.signal(node, "CONT");
    }

    fn mend(&mut self, node: usize) {
        if !self.nodes().is_running(node) {
            self.power_on(node);
        }
    }
}

/// What was seen of one fault.
struct Seen {
    gap: Duration,
    /// Acknowledged keys that nobody has any more.
    lost: usize,
    /// The old primary took writes after the new one did.
    two_primaries: bool,
}

fn main() {
    let rounds = std::env::var("ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(3);
    let only = std::env::var("ONLY").unwrap_or_default();
    println!(
        "| fault | Sentinel, default | Sentinel, tuned | Mainstay, default | Mainstay, fast |\n|---|---|---|---|---|"
    );
    let chosen: Vec<String> = std::env::args().skip(1).collect();
    let is_chosen = |name: &str| chosen.is_empty() || chosen.iter().any(|part| name.contains(part.as_str()));
    for (name, fault) in FAULTS.into_iter().filter(|(name, _fault)| is_chosen(name)) {
        let mut cells = Vec::new();
        for timing in [Timing::DEFAULT, Timing::TUNED] {
            let measured = || told(&measure(&mut Sentinel::start(timing), fault, rounds));
            cells.push(if only == "ours" { "-".to_owned() } else { measured() });
        }
        for timings in ["", "timings = \"fast\""] {
            let measured = || told(&measure(&mut Redis::start(Engine::Embedded, timings), fault, rounds));
            cells.push(if only == "sentinel" { "-".to_owned() } else { measured() });
        }
        println!("| {name} | {} |", cells.join(" | "));
    }
}

fn told(seen: &[Seen]) -> String {
    let mut gaps: Vec<Duration> = seen.iter().map(|seen| seen.gap).collect();
    gaps.sort();
    let lost: Vec<usize> = seen.iter().map(|seen| seen.lost).collect();
    let two = seen.iter().filter(|seen| seen.two_primaries).count();
    let split = if two > 0 { format!(", **two primaries in {two} of {}**", seen.len()) } else { String::new() };
    format!("{:.2?} / {:.2?}, lost {lost:?}{split}", gaps[gaps.len() / 2], gaps[gaps.len() - 1])
}

fn measure(keeper: &mut impl Keeper, fault: Fault, rounds: usize) -> Vec<Seen> {
    let (client, servers) = (keeper.lab().client(), keeper.servers());
    let mut seen = Vec::new();
    for round in 0..rounds {
        let primary = keeper.settle();
        let writer = Writer::start(&client, &servers, 1_000_000 * (round as u64 + 1));
        std::thread::sleep(Duration::from_millis(2000 + 371 * round as u64));
        let since = Instant::now();
        keeper.hurt(primary, fault);
        std::thread::sleep(Duration::from_millis(500));
        eventually("another one takes writes", PATIENCE, || {
            writer.goes_on(Instant::now() - Duration::from_millis(100))
        });
        let gap = writer.gap(since, Instant::now());
        let two_primaries = fault == Fault::Freeze && {
            std::thread::sleep(FROZEN);
            keeper.thaw(primary);
            // Whoever still has a connection to it is told that its writes are taken.
            ask(&client, servers[primary], "SET old 1").is_some()
        };
        std::thread::sleep(Duration::from_secs(1));
        let acknowledged = writer.acknowledged();
        drop(writer);
        keeper.mend(primary);
        let successor = keeper.settle();
        let lost = lost(&client, servers[successor], &acknowledged);
        eprintln!("{fault:?}, round {round}: {gap:.2?}, lost {lost}, two primaries: {two_primaries}");
        seen.push(Seen { gap, lost, two_primaries });
    }
    seen
}

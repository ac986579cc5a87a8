//! Measures failovers of PostgreSQL by Patroni and by ours on the same machines, under the same faults, and prints a table:
//! `make databases`. Arguments choose rows: those whose fault contains one of them. `ROUNDS` (3) says how often each.

use std::time::{Duration, Instant};

use mainstay_e2e::eventually;
use mainstay_e2e::lab::patroni::{Patroni, Timing, signal_tree};
use mainstay_e2e::lab::writer::{self, Writer};
use mainstay_e2e::lab::{Cut, within};
use postgres::NoTls;

/// The longest that writes are waited for.
const PATIENCE: Duration = Duration::from_secs(120);

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

/// What was seen of one fault.
struct Seen {
    gap: Duration,
    /// Acknowledged rows that nobody has any more.
    lost: usize,
    /// The old primary took a write after the new one did.
    two_primaries: bool,
}

fn main() {
    let rounds = std::env::var("ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(3);
    println!("| fault | Patroni, default | Patroni, tuned |\n|---|---|---|");
    let chosen: Vec<String> = std::env::args().skip(1).collect();
    let is_chosen = |name: &str| chosen.is_empty() || chosen.iter().any(|part| name.contains(part.as_str()));
    for (name, fault) in FAULTS.into_iter().filter(|(name, _fault)| is_chosen(name)) {
        let cells = [Timing::DEFAULT, Timing::TUNED].map(|timing| told(&patroni(timing, fault, rounds)));
        println!("| {name} | {} |", cells.join(" | "));
    }
}

fn told(seen: &[Seen]) -> String {
    let mut gaps: Vec<Duration> = seen.iter().map(|seen| seen.gap).collect();
    gaps.sort();
    let lost: Vec<usize> = seen.iter().map(|seen| seen.lost).collect();
    let two = seen.iter().filter(|seen| seen.two_primaries).count();
    let split = if two > 0 { format!(", **two primaries in {two} of {}**", seen.len()) } else { String::new() };
    format!("{:.1?} / {:.1?}, lost {lost:?}{split}", gaps[gaps.len() / 2], gaps[gaps.len() - 1])
}

fn patroni(timing: Timing, fault: Fault, rounds: usize) -> Vec<Seen> {
    let mut patroni = Patroni::start(timing, false);
    let login = Patroni::login();
    let client = patroni.lab().client();
    let first = writer::to(&login, patroni.writes());
    eventually("writes are taken", PATIENCE, || {
        within(&client, || first.connect(NoTls).is_ok_and(|mut client| writer::prepare(&mut client).is_ok()))
    });
    let mut seen = Vec::new();
    for round in 0..rounds {
        patroni.settle();
        let writer = Writer::start(&client, &[patroni.writes()], &login);
        std::thread::sleep(Duration::from_millis(3000 + 731 * round as u64));
        let primary = patroni.primary().expect("it has settled");
        let since = Instant::now();
        let server = patroni.postmaster(primary);
        match fault {
            Fault::KillServer => server.into_iter().for_each(|pid| signal_tree(pid, "KILL")),
            Fault::PowerOff => patroni.power_off(primary),
            Fault::FreezeAgent => patroni.agent(primary).signal(libc::SIGSTOP),
            Fault::FreezeBoth => {
                patroni.agent(primary).signal(libc::SIGSTOP);
                server.into_iter().for_each(|pid| signal_tree(pid, "STOP"));
            }
            Fault::Cut(cut) => patroni.lab().cut(primary, cut),
        }
        std::thread::sleep(Duration::from_secs(2));
        eventually("another one is primary and takes writes, or the same one again", PATIENCE, || {
            let gone = matches!(fault, Fault::KillServer) || others(&patroni, primary).is_some();
            gone && writer.goes_on(Instant::now() - Duration::from_millis(200))
        });
        // A server beside the new primary that still takes writes is a second one.
        let two_primaries = others(&patroni, primary).is_some() && takes_writes(&patroni, primary);
        let gap = writer.gap(since, Instant::now());
        match fault {
            Fault::KillServer => {}
            Fault::PowerOff => patroni.power_on(primary),
            Fault::FreezeAgent => patroni.agent(primary).signal(libc::SIGCONT),
            Fault::FreezeBoth => {
                server.into_iter().for_each(|pid| signal_tree(pid, "CONT"));
                patroni.agent(primary).signal(libc::SIGCONT);
            }
            Fault::Cut(_) => patroni.lab().heal(primary),
        }
        let acknowledged = writer.acknowledged();
        drop(writer);
        patroni.settle();
        let has = within(&client, || writer::rows(&mut first.connect(NoTls).expect("a primary")).expect("its rows"));
        let lost = acknowledged.difference(&has).count();
        within(&client, || first.connect(NoTls).expect("a primary").batch_execute("TRUNCATE rows"))
            .expect("it takes writes");
        eprintln!("{fault:?}, round {round}: {gap:.2?}, lost {lost}, two primaries: {two_primaries}");
        seen.push(Seen { gap, lost, two_primaries });
    }
    seen
}

/// A primary that is not this one.
fn others(patroni: &Patroni, than: usize) -> Option<usize> {
    patroni.primaries().into_iter().find(|node| *node != than)
}

fn takes_writes(patroni: &Patroni, node: usize) -> bool {
    let config = writer::to(&Patroni::login(), patroni.server(node));
    let (told, tells) = std::sync::mpsc::channel();
    let client = patroni.lab().client();
    std::thread::spawn(move || {
        mainstay_e2e::lab::enter(&client);
        let written =
            config.connect(NoTls).is_ok_and(|mut client| client.batch_execute("INSERT INTO rows VALUES (-1)").is_ok());
        let _nobody_waits = told.send(written);
    });
    tells.recv_timeout(Duration::from_secs(2)).unwrap_or(false)
}

//! Three machines with a PostgreSQL each: whatever befalls them, rows that were acknowledged are there, and writes go on.
//!
//! A client writes numbered rows to each server directly, all the time. With `sync-strict`, a second primary that acknowledged
//! something would show by rows that the group does not have in the end.
//!
//! `MAINSTAY_SOAK=1` adds full disks and every fault, many times: `SOAK_ROUNDS` (20) times each, or those whose names have one of the words of
//! `SOAK_FAULTS` in them.

#[path = "databases/disks.rs"]
mod disks;
#[path = "databases/faults.rs"]
mod faults;
#[path = "databases/losses.rs"]
mod losses;
#[path = "databases/rejoin.rs"]
mod rejoin;
#[path = "databases/trial.rs"]
mod trial;

use std::time::Duration;

use faults::{ALL, Fault};
use mainstay_e2e::lab::Cut;
use trial::Trial;

#[test]
fn rows_that_were_acknowledged_outlive_a_server_a_machine_and_a_cable() {
    let mut trial = Trial::start("");
    let faults = [
        Fault::Server,
        Fault::Power,
        Fault::Cut(Cut::Both),
        Fault::AgentAndServer,
        Fault::WhilePromoting,
        Fault::FrozenBoth,
        Fault::Planner,
    ];
    for fault in faults {
        let gap = trial.befall(fault);
        eprintln!("{fault:?}: nobody acknowledged for {gap:?}");
    }
}

/// Every fault, many times: `make soak`.
#[test]
fn whatever_befalls_the_primary_many_times() {
    if std::env::var_os("MAINSTAY_SOAK").is_none() {
        return;
    }
    let setting = |name: &str| std::env::var(name).unwrap_or_default();
    let (rounds, wanted) = (setting("SOAK_ROUNDS").parse().unwrap_or(20).max(1), setting("SOAK_FAULTS"));
    let is_wanted = |fault: &Fault| {
        let name = format!("{fault:?}");
        wanted.is_empty() || wanted.split(',').any(|part| name.contains(part))
    };
    let mut trial = Trial::start("");
    let mut gaps: Vec<(Fault, Vec<Duration>)> = ALL.into_iter().filter(is_wanted).map(|it| (it, Vec::new())).collect();
    // In turn, so that each follows upon each other one's end.
    for round in 1..=rounds {
        for (fault, gaps) in &mut gaps {
            gaps.push(trial.befall(*fault));
            gaps.sort();
            let (median, worst) = (gaps[gaps.len() / 2], gaps[gaps.len() - 1]);
            eprintln!("{fault:?}: {round} times, median {median:.1?}, worst {worst:.1?}");
        }
    }
}

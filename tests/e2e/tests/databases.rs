//! Three machines with a PostgreSQL each: whatever befalls them, rows that were acknowledged are there, and writes go on.
//!
//! A client writes numbered rows to each server directly, all the time. With `sync-strict`, a second primary that acknowledged
//! something would show by rows that the group does not have in the end.
//!
//! With `MAINSTAY_SOAK=1` it is every fault, `SOAK_ROUNDS` (20) times each, or those whose names have one of the words of `SOAK_FAULTS` in
//! them; else some of them, once each.

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

use faults::{ALL, Fault, SOME};
use trial::Trial;

#[test]
fn rows_that_were_acknowledged_outlive_whatever_befalls_the_primary() {
    let setting = |name: &str| std::env::var(name).unwrap_or_default();
    let is_soak = std::env::var_os("MAINSTAY_SOAK").is_some();
    let faults = if is_soak { &ALL[..] } else { &SOME[..] };
    let rounds = if is_soak { setting("SOAK_ROUNDS").parse().unwrap_or(20).max(1) } else { 1 };
    let wanted = setting("SOAK_FAULTS");
    let is_wanted = |fault: &&Fault| {
        let name = format!("{fault:?}");
        wanted.is_empty() || wanted.split(',').any(|part| name.contains(part))
    };
    let mut trial = Trial::start("");
    let mut gaps: Vec<(Fault, Vec<Duration>)> = faults.iter().filter(is_wanted).map(|it| (*it, Vec::new())).collect();
    // In turn, so that each follows upon each other one's end.
    for round in 1..=rounds {
        for (fault, gaps) in &mut gaps {
            gaps.push(trial.befall(*fault));
            gaps.sort();
            let (median, worst) = (gaps[gaps.len() / 2], gaps[gaps.len() - 1]);
            eprintln!("{fault:?}: nobody acknowledged, {round} times: median {median:.1?}, worst {worst:.1?}");
        }
    }
}

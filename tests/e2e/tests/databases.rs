//! Three machines with a PostgreSQL each: whatever befalls them, rows that were acknowledged are there, and writes go on.
//!
//! A client writes numbered rows to each server directly, all the time. With `sync-strict`, a second primary that acknowledged
//! something would show by rows that the group does not have in the end.
//!
//! Every fault three times; with `MAINSTAY_SOAK=1` `SOAK_ROUNDS` (20) times, or of those of `faults` the ones whose names have one of
//! the words of `SOAK_FAULTS` in them.

#[path = "databases/disks.rs"]
mod disks;
#[path = "databases/faults.rs"]
mod faults;
#[path = "databases/load.rs"]
mod load;
#[path = "databases/losses.rs"]
mod losses;
#[path = "databases/modes.rs"]
mod modes;
#[path = "databases/objectives.rs"]
mod objectives;
#[path = "databases/rejoin.rs"]
mod rejoin;
#[path = "databases/sessions.rs"]
mod sessions;
#[path = "databases/trial.rs"]
mod trial;

use std::time::Duration;

use faults::{ENDS, Fault, PARTS};
use mainstay_e2e::soak;
use trial::Trial;

#[test]
fn rows_that_were_acknowledged_outlive_the_end_of_the_primary() {
    befall(&ENDS);
}

#[test]
fn rows_that_were_acknowledged_outlive_partitions_and_failovers_within_failovers() {
    befall(&PARTS);
}

/// Each of the faults as often as is wanted, in turn, so that each follows upon each other one's end.
fn befall(faults: &[Fault]) {
    let wanted = soak::or(String::new(), std::env::var("SOAK_FAULTS").unwrap_or_default());
    let is_wanted = |fault: &&Fault| {
        let name = format!("{fault:?}");
        wanted.is_empty() || wanted.split(',').any(|part| name.contains(part))
    };
    let mut gaps: Vec<(Fault, Vec<Duration>)> = faults.iter().filter(is_wanted).map(|it| (*it, Vec::new())).collect();
    if gaps.is_empty() {
        eprintln!("none of {faults:?} has one of these words in its name: {wanted}");
        return;
    }
    let mut trial = Trial::start("");
    for round in 1..=soak::rounds() {
        for (fault, gaps) in &mut gaps {
            gaps.push(trial.befall(*fault));
            gaps.sort();
            let (median, worst) = (gaps[gaps.len() / 2], gaps[gaps.len() - 1]);
            eprintln!("{fault:?}: nobody acknowledged, {round} times: median {median:.1?}, worst {worst:.1?}");
        }
    }
}

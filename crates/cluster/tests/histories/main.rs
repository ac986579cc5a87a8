//! Histories of three nodes under faults, and of etcd with three members: clients write down what they asked and what they were told, and a
//! checker says whether one store could have told them that.
//!
//! Each run follows a seed: what clients ask, which faults come when. Threads and the disk are real, so that a seed brings
//! the same faults again, not the same interleaving. `MAINSTAY_SEED=17 cargo test -p mainstay-cluster --test histories
//! seeded_histories_are` repeats one run; with `MAINSTAY_SOAK=1` runs go on for `SOAK_SECONDS`.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

mod broken;
mod checker;
mod clients;
mod cluster;
#[path = "../conformance/etcd_server.rs"]
mod etcd_server;
mod etcd_site;
mod faults;
mod record;
mod roles;
mod run;
mod site;
mod watches;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cluster::Cluster;
use etcd_site::EtcdSite;
use run::{Counts, Variant, run};

/// Runs at a time: each mostly waits.
const THREADS: u64 = 4;
/// Runs of the short form.
const SHORT: u64 = 12;
/// Runs that the long form makes at least.
const LONG: u64 = 200;
/// Runs in which a broken variant must be caught; most are in the first few, but that is luck on a machine with nothing else to do.
const CAUGHT: u64 = 60;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

/// Runs one seed after another, several at a time. In the short form each of `short` once; in the long one as many as fit
/// into its time, but `long` at least.
fn sweep(short: u64, long: u64, threads: u64, run: impl Fn(u64) -> Result<Counts, String> + Sync) -> Counts {
    if let Some(seed) = number("MAINSTAY_SEED") {
        let counts = run(seed).unwrap();
        println!("seed {seed}: {counts:?}");
        return counts;
    }
    let (least, until) = match number("MAINSTAY_SOAK") {
        Some(1..) => (long, Instant::now() + Duration::from_secs(number("SOAK_SECONDS").unwrap_or(600))),
        _ => (short, Instant::now()),
    };
    let (next, total) = (AtomicU64::new(1), Mutex::new(Counts::default()));
    std::thread::scope(|scope| {
        let work = || {
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed > least && Instant::now() >= until {
                    return;
                }
                match run(seed) {
                    Ok(counts) => total.lock().unwrap().add(&counts),
                    Err(violation) => panic!("MAINSTAY_SEED={seed}: {violation}"),
                }
            }
        };
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        // All are waited for, so that each says what it has found.
        let failed = workers.into_iter().map(|worker| worker.join()).filter(Result::is_err).count();
        assert_eq!(failed, 0, "histories that no single store could have made");
    });
    let total = total.into_inner().unwrap();
    println!("{total:?}");
    total
}

/// A history in which nothing happened would prove nothing.
fn is_busy(total: &Counts) -> bool {
    let each = total.runs * 20;
    total.acknowledged > each && total.watched > each && total.faults >= total.runs && total.held > 0
}

#[test]
fn seeded_histories_are_linearizable_and_watches_complete() {
    let total = sweep(SHORT, LONG, THREADS, |seed| run(seed, Variant::Sound, Cluster::start));
    assert!(is_busy(&total), "{total:?}");
}

#[test]
fn seeded_histories_of_etcd_are_linearizable_and_watches_complete() {
    let total = sweep(1, 20, 1, |seed| run(seed, Variant::Sound, EtcdSite::start));
    assert!(is_busy(&total), "{total:?}");
}

/// Runs a variant until the checker objects.
fn caught(variant: Variant) -> String {
    for seed in 1..=CAUGHT {
        if let Err(violation) = run(seed, variant, Cluster::start) {
            println!("seed {seed}: {violation}");
            return violation;
        }
    }
    panic!("{variant:?} was not caught in {CAUGHT} runs");
}

#[test]
fn stale_reads_are_caught() {
    let violation = caught(Variant::StaleReads);
    assert!(violation.contains("linearizable") || violation.contains("revision"), "{violation}");
}

#[test]
fn changes_called_undone_are_caught() {
    let violation = caught(Variant::UnknownCalledUndone);
    assert!(violation.contains("undone"), "{violation}");
}

#[test]
fn renewals_that_do_not_count_are_caught() {
    let violation = caught(Variant::RenewalIgnored);
    assert!(violation.contains("both held"), "{violation}");
}

#[test]
fn watches_with_gaps_are_caught() {
    let violation = caught(Variant::WatchSkips);
    assert!(violation.contains("watch"), "{violation}");
}

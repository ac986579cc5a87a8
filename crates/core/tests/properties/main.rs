//! What must hold for all inputs, tried on random ones.
//!
//! `PROPTEST_CASES=10000` looks harder, `PROPTEST_RNG_SEED=N` repeats a run. The seed of a failure is added to the file
//! `*.regressions` beside the test, and is tried first from then on.

mod adaptive;
mod alert;
mod allotment;
mod assign;
mod backoff;
mod balance;
mod breaker;
mod budget;
mod bulkhead;
mod cache;
mod candidacy;
mod cell;
mod coalesce;
mod database;
mod eligibility;
mod gray;
mod health;
mod hedge;
mod incident;
mod lease;
mod limiter;
mod load_report;
mod maglev;
mod opinion;
mod outlier;
mod quarantine;
mod release;
mod renewal;
mod roles;
mod route;
mod session;
mod shard;
mod slo;
mod takeover;
mod vantage;

use proptest::test_runner::{Config, FileFailurePersistence};

/// The settings of all properties here.
fn config() -> Config {
    Config {
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..Config::default()
    }
}

/// The same for properties that do a lot in each case.
fn heavy() -> Config {
    let config = config();
    Config { cases: (config.cases / 2).max(1), ..config }
}

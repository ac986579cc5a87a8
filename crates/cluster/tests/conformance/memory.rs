//! The suite on the engine of one process.

use std::sync::Arc;
use std::time::Duration;

use mainstay_cluster::memory::Memory;
use mainstay_cluster::store::{Limits, Store};
use mainstay_runtime::thread::run_here;

use crate::bench::{Bench, forget_by_writing, run};
use crate::{leases, limits, reads, transactions, watches};

/// Revisions that it keeps: more than any case looks back.
const HISTORY: usize = 4096;

#[test]
fn memory_conforms() {
    run_here(async {
        let memory = Memory::holding(Store::new(Limits { history_revisions: HISTORY, ..Limits::default() }));
        let store = Arc::new(memory);
        let bench = Bench {
            other: Arc::clone(&store) as _,
            compact: forget_by_writing(Arc::clone(&store) as _),
            store,
            ttl: Duration::from_millis(500),
        };
        for cases in [reads::CASES, transactions::CASES, limits::CASES, watches::CASES, leases::CASES] {
            run(&bench, cases).await;
        }
    })
    .unwrap();
}

//! Runs cases: each is one process of `varnishtest` against a proxy that has no other traffic.

use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use mainstay_e2e::tools;

use crate::case::Case;
use crate::proxy::{Kind, Proxy};

/// What became of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The proxy did what is asked.
    Pass,
    /// It did not; what `varnishtest` said last.
    Fail(String),
    /// It lacks what the case is about.
    NotApplicable,
}

/// Seconds that a case may take; a proxy that leaves client or server waiting has failed.
const SECONDS: &str = "10";

/// Runs every case against a proxy, `lanes` at a time, each lane with a proxy of its own. The outcomes are in the order of
/// the cases.
///
/// # Panics
/// If the proxy or `varnishtest` cannot be started.
pub fn run(kind: Kind, cases: &[Case], lanes: usize) -> Vec<Outcome> {
    let next = AtomicUsize::new(0);
    let outcomes = Mutex::new(vec![Outcome::NotApplicable; cases.len()]);
    std::thread::scope(|scope| {
        for _lane in 0..lanes {
            scope.spawn(|| {
                let mut proxy = kind.start();
                while let Some((index, case)) = take(&next, cases) {
                    let outcome = one(kind, &mut proxy, case);
                    outcomes.lock().expect("no lane has panicked")[index] = outcome;
                    if !proxy.is_running() {
                        proxy = kind.start();
                    }
                }
            });
        }
    });
    outcomes.into_inner().expect("no lane has panicked")
}

fn take<'a>(next: &AtomicUsize, cases: &'a [Case]) -> Option<(usize, &'a Case)> {
    let index = next.fetch_add(1, Ordering::Relaxed);
    cases.get(index).map(|case| (index, case))
}

fn one(kind: Kind, proxy: &mut Proxy, case: &Case) -> Outcome {
    if !kind.can(case) {
        return Outcome::NotApplicable;
    }
    let (passed, log) = varnishtest(proxy, &case.path);
    if !proxy.is_running() {
        return Outcome::Fail("the proxy has exited".to_owned());
    }
    if passed { Outcome::Pass } else { Outcome::Fail(log) }
}

fn varnishtest(proxy: &Proxy, script: &Path) -> (bool, String) {
    let mut command = Command::new(tools::find("varnishtest", "varnish"));
    let addresses = &proxy.addresses;
    for (name, address) in
        [("proxy", addresses.plain), ("accept_proxy", addresses.proxy_protocol), ("backend", addresses.backend)]
    {
        command.arg(format!("-D{name}_addr={}", address.ip())).arg(format!("-D{name}_port={}", address.port()));
    }
    // Its version 7 keeps a directory of its own for each script in TMPDIR, and removes it.
    let output = command.args(["-v", "-t", SECONDS]).arg(script).output().expect("varnishtest can be started");
    let log = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    (output.status.success(), log)
}

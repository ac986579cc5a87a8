//! The guard as a process, with a node that is killed, frozen, or leaves in order. Guard and node are this program, started
//! again as one of its own tests.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mainstay_cluster::guard::{Guard, Orders, Server, boot_time, serve};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

#[path = "guard/addresses.rs"]
mod addresses;
#[path = "addresses/cable.rs"]
mod cable;
#[path = "guard/servers.rs"]
mod servers;

const LONG: Duration = Duration::from_secs(600);

/// What a guard of these tests does at last: it writes whether the server still ran.
#[derive(Debug, Serialize, Deserialize)]
struct Will {
    path: PathBuf,
    server: Option<Server>,
}

/// Not a test but the guard, if its node started this.
#[test]
fn be_a_guard() {
    let Some(parent) = std::env::args().next_back().and_then(|last| last.parse().ok()) else { return };
    let execute = |will: serde_json::Value| {
        let will: Will = serde_json::from_value(will).expect("a will");
        let runs = will.server.is_some_and(|server| server.runs());
        // A test that is over has taken its directory with it.
        let _too_late = std::fs::write(will.path, if runs { "it ran" } else { "nothing ran" });
    };
    serve(parent, execute).expect("a guard");
    // Nobody reads what the test harness would say now.
    std::process::exit(0);
}

/// Not a test but a node that writes what it reads as orders to its guard, if a test started this.
#[test]
fn be_a_node() {
    if std::env::var_os("BE_A_NODE").is_none() {
        return;
    }
    let program = Path::new("/proc/self/exe");
    let mut guard = Guard::start(program, &["--exact", "be_a_guard", "--nocapture"]).expect("a guard");
    for line in std::io::stdin().lock().lines() {
        guard.tell(&serde_json::from_str(&line.expect("a line")).expect("orders")).expect("told");
        // Read once.
        let _nobody_reads = writeln!(std::io::stdout(), "told {}", guard.pid());
    }
    drop(guard);
    std::process::exit(0);
}

/// A node with its guard.
struct Node {
    child: Child,
    guard: u32,
    will: PathBuf,
    _dir: tempfile::TempDir,
}

impl Node {
    /// A node whose guard has the orders. If they have a will, it is one of these tests'.
    fn start(mut orders: Orders) -> Self {
        let dir = tempfile::tempdir().expect("works");
        let will = dir.path().join("will");
        let server = orders.servers.first().map(|custody| custody.server.clone());
        let content = serde_json::to_value(Will { path: will.clone(), server }).expect("works");
        orders.will = orders.will.map(|_| content);
        let mut child = Command::new("/proc/self/exe")
            .args(["--exact", "be_a_node", "--nocapture"])
            .env("BE_A_NODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("works");
        writeln!(child.stdin.as_mut().expect("works"), "{}", serde_json::to_string(&orders).expect("works"))
            .expect("works");
        let lines = BufReader::new(child.stdout.take().expect("works")).lines();
        let told = lines.map_while(Result::ok).find_map(|line| line.strip_prefix("told ").map(str::to_owned));
        Self { child, guard: told.expect("works").parse().expect("works"), will, _dir: dir }
    }

    fn signal(&self, signal: Signal) {
        kill_process(pid(self.child.id()), signal).expect("works");
    }

    fn guard_is_gone(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.guard)).unwrap_or_default();
        stat.is_empty() || stat.contains(") Z ")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _gone_already = self.child.kill();
        let _status = self.child.wait();
    }
}

fn pid(number: u32) -> Pid {
    Pid::from_raw(number.try_into().expect("works")).expect("works")
}

fn in_a_while(wait: Duration) -> u64 {
    boot_time() + u64::try_from(wait.as_nanos()).expect("works")
}

fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < end, "{what}: not within 60 s");
        std::thread::sleep(Duration::from_millis(20));
    }
}

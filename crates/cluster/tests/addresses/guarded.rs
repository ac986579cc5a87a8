//! The guard as a process, with a node that is killed, frozen, or leaves in order. Guard and node are this program, started
//! again as one of its own tests.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use mainstay_cluster::address::guard::{Guard, Order, Orders, boot_time, serve};
use mainstay_cluster::address::kernel::Kernel;
use mainstay_cluster::address::{Prefixed, guard};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use super::cable::Cable;
use super::{eventually, lifetime, prefixed};

const LONG: Duration = Duration::from_secs(600);

/// Not a test but the guard, if its node started this.
#[test]
fn be_a_guard() {
    let Some(parent) = std::env::args().next_back().and_then(|last| last.parse().ok()) else { return };
    let execute = |will: serde_json::Value| {
        // A test that is over has taken its directory with it.
        let _too_late = std::fs::write(will.as_str().expect("a path"), "executed");
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
    let arguments = ["--exact", "guarded::be_a_guard", "--nocapture"];
    let mut guard = Guard::start(program, &arguments).expect("a guard");
    for line in std::io::stdin().lock().lines() {
        guard.tell(&serde_json::from_str(&line.expect("a line")).expect("orders")).expect("told");
        // Read once.
        let _nobody_reads = writeln!(std::io::stdout(), "told {}", guard.pid());
    }
    drop(guard);
    std::process::exit(0);
}

/// A node in a namespace with its guard, and an address on its interface that stays for ever as far as the kernel goes.
struct Node {
    child: Child,
    guard: u32,
    will: PathBuf,
    _dir: tempfile::TempDir,
}

impl Node {
    fn start(cable: &Cable, mut orders: Orders) -> Self {
        let dir = tempfile::tempdir().expect("works");
        let will = dir.path().join("will");
        orders.will = orders.will.map(|_| json!(will));
        cable.near(|| {
            for order in &orders.addresses {
                Kernel::open().expect("works").put(order.address, &order.interface, LONG).expect("works");
            }
            let mut child = Command::new("/proc/self/exe")
                .args(["--exact", "guarded::be_a_node", "--nocapture"])
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
        })
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.child.id().try_into().expect("works")).expect("works"), signal).expect("works");
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

fn order(address: Prefixed, until: u64) -> Order {
    Order { address, interface: "port".to_owned(), until }
}

fn in_a_while(wait: Duration) -> u64 {
    boot_time() + u64::try_from(wait.as_nanos()).expect("works")
}

fn is_there(cable: &Cable, address: Prefixed) -> bool {
    cable.near(|| lifetime(&mut Kernel::open().expect("works"), address).is_some())
}

#[test]
fn a_killed_node_loses_its_addresses_at_once_and_its_will_is_done() {
    let cable = Cable::new();
    let (four, six) = (prefixed("10.0.1.100/32"), prefixed("2001:db8::100/128"));
    let addresses = vec![order(four, in_a_while(LONG)), order(six, in_a_while(LONG))];
    let node = Node::start(&cable, Orders { addresses, kill_at: None, will: Some(json!("")) });
    assert!(is_there(&cable, four) && is_there(&cable, six) && !node.will.exists());
    // What a service manager does to everything that it started does not end the guard.
    kill_process(Pid::from_raw(node.guard.try_into().unwrap()).unwrap(), Signal::TERM).unwrap();
    node.signal(Signal::KILL);
    eventually("the guard removes the addresses", || !is_there(&cable, four) && !is_there(&cable, six));
    eventually("the will is done", || node.will.exists());
    eventually("the guard ends", || node.guard_is_gone());
}

#[test]
fn a_frozen_node_loses_what_is_overdue_and_nothing_else() {
    let cable = Cable::new();
    let (due, kept) = (prefixed("10.0.1.100/32"), prefixed("10.0.1.101/32"));
    let addresses = vec![order(due, in_a_while(Duration::from_millis(1_500))), order(kept, in_a_while(LONG))];
    let node = Node::start(&cable, Orders { addresses, kill_at: None, will: Some(json!("")) });
    assert!(is_there(&cable, due));
    node.signal(Signal::STOP);
    eventually("the guard removes what is overdue", || !is_there(&cable, due));
    assert!(is_there(&cable, kept));
    assert!(!node.will.exists(), "a frozen node is not dead");
}

#[test]
fn a_node_that_holds_by_listening_is_killed_when_it_is_overdue() {
    let cable = Cable::new();
    let kill_at = Some(in_a_while(Duration::from_millis(500)));
    let mut node = Node::start(&cable, Orders { addresses: Vec::new(), kill_at, will: Some(json!("")) });
    node.signal(Signal::STOP);
    eventually("the node is killed", || node.child.try_wait().unwrap().is_some());
    eventually("the will is done", || node.will.exists());
}

#[test]
fn the_last_orders_count_and_a_node_that_leaves_in_order_leaves_nothing_to_do() {
    let cable = Cable::new();
    let address = prefixed("10.0.1.100/32");
    let first = Orders { addresses: vec![order(address, in_a_while(LONG))], kill_at: None, will: Some(json!("")) };
    let mut node = Node::start(&cable, first);
    writeln!(node.child.stdin.as_mut().unwrap(), "{{}}").unwrap();
    drop(node.child.stdin.take());
    eventually("the node leaves", || node.child.try_wait().unwrap().is_some());
    eventually("the guard ends", || node.guard_is_gone());
    assert!(is_there(&cable, address), "the node did not ask for its removal any more");
    assert!(!node.will.exists());
}

#[test]
fn a_guard_that_is_gone_is_noticed() {
    assert!(Guard::start(Path::new("/bin/true"), &[]).is_err(), "it ends without having been ready");
    let mut guard = Guard::start(Path::new("/bin/sh"), &["-c", "echo hello; echo ready; read line"]).unwrap();
    let many =
        Orders { addresses: vec![order(prefixed("10.0.0.1"), 0); guard::ADDRESSES_MAX + 1], ..Orders::default() };
    assert_eq!(guard.tell(&many).unwrap_err().kind(), ErrorKind::InvalidInput);
    guard.tell(&Orders::default()).unwrap();
    eventually("it is noticed", || guard.tell(&Orders::default()).is_err());
    let mut stuck = Guard::start(Path::new("/bin/sh"), &["-c", "echo ready; exec sleep 60"]).unwrap();
    let will = Some(json!("x".repeat(10_000)));
    let orders = Orders { will, ..Orders::default() };
    assert!((0..20).any(|_| stuck.tell(&orders).is_err()), "one that does not read is noticed, too");
    stuck.kill();
}

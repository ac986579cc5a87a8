//! Servers that must not outlive their node's lease. The server of these tests is a shell under another name: a first process
//! that starts others, each the leader of a group of its own as PostgreSQL's are, and none of which ends when it is asked.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use mainstay_cluster::guard::{AtDeath, Custody, Orders, Server, boot_time};
use rustix::process::{Signal, kill_process};
use serde_json::json;

use super::{LONG, Node, eventually, in_a_while, pid};

/// Each of the processes writes a line every now and then, as one that acknowledges would.
const WORK: &str = "trap '' QUIT INT TERM; while :; do echo $$ >> said; sleep 0.02; done";

struct Fake {
    program: PathBuf,
    data: PathBuf,
    child: Child,
    _dir: tempfile::TempDir,
}

impl Fake {
    /// Runs, with two processes beside the first one.
    fn start() -> Self {
        let dir = tempfile::tempdir().expect("works");
        let (program, data) = (dir.path().join("fake-server"), dir.path().join("data"));
        fs::copy("/bin/sh", &program).expect("a shell");
        fs::create_dir(&data).expect("works");
        let script = format!("for i in 1 2; do setsid \"$0\" -c \"$1\" & done; {WORK}");
        let mut command = Command::new(&program);
        command.arg("-c").arg(script).arg(&program).arg(WORK).current_dir(&data);
        let fake = Self { child: command.spawn().expect("it starts"), program, data, _dir: dir };
        eventually("three processes", || fake.pids().len() == 3);
        fake
    }

    fn server(&self) -> Server {
        Server { directory: self.data.clone(), program: "fake-server".to_owned(), asks: true }
    }

    /// Those that have written something.
    fn pids(&self) -> Vec<u32> {
        let said = fs::read_to_string(self.data.join("said")).unwrap_or_default();
        let mut pids: Vec<u32> = said.lines().filter_map(|line| line.parse().ok()).collect();
        pids.sort_unstable();
        pids.dedup();
        pids
    }

    fn is_gone(&self) -> bool {
        !self.server().runs() && self.pids().iter().all(|pid| !runs(*pid, &self.program))
    }

    fn signal_all(&self, signal: Signal) {
        self.pids().into_iter().for_each(|one| kill_process(pid(one), signal).expect("it runs"));
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        for one in self.pids() {
            if runs(one, &self.program) {
                let _ended = kill_process(pid(one), Signal::KILL);
            }
        }
        let _status = self.child.wait();
    }
}

fn runs(pid: u32, program: &Path) -> bool {
    fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == program)
}

/// The server runs until then at most.
fn custody(fake: &Fake, until: Duration, at_death: AtDeath) -> Custody {
    let (stop_at, kill_at) = (in_a_while(until), in_a_while(until + Duration::from_millis(50)));
    Custody { server: fake.server(), stop_at, kill_at, at_death, claim: None }
}

fn orders(custody: Custody) -> Orders {
    Orders { servers: vec![custody], will: Some(json!("")), ..Orders::default() }
}

fn will_of(node: &Node) -> String {
    eventually("the will is done", || fs::read(&node.will).is_ok_and(|said| !said.is_empty()));
    fs::read_to_string(&node.will).expect("works")
}

#[test]
fn a_killed_nodes_server_ends_with_all_its_processes_before_the_will_is_done() {
    let fake = Fake::start();
    let node = Node::start(orders(custody(&fake, LONG, AtDeath::Stop)));
    assert!(fake.server().runs());
    node.signal(Signal::KILL);
    assert_eq!(will_of(&node), "nothing ran");
    assert!(fake.is_gone());
    eventually("the guard ends", || node.guard_is_gone());
}

#[test]
fn a_frozen_nodes_server_ends_at_its_deadline_and_the_will_is_not_done() {
    let fake = Fake::start();
    let until = Duration::from_millis(1_500);
    let node = Node::start(orders(custody(&fake, until, AtDeath::Keep)));
    node.signal(Signal::STOP);
    eventually("the server ends", || fake.is_gone());
    assert!(!node.will.exists(), "a frozen node is not dead");
}

#[test]
fn a_server_that_stands_still_is_ended_too() {
    let fake = Fake::start();
    let node = Node::start(orders(custody(&fake, LONG, AtDeath::Stop)));
    fake.signal_all(Signal::STOP);
    node.signal(Signal::KILL);
    assert_eq!(will_of(&node), "nothing ran");
    assert!(fake.is_gone());
}

#[test]
fn processes_that_a_dead_parent_has_left_are_ended() {
    let mut fake = Fake::start();
    let node = Node::start(orders(custody(&fake, LONG, AtDeath::Stop)));
    fake.child.kill().unwrap();
    fake.child.wait().unwrap();
    assert!(fake.server().runs(), "the others go on");
    node.signal(Signal::KILL);
    assert_eq!(will_of(&node), "nothing ran");
    assert!(fake.is_gone());
}

#[test]
fn nothing_else_is_ended_whatever_its_number_or_name() {
    let (fake, other) = (Fake::start(), Fake::start());
    // Another program in the same directory, as an operator's shell would be.
    let mut shell = Command::new("/bin/sh")
        .args(["-c", "read line"])
        .current_dir(&fake.data)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let node = Node::start(orders(custody(&fake, LONG, AtDeath::Stop)));
    node.signal(Signal::KILL);
    assert_eq!(will_of(&node), "nothing ran");
    assert!(shell.try_wait().unwrap().is_none());
    shell.kill().unwrap();
    shell.wait().unwrap();
    assert_eq!(other.pids().iter().filter(|pid| runs(**pid, &other.program)).count(), 3);
    // What the other one has said grows, so that its processes work and are not just there.
    let length = |fake: &Fake| fs::metadata(fake.data.join("said")).unwrap().len();
    let before = length(&other);
    eventually("the other server goes on", || length(&other) > before);
}

#[test]
fn a_server_that_was_handed_over_is_ended_by_the_guard_that_has_it_now() {
    let fake = Fake::start();
    let folder = tempfile::tempdir().unwrap();
    let claim = folder.path().join("claim");
    let with_claim =
        |until, at_death| orders(Custody { claim: Some(claim.clone()), ..custody(&fake, until, at_death) });
    let first = Node::start(with_claim(LONG, AtDeath::Keep));
    eventually("the first guard has it", || claim.exists());
    let of_first = fs::read(&claim).unwrap();
    let second = Node::start(with_claim(LONG, AtDeath::Stop));
    eventually("the second guard has it", || fs::read(&claim).unwrap() != of_first);
    first.signal(Signal::KILL);
    assert_eq!(will_of(&first), "it ran", "it is the other guard's");
    assert!(!fake.is_gone());
    second.signal(Signal::KILL);
    assert_eq!(will_of(&second), "nothing ran");
}

#[test]
fn a_server_that_was_handed_over_outlives_the_deadline_of_the_process_before_although_that_lives_on() {
    let fake = Fake::start();
    let folder = tempfile::tempdir().unwrap();
    let claim = folder.path().join("claim");
    let with_claim = |until, at_death| Custody { claim: Some(claim.clone()), ..custody(&fake, until, at_death) };
    // Long enough for another guard to come up on a slow machine.
    let first = with_claim(Duration::from_secs(5), AtDeath::Keep);
    let deadline = first.kill_at;
    let _first = Node::start(orders(first));
    eventually("the first guard has it", || claim.exists());
    let of_first = fs::read(&claim).unwrap();
    let second = Node::start(orders(with_claim(LONG, AtDeath::Stop)));
    eventually("the second guard has it", || fs::read(&claim).unwrap() != of_first);
    eventually("the first deadline is over", || boot_time() > deadline + 500_000_000);
    assert!(fake.pids().into_iter().all(|pid| runs(pid, &fake.program)), "it is the other guard's");
    second.signal(Signal::KILL);
    assert_eq!(will_of(&second), "nothing ran");
}

#[test]
fn a_server_that_is_kept_and_that_nobody_takes_over_ends_at_its_deadline() {
    let fake = Fake::start();
    let until = Duration::from_millis(2_000);
    let custody = custody(&fake, until, AtDeath::Keep);
    let deadline = custody.stop_at;
    let node = Node::start(orders(custody));
    node.signal(Signal::KILL);
    eventually("the server ends", || {
        // Read before it is looked whether it is gone, so that a slow machine does not blame the guard.
        let now = boot_time();
        let is_gone = fake.is_gone();
        assert!(!is_gone || boot_time() >= deadline, "it was ended {now} before {deadline}");
        is_gone
    });
    assert_eq!(will_of(&node), "nothing ran");
}

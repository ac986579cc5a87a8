//! Measures failovers of keepalived and of ours in the same namespaces, under the same faults, and prints a table:
//! `make failover`. Arguments choose rows: those whose fault contains one of them.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use mainstay_e2e::lab::nodes::{Engine, Nodes, PORT};
use mainstay_e2e::lab::watch::Watch;
use mainstay_e2e::lab::{Cut, FLOATING, Lab, serve};
use mainstay_e2e::process::Process;
use mainstay_e2e::{eventually, tools};

/// After a fault it is watched for so long.
const WATCHED: Duration = Duration::from_secs(8);
const ROUNDS: usize = 3;

#[derive(Clone, Copy, Debug)]
enum Fault {
    Kill,
    Stop,
    Cut(Cut),
}

const FAULTS: [(&str, Fault); 5] = [
    ("kill -9", Fault::Kill),
    ("SIGSTOP, SIGCONT after 6 s", Fault::Stop),
    ("cut both ways", Fault::Cut(Cut::Both)),
    ("cut: the holder hears nothing", Fault::Cut(Cut::In)),
    ("cut: the holder is not heard", Fault::Cut(Cut::Out)),
];

/// What was seen of one fault.
struct Seen {
    /// The longest time without an answer for a client.
    gap: Duration,
    /// Whether it is answered when the watch ends.
    is_over: bool,
    /// For how long two nodes had the address.
    twice: Duration,
}

fn main() {
    println!("| fault | keepalived | ours, default | ours, fast |\n|---|---|---|---|");
    let chosen: Vec<String> = std::env::args().skip(1).collect();
    let is_chosen = |name: &str| chosen.is_empty() || chosen.iter().any(|part| name.contains(part.as_str()));
    for (name, fault) in FAULTS.into_iter().filter(|(name, _fault)| is_chosen(name)) {
        let keepalived = told(&(0..ROUNDS).map(|_| keepalived(fault)).collect::<Vec<_>>());
        let default = told(&ours("", fault));
        let fast = told(&ours("timings = \"fast\"", fault));
        println!("| {name} | {keepalived} | {default} | {fast} |");
    }
}

fn told(seen: &[Seen]) -> String {
    let mut gaps: Vec<Duration> = seen.iter().map(|seen| seen.gap).collect();
    gaps.sort();
    let twice = seen.iter().map(|seen| seen.twice).max().unwrap_or_default();
    let holders =
        if twice.is_zero() { "never two holders".to_owned() } else { format!("**two holders for {twice:.1?}**") };
    let unserved = match seen.iter().filter(|seen| !seen.is_over).count() {
        0 => String::new(),
        count => format!("**no answer until the watch ended in {count} of {}**, ", seen.len()),
    };
    format!("{:.2?} / {:.2?}, {unserved}{holders}", gaps[gaps.len() / 2], gaps[gaps.len() - 1])
}

fn ours(timings: &str, fault: Fault) -> Vec<Seen> {
    let mut nodes = Nodes::start(3, Engine::Embedded, timings, "");
    let watch = Watch::start(nodes.lab(), PORT);
    let mut seen = Vec::new();
    for round in 0..ROUNDS {
        let holder = nodes.settled(&watch);
        std::thread::sleep(Duration::from_millis(500 + 137 * round as u64));
        let since = Instant::now();
        match fault {
            Fault::Kill => nodes.process(holder).kill(),
            Fault::Stop => nodes.process(holder).signal(libc::SIGSTOP),
            Fault::Cut(cut) => nodes.lab().cut(holder, cut),
        }
        std::thread::sleep(WATCHED - Duration::from_secs(2));
        if matches!(fault, Fault::Stop) {
            nodes.process(holder).signal(libc::SIGCONT);
        }
        std::thread::sleep(Duration::from_secs(2));
        seen.push(judge(&watch, since));
        match fault {
            Fault::Kill => nodes.launch(holder),
            Fault::Stop => {}
            Fault::Cut(_) => nodes.lab().heal(holder),
        }
    }
    seen
}

fn judge(watch: &Watch, since: Instant) -> Seen {
    let now = Instant::now();
    let is_over = watch.answered(now - Duration::from_secs(1)).is_some();
    Seen { gap: watch.longest_gap(since, now), is_over, twice: watch.twice(since) }
}

/// Two machines with Debian's keepalived as it comes: advertisements every second.
fn keepalived(fault: Fault) -> Seen {
    let lab = Lab::new(2);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut processes: Vec<Process> = (0..2).map(|node| start_keepalived(&lab, node, dir.path())).collect();
    let watch = Watch::start(&lab, PORT);
    eventually("keepalived holds the address", Duration::from_secs(30), || watch.holder() == Some(0));
    std::thread::sleep(Duration::from_secs(2));
    let since = Instant::now();
    // The process that speaks VRRP is a child of the one that was started.
    let child = children(processes[0].pid());
    match fault {
        Fault::Kill => {
            child.iter().for_each(|pid| signal(*pid, "KILL"));
            processes[0].kill();
        }
        Fault::Stop => child.iter().chain([&processes[0].pid()]).for_each(|pid| signal(*pid, "STOP")),
        Fault::Cut(cut) => lab.cut(0, cut),
    }
    std::thread::sleep(WATCHED - Duration::from_secs(2));
    if matches!(fault, Fault::Stop) {
        child.iter().chain([&processes[0].pid()]).for_each(|pid| signal(*pid, "CONT"));
    }
    std::thread::sleep(Duration::from_secs(2));
    let seen = judge(&watch, since);
    for process in &processes {
        children(process.pid()).iter().for_each(|pid| signal(*pid, "KILL"));
    }
    processes.iter_mut().for_each(Process::kill);
    seen
}

fn start_keepalived(lab: &Lab, node: usize, dir: &Path) -> Process {
    serve(&lab.node(node), PORT);
    let (state, priority) = if node == 0 { ("MASTER", 150) } else { ("BACKUP", 100) };
    let text = format!(
        "global_defs {{ router_id n{node} }}\nvrrp_instance web {{\n  state {state}\n  interface eth0\n  \
         virtual_router_id 51\n  priority {priority}\n  virtual_ipaddress {{ {FLOATING}/32 }}\n}}\n"
    );
    let file = dir.join(format!("{node}.conf"));
    fs::write(&file, text).expect("a configuration");
    let path = |kind: &str| dir.join(format!("{node}.{kind}")).display().to_string();
    let (file, pid, vrrp) = (file.display().to_string(), path("pid"), path("vrrp"));
    let arguments = ["--dont-fork", "--log-console", "--vrrp", "-f", &file, "-p", &pid, "-r", &vrrp];
    lab.start(node, &format!("keepalived{node}"), dir, &tools::find("keepalived", "keepalived"), &arguments)
}

fn children(pid: u32) -> Vec<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// Children of keepalived, known by their ids.
fn signal(pid: u32, name: &str) {
    let _gone_already = std::process::Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status();
}

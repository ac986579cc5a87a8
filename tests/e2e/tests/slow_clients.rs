//! Hundreds of clients of `slowhttptest` that send or read as slowly as they can: they are cut off in time, and the others
//! notice nothing.

use std::fs::File;
use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use mainstay_e2e::gateway::simple;
use mainstay_e2e::load::{Plan, Report};
use mainstay_e2e::process::Process;
use mainstay_e2e::{Mainstay, Origin, free, tools};

/// What the gateway is told to allow; the slow ones would go on for [`ATTACK`].
const LIMIT: Duration = Duration::from_secs(4);
const ATTACK: Duration = Duration::from_secs(120);

struct Stand {
    gateway: Mainstay,
    listen: SocketAddr,
    _origin: Origin,
}

fn stand() -> Stand {
    let (listen, origin) = (free(), Origin::start());
    let listener = "head_timeout = \"4s\"\nbody_timeout = \"4s\"\nkeep_alive_timeout = \"4s\"\n";
    let config =
        simple(listen, &[origin.address()], "").replacen("[[listener]]\n", &format!("[[listener]]\n{listener}"), 1);
    let route = "[[route]]\nname = \"all\"\nservice = \"app\"\ntimeout = \"4s\"\n";
    Stand { gateway: Mainstay::start(&format!("{config}\n{route}")), listen, _origin: origin }
}

/// A client that behaves, until told to stop.
fn others(listen: SocketAddr) -> Plan {
    Plan { clients: 4, pause: Duration::from_millis(5), time: ATTACK + LIMIT, ..Plan::new(listen) }
}

fn percentile_99(report: &Report) -> Duration {
    let mut times: Vec<Duration> = report.outcomes.iter().map(|outcome| outcome.took).collect();
    times.sort();
    times.get(times.len() * 99 / 100).copied().unwrap_or_default()
}

/// Runs `slowhttptest` in one mode while the others go on, until all its connections are gone.
fn attack(stand: &mut Stand, clients: u32, mode: &[&str], path: &str) {
    let quiet = others(stand.listen).start();
    std::thread::sleep(Duration::from_secs(2));
    let quiet = quiet.stop();
    quiet.assert_clean(100);

    let during = others(stand.listen).start();
    let (begun, mut most) = (Instant::now(), 0f64);
    let mut slow = slowhttptest(stand, clients, mode, path);
    // One second to open them all and the limit would do; the rest is room for a busy machine.
    let end = begun + ATTACK / 2;
    // A slow reader goes on with what its kernel has taken; whether it was cut off is for the gateway to say.
    let ended = loop {
        let connections = stand.gateway.metric("mainstay_listener_connections", &[]);
        most = most.max(connections);
        if most > f64::from(clients) * 0.75 && connections < 10.0 {
            break begun.elapsed();
        }
        assert!(Instant::now() < end, "{connections} of {most} connections are left after {:?}", begun.elapsed());
        std::thread::sleep(Duration::from_millis(100));
    };
    slow.kill();
    let during = during.stop();
    during.assert_clean(100);
    let (before, after) = (percentile_99(&quiet), percentile_99(&during));
    println!("{mode:?}: {most} connections, gone after {ended:?}; p99 of the others {before:?} -> {after:?}");
    // Whoever had to wait for one of the slow ones would wait for the whole of their limit.
    assert!(after < before * 10 + LIMIT / 2, "p99 of the others: {before:?} -> {after:?}");
    assert!(during.slowest() < Duration::from_secs(5), "{:?}", during.slowest());
    assert!(stand.gateway.process().is_running());
}

fn slowhttptest(stand: &Stand, clients: u32, mode: &[&str], path: &str) -> Process {
    let mut command = Command::new(tools::find("slowhttptest", "slowhttptest"));
    let (clients, seconds) = (clients.to_string(), ATTACK.as_secs().to_string());
    command.args(mode).args(["-c", &clients, "-r", &clients, "-l", &seconds, "-p", "30", "-v", "1"]);
    command.arg("-u").arg(format!("http://{}{path}", stand.listen));
    let log = File::create(stand.gateway.dir().join("slowhttptest")).expect("a file for its words");
    Process::start("slowhttptest", stand.gateway.dir(), &mut command, Some(log))
}

/// How many requests the gateway ended for this reason.
fn ended_by(stand: &Stand, reasons: &[&str]) -> usize {
    let log = stand.gateway.access_log();
    log.iter().filter(|line| reasons.iter().any(|reason| line["error"] == *reason)).count()
}

#[test]
fn slow_heads() {
    let mut stand = stand();
    attack(&mut stand, 400, &["-H", "-i", "1", "-x", "10"], "/ok");
    assert!(ended_by(&stand, &["head-timeout"]) > 300, "{}", stand.gateway.logged_errors(5));
}

#[test]
fn slow_bodies() {
    let mut stand = stand();
    attack(&mut stand, 400, &["-B", "-i", "1", "-x", "10", "-s", "100000"], "/sink");
    assert!(ended_by(&stand, &["timeout", "body-timeout"]) > 300, "{}", stand.gateway.logged_errors(5));
}

#[test]
fn slow_readers() {
    let mut stand = stand();
    // More than the kernel takes for a client that does not read, which is megabytes: hence fewer of them.
    let slow = ["-X", "-w", "512", "-y", "1024", "-n", "1", "-z", "32"];
    attack(&mut stand, 100, &slow, "/bytes/8000000");
    assert!(ended_by(&stand, &["timeout", "client-gone"]) > 75, "{}", stand.gateway.logged_errors(5));
}

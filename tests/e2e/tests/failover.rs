//! Floating addresses under faults, on real nodes in network namespaces. A watch looks every ten milliseconds, by the kernels,
//! by ARP and by TCP, and finds two holders if there ever are two.

use std::time::{Duration, Instant};

use mainstay_e2e::lab::nodes::{Engine, Nodes, PORT};
use mainstay_e2e::lab::watch::Watch;
use mainstay_e2e::lab::{Cut, FLOATING, SLOW, within};
use mainstay_e2e::{Wire, eventually, soak};

const SOON: Duration = Duration::from_secs(20);
/// A planner that has just started gives other nodes so much time to start as well, and plans nothing meanwhile.
const STARTING: Duration = Duration::from_secs(3);
/// What a guard says once it has had the lease of its dead node ended.
const ENDED: &str = "the guard has had its lease ended";

/// Three times, or twenty in a soak.
fn rounds() -> usize {
    soak::or(3, 20)
}

/// Faults come at another moment of the renewals each time.
fn offset(round: usize) -> Duration {
    Duration::from_millis((round as u64 * 137) % 700)
}

/// Median and worst.
fn told(what: &str, mut times: Vec<Duration>) -> (Duration, Duration) {
    times.sort();
    let (median, worst) = (times[times.len() / 2], *times.last().expect("a round"));
    println!("{what}: median {median:?}, worst {worst:?} of {}", times.len());
    (median, worst)
}

/// Waits until another node than `from` holds the address and answers the client, and checks that there never were two.
fn taken_over(nodes: &Nodes, watch: &Watch, from: usize, since: Instant) -> (usize, Duration) {
    let mut to = from;
    eventually("another node takes over", SOON, || {
        to = watch.holder().unwrap_or(from);
        to != from
    });
    eventually("the client is answered by it", SOON, || {
        watch.answered(Instant::now() - Duration::from_millis(50)).is_some()
    });
    std::thread::sleep(Duration::from_millis(300));
    watch.moved(from, to, since);
    let _for_messages = nodes;
    (to, watch.longest_gap(since, Instant::now()))
}

fn killed(timings: &str, rounds: usize) -> Vec<Duration> {
    let mut nodes = Nodes::start(3, Engine::Embedded, timings, "");
    let watch = Watch::start(nodes.lab(), PORT);
    let mut gaps = Vec::new();
    for round in 0..rounds {
        nodes.settled(&watch);
        std::thread::sleep(STARTING + offset(round));
        gaps.push(kill_the_holder(&mut nodes, &watch));
    }
    gaps
}

/// Kills the node that holds the address, and starts it again once another one has it; how long clients waited.
fn kill_the_holder(nodes: &mut Nodes, watch: &Watch) -> Duration {
    let holder = nodes.settled(watch);
    let ended = nodes.said(holder, ENDED);
    let since = nodes.kill(holder);
    let (_to, gap) = taken_over(nodes, watch, holder, since);
    // Nobody had to wait for the lease's own end.
    eventually("the guard has the lease ended", SOON, || nodes.said(holder, ENDED) == ended + 1);
    nodes.launch(holder);
    gap
}

#[test]
fn a_killed_holder_is_replaced() {
    // A busy machine may stretch one of them.
    let (median, _worst) = told("kill -9, default", killed("timings = \"default\"", rounds()));
    assert!(median < Duration::from_secs(6), "{median:?}");
}

#[test]
fn a_killed_holder_is_replaced_faster_if_asked_for() {
    let (median, _worst) = told("kill -9, fast", killed("timings = \"fast\"", rounds()));
    assert!(median < Duration::from_secs(5), "{median:?}");
}

/// Each time another one of etcd's three members is dead as well, and so once the one that leads them.
#[test]
fn a_killed_holder_is_replaced_with_two_members_of_etcd_as_well() {
    let mut nodes = Nodes::start(3, Engine::Etcd, "timings = \"default\"", "");
    let watch = Watch::start(nodes.lab(), PORT);
    let (mut gaps, mut without) = (Vec::new(), Vec::new());
    for round in 0..rounds() {
        nodes.settled(&watch);
        std::thread::sleep(STARTING);
        let since = Instant::now();
        nodes.kill_etcd(round % 3);
        std::thread::sleep(STARTING + offset(round));
        nodes.settled(&watch);
        assert_eq!(watch.twice(since), Duration::ZERO, "two had it when a member of etcd died");
        without.push(watch.longest_gap(since, Instant::now()));
        gaps.push(kill_the_holder(&mut nodes, &watch));
        nodes.restart_etcd(round % 3);
    }
    told("kill -9 of a member of etcd", without);
    let (_median, worst) = told("kill -9, default, two members of etcd", gaps);
    assert!(worst < Duration::from_secs(15), "{worst:?}");
}

#[test]
fn a_frozen_holder_loses_the_address_before_another_gets_it() {
    let mut nodes = Nodes::start(3, Engine::Embedded, "", "");
    let watch = Watch::start(nodes.lab(), PORT);
    let mut gaps = Vec::new();
    for round in 0..rounds() {
        let holder = nodes.settled(&watch);
        std::thread::sleep(offset(round));
        let since = Instant::now();
        nodes.process(holder).signal(libc::SIGSTOP);
        let (to, gap) = taken_over(&nodes, &watch, holder, since);
        gaps.push(gap);
        // It wakes up with everything that it believed.
        let woken = Instant::now();
        nodes.process(holder).signal(libc::SIGCONT);
        std::thread::sleep(Duration::from_millis(1500));
        watch.stayed(to, woken);
    }
    told("SIGSTOP, default", gaps);
}

#[test]
fn a_holder_that_is_cut_off_steps_down_before_another_takes_over() {
    let nodes = Nodes::start(3, Engine::Embedded, "", "");
    let watch = Watch::start(nodes.lab(), PORT);
    for cut in [Cut::Both, Cut::In, Cut::Out] {
        let mut gaps = Vec::new();
        for round in 0..rounds() {
            let holder = nodes.settled(&watch);
            std::thread::sleep(offset(round));
            let since = Instant::now();
            nodes.lab().cut(holder, cut);
            let (to, gap) = taken_over(&nodes, &watch, holder, since);
            gaps.push(gap);
            let healed = Instant::now();
            nodes.lab().heal(holder);
            std::thread::sleep(Duration::from_millis(1000));
            watch.stayed(to, healed);
        }
        told(&format!("cut {cut:?}, default"), gaps);
    }
}

#[test]
fn an_address_goes_where_it_is_sent_and_stays_there() {
    // A busy machine keeps leases of this length.
    let nodes = Nodes::start(3, Engine::Embedded, "timings = \"conservative\"", "");
    let watch = Watch::start(nodes.lab(), PORT);
    let mut gaps = Vec::new();
    for _round in 0..rounds() {
        let holder = nodes.settled(&watch);
        let to = (holder + 1) % 3;
        let since = Instant::now();
        // Asked of the third node, which has nothing to do with it.
        let asked = nodes.command((holder + 2) % 3, &["address", "move", &FLOATING.to_string(), &format!("n{to}")]);
        assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
        let (new, gap) = taken_over(&nodes, &watch, holder, since);
        assert_eq!(new, to);
        gaps.push(gap);
        let there = Instant::now();
        std::thread::sleep(Duration::from_millis(1000));
        watch.stayed(to, there);
    }
    told("address move", gaps);
}

/// A request that is under way when its address is moved is answered before that, and its client told to come back: for as long
/// as this move was told to wait, whatever is configured.
#[test]
fn an_address_that_is_moved_waits_for_requests_under_way() {
    let nodes = Nodes::start(3, Engine::Embedded, "", "drain = \"0s\"");
    let watch = Watch::start(nodes.lab(), PORT);
    let holder = nodes.settled(&watch);
    let to = (holder + 1) % 3;
    let client = nodes.lab().client();
    // A connection on which nothing is asked.
    let mut idle = within(&client, || {
        let mut wire = Wire::connect((FLOATING, PORT).into());
        assert_eq!(wire.exchange("GET / HTTP/1.1\r\nhost: a\r\n\r\n").status, 200);
        wire
    });
    let (response, since) = std::thread::scope(|scope| {
        let slow = scope.spawn(|| {
            within(&client, || {
                let mut wire = Wire::connect((FLOATING, PORT).into());
                wire.exchange("GET /slow HTTP/1.1\r\nhost: a\r\n\r\n")
            })
        });
        std::thread::sleep(SLOW / 4);
        let since = Instant::now();
        let (address, node) = (FLOATING.to_string(), format!("n{to}"));
        let asked = nodes.command(holder, &["address", "move", &address, &node, "--drain", "8s"]);
        assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
        (slow.join().expect("the request is answered"), since)
    });
    assert_eq!((response.status, response.header("connection")), (200, Some("close")));
    let (new, gap) = taken_over(&nodes, &watch, holder, since);
    assert_eq!(new, to);
    // What is still there when `drain` is over is reset.
    assert_eq!(idle.rest().map(|rest| rest.len()), Ok(0), "it was closed before that");
    told("address move with a request under way", vec![gap]);
}

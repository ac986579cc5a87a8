use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use mainstay_core::health::{Policy, State as Health};

use super::bench::*;

/// So rare that a test sees only the first probe.
const ONCE: Policy =
    Policy { interval: Duration::from_secs(3600), timeout: Duration::from_secs(5), unhealthy: 1, healthy: 1 };

#[test]
fn a_server_that_accepts_but_never_answers_is_down() {
    let server = Server::new(Answers::Never);
    let asked = endpoint(server.address);
    let bench = Bench::new();
    bench.apply(&[&service(http_check(QUICK), &[&asked])]);
    becomes(&asked, Health::Down);
    eventually("the reason", || reason(&asked) == "no answer within 100ms");
    assert!(asked.probes_failed.load(Ordering::Relaxed) >= 3);
    assert_eq!(asked.probes_passed.load(Ordering::Relaxed), 0);
}

#[test]
fn a_connection_is_enough_for_a_tcp_check() {
    let server = Server::new(Answers::Never);
    let connected = endpoint(server.address);
    let bench = Bench::new();
    bench.apply(&[&service(tcp_check(QUICK), &[&connected])]);
    becomes(&connected, Health::Up);
}

#[test]
fn a_server_that_dies_and_returns_goes_down_and_comes_up() {
    let server = Server::new(WELL);
    let address = server.address;
    let endpoint = endpoint(address);
    let service = service(http_check(QUICK), &[&endpoint]);
    let bench = Bench::new();
    bench.apply(&[&service]);
    becomes(&endpoint, Health::Up);
    eventually("settled", || bench.driver.is_settled());
    assert_eq!(reason(&endpoint), "");
    let epoch = service.epoch.load(Ordering::Acquire);
    drop(server);
    becomes(&endpoint, Health::Down);
    eventually("the reason", || reason(&endpoint) == "cannot connect: connection refused");
    eventually("the epoch", || service.epoch.load(Ordering::Acquire) > epoch);
    let _again = Server::at(address, ILL);
    eventually("the new reason", || reason(&endpoint) == "status 500, expected 200-299");
    drop(_again);
    let _well = Server::at(address, WELL);
    becomes(&endpoint, Health::Up);
    eventually("no reason", || reason(&endpoint).is_empty());
}

#[test]
fn a_reload_keeps_state_and_check_unless_the_check_changes() {
    let server = Server::new(WELL);
    let endpoint = endpoint(server.address);
    let bench = Bench::new();
    bench.apply(&[&service(http_check(ONCE), &[&endpoint])]);
    becomes(&endpoint, Health::Up);
    let probes = || endpoint.probes_passed.load(Ordering::Relaxed) + endpoint.probes_failed.load(Ordering::Relaxed);
    assert_eq!(probes(), 1);

    bench.apply(&[&service(http_check(ONCE), &[&endpoint])]);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!((probes(), endpoint.health()), (1, Health::Up));

    // With another check it is asked anew, and stays up meanwhile.
    let other = service(http_check(QUICK), &[&endpoint]);
    bench.apply(&[&other]);
    eventually("probes go on", || probes() > 3);
    assert_eq!(endpoint.health(), Health::Up);

    // The running check tells the service that there is now, not the one it began with.
    let newest = service(http_check(QUICK), &[&endpoint]);
    bench.apply(&[&newest]);
    drop(server);
    becomes(&endpoint, Health::Down);
    eventually("the epoch of the newest service", || newest.epoch.load(Ordering::Acquire) > 0);
}

#[test]
fn an_endpoint_that_is_gone_is_not_asked_any_more() {
    let (kept, gone) = (Server::new(WELL), Server::new(WELL));
    let (first, second) = (endpoint(kept.address), endpoint(gone.address));
    let bench = Bench::new();
    bench.apply(&[&service(http_check(QUICK), &[&first, &second])]);
    becomes(&first, Health::Up);
    becomes(&second, Health::Up);
    bench.apply(&[&service(http_check(QUICK), &[&first])]);
    let before = kept.asked.load(Ordering::Relaxed);
    eventually("the reload is in force", || kept.asked.load(Ordering::Relaxed) > before + 3);
    let count = gone.asked.load(Ordering::Relaxed);
    eventually("probes of the kept one", || kept.asked.load(Ordering::Relaxed) > before + 10);
    assert_eq!(gone.asked.load(Ordering::Relaxed), count);
    assert_eq!(Arc::strong_count(&second), 1, "nothing holds on to it");
}

#[test]
fn without_a_check_endpoints_are_up_at_once() {
    let endpoint = endpoint("127.0.0.1:1".parse().unwrap());
    let bench = Bench::new();
    assert!(!bench.driver.is_settled());
    bench.apply(&[&service(None, &[&endpoint])]);
    becomes(&endpoint, Health::Up);
    eventually("settled", || bench.driver.is_settled());
    assert_eq!(endpoint.probes_failed.load(Ordering::Relaxed), 0);
}

#[test]
fn a_node_is_settled_only_with_every_first_verdict() {
    let (well, silent) = (Server::new(WELL), Server::new(Answers::Never));
    let (quick, slow) = (endpoint(well.address), endpoint(silent.address));
    let patient = Policy { interval: Duration::from_secs(2), timeout: Duration::from_secs(2), ..QUICK };
    let bench = Bench::new();
    bench.apply(&[&service(http_check(patient), &[&quick, &slow])]);
    becomes(&quick, Health::Up);
    assert!(!bench.driver.is_settled());
    eventually("settled", || bench.driver.is_settled());
    assert_eq!(slow.probes_failed.load(Ordering::Relaxed), 1);
}

#[test]
fn many_silent_endpoints_do_not_fail_the_living() {
    let (well, silent) = (Server::new(WELL), Server::new(Answers::Never));
    let policy = Policy { interval: Duration::from_secs(1), timeout: Duration::from_secs(1), unhealthy: 1, healthy: 1 };
    let living: Vec<_> = (0..20).map(|_each| endpoint(well.address)).collect();
    let dead: Vec<_> = (0..600).map(|_each| endpoint(silent.address)).collect();
    let all: Vec<_> = dead.iter().take(300).chain(&living).chain(dead.iter().skip(300)).collect();
    let bench = Bench::new();
    bench.apply(&[&service(http_check(policy), &all)]);
    for endpoint in &dead {
        becomes(endpoint, Health::Down);
    }
    eventually("a second round", || dead.iter().all(|endpoint| endpoint.probes_failed.load(Ordering::Relaxed) > 1));
    for endpoint in &living {
        becomes(endpoint, Health::Up);
        assert_eq!(endpoint.probes_failed.load(Ordering::Relaxed), 0);
    }
}

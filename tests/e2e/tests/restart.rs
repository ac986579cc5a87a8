//! The way back after an outage: traffic returns in a growing share.

use std::time::{Duration, Instant};

use mainstay_e2e::gateway::simple;
use mainstay_e2e::load::Plan;
use mainstay_e2e::wire::get;
use mainstay_e2e::{Mainstay, Origin, eventually, free};

/// The shares of requests that were served in the first and in the last part of four seconds after a service was back, and
/// whether those who were sent away were told so.
fn comeback(restart: &str) -> (f64, f64, bool) {
    let (mut origin, listen) = (Origin::start(), free());
    let service = format!(
        "health = {{ http = \"/health\", interval = \"200ms\", timeout = \"150ms\", unhealthy = 2, healthy = 1 }}\n{restart}"
    );
    let gateway = Mainstay::start(&simple(listen, &[origin.address()], &service));
    Plan { requests: 50, clients: 2, ..Plan::new(listen) }.run().assert_clean(50);
    origin.kill();
    eventually("nobody can be asked", Duration::from_secs(10), || get(listen, "/ok").reason() == "no-healthy-endpoint");
    let out = Instant::now();
    while out.elapsed() < Duration::from_millis(1500) {
        assert_ne!(get(listen, "/ok").status, 200);
        std::thread::sleep(Duration::from_millis(50));
    }
    origin.restart();
    eventually("somebody is served", Duration::from_secs(10), || get(listen, "/ok").status == 200);
    let back = Instant::now();
    let pause = Duration::from_millis(5);
    let report = Plan { requests: 50_000, clients: 4, pause, time: Duration::from_secs(4), ..Plan::new(listen) }.run();
    let share = |from_ms: u64, to_ms: u64| {
        let within = |at: Instant| (from_ms..to_ms).contains(&(at.duration_since(back).as_millis() as u64));
        let all: Vec<_> = report.outcomes.iter().filter(|outcome| within(outcome.at)).collect();
        all.iter().filter(|outcome| outcome.is_ok()).count() as f64 / all.len() as f64
    };
    let told = |outcome: &&mainstay_e2e::load::Outcome| matches!(&outcome.result, Ok((503, reason)) if reason == "restart-ramp");
    let all_told = report.failed().iter().all(told);
    assert_eq!(restart.is_empty(), gateway.metric("mainstay_service_restart_refused_total", &[]) < 1.0);
    (share(0, 800), share(3300, 4000), all_told)
}

#[test]
fn a_service_that_comes_back_gets_its_traffic_in_a_ramp() {
    let (first, last, told) = comeback("restart = { ramp = \"3s\", from = \"5%\", after = \"500ms\" }");
    let (first_without, last_without, _) = comeback("");
    println!(
        "served in the first 0.8 s and after 3.3 s: {first:.2} and {last:.2}; without a ramp {first_without:.2} and {last_without:.2}"
    );
    assert!(first < 0.6, "a part at first: {first}");
    assert!(last > 0.99, "all in the end: {last}");
    assert!(told, "whoever is sent away is told why");
    assert!(first_without > 0.99, "without a ramp all of it comes at once: {first_without}");
}

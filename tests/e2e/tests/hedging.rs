//! Hedging: the slow tail goes, and the endpoints hardly notice.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mainstay_e2e::load::{Plan, Report};
use mainstay_e2e::scripted::{Exchange, Scripted};
use mainstay_e2e::wire::get;
use mainstay_e2e::{Mainstay, Wire, eventually, free};

// Long, so that what a busy machine adds is little beside them.
const FAST: Duration = Duration::from_millis(50);
const SLOW: Duration = Duration::from_millis(500);

/// Endpoints that answer after so long, each with the number of requests that it got.
fn endpoints(take: &[Duration]) -> Vec<(Scripted, Arc<AtomicU64>)> {
    let server = |takes: &Duration| {
        let (takes, count) = (*takes, Arc::new(AtomicU64::new(0)));
        let counted = Arc::clone(&count);
        let server = Scripted::start(move |mut exchange: Exchange| {
            while exchange.head().is_some() {
                counted.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(takes);
                exchange.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
            }
        });
        (server, count)
    };
    take.iter().map(server).collect()
}

fn gateway(hedge: &str, servers: &[(Scripted, Arc<AtomicU64>)], service: &str) -> (Mainstay, std::net::SocketAddr) {
    let listen = free();
    let addresses: Vec<String> = servers.iter().map(|(server, _count)| format!("\"{}\"", server.address())).collect();
    let config = format!(
        "[[listener]]\nname = \"web\"\nbind = \"{listen}\"\n[[route]]\nname = \"all\"\nservice = \"app\"\n{hedge}\n\
         [[service]]\nname = \"app\"\nhealth = \"off\"\n{service}\nendpoints = [{}]\n",
        addresses.join(", ")
    );
    (Mainstay::start(&config), listen)
}

fn quantile(report: &Report, q: f64) -> Duration {
    let mut took: Vec<Duration> = report.outcomes.iter().map(|outcome| outcome.took).collect();
    took.sort_unstable();
    took[((took.len() - 1) as f64 * q) as usize]
}

struct Run {
    /// The 99th percentile, of all but the first requests.
    p99: Duration,
    /// How many more requests the endpoints got than clients sent, the first ones included, as a share.
    extra: f64,
    /// The share of the slow endpoint.
    slow: f64,
}

/// One of five endpoints is ten times slower than the others, and nobody knows: it has its fifth of the weight.
fn run(hedge: &str, service: &str) -> Run {
    const FIRST: u64 = 600;
    const THEN: u64 = 2000;
    let servers = endpoints(&[FAST, FAST, FAST, FAST, SLOW]);
    let (_gateway, listen) = gateway(hedge, &servers, service);
    let plan = |requests| Plan { requests, clients: 24, ..Plan::new(listen) };
    plan(FIRST).run().assert_clean(FIRST as usize);
    let counts = || -> Vec<u64> { servers.iter().map(|(_server, count)| count.load(Ordering::Relaxed)).collect() };
    let slow = counts()[4];
    let report = plan(THEN).run();
    report.assert_clean(THEN as usize);
    let counts = counts();
    let extra = counts.iter().sum::<u64>() as f64 / (FIRST + THEN) as f64 - 1.0;
    let run = Run { p99: quantile(&report, 0.99), extra, slow: (counts[4] - slow) as f64 / THEN as f64 };
    println!(
        "{hedge} {service}: 99th percentile {:?}, {:.2} % more requests, {:.2} % at the slow endpoint",
        run.p99,
        run.extra * 100.0,
        run.slow * 100.0
    );
    run
}

#[test]
fn one_slow_endpoint_of_five_no_longer_makes_the_tail() {
    let without = run("", "");
    let with = run("hedge = \"on\"", "");
    assert!(without.extra.abs() < 0.001, "nothing is sent twice without hedging: {}", without.extra);
    assert!(without.p99 >= SLOW, "{:?}", without.p99);
    assert!(with.p99 <= without.p99 / 2, "{:?} with hedging, {:?} without", with.p99, without.p99);
    assert!(with.extra > 0.0 && with.extra <= 0.05, "{}", with.extra);
    // Those whose attempts are cancelled must not look idle.
    assert!(with.slow < without.slow, "{} with hedging, {} without", with.slow, without.slow);
}

#[test]
fn what_is_cancelled_does_not_make_an_endpoint_look_fast() {
    let service = "balance = \"peak-ewma\"";
    let run = run("hedge = \"on\"", service);
    assert!(run.slow < 0.02, "{}", run.slow);
    assert!(run.p99 < SLOW / 2, "{:?}", run.p99);
    assert!(run.extra <= 0.05, "{}", run.extra);
}

#[test]
fn only_what_may_be_repeated_is_hedged_and_the_loser_counts_for_nothing() {
    let servers = endpoints(&[10, 10, 10, 10, 100].map(Duration::from_millis));
    // At random, so that the slow one always gets its part.
    let breaker = "outlier = \"off\"\nbalance = \"random\"\nbreaker = { consecutive = 1 }\n";
    let (gateway, listen) = gateway("hedge = { quantile = \"90%\", min_delay = \"30ms\" }", &servers, breaker);
    let sent = || gateway.metric("mainstay_hedges_sent_total", &["\"all\""]);
    for _request in 0..40 {
        let mut wire = Wire::connect(listen);
        let answer = wire.exchange("POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 2\r\n\r\nhi");
        assert_eq!(answer.status, 200);
    }
    assert!(sent() < 1.0, "a POST is never hedged");
    eventually("a slow request is hedged", Duration::from_secs(20), || {
        Plan { requests: 100, clients: 4, ..Plan::new(listen) }.run().assert_clean(100);
        gateway.metric("mainstay_hedges_won_total", &["\"all\""]) >= 1.0
    });
    // What was cancelled opened no circuit breaker, though one failure would have been enough.
    assert!(gateway.metric("mainstay_endpoint_breaker_opened_total", &[]) < 1.0);
    assert!(gateway.metric("mainstay_endpoint_active", &[]) < 1.0, "what was cancelled is no longer in flight");
    let mut won = serde_json::Value::Null;
    eventually("both attempts are in the log", Duration::from_secs(5), || {
        let mut logged = gateway.access_log().into_iter();
        won = logged.find(|line| line["attempts"].as_array().is_some_and(|it| it.len() == 2)).unwrap_or_default();
        !won.is_null()
    });
    assert_eq!((&won["attempts"][0]["outcome"], &won["attempts"][1]["outcome"]), (&"abandoned".into(), &"ok".into()));
    assert_eq!(get(listen, "/").status, 200);
}

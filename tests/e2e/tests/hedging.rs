//! Hedging: the slow tail goes, and the endpoints hardly notice.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mainstay_e2e::load::{Plan, Report};
use mainstay_e2e::scripted::{Exchange, Scripted};
use mainstay_e2e::wire::get;
use mainstay_e2e::{Mainstay, Wire, eventually, free};

const FAST: Duration = Duration::from_millis(10);
const SLOW: Duration = Duration::from_millis(100);

/// Four endpoints that take 10 ms and one that takes ten times as long, with the number of requests that they got.
fn endpoints() -> (Vec<Scripted>, Arc<AtomicU64>) {
    let count = Arc::new(AtomicU64::new(0));
    let server = |takes: Duration| {
        let count = Arc::clone(&count);
        Scripted::start(move |mut exchange: Exchange| {
            while exchange.head().is_some() {
                count.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(takes);
                exchange.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
            }
        })
    };
    ([FAST, FAST, FAST, FAST, SLOW].into_iter().map(server).collect(), count)
}

/// The slow endpoint gets 3.4 % of the requests, whatever becomes of them.
fn gateway(hedge: &str, servers: &[Scripted], service: &str) -> (Mainstay, std::net::SocketAddr) {
    let listen = free();
    let mut config = format!(
        "[[listener]]\nname = \"web\"\nbind = \"{listen}\"\n[[route]]\nname = \"all\"\nservice = \"app\"\n{hedge}\n\
         [[service]]\nname = \"app\"\nhealth = \"off\"\noutlier = \"off\"\nbalance = \"random\"\n{service}\n"
    );
    for (server, weight) in servers.iter().zip([7, 7, 7, 7, 1]) {
        config += &format!("[[service.endpoint]]\naddress = \"{}\"\nweight = {weight}\n", server.address());
    }
    (Mainstay::start(&config), listen)
}

fn quantile(report: &Report, q: f64) -> Duration {
    let mut took: Vec<Duration> = report.outcomes.iter().map(|outcome| outcome.took).collect();
    took.sort_unstable();
    took[((took.len() - 1) as f64 * q) as usize]
}

/// The 99th percentile, and how many more requests the endpoints got than clients sent, as a share.
fn run(hedge: &str) -> (Duration, f64) {
    let (servers, count) = endpoints();
    let (_gateway, listen) = gateway(hedge, &servers, "");
    // Long enough for the quantile to be known.
    Plan { requests: 500, clients: 6, ..Plan::new(listen) }.run().assert_clean(500);
    let before = count.load(Ordering::Relaxed);
    let report = Plan { requests: 3000, clients: 6, ..Plan::new(listen) }.run();
    report.assert_clean(3000);
    let made = count.load(Ordering::Relaxed) - before;
    (quantile(&report, 0.99), made as f64 / 3000.0 - 1.0)
}

#[test]
fn one_slow_endpoint_of_five_no_longer_makes_the_tail() {
    let (without, none) = run("");
    let (with, extra) = run("hedge = \"on\"");
    println!("99th percentile {with:?} with hedging and {without:?} without; {:.1} % more requests", extra * 100.0);
    assert!(none.abs() < 0.001, "nothing is sent twice without hedging: {none}");
    assert!(without >= SLOW, "{without:?}");
    assert!(with <= without / 2, "{with:?} with hedging, {without:?} without");
    assert!(extra > 0.0 && extra <= 0.055, "{extra}");
}

#[test]
fn only_what_may_be_repeated_is_hedged_and_the_loser_counts_for_nothing() {
    let (servers, _count) = endpoints();
    let breaker = "breaker = { consecutive = 1 }\n";
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

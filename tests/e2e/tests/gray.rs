//! Gray failures: endpoints that pass their checks and serve badly. Found by comparison with their siblings, eased out in
//! steps, and back again. Slow start and balancing by latency, too, which are about the same thing.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mainstay_e2e::gateway::simple;
use mainstay_e2e::load::{Load, Plan};
use mainstay_e2e::wire::get;
use mainstay_e2e::{Mainstay, Origin, eventually, free};

const CHECKED: &str =
    "health = { http = \"/health\", interval = \"300ms\", timeout = \"250ms\" }\nbalance = \"round-robin\"\n";
const LONG: Duration = Duration::from_secs(20);

fn addresses(origins: &[Origin]) -> Vec<SocketAddr> {
    origins.iter().map(Origin::address).collect()
}

/// How much of its weight the endpoint gets for this reason.
fn weight(gateway: &Mainstay, endpoint: SocketAddr, reason: &str) -> f64 {
    gateway.metric("mainstay_endpoint_weight_share", &[&format!("\"{endpoint}\""), &format!("\"{reason}\"")])
}

/// The share of one backend in the answers since `since`.
fn share_of(load: Load, endpoint: SocketAddr, since: Instant) -> f64 {
    let report = load.stop();
    report.assert_clean(100);
    let late: Vec<_> = report.outcomes.iter().filter(|outcome| outcome.at > since).collect();
    assert!(late.len() >= 100, "only {} requests", late.len());
    late.iter().filter(|outcome| outcome.origin == Some(endpoint)).count() as f64 / late.len() as f64
}

/// Four endpoints, the first of which answers `/health` at once and everything else twenty times slower than the others.
fn one_of_four_is_slow() -> Vec<Origin> {
    let origins = Origin::several(4);
    origins.iter().for_each(|origin| origin.control("delay=5"));
    origins[0].control("delay=100");
    origins
}

#[test]
fn a_slow_endpoint_loses_its_traffic_within_ten_seconds_and_gets_it_back() {
    let origins = one_of_four_is_slow();
    let (listen, all) = (free(), addresses(&origins));
    let gateway = Mainstay::start(&simple(listen, &all, &format!("{CHECKED}outlier = {{ gray = true }}")));
    let begun = Instant::now();
    let load = Plan::new(listen).start();
    eventually("it is eased out to a trickle", LONG, || weight(&gateway, all[0], "gray") <= 0.02);
    let eased = begun.elapsed();
    assert!(eased < Duration::from_secs(10), "eased out after {eased:?}");
    let since = Instant::now();
    std::thread::sleep(Duration::from_secs(2));
    let share = share_of(load, all[0], since);
    println!("eased out after {eased:?}; then {:.2} % of the traffic", share * 100.0);
    assert!(share < 0.05, "{share} of the traffic still goes to the slow one");
    assert!(share > 0.0, "nobody could tell when it has recovered");
    let told = gateway.stderr();
    assert!(told.contains("endpoint is eased out") && !told.contains("endpoint is down"), "{told}");
    let status = String::from_utf8_lossy(&gateway.command(&["status"]).stdout).into_owned();
    assert!(status.contains("up at 2%") && status.contains("those of the others"), "{status}");
    let id = get(listen, "/ok").header("x-request-id").unwrap_or_default().to_owned();
    let mut page = String::new();
    eventually("the request is remembered", LONG, || {
        let told = gateway.command(&["explain", &id]);
        page = String::from_utf8_lossy(&told.stdout).into_owned();
        told.status.success()
    });
    assert!(page.contains("at 2% of its weight") && page.contains("those of the others"), "{page}");
    origins[0].control("delay=5");
    let recovered = Instant::now();
    let load = Plan::new(listen).start();
    eventually("it has its weight back", LONG, || weight(&gateway, all[0], "gray") >= 1.0);
    println!("its weight back after {:?}", recovered.elapsed());
    let since = Instant::now();
    std::thread::sleep(Duration::from_secs(1));
    let share = share_of(load, all[0], since);
    assert!((0.2..0.3).contains(&share), "{share} is not a fourth");
}

#[test]
fn without_the_comparison_it_keeps_its_share() {
    let origins = one_of_four_is_slow();
    let (listen, all) = (free(), addresses(&origins));
    let _gateway = Mainstay::start(&simple(listen, &all, CHECKED));
    let (since, load) = (Instant::now(), Plan::new(listen).start());
    std::thread::sleep(Duration::from_secs(4));
    let share = share_of(load, all[0], since);
    assert!((0.2..0.3).contains(&share), "{share} is not a fourth: the other test proves nothing");
}

#[test]
fn requests_that_hang_count_before_they_time_out() {
    let origins = Origin::several(4);
    let (listen, all) = (free(), addresses(&origins));
    let service = "health = \"off\"\nbalance = \"round-robin\"\n\
                   outlier = { consecutive = 10000, gray = { interval = \"500ms\", min_requests = 10 } }";
    let gateway = Mainstay::start(&simple(listen, &all, service));
    let load = Plan { clients: 32, pause: Duration::from_millis(2), ..Plan::new(listen) }.start();
    std::thread::sleep(Duration::from_secs(2));
    origins[0].stop();
    eventually("whoever only hangs is eased out", LONG, || weight(&gateway, all[0], "gray") <= 0.02);
    assert_eq!(gateway.metric("mainstay_endpoint_timeouts_total", &[]), 0.0, "no request has timed out so far");
    origins[0].resume();
    load.stop().assert_clean(100);
}

#[test]
fn one_that_fails_is_eased_out_then_ejected_and_comes_back_by_steps() {
    let origins = Origin::several(4);
    let (listen, all) = (free(), addresses(&origins));
    let service = format!(
        "{CHECKED}outlier = {{ consecutive = 10000, base = \"2s\", gray = {{ interval = \"300ms\" }} }}\n\
         retry_budget = {{ ratio = \"100%\", floor = 1000 }}"
    );
    let route =
        "[[route]]\nname = \"all\"\nservice = \"app\"\nretry = { attempts = 3, on = [\"5xx\"], backoff = \"1ms\" }\n";
    let gateway = Mainstay::start(&(route.to_owned() + &simple(listen, &all, &service)));
    origins[0].control("status=500");
    let load = Plan { pause: Duration::from_millis(1), ..Plan::new(listen) }.start();
    eventually("it is eased out", LONG, || weight(&gateway, all[0], "gray") <= 0.5);
    eventually("it is ejected", LONG, || gateway.metric("mainstay_endpoint_ejections_total", &[]) >= 1.0);
    let told = gateway.stderr();
    let place = |what: &str| told.find(what).unwrap_or_else(|| panic!("`{what}` is not in the log: {told}"));
    assert!(place("endpoint is eased out") < place("endpoint is ejected"), "{told}");
    origins[0].control("status=0");
    eventually("it has its weight back", LONG, || {
        weight(&gateway, all[0], "gray") >= 1.0 && gateway.metric("mainstay_endpoint_ejected", &[]) == 0.0
    });
    load.stop().assert_clean(100);
}

#[test]
fn an_endpoint_that_comes_back_gets_its_weight_little_by_little() {
    let mut origins = Origin::several(2);
    let (listen, all) = (free(), addresses(&origins));
    let service = format!("{CHECKED}slow_start = \"4s\"");
    let gateway = Mainstay::start(&simple(listen, &all, &service));
    assert_eq!(weight(&gateway, all[0], "slow-start"), 1.0, "at the start all are cold alike");
    origins[0].kill();
    let up = || gateway.metric("mainstay_endpoint_health", &[&format!("\"{}\"", all[0]), "\"up\""]) >= 1.0;
    eventually("it is down", LONG, || !up());
    origins[0].restart();
    eventually("it is up", LONG, up);
    let first = weight(&gateway, all[0], "slow-start");
    assert!(first < 0.9, "{first} at once");
    let report = Plan { requests: 300, clients: 4, ..Plan::new(listen) }.run();
    report.assert_clean(300);
    let (warm, cold) = (report.by_origin()[&all[1]], report.by_origin().get(&all[0]).copied().unwrap_or(0));
    assert!(cold * 3 < warm * 2, "{cold} to the cold one, {warm} to the other");
    eventually("it has its whole weight", LONG, || weight(&gateway, all[0], "slow-start") >= 1.0);
}

#[test]
fn balancing_by_latency_leaves_the_slow_one_alone() {
    let origins = one_of_four_is_slow();
    let (listen, all) = (free(), addresses(&origins));
    let _gateway = Mainstay::start(&simple(listen, &all, "balance = \"peak-ewma\""));
    let (since, load) = (Instant::now() + Duration::from_secs(1), Plan { clients: 1, ..Plan::new(listen) }.start());
    // One request at a time: by requests in flight alone all four would be alike.
    std::thread::sleep(Duration::from_secs(4));
    let share = share_of(load, all[0], since);
    assert!(share < 0.05, "{share} of the traffic goes to the slow one");
}

#[test]
fn an_endpoint_that_fails_at_once_does_not_draw_the_traffic() {
    let origins = Origin::several(4);
    let (listen, all) = (free(), addresses(&origins));
    origins.iter().for_each(|origin| origin.control("delay=20"));
    let share = |service: &str| {
        let gateway = Mainstay::start(&simple(listen, &all, service));
        origins[0].control("status=500&delay=0");
        let report = Plan { requests: 1_500, clients: 16, ..Plan::new(listen) }.run();
        drop(gateway);
        report.by_origin().get(&all[0]).copied().unwrap_or(0) as f64 / report.outcomes.len() as f64
    };
    // By turns it gets its fourth. By requests in flight alone it would get far more than that.
    let by_load = share("health = \"off\"\noutlier = \"off\"\nbalance = \"least-request\"");
    assert!(by_load < 0.2, "{by_load} of the traffic goes to whoever fails");
}

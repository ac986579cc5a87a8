//! Circuit breakers of routes and endpoints: they open under real failures, spare callers the wait, are seen by whoever looks,
//! and close by themselves when real calls succeed again.

use std::net::SocketAddr;
use std::time::Duration;

use mainstay_e2e::gateway::simple;
use mainstay_e2e::load::{Plan, Report};
use mainstay_e2e::wire::get;
use mainstay_e2e::{Mainstay, Origin, Wire, eventually, free};

const UNCHECKED: &str = "health = \"off\"\noutlier = \"off\"\nbalance = \"round-robin\"\n";

fn route(settings: &str) -> String {
    format!("[[route]]\nname = \"pay\"\nservice = \"app\"\n{settings}\n")
}

fn route_is(gateway: &Mainstay, state: &str) -> bool {
    gateway.metric("mainstay_route_breaker_state", &["\"pay\"", &format!("\"{state}\"")]) >= 1.0
}

fn endpoint_is(gateway: &Mainstay, endpoint: SocketAddr, state: &str) -> bool {
    let (endpoint, state) = (format!("\"{endpoint}\""), format!("\"{state}\""));
    gateway.metric("mainstay_endpoint_breaker_state", &[&endpoint, &state]) >= 1.0
}

fn median(report: &Report) -> Duration {
    let mut took: Vec<Duration> = report.outcomes.iter().map(|outcome| outcome.took).collect();
    took.sort_unstable();
    took[took.len() / 2]
}

/// The calls of one caller after another while the API hangs, and what the API saw of them.
fn while_it_hangs(breaker: &str) -> (Report, Mainstay, Origin, SocketAddr) {
    let (origin, listen) = (Origin::start(), free());
    let health = "health = { http = \"/health\", interval = \"200ms\", timeout = \"150ms\" }\noutlier = \"off\"\n";
    let config = route(&format!("timeout = \"400ms\"\n{breaker}")) + &simple(listen, &[origin.address()], health);
    let gateway = Mainstay::start(&config);
    Plan { requests: 40, clients: 2, ..Plan::new(listen) }.run().assert_clean(40);
    origin.control("delay=30000");
    // Enough for the breaker to see that most calls fail, whatever came before.
    Plan { requests: 60, clients: 20, ..Plan::new(listen) }.run();
    let report = Plan { requests: 150, clients: 15, ..Plan::new(listen) }.run();
    (report, gateway, origin, listen)
}

/// Scenario "payment API hangs for 30 s": callers must not wait for it, and nobody has to repair anything afterwards.
#[test]
fn an_api_that_hangs_costs_its_callers_no_time_and_is_used_again_once_it_answers() {
    let breaker = "breaker = { failure_rate = \"50%\", min_calls = 10, window = \"60s\", open_for = \"2s\", open_max = \"2s\", \
                   probes = 2, ramp = \"1s\" }";
    let (report, gateway, origin, listen) = while_it_hangs(breaker);
    let refused =
        report.outcomes.iter().filter(|it| matches!(&it.result, Ok((503, reason)) if reason == "breaker-open"));
    let refused = refused.count();
    assert!(refused >= 140, "all but the calls that were let through to try are refused: {refused}");
    let (with, without) = (median(&report), median(&while_it_hangs("").0));
    println!("median while it hangs: {with:?} with a breaker, {without:?} without");
    assert!(without >= Duration::from_millis(400), "without a breaker each caller waits for the time-out: {without:?}");
    assert!(with < Duration::from_millis(50), "{with:?}");

    let answer = get(listen, "/ok");
    if answer.status == 503 {
        let wait: u64 = answer.header("retry-after").and_then(|value| value.parse().ok()).expect("a time to wait");
        assert!((1..=3).contains(&wait), "{wait}");
    }
    let checks = origin.stat("health_checks");
    eventually("checks pass all the while", Duration::from_secs(5), || origin.stat("health_checks") > checks + 5);
    assert!(!route_is(&gateway, "closed") && !route_is(&gateway, "ramping"), "checks that pass close no breaker");
    let page = String::from_utf8_lossy(&gateway.command(&["status"]).stdout).into_owned();
    assert!(page.contains("route pay: circuit breaker "), "{page}");
    assert!(gateway.stderr().contains("circuit breaker opens"), "{}", gateway.stderr());

    origin.control("delay=0");
    let load = Plan { pause: Duration::from_millis(5), clients: 4, requests: 20_000, ..Plan::new(listen) }.start();
    eventually("it closes by itself", Duration::from_secs(15), || route_is(&gateway, "closed"));
    load.stop();
    Plan { requests: 200, clients: 4, ..Plan::new(listen) }.run().assert_clean(200);
}

#[test]
fn an_endpoint_whose_breaker_is_open_is_not_asked_and_explain_says_so() {
    let (origins, listen) = (Origin::several(2), free());
    let all = [origins[0].address(), origins[1].address()];
    let service = format!(
        "{UNCHECKED}breaker = {{ consecutive = 3, open_for = \"1s\", open_max = \"1s\", jitter = \"0%\", probes = 1, ramp = \"0s\" }}"
    );
    let config = route("retry = \"off\"") + &simple(listen, &all, &service);
    let gateway = Mainstay::start_with("explain = 1000", &config);
    origins[0].control("status=500");
    let report = Plan { requests: 60, clients: 1, ..Plan::new(listen) }.run();
    assert!(report.failed().len() <= 4, "three failures, and perhaps one to try: {}", report.failed().len());
    eventually("it is open", Duration::from_secs(5), || {
        // Traffic that tries it from time to time.
        get(listen, "/ok");
        endpoint_is(&gateway, all[0], "open")
    });
    let answers: Vec<_> = (0..4).map(|_request| get(listen, "/ok")).collect();
    let told = answers.iter().any(|answer| {
        let id = answer.header("x-request-id").expect("an id").to_owned();
        let output = gateway.command(&["explain", &id]);
        String::from_utf8_lossy(&output.stdout).contains("skipped: its circuit breaker is open")
    });
    assert!(told, "each in turn, so that it was the turn of the open one");

    origins[1].control("status=500");
    eventually("both are open", Duration::from_secs(5), || {
        let answer = get(listen, "/ok");
        answer.status == 503 && answer.reason() == "breaker-open" && answer.header("retry-after") == Some("1")
    });
    origins.iter().for_each(|origin| origin.control("status=0"));
    eventually("both are closed again", Duration::from_secs(10), || {
        get(listen, "/ok");
        all.iter().all(|endpoint| endpoint_is(&gateway, *endpoint, "closed"))
    });
    Plan { requests: 60, clients: 2, ..Plan::new(listen) }.run().assert_clean(60);
}

#[test]
fn a_breaker_survives_a_reload_unless_its_own_settings_change() {
    let (origin, listen) = (Origin::start(), free());
    let config = |breaker: &str, more: &str| {
        route(&format!("retry = \"off\"\nbreaker = {{ {breaker} }}\n{more}"))
            + &simple(listen, &[origin.address()], UNCHECKED)
    };
    let mut gateway = Mainstay::start(&config("consecutive = 3, open_for = \"10m\", open_max = \"10m\"", ""));
    for _failure in 0..3 {
        assert_eq!(get(listen, "/status/500").status, 500);
    }
    assert_eq!(get(listen, "/ok").reason(), "breaker-open");
    gateway.reload(&config("consecutive = 3, open_for = \"10m\", open_max = \"10m\"", "timeout = \"7s\""));
    assert_eq!(get(listen, "/ok").reason(), "breaker-open", "the route's other settings do not concern it");
    gateway.reload(&config("consecutive = 4, open_for = \"10m\", open_max = \"10m\"", ""));
    assert_eq!(get(listen, "/ok").status, 200, "another breaker begins closed");
}

#[test]
fn a_call_that_its_client_gives_up_decides_nothing_and_holds_no_place() {
    let (origin, listen) = (Origin::start(), free());
    let breaker =
        "breaker = { consecutive = 3, open_for = \"500ms\", open_max = \"500ms\", probes = 1, probe_timeout = \"1m\" }";
    let gateway = Mainstay::start(
        &(route(&format!("retry = \"off\"\n{breaker}")) + &simple(listen, &[origin.address()], UNCHECKED)),
    );
    for _failure in 0..3 {
        assert_eq!(get(listen, "/status/500").status, 500);
    }
    std::thread::sleep(Duration::from_millis(900));
    let mut probe = Wire::connect(listen);
    probe.send("GET /sleep/20000 HTTP/1.1\r\nhost: a.test\r\n\r\n").expect("the request goes out");
    eventually("it is let through to try", Duration::from_secs(5), || route_is(&gateway, "half-open"));
    assert_eq!(get(listen, "/ok").reason(), "breaker-open", "its place is taken");
    // Closing with RST, which tells the gateway at once.
    let socket = socket2::SockRef::from(&*probe.stream());
    socket.set_linger(Some(Duration::ZERO)).expect("a socket");
    drop(probe);
    eventually("the next one is let through", Duration::from_secs(5), || get(listen, "/ok").status == 200);
    assert!(!route_is(&gateway, "open"), "nothing has failed since");
}

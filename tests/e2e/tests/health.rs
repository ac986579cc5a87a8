//! Health checks, ejection, draining, balancing and the retry budget, seen from outside.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use mainstay_e2e::gateway::simple;
use mainstay_e2e::load::Plan;
use mainstay_e2e::wire::get;
use mainstay_e2e::{Mainstay, Origin, Wire, eventually, free, tools};

const QUICK: &str =
    "health = { http = \"/health\", interval = \"300ms\", timeout = \"200ms\", unhealthy = 3, healthy = 2 }";

fn is(gateway: &Mainstay, endpoint: SocketAddr, state: &str) -> bool {
    gateway.metric("mainstay_endpoint_health", &[&format!("\"{endpoint}\""), &format!("\"{state}\"")]) >= 1.0
}

fn addresses(origins: &[Origin]) -> Vec<SocketAddr> {
    origins.iter().map(Origin::address).collect()
}

#[test]
fn thresholds_take_an_endpoint_out_and_bring_it_back() {
    let origins = Origin::several(2);
    let (listen, all) = (free(), addresses(&origins));
    let gateway = Mainstay::start(&simple(listen, &all, QUICK));
    assert!(is(&gateway, all[0], "up") && is(&gateway, all[1], "up"), "ready means that the first verdicts are in");
    origins[0].control("health=503");
    eventually("three failures take it down", Duration::from_secs(8), || is(&gateway, all[0], "down"));
    let before = origins[0].stat("requests");
    Plan { requests: 100, clients: 2, ..Plan::new(listen) }.run().assert_clean(100);
    assert_eq!(origins[0].stat("requests"), before);
    origins[0].control("health=204");
    eventually("two passes bring it up", Duration::from_secs(8), || is(&gateway, all[0], "up"));
    let text = gateway.stderr();
    assert!(text.contains(&all[0].to_string()), "changes are in the log: {text}");
    eventually("it gets traffic again", Duration::from_secs(8), || {
        get(listen, "/ok");
        origins[0].stat("requests") > before
    });
}

#[test]
fn expected_statuses_hosts_and_ports_of_checks() {
    let (backend, checked, listen) = (free(), free(), free());
    let block = format!(
        "server {{ listen {backend}; location / {{ return 200 ok; }} }}\n\
         server {{ listen {checked}; server_name check.test; location /h {{ return 418; }} }}\n\
         server {{ listen {checked} default_server; return 500; }}"
    );
    let _nginx = tools::nginx(backend, &block, &[]);
    let health = |expect: &str, host: &str| {
        format!(
            "health = {{ http = \"/h\", port = {}, host = \"{host}\", expect = {expect}, interval = \"300ms\", \
             timeout = \"250ms\", unhealthy = 1, healthy = 1 }}",
            checked.port()
        )
    };
    let mut gateway = Mainstay::start(&simple(listen, &[backend], &health("[200, \"410-420\"]", "check.test")));
    eventually("418 is expected", Duration::from_secs(8), || is(&gateway, backend, "up"));
    gateway.reload(&simple(listen, &[backend], &health("\"200-299\"", "check.test")));
    eventually("418 is not expected", Duration::from_secs(8), || is(&gateway, backend, "down"));
    gateway.reload(&simple(listen, &[backend], &health("418", "other.test")));
    eventually("another host answers 500", Duration::from_secs(8), || is(&gateway, backend, "down"));
    gateway.reload(&simple(listen, &[backend], &health("500", "other.test")));
    eventually("500 is expected", Duration::from_secs(8), || is(&gateway, backend, "up"));
}

#[test]
fn nobody_healthy_is_503_or_fails_open() {
    for (when_empty, service) in [("refuse", ""), ("fail-open", "")] {
        let origins = Origin::several(2);
        let (listen, all) = (free(), addresses(&origins));
        origins.iter().for_each(|origin| origin.control("health=500"));
        let config = simple(listen, &all, &format!("{QUICK}\nwhen_empty = \"{when_empty}\"{service}"));
        let gateway = Mainstay::start(&config);
        eventually("both are down", Duration::from_secs(8), || {
            all.iter().all(|address| is(&gateway, *address, "down"))
        });
        let response = get(listen, "/ok");
        if when_empty == "refuse" {
            assert_eq!((response.status, response.reason()), (503, "no-healthy-endpoint"));
            let seconds: u64 =
                response.header("retry-after").and_then(|text| text.parse().ok()).expect("Retry-After in seconds");
            assert!((1..=60).contains(&seconds), "{seconds}");
            assert!(gateway.metric("mainstay_service_empty_total", &[]) >= 1.0);
        } else {
            assert_eq!(response.text(), "ok");
        }
    }
}

#[test]
fn errors_in_a_row_eject_and_the_cap_holds() {
    let origins = Origin::several(4);
    let (listen, all) = (free(), addresses(&origins));
    let outlier = "health = \"off\"\nbalance = \"round-robin\"\n\
                   outlier = { consecutive = 5, base = \"2s\", cap = \"2s\", max_ejected = \"50%\" }";
    let gateway = Mainstay::start(&simple(listen, &all, outlier));
    for origin in &origins[..3] {
        origin.control("status=500");
    }
    let plan = Plan { requests: 400, clients: 1, ..Plan::new(listen) };
    plan.clone().run();
    let ejected = gateway.metric("mainstay_endpoint_ejected", &[]);
    assert!((1.0..=2.0).contains(&ejected), "{ejected} of 4 are out, at most half may be");
    for origin in &origins[..3] {
        origin.control("status=0");
    }
    eventually("an ejection ends", Duration::from_secs(15), || {
        get(listen, "/ok");
        gateway.metric("mainstay_endpoint_ejected", &[]) == 0.0
    });
    plan.run().assert_clean(400);
}

#[test]
fn draining_by_command_and_by_configuration() {
    let origins = Origin::several(2);
    let (listen, all) = (free(), addresses(&origins));
    let mut gateway = Mainstay::start(&simple(listen, &all, QUICK));
    let name = format!("app/{}", all[0]);
    let mut slow = Vec::new();
    for _index in 0..8 {
        let mut wire = Wire::connect(listen);
        wire.send("GET /sleep/1000 HTTP/1.1\r\nHost: a\r\n\r\n").expect("sent");
        slow.push(wire);
    }
    std::thread::sleep(Duration::from_millis(300));
    let output = gateway.command(&["drain", &name]);
    assert!(output.status.success(), "{output:?}");
    let before = origins[0].stat("requests");
    Plan { requests: 200, clients: 4, ..Plan::new(listen) }.run().assert_clean(200);
    assert_eq!(origins[0].stat("requests"), before);
    for wire in &mut slow {
        assert_eq!(wire.response().expect("a request in flight is answered").status, 200);
    }
    let undone = gateway.command(&["drain", &name, "--undo"]);
    assert!(undone.status.success(), "{undone:?}");
    Plan { requests: 200, clients: 4, ..Plan::new(listen) }.run().assert_clean(200);
    assert!(origins[0].stat("requests") > before);
    let unknown = gateway.command(&["drain", "app/127.0.0.1:1"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&unknown.stderr).contains(&all[1].to_string()),
        "the known ones are named: {unknown:?}"
    );
    let drained = format!(
        "[[listener]]\nname = \"web\"\nbind = \"{listen}\"\n[[service]]\nname = \"app\"\n{QUICK}\n\
         [[service.endpoint]]\naddress = \"{}\"\n[[service.endpoint]]\naddress = \"{}\"\ndrain = true\n",
        all[0], all[1]
    );
    gateway.reload(&drained);
    let before = origins[1].stat("requests");
    Plan { requests: 200, clients: 4, ..Plan::new(listen) }.run().assert_clean(200);
    assert_eq!(origins[1].stat("requests"), before);
}

fn spread(balance: &str, weights: [u32; 3], headers: impl Fn(usize) -> String) -> HashMap<String, usize> {
    let origins = Origin::several(3);
    let listen = free();
    let mut config =
        format!("[[listener]]\nname = \"web\"\nbind = \"{listen}\"\n[[service]]\nname = \"app\"\n{balance}\n");
    for (origin, weight) in origins.iter().zip(weights) {
        config += &format!("[[service.endpoint]]\naddress = \"{}\"\nweight = {weight}\n", origin.address());
    }
    let _gateway = Mainstay::start(&config);
    let names: Vec<String> = origins.iter().map(|origin| origin.address().to_string()).collect();
    let mut counts = HashMap::new();
    let mut wire = Wire::connect(listen);
    for index in 0..600 {
        let response = wire.exchange(format!("GET /ok HTTP/1.1\r\nHost: a\r\n{}\r\n", headers(index)));
        let origin = response.header("x-origin").expect("the backend's name");
        let place = names.iter().position(|name| name == origin).expect("one of the three");
        *counts.entry(format!("{place}")).or_insert(0) += 1;
        *counts.entry(format!("{place} of {}", headers(index))).or_insert(0) += 1;
    }
    counts
}

#[test]
fn policies_spread_as_they_say() {
    let none = |_index| String::new();
    let counts = spread("balance = \"round-robin\"", [3, 2, 1], none);
    assert!((290..=310).contains(&counts["0"]) && (90..=110).contains(&counts["2"]), "{counts:?}");
    let counts = spread("balance = \"random\"", [3, 2, 1], none);
    assert!((230..=370).contains(&counts["0"]) && (50..=150).contains(&counts["2"]), "{counts:?}");
    let counts = spread("balance = \"least-request\"", [1, 1, 1], none);
    assert!((0..3).all(|place| counts[&place.to_string()] > 100), "{counts:?}");
    // The same key goes to the same endpoint, and the keys spread.
    let key = |index: usize| format!("X-User: u{}\r\n", index % 60);
    let counts = spread("balance = \"hash\"\nhash = { header = \"x-user\" }", [1, 1, 1], key);
    assert_eq!(counts.keys().filter(|name| name.contains("of X-User")).count(), 60, "{counts:?}");
    assert!((0..3).all(|place| counts[&place.to_string()] >= 60), "{counts:?}");
    let cookie = |index: usize| format!("Cookie: a=b; sid=s{}; c=d\r\n", index % 60);
    let counts = spread("balance = \"hash\"\nhash = { cookie = \"sid\" }", [1, 1, 1], cookie);
    assert_eq!(counts.keys().filter(|name| name.contains("of Cookie")).count(), 60, "{counts:?}");
    let counts = spread("balance = \"hash\"\nhash = \"source\"", [1, 1, 1], none);
    assert_eq!(counts.keys().filter(|name| !name.contains("of")).count(), 1, "{counts:?}");
}

#[test]
fn retries_stay_within_the_budget() {
    let origins = Origin::several(2);
    let (listen, all) = (free(), addresses(&origins));
    let route = "[[route]]\nname = \"all\"\nservice = \"app\"\nretry = { attempts = 5, on = [\"5xx\"], backoff = \"1ms\", backoff_cap = \"2ms\" }\n";
    let service = "health = \"off\"\noutlier = \"off\"\nretry_budget = { ratio = \"20%\", floor = 3 }";
    let gateway = Mainstay::start(&(route.to_owned() + &simple(listen, &all, service)));
    origins.iter().for_each(|origin| origin.control("status=503"));
    let begun = std::time::Instant::now();
    let report = Plan { requests: 5_000, clients: 8, ..Plan::new(listen) }.run();
    assert_eq!(report.outcomes.len(), 5_000);
    let arrived: u64 = origins.iter().map(|origin| origin.stat("requests")).sum();
    let floor = 3 * (begun.elapsed().as_secs() + 2);
    assert!(arrived <= 6_000 + floor + 60, "{arrived} attempts for 5,000 requests");
    assert!(arrived >= 5_300, "{arrived} attempts for 5,000 requests: the budget is not used");
    assert!(gateway.metric("mainstay_service_budget_refusals_total", &[]) > 0.0);
    assert!(
        report.outcomes.iter().all(|outcome| matches!(&outcome.result, Ok((503, _)))),
        "the backend's answer is passed on"
    );
}

#[test]
fn a_retry_says_so_and_an_incoming_attempt_is_not_multiplied() {
    let origins = Origin::several(2);
    let (listen, all) = (free(), addresses(&origins));
    let route =
        "[[route]]\nname = \"all\"\nservice = \"app\"\nretry = { attempts = 3, on = [\"5xx\"], backoff = \"1ms\" }\n";
    let service = "health = \"off\"\noutlier = \"off\"\nbalance = \"round-robin\"\nretry_budget = { ratio = \"100%\", floor = 1000 }";
    // Whether a request is somebody else's retry is believed where X-Forwarded-For is.
    let trusting =
        simple(listen, &all, service).replacen("[[service]]", "trusted_proxies = [\"127.0.0.0/8\"]\n[[service]]", 1);
    let gateway = Mainstay::start(&(route.to_owned() + &trusting));
    origins[0].control("status=500");
    let mut seen = Vec::new();
    for index in 0..20 {
        let response = get(listen, &format!("/r/{index}"));
        assert_eq!(response.status, 200);
        let text = response.text().to_lowercase();
        seen.push(text.contains("[\"x-mainstay-attempt\",\"1\"]"));
        let attempts = gateway.logged(&format!("/r/{index}"))["attempts"].as_array().map_or(0, Vec::len);
        assert_eq!(attempts, if seen[index] { 2 } else { 1 });
    }
    assert!(seen.contains(&true) && seen.contains(&false), "{seen:?}");
    let (before, asked) = (origins[0].stat("requests") + origins[1].stat("requests"), 6);
    for _round in 0..asked {
        Wire::connect(listen).exchange("GET /x HTTP/1.1\r\nHost: a\r\nX-Mainstay-Attempt: 1\r\n\r\n");
    }
    assert_eq!(origins[0].stat("requests") + origins[1].stat("requests") - before, asked);
}

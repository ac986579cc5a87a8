//! Endpoints that DNS names: SRV records, and every address of a name.

use std::net::SocketAddr;
use std::time::Duration;

use mainstay_e2e::dns::{connections_to, with_one_port};
use mainstay_e2e::load::Plan;
use mainstay_e2e::{Mainstay, NameServer, Origin, Wire, eventually, free, wire};

const HEALTH: &str = "health = { http = \"/health\", interval = \"200ms\", timeout = \"200ms\" }";
const PATIENCE: Duration = Duration::from_secs(20);

fn config(listen: SocketAddr, service: &str) -> String {
    format!("[[listener]]\nname = \"web\"\nbind = \"{listen}\"\n[[service]]\nname = \"app\"\n{HEALTH}\n{service}\n")
}

/// SRV records `_http._tcp.shop.test` of hosts `h0`, `h1` and so on: which, priority, weight.
fn zone(origins: &[Origin], records: &[(usize, u16, u16)]) -> String {
    let mut lines: Vec<String> =
        origins.iter().enumerate().map(|(index, origin)| format!("h{index} 1 A {}", origin.address().ip())).collect();
    lines.extend(records.iter().map(|(index, priority, weight)| {
        let port = origins[*index].address().port();
        format!("_http._tcp.shop 1 SRV {priority} {weight} {port} h{index}")
    }));
    lines.join("\n")
}

/// Names of the endpoints that are up.
fn up(gateway: &Mainstay) -> Vec<String> {
    let status = gateway.status();
    let endpoints = status["services"][0]["endpoints"].as_array().cloned().unwrap_or_default();
    let up = endpoints.iter().filter(|endpoint| endpoint["health"] == "up");
    up.map(|endpoint| endpoint["name"].as_str().unwrap_or_default().to_owned()).collect()
}

fn becomes(gateway: &Mainstay, what: &str, names: &[usize], origins: &[Origin]) {
    let expected: Vec<String> =
        names.iter().map(|index| format!("h{index}.test:{}", origins[*index].address().port())).collect();
    eventually(what, PATIENCE, || up(gateway) == expected);
}

#[test]
fn a_set_that_grows_and_shrinks_under_load_fails_nobody() {
    let origins = Origin::several(4);
    let mut names = NameServer::start(&zone(&origins, &[(0, 0, 1), (1, 0, 1)]));
    let listen = free();
    let srv = "srv = \"_http._tcp.shop.test\"\nbalance = \"round-robin\"";
    let mut gateway = Mainstay::start_with(&names.node(), &config(listen, srv));
    // The node is ready only when what was discovered at first has been proven.
    assert_eq!(up(&gateway).len(), 2);
    let load = Plan { requests: 2_000_000, ..Plan::new(listen) }.start();
    eventually("the load is under way", PATIENCE, || load.begun() > 2_000);
    names.set(&zone(&origins, &[(0, 0, 1), (1, 0, 1), (2, 0, 1), (3, 0, 1)]));
    becomes(&gateway, "it grows", &[0, 1, 2, 3], &origins);

    let long = long_request(listen, &origins[1]);
    let attempts = |gateway: &Mainstay| gateway.metric("mainstay_endpoint_attempts_total", &["h0.test"]);
    let before = attempts(&gateway);
    names.set(&zone(&origins, &[(0, 0, 1), (3, 0, 1)]));
    becomes(&gateway, "it shrinks", &[0, 3], &origins);
    std::thread::sleep(Duration::from_millis(300));
    let (gone, begun) = (origins[1].stat("requests") + origins[2].stat("requests"), load.begun());
    eventually("the load goes on", PATIENCE, || load.begun() > begun + 2_000);
    assert_eq!(origins[1].stat("requests") + origins[2].stat("requests"), gone, "who left gets no new request");
    assert!(before > 100.0 && attempts(&gateway) > before, "who stays keeps its counters");
    let (mut long, origin) = long;
    let answer = long.response().expect("a request in flight at an endpoint that left is answered");
    assert_eq!((answer.status, answer.header("x-origin")), (200, Some(origin.to_string().as_str())));
    eventually("connections to who left are closed", PATIENCE, || {
        gateway.metric("mainstay_endpoint_connections", &["h1.test"]) == 0.0
            && connections_to(origins[1].address()) == 0
    });

    // Neither a reload nor the loss of the name server changes the set.
    names.kill();
    eventually("the failure is said", PATIENCE, || {
        gateway.status()["services"][0]["sources"][0]["reason"].as_str().unwrap_or_default().contains("(last 2 kept)")
    });
    gateway.reload(&config(listen, &format!("{srv}\nmax_idle = 99")));
    assert_eq!(up(&gateway).len(), 2);
    names.restart();
    eventually("the failure is over", PATIENCE, || gateway.status()["services"][0]["sources"][0]["reason"] == "");
    let report = load.stop();
    report.assert_clean(6_000);
    assert_eq!(report.by_origin().len(), 4);
    assert_eq!(gateway.status()["configuration"]["generation"], 2, "what is discovered is no reload");
}

/// A request that is at `origin` for a few seconds.
fn long_request(listen: SocketAddr, origin: &Origin) -> (Wire, SocketAddr) {
    for attempt in 0..200 {
        let mut wire = Wire::connect(listen);
        let id = format!("long-{attempt}");
        wire.send(format!("GET /sleep/5000 HTTP/1.1\r\nhost: a\r\nx-id: {id}\r\n\r\n")).expect("sent");
        std::thread::sleep(Duration::from_millis(50));
        if origin.received().contains_key(&id) {
            return (wire, origin.address());
        }
    }
    panic!("no request came to {}", origin.address());
}

#[test]
fn weights_and_priorities_of_records_are_heeded() {
    let mut origins = Origin::several(3);
    let names = NameServer::start(&zone(&origins, &[(0, 10, 60), (1, 10, 20), (2, 20, 0)]));
    let listen = free();
    let srv = "srv = \"_http._tcp.shop.test\"\nbalance = \"random\"";
    let gateway = Mainstay::start_with(&names.node(), &config(listen, srv));
    let report = Plan { requests: 4_000, clients: 8, ..Plan::new(listen) }.run();
    report.assert_clean(4_000);
    let counts = report.by_origin();
    let of = |index: usize| counts.get(&origins[index].address()).copied().unwrap_or(0);
    assert_eq!(of(2), 0, "a spare gets nothing: {counts:?}");
    assert!((2_700..3_300).contains(&of(0)), "three quarters: {counts:?}");

    // The spare takes over while nobody of the lower priority is eligible, and gives back.
    origins[0].kill();
    origins[1].kill();
    eventually("the spare serves", PATIENCE, || {
        let answer = wire::get(listen, "/ok");
        answer.status == 200 && answer.header("x-origin") == Some(origins[2].address().to_string().as_str())
    });
    origins[0].restart();
    eventually("the first is back", PATIENCE, || {
        wire::get(listen, "/ok").header("x-origin") == Some(origins[0].address().to_string().as_str())
    });
    let status = gateway.status();
    assert_eq!(status["services"][0]["endpoints"][2]["priority"], 20);
    assert_eq!(status["services"][0]["sources"][0]["endpoints"], 3);
}

#[test]
fn every_address_of_a_name_can_be_an_endpoint() {
    let addresses = with_one_port(3);
    let origins: Vec<Origin> = addresses.iter().map(|address| Origin::start_on(*address)).collect();
    let zone = |addresses: &[SocketAddr]| {
        addresses.iter().map(|address| format!("shop 1 A {}", address.ip())).collect::<Vec<_>>().join("\n")
    };
    let mut names = NameServer::start(&zone(&addresses[..2]));
    let listen = free();
    let service = format!("[[service.endpoint]]\naddress = \"shop.test:{}\"\nresolve = \"all\"", addresses[0].port());
    let gateway = Mainstay::start_with(&names.node(), &config(listen, &service));
    assert_eq!(up(&gateway).len(), 2);
    let load = Plan { requests: 1_000_000, clients: 8, ..Plan::new(listen) }.start();
    eventually("the load is under way", PATIENCE, || load.begun() > 1_000);
    names.set(&zone(&addresses[1..]));
    let mut expected: Vec<String> = addresses[1..].iter().map(SocketAddr::to_string).collect();
    expected.sort();
    eventually("the set is the new one", PATIENCE, || {
        let mut up = up(&gateway);
        up.sort();
        up == expected
    });
    let report = load.stop();
    report.assert_clean(2_000);
    drop(origins);
    // An empty answer is a failure: the last set stays.
    names.set("shop 1 TXT \"nothing\"");
    eventually("the failure is said", PATIENCE, || {
        let source = gateway.status()["services"][0]["sources"][0].clone();
        source["reason"] == "no endpoints discovered: it has no address (last 2 kept)" && source["endpoints"] == 2
    });
}

#[test]
fn a_service_without_endpoints_yet_says_so() {
    let origins = Origin::several(1);
    let mut names = NameServer::start("");
    let listen = free();
    let gateway = Mainstay::start_with(&names.node(), &config(listen, "srv = \"_http._tcp.shop.test\""));
    assert_eq!(wire::get(listen, "/ok").status, 503);
    let page = gateway.command(&["status"]);
    let page = String::from_utf8_lossy(&page.stdout).into_owned();
    assert!(page.contains("unanswered") && page.contains("no endpoints discovered: no such name"), "{page}");
    assert!(gateway.metric("mainstay_service_source_failures_total", &["_http._tcp.shop.test"]) >= 1.0);
    names.set(&zone(&origins, &[(0, 0, 0)]));
    eventually("it is served", PATIENCE, || wire::get(listen, "/ok").status == 200);
    assert_eq!(gateway.metric("mainstay_service_source_endpoints", &["_http._tcp.shop.test"]), 1.0);
}

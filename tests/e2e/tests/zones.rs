//! Zones: the node's own is preferred, what it misses spills over, its loss fails nobody, and whether the rest could bear it is
//! said beforehand. Spares: one enters for each endpoint that is out, and leaves again.

use std::fmt::Write;
use std::net::SocketAddr;
use std::time::Duration;

use mainstay_e2e::gateway::cli;
use mainstay_e2e::load::{Plan, Report};
use mainstay_e2e::{Mainstay, Origin, eventually, free};

const LONG: Duration = Duration::from_secs(15);
const CHECKED: &str =
    "health = { http = \"/health\", interval = \"300ms\", timeout = \"250ms\", unhealthy = 2, healthy = 1 }\n";

/// The endpoints of a service, each with further keys.
fn config(listen: SocketAddr, service: &str, endpoints: &[(SocketAddr, &str)]) -> String {
    let mut text =
        format!("[[listener]]\nname = \"web\"\nbind = \"{listen}\"\n[[service]]\nname = \"app\"\n{service}\n");
    for (address, keys) in endpoints {
        write!(text, "[[service.endpoint]]\naddress = \"{address}\"\n{keys}\n").expect("a string takes everything");
    }
    text
}

fn share(gateway: &Mainstay, endpoint: SocketAddr) -> f64 {
    gateway.metric("mainstay_endpoint_share", &[&format!("\"{endpoint}\"")])
}

fn part_of(report: &Report, endpoints: &[SocketAddr]) -> f64 {
    let counts = report.by_origin();
    let here: usize = endpoints.iter().filter_map(|endpoint| counts.get(endpoint)).sum();
    here as f64 / report.outcomes.len() as f64
}

/// Three endpoints in zone `a`, three in zone `b`, and the configuration of a node in `a`.
fn two_zones(listen: SocketAddr, service: &str) -> (Vec<Origin>, Vec<SocketAddr>, String) {
    let origins = Origin::several(6);
    let all: Vec<SocketAddr> = origins.iter().map(Origin::address).collect();
    let zones = ["zone = \"a\"", "zone = \"b\""];
    let endpoints: Vec<_> = all.iter().enumerate().map(|(index, address)| (*address, zones[index / 3])).collect();
    let config = config(listen, &format!("{CHECKED}{service}"), &endpoints);
    (origins, all, config)
}

#[test]
fn the_loss_of_the_own_zone_fails_no_request() {
    let listen = free();
    let capacity = "capacity = { peak_rps = 1000, endpoint_rps = 300 }";
    let (mut origins, all, config) = two_zones(listen, capacity);
    let gateway = Mainstay::start_with("zone = \"a\"", &config);
    // Said beforehand: three endpoints with 300 each cannot bear 1000.
    eventually("the log says so", LONG, || {
        gateway.stderr().contains("without this zone the rest could not bear the peak")
    });
    let status = String::from_utf8_lossy(&gateway.command(&["status"]).stdout).into_owned();
    assert!(status.contains("without zone a the rest could serve 900 requests a second of 1000"), "{status}");
    assert_eq!(gateway.metric("mainstay_service_without_zone_rps", &["\"a\""]), 900.0);
    let file = gateway.dir().join("mainstay.toml");
    let checked = String::from_utf8_lossy(&cli(&["check", "-c", &file.display().to_string()]).stdout).into_owned();
    assert!(checked.contains("without zone `a` the rest serves 900 requests a second of 1000"), "{checked}");
    let quiet = Plan { requests: 600, clients: 4, ..Plan::new(listen) }.run();
    quiet.assert_clean(600);
    assert_eq!(part_of(&quiet, &all[..3]), 1.0, "the own zone has what it needs: {:?}", quiet.by_origin());
    // One of three is lost: a third of the traffic leaves the zone.
    origins[0].kill();
    eventually("a third goes to the other zone", LONG, || (share(&gateway, all[4]) - 0.333).abs() < 0.01);
    let spilling = Plan { requests: 3_000, clients: 4, ..Plan::new(listen) }.run();
    spilling.assert_clean(3_000);
    let away = part_of(&spilling, &all[3..]);
    assert!((0.2..0.45).contains(&away), "{away} is not a third");
    // The whole zone is lost.
    let load = Plan { clients: 8, pause: Duration::from_millis(2), ..Plan::new(listen) }.start();
    std::thread::sleep(Duration::from_secs(1));
    origins[1].kill();
    origins[2].kill();
    eventually("the other zone serves alone", LONG, || {
        share(&gateway, all[4]) == 1.0 && share(&gateway, all[1]) == 0.0
    });
    std::thread::sleep(Duration::from_millis(500));
    let report = load.stop();
    report.assert_clean(500);
    println!("{} requests across the loss of the zone, none failed", report.outcomes.len());
}

#[test]
fn a_request_that_fails_in_its_zone_is_tried_in_another_one() {
    let listen = free();
    // Nobody notices the loss: retries alone must find the other zone.
    let blind = "outlier = \"off\"\nretry_budget = { ratio = \"100%\", floor = 1000 }";
    let (mut origins, all, config) = two_zones(listen, blind);
    let gateway = Mainstay::start_with("zone = \"a\"", &config.replace(CHECKED, "health = \"off\"\n"));
    assert_eq!(share(&gateway, all[4]), 0.0);
    origins[..3].iter_mut().for_each(Origin::kill);
    let report = Plan { requests: 200, clients: 2, ..Plan::new(listen) }.run();
    report.assert_clean(200);
    assert_eq!(part_of(&report, &all[3..]), 1.0);
}

#[test]
fn without_zones_traffic_goes_everywhere() {
    let listen = free();
    let (_origins, all, config) = two_zones(listen, "zones = \"off\"");
    let gateway = Mainstay::start_with("zone = \"a\"", &config);
    let report = Plan { requests: 600, clients: 4, ..Plan::new(listen) }.run();
    report.assert_clean(600);
    let here = part_of(&report, &all[..3]);
    assert!((0.35..0.65).contains(&here), "{here} is not half");
    assert_eq!(share(&gateway, all[5]), 1.0);
}

#[test]
fn a_service_below_the_minimum_size_knows_no_zones() {
    let listen = free();
    let (_origins, all, config) = two_zones(listen, "zones = { min_endpoints = 7 }");
    let gateway = Mainstay::start_with("zone = \"a\"", &config);
    assert_eq!(share(&gateway, all[5]), 1.0);
}

#[test]
fn a_spare_enters_when_one_fails_and_leaves_again() {
    let mut origins = Origin::several(4);
    let all: Vec<SocketAddr> = origins.iter().map(Origin::address).collect();
    let listen = free();
    let endpoints = [(all[0], ""), (all[1], ""), (all[2], "spare = true"), (all[3], "spare = true")];
    let gateway = Mainstay::start(&config(listen, CHECKED, &endpoints));
    let serving = || all.iter().map(|endpoint| share(&gateway, *endpoint) > 0.0).collect::<Vec<bool>>();
    let run = || {
        let report = Plan { requests: 200, clients: 4, ..Plan::new(listen) }.run();
        report.assert_clean(200);
        report.by_origin()
    };
    assert_eq!(serving(), [true, true, false, false]);
    let counts = run();
    assert!(!counts.contains_key(&all[2]) && !counts.contains_key(&all[3]), "{counts:?}");
    let status = String::from_utf8_lossy(&gateway.command(&["status"]).stdout).into_owned();
    assert!(status.starts_with("serving: 1 of 1 services healthy") && status.contains(" spare "), "{status}");
    origins[1].kill();
    eventually("one spare enters", LONG, || serving() == [true, false, true, false]);
    assert!(run().contains_key(&all[2]));
    origins[0].kill();
    eventually("and the other one", LONG, || serving() == [false, false, true, true]);
    origins[0].restart();
    origins[1].restart();
    eventually("both leave", LONG, || serving() == [true, true, false, false]);
    let before = origins[2].stat("requests");
    run();
    assert_eq!(origins[2].stat("requests"), before);
}

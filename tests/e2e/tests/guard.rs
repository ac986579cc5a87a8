//! The cascade guard: deep checks that fail everywhere at once (source document 001, question 5), and what happens when no
//! endpoint is eligible, route by route.

use std::net::SocketAddr;
use std::time::Duration;

use mainstay_e2e::gateway::simple;
use mainstay_e2e::load::Plan;
use mainstay_e2e::wire::get;
use mainstay_e2e::{Mainstay, Origin, eventually, free};

const DEEP: &str =
    "health = { http = \"/health\", interval = \"300ms\", timeout = \"250ms\", unhealthy = 2, healthy = 2 }\n";
const LONG: Duration = Duration::from_secs(15);

fn addresses(origins: &[Origin]) -> Vec<SocketAddr> {
    origins.iter().map(Origin::address).collect()
}

fn down(gateway: &Mainstay) -> f64 {
    gateway.metric("mainstay_endpoint_health", &["\"down\""])
}

#[test]
fn all_deep_checks_fail_at_once_and_traffic_goes_on() {
    let mut origins = Origin::several(4);
    let (listen, all) = (free(), addresses(&origins));
    let gateway = Mainstay::start(&simple(listen, &all, &format!("{DEEP}guard = true")));
    let guarded = || gateway.metric("mainstay_service_guarded", &[]) >= 1.0;
    let load = Plan { clients: 4, pause: Duration::from_millis(2), ..Plan::new(listen) }.start();
    origins.iter().for_each(|origin| origin.control("health=503"));
    eventually("all checks fail", LONG, || down(&gateway) >= 4.0);
    std::thread::sleep(Duration::from_secs(1));
    assert!(guarded());
    // One really dies: it takes no connections, and gets none.
    origins[3].kill();
    let share = |endpoint: SocketAddr| gateway.metric("mainstay_endpoint_share", &[&format!("\"{endpoint}\"")]);
    eventually("the dead one is left out", LONG, || share(all[3]) == 0.0);
    assert!(all[..3].iter().all(|endpoint| share(*endpoint) == 1.0), "and the others are not");
    let report = load.stop();
    report.assert_clean(100);
    assert!(gateway.stderr().contains("CASCADE GUARD"), "{}", gateway.stderr());
    let status = String::from_utf8_lossy(&gateway.command(&["status"]).stdout).into_owned();
    assert!(
        status.contains("CASCADE GUARD") && status.contains(" guarded ") && status.contains("degraded"),
        "{status}"
    );
    // What they share works again.
    origins.iter().take(3).for_each(|origin| origin.control("health=200"));
    eventually("the guard ends", LONG, || !guarded());
    assert_eq!(gateway.metric("mainstay_service_guard_trips_total", &[]), 1.0);
    Plan { requests: 100, clients: 2, ..Plan::new(listen) }.run().assert_clean(100);
}

#[test]
fn without_the_guard_the_same_stops_the_service() {
    let origins = Origin::several(4);
    let (listen, all) = (free(), addresses(&origins));
    let gateway = Mainstay::start(&simple(listen, &all, DEEP));
    origins.iter().for_each(|origin| origin.control("health=503"));
    eventually("all checks fail", LONG, || down(&gateway) >= 4.0);
    let response = get(listen, "/ok");
    assert_eq!((response.status, response.reason()), (503, "no-healthy-endpoint"));
}

#[test]
fn one_that_fails_alone_is_taken_out_and_new_ones_are_no_cascade() {
    let origins = Origin::several(6);
    let (listen, all) = (free(), addresses(&origins));
    let service = format!("{DEEP}guard = {{ window = \"3s\", liveness = \"/ok\" }}");
    let mut gateway = Mainstay::start(&simple(listen, &all[..3], &service));
    origins[0].control("health=503");
    eventually("its check fails", LONG, || down(&gateway) >= 1.0);
    let before = origins[0].stat("requests");
    Plan { requests: 60, clients: 2, ..Plan::new(listen) }.run().assert_clean(60);
    assert_eq!(origins[0].stat("requests"), before, "it gets nothing");
    // Three are added that are not well yet: most endpoints fail then, but none that was well before.
    origins[3..].iter().for_each(|origin| origin.control("health=503"));
    gateway.reload(&simple(listen, &all, &service));
    eventually("the new ones are down", LONG, || down(&gateway) >= 4.0);
    assert_eq!(gateway.metric("mainstay_service_guarded", &[]), 0.0);
    Plan { requests: 60, clients: 2, ..Plan::new(listen) }.run().assert_clean(60);
    assert_eq!(gateway.metric("mainstay_endpoint_share", &[&format!("\"{}\"", all[4])]), 0.0);
}

#[test]
fn routes_decide_what_happens_when_nobody_is_eligible() {
    let origins = Origin::several(2);
    let (listen, all) = (free(), addresses(&origins));
    let routes = "[[route]]\nname = \"open\"\nservice = \"app\"\nmatch = { path = \"/ok\" }\nwhen_empty = \"fail-open\"\n\
                  [[route]]\nname = \"closed\"\nservice = \"app\"\n";
    let gateway = Mainstay::start(&(routes.to_owned() + &simple(listen, &all, DEEP)));
    origins.iter().for_each(|origin| origin.control("health=503"));
    eventually("all checks fail", LONG, || down(&gateway) >= 2.0);
    assert_eq!(get(listen, "/ok").status, 200);
    assert_eq!(get(listen, "/other").status, 503);
    assert!(gateway.metric("mainstay_service_last_resort_total", &[]) >= 1.0);
    assert_eq!(gateway.stderr().matches("no endpoint is eligible").count(), 1, "{}", gateway.stderr());
    origins.iter().for_each(|origin| origin.control("health=200"));
    eventually("the log says that it is over", LONG, || {
        get(listen, "/ok");
        gateway.stderr().contains("endpoints are eligible again")
    });
}

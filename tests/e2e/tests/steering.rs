//! What operators do to single endpoints: another weight, an ejection that ends by itself, a clean slate.

use std::net::SocketAddr;
use std::time::Duration;

use mainstay_e2e::gateway::simple;
use mainstay_e2e::{Mainstay, Origin, eventually, free, wire};

/// How many of 60 requests each origin got.
fn spread(listen: SocketAddr, origins: &[Origin]) -> Vec<u64> {
    let before: Vec<u64> = origins.iter().map(|origin| origin.stat("requests")).collect();
    for _request in 0..60 {
        assert_eq!(wire::get(listen, "/ok").status, 200);
    }
    origins.iter().zip(before).map(|(origin, before)| origin.stat("requests") - before).collect()
}

#[test]
fn a_weight_takes_effect_at_once_and_outlives_reloads_and_upgrades() {
    let origins = Origin::several(2);
    let addresses: Vec<_> = origins.iter().map(Origin::address).collect();
    let listen = free();
    let config = simple(listen, &addresses, "balance = \"round-robin\"");
    let mut gateway = Mainstay::start_with("workers = 1", &config);
    assert_eq!(spread(listen, &origins), [30, 30]);
    let target = format!("app/{}", addresses[0]);
    assert!(gateway.command(&["weight", &target, "5"]).status.success());
    assert_eq!(spread(listen, &origins), [50, 10]);
    gateway.reload(&format!("{config}\n# changed\n"));
    assert_eq!(spread(listen, &origins), [50, 10]);
    let shown = &gateway.status()["services"][0]["endpoints"][0];
    assert_eq!((&shown["weight"], &shown["weight_override"]), (&5.into(), &5.into()));
    let done = gateway.upgrade(&[]);
    gateway.adopt(&done["new_pid"]);
    // The first requests may still be the old process's, which goes round by itself.
    let shares = spread(listen, &origins);
    assert!(shares[0].abs_diff(50) <= 2, "{shares:?}");
    assert!(gateway.command(&["weight", &target, "--undo"]).status.success());
    assert_eq!(spread(listen, &origins), [30, 30]);
    assert!(!gateway.command(&["weight", &target, "0"]).status.success(), "that would be a drain");
    let unknown = gateway.command(&["weight", "app/127.0.0.1:1", "2"]);
    let said = String::from_utf8_lossy(&unknown.stderr).into_owned();
    assert!(!unknown.status.success() && said.contains("has no endpoint"), "{said}");
}

#[test]
fn an_ejection_ends_by_itself_and_a_reset_ends_it_at_once() {
    let origins = Origin::several(2);
    let addresses: Vec<_> = origins.iter().map(Origin::address).collect();
    let listen = free();
    // Without passive ejection, too, an operator may eject.
    let gateway = Mainstay::start_with(
        "workers = 1",
        &simple(listen, &addresses, "balance = \"round-robin\"\noutlier = \"off\""),
    );
    let target = format!("app/{}", addresses[1]);
    let ejected = || gateway.status()["services"][0]["endpoints"][1]["ejected"] == true;
    assert!(gateway.command(&["eject", &target, "--for", "2s"]).status.success());
    eventually("it is ejected", Duration::from_secs(5), ejected);
    eventually("it is back", Duration::from_secs(20), || !ejected());
    assert_eq!(spread(listen, &origins), [30, 30]);
    assert!(gateway.command(&["eject", &target, "--for", "1h"]).status.success());
    eventually("it is ejected again", Duration::from_secs(5), ejected);
    assert_eq!(spread(listen, &origins), [60, 0]);
    assert!(gateway.command(&["reset", &target]).status.success());
    eventually("it is back at once", Duration::from_secs(10), || !ejected());
    assert_eq!(spread(listen, &origins), [30, 30]);
}

#[test]
fn a_reset_closes_a_breaker_that_would_stay_open_for_long() {
    let mut origins = Origin::several(1);
    let address = origins[0].address();
    let listen = free();
    let service = "outlier = \"off\"\nbreaker = { consecutive = 3, open_for = \"10m\" }\nhealth = \"off\"";
    let gateway = Mainstay::start_with("workers = 1", &simple(listen, &[address], service));
    assert_eq!(wire::get(listen, "/ok").status, 200);
    origins[0].kill();
    let open = || gateway.status()["services"][0]["endpoints"][0]["breaker"]["state"] == "open";
    eventually("the breaker opens", Duration::from_secs(10), || {
        let _refused = wire::get(listen, "/ok");
        open()
    });
    origins[0].restart();
    assert_ne!(wire::get(listen, "/ok").status, 200, "the endpoint is well, the breaker open");
    assert!(gateway.command(&["reset", &format!("app/{address}")]).status.success());
    assert_eq!(wire::get(listen, "/ok").status, 200);
}

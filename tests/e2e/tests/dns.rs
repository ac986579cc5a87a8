//! Names of endpoints: one that moves, one that is not there, a name server that goes away.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mainstay_e2e::dns::with_one_port;
use mainstay_e2e::load::Plan;
use mainstay_e2e::{Mainstay, NameServer, Origin, Wire, eventually, free, wire};
use serde_json::Value;

const HEALTH: &str = "health = { http = \"/health\", interval = \"200ms\", timeout = \"200ms\" }";
const PATIENCE: Duration = Duration::from_secs(20);

fn config(listen: SocketAddr, endpoint: &str) -> String {
    format!(
        "[[listener]]\nname = \"web\"\nbind = \"{listen}\"\n[[service]]\nname = \"app\"\nendpoints = [\"{endpoint}\"]\n{HEALTH}\n"
    )
}

fn endpoint(gateway: &Mainstay) -> Value {
    gateway.status()["services"][0]["endpoints"][0].clone()
}

#[test]
fn a_name_that_moves_under_load_fails_nobody_and_cuts_nobody_off() {
    let addresses = with_one_port(2);
    let (old, new) = (Origin::start_on(addresses[0]), Origin::start_on(addresses[1]));
    let mut names = NameServer::start(&format!("shop 1 A {}", addresses[0].ip()));
    let listen = free();
    let service = format!("shop.test:{}", addresses[0].port());
    let gateway = Mainstay::start_with(&names.node(), &config(listen, &service));
    let load = Plan { requests: 1_000_000, ..Plan::new(listen) }.start();
    eventually("the load is under way", PATIENCE, || load.begun() > 2_000);
    let mut long = Wire::connect(listen);
    long.send("GET /sleep/8000 HTTP/1.1\r\nhost: a\r\nx-id: long\r\n\r\n").expect("sent");
    let mut tunnel = Wire::connect(listen);
    tunnel.send("GET /ws HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n").expect("sent");
    assert_eq!(tunnel.head().expect("the upgrade").0, 101);
    eventually("the long request is under way", PATIENCE, || old.received().contains_key("long"));

    let moved_at = Instant::now();
    names.set(&format!("shop 1 A {}", addresses[1].ip()));
    eventually("the new address is in use", PATIENCE, || endpoint(&gateway)["address"] == addresses[1].to_string());
    eprintln!("in use {:?} after the change", moved_at.elapsed());
    eventually("it is proven", PATIENCE, || endpoint(&gateway)["health"] == "up");
    std::thread::sleep(Duration::from_millis(500));
    let (requests, checks) = (old.stat("requests"), old.stat("health_checks"));
    let begun = load.begun();
    eventually("the load goes on", PATIENCE, || load.begun() > begun + 2_000);
    assert_eq!(old.stat("requests") - requests, 0, "the old address gets no request any more");
    assert_eq!(old.stat("health_checks"), checks, "nor a check");
    assert!(new.stat("health_checks") > 0);

    let report = load.stop();
    report.assert_clean(4_000);
    assert_eq!(report.by_origin().len(), 2);
    let answer = long.response().expect("the long request is answered");
    assert_eq!((answer.status, answer.header("x-origin")), (200, Some(addresses[0].to_string().as_str())));
    tunnel.send("still here").expect("sent through the tunnel");
    assert_eq!(tunnel.exact(10).expect("echoed"), b"still here");
    assert!(moved_at.elapsed() > Duration::from_secs(2), "the tunnel has outlived the answer that led to it");
}

#[test]
fn a_name_server_that_goes_away_takes_nobody_with_it() {
    let origin = Origin::start();
    let mut names = NameServer::start(&format!("shop 1 A {}", origin.address().ip()));
    let listen = free();
    let mut gateway =
        Mainstay::start_with(&names.node(), &config(listen, &format!("shop.test:{}", origin.address().port())));
    let load = Plan { requests: 1_000_000, clients: 4, ..Plan::new(listen) }.start();
    names.kill();
    let reason = |gateway: &Mainstay| endpoint(gateway)["reason"].as_str().unwrap_or_default().to_owned();
    eventually("the failure is said", PATIENCE, || reason(&gateway).contains("last address kept"));
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!(endpoint(&gateway)["address"], origin.address().to_string());
    assert_eq!(endpoint(&gateway)["health"], "up");
    assert_eq!(gateway.stderr().matches("name does not resolve any more").count(), 1, "it is logged once");
    // A reload forgets no address either.
    gateway.reload(&format!("{}\nmax_idle = 8\n", config(listen, &format!("shop.test:{}", origin.address().port()))));
    assert_eq!(endpoint(&gateway)["address"], origin.address().to_string());
    names.restart();
    eventually("the failure is over", PATIENCE, || reason(&gateway).is_empty());
    load.stop().assert_clean(1_000);
}

#[test]
fn a_name_that_does_not_exist_is_said_and_comes_alive() {
    let origin = Origin::start();
    let mut names = NameServer::start("");
    let listen = free();
    let gateway =
        Mainstay::start_with(&names.node(), &config(listen, &format!("shop.test:{}", origin.address().port())));
    let found = endpoint(&gateway);
    assert_eq!(found["address"], Value::Null);
    assert_eq!(found["reason"], "name does not resolve: no such name");
    assert_eq!(wire::get(listen, "/ok").status, 503);
    let page = gateway.command(&["status"]);
    let page = String::from_utf8_lossy(&page.stdout).into_owned();
    assert!(page.contains("unresolved") && page.contains("no such name"), "{page}");

    names.set("shop 1 TXT \"no address yet\"");
    eventually("it exists", PATIENCE, || endpoint(&gateway)["reason"] == "name does not resolve: it has no address");
    names.set(&format!("shop 1 CNAME real\nreal 1 A {}", origin.address().ip()));
    eventually("it is served", PATIENCE, || wire::get(listen, "/ok").status == 200);
    assert_eq!(endpoint(&gateway)["reason"], "");
}

#[test]
fn of_several_addresses_one_that_works_is_used() {
    let addresses = with_one_port(3);
    let mut origin = Origin::start_on(addresses[2]);
    let lines: Vec<String> = addresses.iter().map(|address| format!("shop 1 A {}", address.ip())).collect();
    let names = NameServer::start(&lines.join("\n"));
    let listen = free();
    let service = format!("shop.test:{}", addresses[0].port());
    // Without checks, too: a connection that is refused goes on to the next address.
    for health in ["", "health = \"off\"\noutlier = \"off\"\n"] {
        let config = match health {
            "" => config(listen, &service),
            off => config(listen, &service).replace(HEALTH, off),
        };
        let mut gateway = Mainstay::start_with(&names.node(), &config);
        Plan { requests: 500, post_every: 2, clients: 4, ..Plan::new(listen) }.run().assert_clean(500);
        gateway.terminate(Duration::from_secs(40));
    }
    origin.kill();
}

//! HTTP/2 connections to endpoints whose name moves, or that a SRV record does not name any more.

use std::net::SocketAddr;
use std::time::Duration;

use mainstay_e2e::dns::{connections_to, with_one_port};
use mainstay_e2e::load::Plan;
use mainstay_e2e::{Mainstay, NameServer, Origin, Wire, eventually, free};

const PATIENCE: Duration = Duration::from_secs(20);

/// Two endpoints that speak HTTP/2, on one port of two addresses: listeners of a gateway, each before an origin of its own.
struct Endpoints {
    addresses: Vec<SocketAddr>,
    origins: Vec<Origin>,
    _inner: Mainstay,
}

fn endpoints() -> Endpoints {
    let (addresses, origins) = (with_one_port(2), Origin::several(2));
    let part = |(index, (address, origin)): (usize, (&SocketAddr, &Origin))| {
        format!(
            "[[listener]]\nname = \"e{index}\"\nbind = \"{address}\"\n\
             [[route]]\nname = \"e{index}\"\nlistener = \"e{index}\"\nservice = \"o{index}\"\n\
             [[service]]\nname = \"o{index}\"\nendpoints = [\"{}\"]\n",
            origin.address()
        )
    };
    let config: String = addresses.iter().zip(&origins).enumerate().map(part).collect();
    let _inner = Mainstay::start(&config);
    Endpoints { addresses, origins, _inner }
}

fn config(listen: SocketAddr, service: &str) -> String {
    format!(
        "[[listener]]\nname = \"web\"\nbind = \"{listen}\"\n\
         [[service]]\nname = \"app\"\nprotocol = \"http2\"\n{service}\n\
         health = {{ http = \"/health\", interval = \"500ms\", timeout = \"500ms\" }}\n"
    )
}

/// Changes the zone from `before` to `after`, which no longer leads to the first endpoint, while requests are under way.
fn leaves_in_good_order(endpoints: &Endpoints, service: &str, before: &str, after: &str) {
    let (old, new) = (&endpoints.origins[0], &endpoints.origins[1]);
    let mut names = NameServer::start(before);
    let listen = free();
    let gateway = Mainstay::start_with(&names.node(), &config(listen, service));
    let load = Plan { requests: 1_000_000, clients: 8, ..Plan::new(listen) }.start();
    eventually("the load is under way", PATIENCE, || {
        load.begun() > 1_000 && connections_to(endpoints.addresses[0]) > 0
    });
    let long = long_request(listen, old);

    names.set(after);
    eventually("the load has left", PATIENCE, || {
        let (requests, begun) = (old.stat("requests"), load.begun());
        eventually("the load goes on", PATIENCE, || load.begun() > begun + 500);
        old.stat("requests") == requests
    });
    assert!(new.stat("requests") > 0);
    let (mut long, id) = long;
    let answer = long.response().expect("the request in flight is answered");
    assert_eq!((answer.status, answer.header("x-origin")), (200, Some(old.address().to_string().as_str())));
    assert_eq!(old.received()[&id], 1, "by the connection that it was on, not by another attempt");
    eventually("no connection is left", PATIENCE, || connections_to(endpoints.addresses[0]) == 0);
    load.stop().assert_clean(1_500);
    assert_eq!(gateway.status()["services"][0]["endpoints"][0]["health"], "up");
}

/// A request that is at `origin` for a while.
fn long_request(listen: SocketAddr, origin: &Origin) -> (Wire, String) {
    for attempt in 0..200 {
        let mut wire = Wire::connect(listen);
        let id = format!("long-{attempt}");
        wire.send(format!("GET /sleep/8000 HTTP/1.1\r\nhost: a\r\nx-id: {id}\r\n\r\n")).expect("sent");
        std::thread::sleep(Duration::from_millis(100));
        if origin.received().contains_key(&id) {
            return (wire, id);
        }
    }
    panic!("no request came to {}", origin.address());
}

#[test]
fn a_name_that_moves() {
    let endpoints = endpoints();
    let [before, after] = [0, 1].map(|index: usize| format!("shop 1 A {}", endpoints.addresses[index].ip()));
    let service = format!("endpoints = [\"shop.test:{}\"]", endpoints.addresses[0].port());
    leaves_in_good_order(&endpoints, &service, &before, &after);
}

#[test]
fn a_target_that_goes_away() {
    let endpoints = endpoints();
    let zone = |indexes: &[usize]| {
        let target = |index: &usize| {
            let address = endpoints.addresses[*index];
            format!("h{index} 1 A {}\n_http._tcp.shop 1 SRV 0 1 {} h{index}\n", address.ip(), address.port())
        };
        indexes.iter().map(target).collect::<String>()
    };
    leaves_in_good_order(&endpoints, "srv = \"_http._tcp.shop.test\"", &zone(&[0, 1]), &zone(&[1]));
}

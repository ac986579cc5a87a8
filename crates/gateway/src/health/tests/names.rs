use std::io;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::Duration;

use mainstay_core::health::State as Health;

use super::super::names::Names;
use super::bench::*;
use crate::spec::Address;

fn named(host: &str, port: u16) -> Address {
    Address::Name { host: host.to_owned(), port }
}

#[test]
fn a_name_that_does_not_resolve_is_down_and_says_so() {
    let lost = endpoint_of(named("no-such-host.invalid", 80));
    let bench = Bench::new();
    bench.apply(&[&service(None, &[&lost])]);
    becomes(&lost, Health::Down);
    assert!(reason(&lost).starts_with("name does not resolve: "), "{}", reason(&lost));
    eventually("settled", || bench.driver.is_settled());
    assert_eq!(*lost.resolved.lock().unwrap(), None);
}

#[test]
fn a_name_that_resolves_is_probed() {
    let server = Server::new(WELL);
    let found = endpoint_of(named("localhost", server.address.port()));
    let bench = Bench::new();
    bench.apply(&[&service(http_check(QUICK), &[&found])]);
    becomes(&found, Health::Up);
    assert_eq!(*found.resolved.lock().unwrap(), Some(server.address));
}

/// What the stand-in for DNS answers; `None` is a failure.
static ANSWER: Mutex<Option<SocketAddr>> = Mutex::new(None);

#[test]
fn a_name_that_moves_is_proven_anew_and_outlives_its_name_server() {
    let names = Names {
        resolve: |_host, _port| {
            let answer = *ANSWER.lock().unwrap();
            Box::pin(
                async move { answer.map(|address| vec![address]).ok_or_else(|| io::Error::other("server failure")) },
            )
        },
        again: Duration::from_millis(50),
        retry: Duration::from_millis(20),
    };
    let (first, second) = (Server::new(WELL), Server::new(WELL));
    let endpoint = endpoint_of(named("shop.test", 80));
    let service = service(http_check(QUICK), &[&endpoint]);
    let bench = Bench::with_names(names);
    bench.apply(&[&service]);
    becomes(&endpoint, Health::Down);
    assert_eq!(reason(&endpoint), "name does not resolve: server failure");

    *ANSWER.lock().unwrap() = Some(first.address);
    becomes(&endpoint, Health::Up);
    assert_eq!(*endpoint.resolved.lock().unwrap(), Some(first.address));

    let epoch = service.epoch.load(Ordering::Acquire);
    *ANSWER.lock().unwrap() = Some(second.address);
    eventually("it moves", || *endpoint.resolved.lock().unwrap() == Some(second.address));
    becomes(&endpoint, Health::Up);
    eventually("the new server is asked", || second.asked.load(Ordering::Relaxed) > 0);
    assert!(service.epoch.load(Ordering::Acquire) > epoch);

    *ANSWER.lock().unwrap() = None;
    eventually("the failure shows", || reason(&endpoint).contains("last address kept"));
    assert_eq!(endpoint.health(), Health::Up);
    *ANSWER.lock().unwrap() = Some(second.address);
    eventually("it is over", || reason(&endpoint).is_empty());
    assert_eq!(endpoint.health(), Health::Up);
}

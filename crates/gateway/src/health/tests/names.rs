use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mainstay_core::health::State as Health;
use mainstay_core::resolve::Policy;
use mainstay_runtime::names::{Answer, LookupError};

use super::super::names::Names;
use super::bench::*;
use crate::spec::{self, Address};

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
    assert_eq!(lost.located(), None);
}

#[test]
fn a_name_that_resolves_is_probed() {
    let server = Server::new(WELL);
    let found = endpoint_of(named("localhost", server.address.port()));
    let bench = Bench::new();
    bench.apply(&[&service(http_check(QUICK), &[&found])]);
    becomes(&found, Health::Up);
    assert_eq!(found.located(), Some(server.address));
}

/// A stand-in for DNS: what it answers may change, and an empty answer is a failure.
#[derive(Clone, Default)]
struct Zone(Arc<Mutex<Vec<SocketAddr>>>);

impl Zone {
    fn set(&self, answer: &[SocketAddr]) {
        *self.0.lock().unwrap() = answer.to_vec();
    }

    /// Answers hold no time at all. All servers of a test must have one port, which is the endpoint's.
    fn names(&self) -> Names {
        let zone = self.clone();
        Names {
            settings: spec::Resolver::default(),
            policy: Policy {
                min_ttl: Duration::from_millis(50),
                max_ttl: Duration::from_secs(1),
                retry: Duration::from_millis(20),
                retry_cap: Duration::from_millis(40),
            },
            resolve: Arc::new(move |_host| {
                let records: Vec<IpAddr> = zone.0.lock().unwrap().iter().map(SocketAddr::ip).collect();
                Box::pin(async move {
                    match records.is_empty() {
                        true => Err(LookupError::Failed("server failure".to_owned())),
                        false => Ok(Answer { records, ttl: Duration::ZERO }),
                    }
                })
            }),
        }
    }
}

#[test]
fn a_name_that_moves_is_proven_anew_and_outlives_its_name_server() {
    let zone = Zone::default();
    let first = Server::new(WELL);
    let second = Server::at(SocketAddr::new("127.0.0.2".parse().unwrap(), first.address.port()), WELL);
    let endpoint = endpoint_of(named("shop.test", first.address.port()));
    let service = service(http_check(QUICK), &[&endpoint]);
    let bench = Bench::with_names(zone.names());
    bench.apply(&[&service]);
    becomes(&endpoint, Health::Down);
    assert_eq!(reason(&endpoint), "name does not resolve: server failure");

    zone.set(&[first.address]);
    becomes(&endpoint, Health::Up);
    assert_eq!(endpoint.located(), Some(first.address));

    // The answer is shuffled and grows: nothing moves.
    let (epoch, moves) = (service.epoch.load(Ordering::Acquire), endpoint.moves());
    zone.set(&[second.address, first.address]);
    eventually("the other address is known", || endpoint.addresses() == [first.address, second.address]);
    assert_eq!((service.epoch.load(Ordering::Acquire), endpoint.moves()), (epoch, moves));
    assert_eq!(second.asked.load(Ordering::Relaxed), 0);

    zone.set(&[second.address]);
    eventually("it moves", || endpoint.located() == Some(second.address));
    becomes(&endpoint, Health::Up);
    eventually("the new server is asked", || second.asked.load(Ordering::Relaxed) > 0);
    assert!(service.epoch.load(Ordering::Acquire) > epoch && endpoint.moves() > moves);

    zone.set(&[]);
    eventually("the failure shows", || reason(&endpoint).contains("last address kept"));
    assert_eq!(endpoint.health(), Health::Up);
    zone.set(&[second.address]);
    eventually("it is over", || reason(&endpoint).is_empty());
    assert_eq!(endpoint.health(), Health::Up);
}

#[test]
fn an_address_that_does_not_answer_gives_way_to_one_that_does() {
    let zone = Zone::default();
    let well = Server::new(WELL);
    let at = |ip: &str| SocketAddr::new(ip.parse().unwrap(), well.address.port());
    let (dead, ill) = (at("127.0.0.2"), Server::at(at("127.0.0.3"), ILL));
    zone.set(&[dead, ill.address, well.address]);
    let endpoint = endpoint_of(named("shop.test", well.address.port()));
    let bench = Bench::with_names(zone.names());
    bench.apply(&[&service(http_check(QUICK), &[&endpoint])]);
    becomes(&endpoint, Health::Up);
    assert_eq!(endpoint.located(), Some(well.address));
    drop(well);
    becomes(&endpoint, Health::Down);
    let _back = Server::at(dead, WELL);
    becomes(&endpoint, Health::Up);
    assert_eq!(endpoint.located(), Some(dead));
}

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use mainstay_core::health::State as Health;
use mainstay_core::outlier;

use super::bench::*;
use crate::state::Endpoint;

fn three() -> Vec<Arc<Endpoint>> {
    (1..=3).map(|port| endpoint(([127, 0, 0, 1], port).into())).collect()
}

fn policy(base: Duration) -> Option<outlier::Policy> {
    Some(outlier::Policy { consecutive: 5, base, cap: Duration::from_secs(300), max_ejected: 0.5, gray: None })
}

fn ejected(endpoint: &Endpoint) -> bool {
    endpoint.ejected.load(Ordering::Acquire)
}

/// Fails `endpoint` and waits until the driver has dealt with it.
fn trip(bench: &Bench, service: &Arc<crate::state::Service>, index: usize) {
    let endpoint = &service.endpoints[index];
    endpoint.failures_in_a_row.store(5, Ordering::Relaxed);
    bench.driver.tripped(service, index);
    eventually("the report is dealt with", || endpoint.failures_in_a_row.load(Ordering::Relaxed) == 0);
}

#[test]
fn a_failing_endpoint_is_ejected_for_a_while_and_never_too_many() {
    let endpoints = three();
    let all: Vec<_> = endpoints.iter().collect();
    let service = service_with(None, policy(Duration::from_secs(2)), &all);
    let bench = Bench::new();
    bench.apply(&[&service]);
    endpoints.iter().for_each(|endpoint| becomes(endpoint, Health::Up));
    let epoch = service.epoch.load(Ordering::Acquire);
    trip(&bench, &service, 0);
    eventually("ejection", || ejected(&endpoints[0]));
    assert!(service.epoch.load(Ordering::Acquire) > epoch);
    assert_eq!(reason(&endpoints[0]), "ejected for 2s: 5 requests in a row failed");
    assert_eq!(endpoints[0].health(), Health::Up);
    // Half of three is one: the second must stay.
    trip(&bench, &service, 1);
    assert!(!ejected(&endpoints[1]));
    eventually("its return", || !ejected(&endpoints[0]));
    assert_eq!(reason(&endpoints[0]), "");
    assert_eq!(endpoints[0].ejections.load(Ordering::Relaxed), 1);
    trip(&bench, &service, 1);
    eventually("room for another ejection", || ejected(&endpoints[1]));
}

#[test]
fn the_last_eligible_endpoint_stays() {
    let endpoints = three();
    let all: Vec<_> = endpoints.iter().collect();
    let service = service_with(None, policy(Duration::from_secs(60)), &all);
    let bench = Bench::new();
    bench.apply(&[&service]);
    endpoints.iter().for_each(|endpoint| becomes(endpoint, Health::Up));
    endpoints[0].drained.store(true, Ordering::Release);
    endpoints[1].drain_configured.store(true, Ordering::Release);
    trip(&bench, &service, 2);
    assert!(!ejected(&endpoints[2]));
}

#[test]
fn ejections_survive_reloads_until_their_end() {
    let endpoints = three();
    let all: Vec<_> = endpoints.iter().collect();
    let service_now = service_with(None, policy(Duration::from_secs(3)), &all);
    let bench = Bench::new();
    bench.apply(&[&service_now]);
    endpoints.iter().for_each(|endpoint| becomes(endpoint, Health::Up));
    trip(&bench, &service_now, 0);
    assert!(ejected(&endpoints[0]));
    // The same endpoints, then one more in front of them.
    bench.apply(&[&service_with(None, policy(Duration::from_secs(3)), &all)]);
    let added = endpoint(([127, 0, 0, 1], 4).into());
    let more: Vec<_> = std::iter::once(&added).chain(&endpoints).collect();
    let newest = service_with(None, policy(Duration::from_secs(3)), &more);
    bench.apply(&[&newest]);
    becomes(&added, Health::Up);
    assert!(ejected(&endpoints[0]));
    assert_eq!(endpoints[0].ejections.load(Ordering::Relaxed), 1);
    let epoch = newest.epoch.load(Ordering::Acquire);
    eventually("its return", || !ejected(&endpoints[0]));
    eventually("the newest service is told", || newest.epoch.load(Ordering::Acquire) > epoch);
    assert!(endpoints[1..].iter().all(|endpoint| !ejected(endpoint)));
}

#[test]
fn turning_ejection_off_brings_everybody_back() {
    let endpoints = three();
    let all: Vec<_> = endpoints.iter().collect();
    let service = service_with(None, policy(Duration::from_secs(600)), &all);
    let bench = Bench::new();
    bench.apply(&[&service]);
    endpoints.iter().for_each(|endpoint| becomes(endpoint, Health::Up));
    trip(&bench, &service, 2);
    assert!(ejected(&endpoints[2]));
    bench.apply(&[&service_with(None, None, &all)]);
    eventually("its return", || !ejected(&endpoints[2]));
}

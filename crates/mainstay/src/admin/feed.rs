//! What the history gets each second: the counters of the whole gateway, and what its process uses.

use std::sync::atomic::Ordering;

use mainstay_gateway::state::{BUCKETS, Counter, Endpoint, Histogram, Listener, Route, RouteCounters, Service, State};
use mainstay_observe::history::{History, Kind, Reading};

use crate::admin::process::Usage;

/// Gives the history what everything has counted until `now`, in seconds since 1970.
pub(super) fn feed(history: &History, now: u64, node: &str, state: &State, usage: &Usage) {
    let routes: Vec<Reading> = state.routes.iter().map(|route| of_route(route)).collect();
    let endpoints: Vec<Vec<Reading>> = state
        .services
        .iter()
        .map(|service| service.endpoints.iter().map(|endpoint| of_endpoint(endpoint)).collect())
        .collect();
    let names: Vec<Vec<String>> = state
        .services
        .iter()
        .map(|service| service.endpoints.iter().map(|it| format!("{}/{}", service.spec.name, it.name)).collect())
        .collect();
    let services: Vec<Reading> =
        state.services.iter().zip(&endpoints).map(|(service, of)| of_service(state, service, &routes, of)).collect();
    let listeners: Vec<Reading> = state.listeners.iter().map(|listener| of_listener(listener)).collect();
    let whole = Reading {
        cpu_millis: u64::try_from(usage.cpu.as_millis()).unwrap_or(u64::MAX),
        memory_kib: usage.resident_bytes / 1024,
        active: listeners.iter().map(|listener| listener.active).sum(),
        ..routes.iter().fold(Reading::default(), |sum, route| plus(&sum, route))
    };
    let routes = state.routes.iter().zip(&routes).map(|(of, reading)| (Kind::Route, of.spec.name.as_str(), *reading));
    let services =
        state.services.iter().zip(&services).map(|(of, reading)| (Kind::Service, of.spec.name.as_str(), *reading));
    let listeners =
        state.listeners.iter().zip(&listeners).map(|(of, reading)| (Kind::Listener, of.spec.name.as_str(), *reading));
    let endpoints = names.iter().flatten().zip(endpoints.iter().flatten());
    let endpoints = endpoints.map(|(name, reading)| (Kind::Endpoint, name.as_str(), *reading));
    let node = std::iter::once((Kind::Node, node, whole));
    history.sample(now, node.chain(routes).chain(services).chain(listeners).chain(endpoints));
}

fn of_route(route: &Route) -> Reading {
    let sum = |read: fn(&RouteCounters) -> u64| route.shards.sum(read);
    let buckets = std::array::from_fn(|at| route.shards.sum(|counters| bucket(&counters.duration, at)));
    let requests = buckets.iter().sum();
    Reading {
        requests,
        errors: route.shards.sum(|counters| class(&counters.by_class, 4)),
        retries: sum(|counters| counters.retries.get()),
        buckets,
        // A request that is counted between the two reads is not under way.
        active: sum(|counters| counters.started.get()).saturating_sub(requests),
        ..Reading::default()
    }
}

/// What clients saw of a service: its routes. A service that routes reach only by way of cells, or TCP listeners alone, is
/// seen by its endpoints.
fn of_service(state: &State, service: &Service, routes: &[Reading], endpoints: &[Reading]) -> Reading {
    let own = state.routes.iter().zip(routes);
    let mut own =
        own.filter(|(route, _)| route.spec.cells.is_none() && route.spec.service == service.spec.name).peekable();
    if own.peek().is_some() {
        return own.fold(Reading::default(), |sum, (_route, reading)| plus(&sum, reading));
    }
    endpoints.iter().fold(Reading::default(), |sum, endpoint| plus(&sum, endpoint))
}

fn of_endpoint(endpoint: &Endpoint) -> Reading {
    let shards = &endpoint.shards;
    let silent =
        shards.sum(|counters| counters.connect_failures.get() + counters.resets.get() + counters.timeouts.get());
    Reading {
        // An attempt counts from its start, which is the only number that TCP connections have as well.
        requests: shards.sum(|counters| counters.attempts.get()),
        errors: silent + shards.sum(|counters| class(&counters.by_class, 4)),
        buckets: std::array::from_fn(|at| shards.sum(|counters| bucket(&counters.duration, at))),
        active: u64::from(endpoint.in_flight.load(Ordering::Relaxed)),
        ..Reading::default()
    }
}

fn of_listener(listener: &Listener) -> Reading {
    let shards = &listener.shards;
    let accepted = shards.sum(|counters| counters.accepted.get());
    let refused = shards.sum(|counters| {
        let header = &counters.proxy_protocol;
        let headers = header.untrusted.get() + header.timeouts.get() + header.malformed.get();
        counters.tls_failures.get() + headers + counters.rejected.get()
    });
    Reading {
        requests: accepted,
        errors: refused,
        active: accepted.saturating_sub(shards.sum(|counters| counters.closed.get())),
        ..Reading::default()
    }
}

fn plus(one: &Reading, other: &Reading) -> Reading {
    Reading {
        requests: one.requests + other.requests,
        errors: one.errors + other.errors,
        retries: one.retries + other.retries,
        cpu_millis: one.cpu_millis + other.cpu_millis,
        buckets: std::array::from_fn(|at| one.buckets[at] + other.buckets[at]),
        active: one.active + other.active,
        memory_kib: one.memory_kib + other.memory_kib,
    }
}

fn class(classes: &[Counter; 5], index: usize) -> u64 {
    classes.get(index).map_or(0, Counter::get)
}

fn bucket(histogram: &Histogram, at: usize) -> u64 {
    debug_assert!(at <= BUCKETS.len());
    histogram.buckets.get(at).map_or(0, Counter::get)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mainstay_observe::history::Series;

    use super::*;
    use crate::admin::sample_state::{sample, serve};

    #[test]
    fn every_part_has_a_series_and_a_service_is_what_its_routes_saw() {
        let (history, state) = (History::in_memory(), sample());
        feed(&history, 1_000, "lb1", &state, &Usage::default());
        serve(&state, 0, 1, 7, Duration::from_millis(30));
        state.routes[0].shards.of(0).by_class[4].add(2);
        state.routes[0].shards.of(0).duration.record(Duration::from_millis(1));
        feed(&history, 1_001, "lb1", &state, &Usage { resident_bytes: 4096 * 1024, ..Usage::default() });
        let window =
            |text: &str| history.window(&text.parse::<Series>().expect("a series"), Duration::from_secs(60), 1_001);
        let service = window("service/shop");
        assert_eq!((service.requests, service.errors, service.within(Duration::from_millis(50))), (8, 2, 8));
        assert_eq!(window("route/default"), service);
        assert_eq!(window("endpoint/shop/127.0.0.1:3002").requests, 7);
        assert_eq!(window("endpoint/shop/127.0.0.1:3001").requests, 0);
        assert_eq!(window("node/lb1").requests, 8);
        assert_eq!(history.series().len(), 6, "{:?}", history.series());
    }
}

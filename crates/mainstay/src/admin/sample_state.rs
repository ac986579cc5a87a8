//! A small state for tests of what reads it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mainstay_core::health;
use mainstay_core::time::Moment;
use mainstay_gateway::spec;
use mainstay_gateway::state::{Endpoint, Listener, Route, Service, Shards, Source, State};

const WORKERS: usize = 2;

/// One listener, one route and one service with two endpoints that are up.
pub(crate) fn sample() -> Arc<State> {
    Arc::new(State {
        telemetry: Arc::default(),
        generation: 3,
        applied_at: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000),
        listeners: vec![Arc::new(Listener {
            spec: listener(),
            shards: Arc::new(Shards::new(WORKERS)),
            holding: Arc::default(),
        })],
        databases: Vec::new(),
        routes: vec![Arc::new(Route::new(route(), WORKERS, None, Moment::ZERO))],
        services: vec![Arc::new(service())],
        resolver: spec::Resolver::default(),
        cells: None,
        cache: None,
        sessions: None,
    })
}

/// Counts `count` successful requests of `duration` on the first route and the named endpoint.
pub(crate) fn serve(state: &State, service: usize, endpoint: usize, count: u64, duration: Duration) {
    let endpoint = state.services[service].endpoints[endpoint].shards.of(1);
    let route = state.routes[0].shards.of(1);
    for _request in 0..count {
        endpoint.attempts.add(1);
        endpoint.by_class[1].add(1);
        endpoint.duration.record(duration);
        route.started.add(1);
        route.by_class[1].add(1);
        route.duration.record(duration);
    }
}

fn listener() -> spec::Listener {
    spec::Listener {
        name: "web".to_owned(),
        bind: ([127, 0, 0, 1], 8080).into(),
        floating: false,
        proxy_protocol: None,
        tls: None,
        max_connections: 100,
        protocol: spec::Protocol::Http(spec::Http {
            trusted_proxies: Vec::new(),
            head_timeout: Duration::from_secs(10),
            keep_alive_timeout: Duration::from_secs(60),
            body_timeout: Duration::from_secs(30),
            max_head_bytes: 65536,
            max_headers: 100,
            redirect_https: None,
            http2: None,
        }),
    }
}

fn route() -> spec::Route {
    spec::Route { listeners: vec!["web".to_owned()], ..spec::Route::new("default", "shop") }
}

fn service() -> Service {
    let endpoint = |port: u16| spec::Endpoint::new(spec::Address::Socket(([127, 0, 0, 1], port).into()));
    let spec = spec::Service {
        endpoints: vec![endpoint(3001), endpoint(3002)],
        sources: vec![spec::Source::Srv { name: "_http._tcp.shop.test".to_owned() }],
        ..spec::Service::new("shop")
    };
    let endpoints = spec.endpoints.iter().cloned();
    let endpoints = endpoints.map(|spec| Arc::new(Endpoint::new(spec, health::State::Up, WORKERS))).collect();
    let sources = spec.sources.iter().map(|source| Arc::new(Source::new(source.clone()))).collect();
    Service::new(spec, endpoints, sources, WORKERS, None, Moment::ZERO)
}

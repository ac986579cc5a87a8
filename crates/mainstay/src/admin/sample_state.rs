//! A small state for tests of what reads it.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use mainstay_core::time::Moment;
use mainstay_core::{balance, budget, health, outlier, retry, route};
use mainstay_gateway::spec;
use mainstay_gateway::state::{Endpoint, Listener, Route, Service, Shards, Source, State};

const WORKERS: usize = 2;

/// One listener, one route and one service with two endpoints that are up.
pub(crate) fn sample() -> Arc<State> {
    Arc::new(State {
        generation: 3,
        applied_at: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000),
        listeners: vec![Arc::new(Listener { spec: listener(), shards: Arc::new(Shards::new(WORKERS)) })],
        routes: vec![Arc::new(Route {
            spec: route(),
            shards: Arc::new(Shards::new(WORKERS)),
            mirrors: Arc::default(),
        })],
        services: vec![Arc::new(service())],
        resolver: spec::Resolver::default(),
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
    spec::Route {
        name: "default".to_owned(),
        listeners: vec!["web".to_owned()],
        matches: route::Match {
            host: route::Host::Any,
            path: route::Path::Prefix("/".to_owned()),
            methods: Vec::new(),
            headers: Vec::new(),
        },
        service: "shop".to_owned(),
        timeout: Duration::from_secs(30),
        attempt_timeout: None,
        tunnel_timeout: Duration::from_secs(3600),
        retry: retry::Policy::default(),
        rewrite_prefix: None,
        request_headers: spec::HeaderOps::default(),
        response_headers: spec::HeaderOps::default(),
        mirror: None,
    }
}

fn service() -> Service {
    let endpoint = |port: u16| spec::Endpoint {
        address: spec::Address::Socket(([127, 0, 0, 1], port).into()),
        weight: 1,
        drain: false,
        priority: 0,
    };
    let spec = spec::Service {
        name: "shop".to_owned(),
        balance: spec::Balance { policy: balance::Policy::LeastRequest, key: spec::HashKey::Source },
        endpoints: vec![endpoint(3001), endpoint(3002)],
        sources: vec![spec::Source::Srv { name: "_http._tcp.shop.test".to_owned() }],
        health: Some(spec::HealthCheck { policy: health::Policy::default(), probe: spec::Probe::Tcp, port: None }),
        outlier: Some(outlier::Policy::default()),
        retry_budget: budget::Policy::default(),
        protocol: spec::HttpVersion::Http1,
        tls: None,
        when_empty: spec::WhenEmpty::Refuse,
        send_proxy: None,
        connections: spec::Connections {
            connect_timeout: Duration::from_secs(1),
            max_idle: 256,
            idle_timeout: Duration::from_secs(30),
            max_age: Duration::from_secs(600),
        },
    };
    let endpoints = spec.endpoints.iter().cloned();
    Service {
        endpoints: endpoints.map(|spec| Arc::new(Endpoint::new(spec, health::State::Up, WORKERS))).collect(),
        sources: spec.sources.iter().map(|source| Arc::new(Source::new(source.clone()))).collect(),
        epoch: AtomicU64::new(0),
        budget_refusals: AtomicU64::new(0),
        empty: AtomicU64::new(0),
        retry_budget: Mutex::new(budget::Budget::new(spec.retry_budget, Moment::ZERO)),
        spec,
    }
}

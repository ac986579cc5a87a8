//! What a configuration that is accepted comes to.

use std::time::Duration;

use mainstay_core::route::{Host, Path as RoutePath};
use mainstay_core::{balance, cache, fallback, health, outlier, retry};
use mainstay_gateway::spec::{
    AccessLog, Address, Answer, Cache, Content, Fallback, HashKey, Http, ListenerTls, Mirror, Probe, Protocol,
    ProxyVersion, Source, WhenEmpty,
};

use super::super::{Arguments, proxy};
use super::{SMALL, good, read};

/// Every key with a value of its own, or nearly.
const EVERYTHING: &str = r#"
        node = { name = "lb1", workers = 3, admin = "off", admin_socket = "off", access_log = "log/access", explain = 64, shutdown = { lead = "2s", deadline = "1m" } }
        [[listener]]
        name = "a"
        bind = "[::1]:8443"
        tls = { cert = "a.pem", key = "/keys/a.key" }
        trusted_proxies = ["10.0.0.0/8", "::1"]
        head_timeout = "1s"
        max_head = "16KiB"
        max_headers = 50
        [[listener]]
        name = "b"
        bind = "0.0.0.0:80"
        redirect_https = 8443
        proxy_protocol = { trusted = ["10.1.2.0/24", "::1"], timeout = "2s" }
        [[listener]]
        name = "c"
        bind = "0.0.0.0:5432"
        protocol = "tcp"
        service = "db"
        [[route]]
        name = "r"
        match = { host = "*.Example.com", path = "/shop/", method = "GET", headers = { X-A = "*", x-b = "1" } }
        service = "db"
        timeout = "2s"
        attempt_timeout = "500ms"
        retry = { attempts = 2, on = ["5xx", "timeout"] }
        rewrite_prefix = "/v2/"
        request_headers = { set = { X-Z = "1", x-a = "2" }, remove = "Cookie" }
        mirror = { service = "canary", share = "12.5%", timeout = "2s", max_in_flight = 7 }
        fallback = { service = "canary", file = "top10.json", status = 203, on = [500, "502-599"], on_limit = true, methods = ["GET", "POST"], stale = "2h" }
        cache = { default_ttl = "5s", jitter = "20%", stale_if_error = "1h", max_object = "2MiB", obey_clients = false }
        [[service]]
        name = "canary"
        endpoints = ["127.0.0.1:9"]
        [[service]]
        name = "db"
        balance = "hash"
        hash = { cookie = "Sid" }
        health = { https = "/health?full=1", preset = "aggressive", interval = "3s", port = 8081, expect = [200, "204-206"] }
        outlier = "off"
        retry_budget = { ratio = "12.5%", floor = 0 }
        when_empty = "fail-open"
        tls = true
        connect_timeout = "3s"
        send_proxy = "v2"
        [[service.endpoint]]
        address = "DB1.example.com:5432"
        weight = 7
        [[service.endpoint]]
        address = "[::1]:5432"
        drain = true
        "#;

fn http(protocol: &Protocol) -> &Http {
    match protocol {
        Protocol::Http(http) => http,
        Protocol::Tcp { .. } | Protocol::Database(_) => panic!("not HTTP"),
    }
}

#[test]
fn the_smallest_has_every_default() {
    let config = good(SMALL);
    assert_eq!(config.warnings, []);
    assert_eq!(config.admin, Some("127.0.0.1:7900".parse().unwrap()));
    assert!(config.admin_socket.is_some());
    let spec = config.spec;
    assert!(spec.node.workers >= 1 && !spec.node.name.is_empty());
    assert_eq!(spec.node.access_log, AccessLog::Stdout);
    assert_eq!((spec.node.shutdown.lead, spec.node.shutdown.deadline), (Duration::ZERO, Duration::from_secs(30)));
    let [listener] = spec.listeners.as_slice() else { panic!("{:?}", spec.listeners) };
    assert_eq!((listener.max_connections, &listener.tls), (65_536, &None));
    assert_eq!(http(&listener.protocol).max_head_bytes, 65_536);
    let [route] = spec.routes.as_slice() else { panic!("{:?}", spec.routes) };
    assert_eq!(
        (route.name.as_str(), route.service.as_str(), route.listeners.as_slice()),
        ("default", "app", &["web".to_owned()][..])
    );
    assert_eq!((route.timeout, route.attempt_timeout), (Duration::from_secs(30), None));
    assert_eq!(route.retry, retry::Policy::default());
    let [service] = spec.services.as_slice() else { panic!("{:?}", spec.services) };
    assert_eq!(
        service.health.as_ref().map(|check| (check.policy, check.probe.clone())),
        Some((health::Policy::default(), Probe::Tcp))
    );
    assert_eq!(service.outlier, Some(outlier::Policy::default()));
    assert_eq!((service.balance.policy, service.when_empty), (balance::Policy::LeastRequest, WhenEmpty::Refuse));
}

#[test]
fn every_setting_of_node_and_listeners_arrives() {
    let config = good(EVERYTHING);
    assert_eq!((config.admin, &config.admin_socket), (None, &None));
    let spec = config.spec;
    assert_eq!((spec.node.name.as_str(), spec.node.workers), ("lb1", 3));
    assert_eq!(spec.node.access_log, AccessLog::File("/etc/mainstay/log/access".into()));
    let Some(ListenerTls { certificates, .. }) = &spec.listeners[0].tls else { panic!("no TLS") };
    assert_eq!(
        (certificates[0].cert.to_str(), certificates[0].key.to_str()),
        (Some("/etc/mainstay/a.pem"), Some("/keys/a.key"))
    );
    let policy = spec.listeners[1].proxy_protocol.as_ref().expect("a PROXY header");
    assert_eq!((policy.trusted.len(), policy.timeout), (2, Duration::from_secs(2)));
    assert_eq!((&spec.listeners[0].proxy_protocol, &spec.listeners[2].proxy_protocol), (&None, &None));
    let first = http(&spec.listeners[0].protocol);
    assert_eq!((first.trusted_proxies.len(), first.max_head_bytes, first.max_headers), (2, 16_384, 50));
    assert_eq!(http(&spec.listeners[1].protocol).redirect_https, Some(8443));
    assert_eq!(
        spec.listeners[2].protocol,
        Protocol::Tcp { service: "db".to_owned(), idle_timeout: Duration::from_secs(3_600) }
    );
}

#[test]
fn every_setting_of_routes_and_services_arrives() {
    let spec = good(EVERYTHING).spec;
    let route = &spec.routes[0];
    assert_eq!(route.listeners, ["a"], "neither the redirect nor TCP takes routes");
    assert_eq!(
        (&route.matches.host, &route.matches.path),
        (&Host::Suffix(".example.com".into()), &RoutePath::Prefix("/shop".into()))
    );
    let headers: Vec<_> =
        route.matches.headers.iter().map(|header| (header.name.as_str(), header.value.as_deref())).collect();
    assert_eq!(headers, [("x-a", None), ("x-b", Some("1"))]);
    assert_eq!((route.retry.attempts, route.retry.on_5xx, route.retry.on_timeout), (2, true, true));
    assert_eq!(route.rewrite_prefix.as_deref(), Some("/v2"));
    assert_eq!(route.request_headers.set, [("x-z".to_owned(), "1".to_owned()), ("x-a".to_owned(), "2".to_owned())]);
    assert_eq!(route.request_headers.remove, ["cookie"]);
    let mirror = Mirror { service: "canary".into(), share: 0.125, timeout: Duration::from_secs(2), max_in_flight: 7 };
    assert_eq!(route.mirror, Some(mirror));
    let fallback = Fallback {
        policy: fallback::Policy {
            on: vec![(500, 500), (502, 599)],
            on_limit: true,
            methods: vec!["GET".into(), "POST".into()],
            stale: Some(Duration::from_secs(7_200)),
            service: true,
            fixed: Some(fallback::Fixed::Static),
        },
        service: Some("canary".into()),
        answer: Some(Answer {
            status: 203,
            content_type: "application/json".into(),
            content: Content::File("/etc/mainstay/top10.json".into()),
        }),
    };
    assert_eq!(route.fallback, Some(fallback));
    let cache = Cache {
        policy: cache::Policy {
            default_ttl: Duration::from_secs(5),
            max_ttl: Duration::from_secs(86_400),
            jitter: 0.2,
            while_revalidate: Duration::ZERO,
            if_error: Duration::from_secs(3_600),
            keep: Duration::from_secs(7_200),
        },
        max_object: 2 << 20,
        obeys_clients: false,
    };
    assert_eq!(route.cache, Some(cache));
    let service = &spec.services[1];
    assert_eq!(service.balance.key, HashKey::Cookie("Sid".into()));
    let check = service.health.as_ref().expect("a check");
    assert_eq!((check.policy.interval, check.policy.unhealthy, check.port), (Duration::from_secs(3), 2, Some(8081)));
    let expected = Probe::Http {
        path: "/health?full=1".into(),
        host: None,
        expect: vec![(200, 200), (204, 206)],
        tls: true,
        json: None,
    };
    assert_eq!(check.probe, expected);
    assert_eq!((service.outlier, service.retry_budget.ratio, service.connections.max_idle), (None, 0.125, 256));
    assert_eq!(service.connections.connect_timeout, Duration::from_secs(3));
    assert_eq!(service.send_proxy, Some(ProxyVersion::V2));
    assert_eq!(service.endpoints[0].address, Address::Name { host: "db1.example.com".into(), port: 5432 });
    assert_eq!((service.endpoints[0].weight, service.endpoints[1].drain), (7, true));
}

#[test]
fn unix_sockets() {
    for text in ["unix:/run/app.sock", "unix:///run/app.sock"] {
        let config = good(&SMALL.replace("127.0.0.1:3001", text));
        let address = &config.spec.services[0].endpoints[0].address;
        assert_eq!(*address, Address::Unix("/run/app.sock".into()));
        assert_eq!(address.to_string(), "unix:/run/app.sock", "one name, however it is written");
    }
}

#[test]
fn names_that_bring_endpoints() {
    let config = good(
        "[node]\nresolver = { servers = [\"10.0.0.53\", \"[::1]:5353\"], max_ttl = \"10s\" }\n[[listener]]\nname = \"web\"\n\
         bind = \"127.0.0.1:80\"\n[[service]]\nname = \"app\"\nsrv = \"_http._tcp.Shop.test\"\n[[service.endpoint]]\n\
         address = \"shop.test:81\"\nresolve = \"all\"\nweight = 3\npriority = 2\n[[service.endpoint]]\naddress = \"a.test:82\"\n\
         resolve = \"one\"\npriority = 1\n",
    );
    let resolver = &config.spec.node.resolver;
    assert_eq!(resolver.servers, ["10.0.0.53:53".parse().unwrap(), "[::1]:5353".parse().unwrap()]);
    assert_eq!((resolver.min_ttl.as_secs(), resolver.max_ttl.as_secs()), (1, 10));
    let service = &config.spec.services[0];
    let all = Source::Addresses {
        host: "shop.test".into(),
        port: 81,
        weight: 3,
        drain: false,
        priority: 2,
        zone: None,
        spare: false,
        rps: None,
    };
    assert_eq!(service.sources, [all, Source::Srv { name: "_http._tcp.shop.test".into() }]);
    assert_eq!((service.endpoints.len(), service.endpoints[0].priority), (1, 1));
    assert!(
        good(&SMALL.replace("endpoints = [\"127.0.0.1:3001\"]", "srv = \"shop.test\"")).spec.services[0]
            .endpoints
            .is_empty()
    );
}

#[test]
fn short_forms() {
    for (line, interval, unhealthy) in [("health = \"aggressive\"", 5, 2), ("health = \"conservative\"", 30, 5)] {
        let config = good(&format!("{SMALL}{line}"));
        let policy = config.spec.services[0].health.as_ref().expect("a check").policy;
        assert_eq!((policy.interval.as_secs(), policy.unhealthy), (interval, unhealthy), "{line}");
    }
    assert_eq!(good(&format!("{SMALL}health = \"off\"")).spec.services[0].health, None);
    assert!(
        good(&format!("{SMALL}balance = \"hash\"\nhash = \"source\"")).spec.services[0].balance.key == HashKey::Source
    );
}

#[test]
fn without_a_file() {
    let endpoints = ["127.0.0.1:3001".to_owned(), "localhost:3002".to_owned()];
    let arguments = Arguments {
        listen: ":8080",
        endpoints: &endpoints,
        workers: Some(2),
        admin: Some("off"),
        ..Arguments::default()
    };
    let config = proxy(&arguments).expect("accepted");
    assert_eq!(config.spec.listeners[0].bind, "127.0.0.1:8080".parse().unwrap());
    assert_eq!((config.admin, config.spec.node.workers, config.spec.services[0].endpoints.len()), (None, 2, 2));

    let wrong = ["nope".to_owned()];
    let arguments = Arguments { listen: "x", endpoints: &wrong, balance: Some("hsah"), workers: Some(0), ..arguments };
    let shown: Vec<String> = proxy(&arguments).expect_err("refused").iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        [
            "command line: --listen: `x` is not an address; write an IP address and a port: \"127.0.0.1:8080\"",
            "command line: --balance: `hsah` is not known here; did you mean \"hash\"?",
            "command line: ENDPOINT: `nope` has no port; write host:port, such as \"10.0.1.10:8080\"",
            "command line: --workers: 0 is out of bounds; it must be between 1 and 256",
        ]
    );
}

#[test]
fn the_same_text_comes_to_the_same_config() {
    assert_eq!(read(SMALL), read(SMALL));
}

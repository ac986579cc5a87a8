//! How traffic spreads: comparison of endpoints, guard, zones, spares, slow start.

use std::time::Duration;

use mainstay_core::outlier::gray;
use mainstay_gateway::spec::{Capacity, HashKey, Liveness, WhenEmpty, Zones};

use super::{SMALL, good, shown};

const ZONED: &str = r#"
    [node]
    zone = "a"
    [[listener]]
    name = "web"
    bind = "127.0.0.1:8080"
    [[service]]
    name = "app"
    capacity = { peak_rps = 1000, endpoint_rps = 600 }
    [[service.endpoint]]
    address = "127.0.0.1:1"
    zone = "a"
    [[service.endpoint]]
    address = "127.0.0.1:2"
    zone = "b"
    rps = 500
    spare = true
"#;

#[test]
fn everything_is_off_where_nothing_is_said() {
    let config = good(SMALL);
    let service = &config.spec.services[0];
    assert_eq!((service.slow_start, &service.guard, &service.zones, service.capacity), (None, &None, &None, None));
    assert_eq!(service.outlier.and_then(|outlier| outlier.gray), None);
    assert_eq!(service.balance.bounded_percent, None);
    assert_eq!((config.spec.node.zone, config.spec.routes[0].when_empty), (None, None));
}

#[test]
fn comparison_of_endpoints() {
    let gray = |text: &str| {
        let config = good(&format!("{SMALL}outlier = {{ gray = {text} }}\n"));
        config.spec.services[0].outlier.and_then(|outlier| outlier.gray)
    };
    assert_eq!(gray("true"), Some(gray::Policy::default()));
    assert_eq!(gray("false"), None);
    let expected = gray::Policy {
        interval: Duration::from_millis(500),
        slower: 3.0,
        slower_by: Duration::from_millis(20),
        errors: 0.25,
        min_requests: 7,
        min_endpoints: 2,
    };
    let table = r#"{ interval = "500ms", slower = 3, slower_by = "20ms", errors = "25%", min_requests = 7, min_endpoints = 2 }"#;
    assert_eq!(gray(table), Some(expected));
}

#[test]
fn the_cascade_guard() {
    let deep = "health = { http = \"/deep\", interval = \"4s\", unhealthy = 3 }\n";
    let guard = |text: &str| good(&format!("{SMALL}{deep}guard = {text}\n")).spec.services[0].guard.clone();
    assert_eq!(guard("false"), None);
    let plain = guard("true").expect("on");
    assert_eq!(
        (plain.policy.share, plain.policy.window, plain.liveness),
        (0.5, Duration::from_secs(24), Liveness::Tcp)
    );
    let full = guard(r#"{ share = "30%", window = "5s", liveness = "/live" }"#).expect("on");
    assert_eq!((full.policy.share, full.policy.window), (0.3, Duration::from_secs(5)));
    assert_eq!(full.liveness, Liveness::Http { path: "/live".to_owned() });
}

#[test]
fn zones_spares_and_capacity() {
    let config = good(ZONED);
    let service = &config.spec.services[0];
    assert_eq!(service.zones, Some(Zones { own: "a".to_owned(), min_endpoints: 4 }));
    assert_eq!(service.capacity, Some(Capacity { peak_rps: 1000, endpoint_rps: Some(600) }));
    assert_eq!((service.endpoints[1].spare, service.endpoints[1].rps), (true, Some(500)));
    let said: Vec<&str> = config.warnings.iter().map(|warning| warning.message.as_str()).collect();
    assert_eq!(
        said,
        [
            "without zone `a` the rest serves 500 requests a second of 1000",
            "without zone `b` the rest serves 600 requests a second of 1000"
        ]
    );
    let off = good(&ZONED.replace("[[service.endpoint]]", "zones = \"off\"\n[[service.endpoint]]").replacen(
        "zones = \"off\"\n[[service.endpoint]]\n    address = \"127.0.0.1:2\"",
        "[[service.endpoint]]\n    address = \"127.0.0.1:2\"",
        1,
    ));
    assert_eq!(off.spec.services[0].zones, None);
    let elsewhere = good(&ZONED.replace("[node]\n    zone = \"a\"", ""));
    assert_eq!(elsewhere.spec.services[0].zones, None);
}

#[test]
fn hashing_slow_start_and_routes() {
    let hash = |text: &str| {
        let config = good(&format!("{SMALL}balance = \"hash\"\nslow_start = \"20s\"\nhash = {text}\n"));
        assert_eq!(config.spec.services[0].slow_start, Some(Duration::from_secs(20)));
        (config.spec.services[0].balance.key.clone(), config.spec.services[0].balance.bounded_percent)
    };
    assert_eq!(hash("{ source = true, bounded_load = true }"), (HashKey::Source, Some(125)));
    assert_eq!(hash("{ header = \"x-a\", bounded_load = \"150%\" }"), (HashKey::Header("x-a".to_owned()), Some(150)));
    assert_eq!(hash("{ cookie = \"c\", bounded_load = false }"), (HashKey::Cookie("c".to_owned()), None));
    let open = good(&format!("{SMALL}[[route]]\nname = \"r\"\nservice = \"app\"\nwhen_empty = \"fail-open\"\n"));
    assert_eq!(open.spec.routes[0].when_empty, Some(WhenEmpty::FailOpen));
}

#[test]
fn what_is_refused() {
    let http = "health = { http = \"/h\" }\n";
    for (text, message) in [
        (
            "guard = true",
            "m.toml:7:9: service[0].guard: `guard` has no effect on a TCP check: an endpoint that fails it takes no connections; name a path that looks deeper: health = { http = \"/health\" }",
        ),
        (
            "health = \"off\"\nguard = true",
            "m.toml:8:9: service[0].guard: `guard` has no effect without checks; set `health`, or leave `guard` out",
        ),
        (
            &format!("{http}guard = \"yes\""),
            "m.toml:8:9: service[0].guard: true or a table is needed here, not a string; write guard = true",
        ),
        (
            &format!("{http}guard = {{ share = \"100%\" }}"),
            "m.toml:8:19: service[0].guard.share: 100% is out of bounds; it must be between 10% and 99%",
        ),
        (
            "outlier = { gray = { slower = 1 } }",
            "m.toml:7:31: service[0].outlier.gray.slower: 1 is out of bounds; it must be between 2 and 1000",
        ),
        (
            "outlier = { gray = { errors = 0.2 } }",
            "m.toml:7:31: service[0].outlier.gray.errors: a percentage needs a % sign; write a number and a %: \"20%\"",
        ),
        (
            "slow_start = \"10ms\"",
            "m.toml:7:14: service[0].slow_start: 10ms is out of bounds; it must be between 1s and 1h",
        ),
        (
            "capacity = { endpoint_rps = 5 }",
            "m.toml:7:12: service[0].capacity: `peak_rps` is missing; write the most requests a second that the service has to bear",
        ),
        (
            "capacity = { peak_rps = 5 }",
            "m.toml:4:1: service[0]: what an endpoint can serve is not known of all of them; set `endpoint_rps` in `capacity`, or `rps` at each endpoint",
        ),
        (
            "capacity = { peak_rps = 5, endpoint_rps = 4 }",
            "m.toml:4:1: warning: service[0]: all endpoints together serve 4 requests a second of 5",
        ),
        (
            "zones = \"on\"",
            "m.toml:7:9: service[0].zones: a table or \"off\" is needed here, not a string; write zones = { min_endpoints = 6 } or zones = \"off\"",
        ),
        (
            "balance = \"hash\"\nhash = { source = true, header = \"x\" }",
            "m.toml:8:8: service[0].hash: one of `header`, `cookie` and `source = true` is needed here",
        ),
        (
            "balance = \"hash\"\nhash = { source = true, bounded_load = \"50%\" }",
            "m.toml:8:40: service[0].hash.bounded_load: 50% is out of bounds; it must be between 100% and 1000%",
        ),
    ] {
        assert!(
            shown(&format!("{SMALL}{text}\n")).iter().any(|problem| problem == message),
            "{text}: {:#?}",
            shown(&format!("{SMALL}{text}\n"))
        );
    }
    let spares = SMALL
        .replace("endpoints = [\"127.0.0.1:3001\"]", "[[service.endpoint]]\naddress = \"127.0.0.1:1\"\nspare = true");
    assert!(shown(&spares)[0].contains("every endpoint is a spare"), "{:?}", shown(&spares));
}

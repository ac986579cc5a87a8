//! What `deadline`, `rate_limit`, `criticality`, `bulkhead` and `adaptive` of a route come to, and what is refused there.

use std::time::Duration;

use mainstay_core::adaptive;
use mainstay_core::criticality::Criticality;
use mainstay_core::limiter::Rate;
use mainstay_gateway::spec::{Admission, Bulkhead, ByCriticality, Deadline, Queue, RateKey, RateLimit, Scope};

use super::{SMALL, good, shown};

/// The configuration of one route with these lines.
fn with(lines: &str) -> String {
    format!("{SMALL}[[route]]\nname = \"all\"\nservice = \"app\"\n{lines}\n")
}

fn admission(lines: &str) -> Admission {
    let config = good(&with(lines));
    assert_eq!(config.warnings, [], "{lines}");
    config.spec.routes[0].admission.clone()
}

#[test]
fn nothing_is_limited_by_default() {
    assert_eq!(admission(""), Admission::default());
    assert_eq!(admission("deadline = false\nadaptive = false\nrate_limit = []"), Admission::default());
}

#[test]
fn rates_and_keys() {
    let all = |requests, per, burst| RateLimit {
        rate: Rate::new(requests, per, burst),
        key: RateKey::All,
        keys_max: 10_000,
        scope: Scope::Node,
    };
    let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
    for (text, wanted) in [
        ("{ rate = \"100/s\" }", all(100, second, 100)),
        ("{ rate = \"5/m\" }", all(5, minute, 1)),
        ("{ rate = \"10/30s\", burst = 20 }", all(10, 30 * second, 20)),
        ("{ rate = \"1/ms\" }", all(1, Duration::from_millis(1), 1000)),
        ("{ rate = \"9/s\", scope = \"node\" }", all(9, second, 9)),
        ("{ rate = \"9/s\", scope = \"cluster\" }", RateLimit { scope: Scope::Cluster, ..all(9, second, 9) }),
        (
            "{ rate = \"1/s\", key = \"client\", max_keys = 9 }",
            RateLimit { key: RateKey::Client, keys_max: 9, ..all(1, second, 1) },
        ),
        (
            "{ rate = \"1/s\", key = { header = \"X-Key\" } }",
            RateLimit { key: RateKey::Header("x-key".to_owned()), ..all(1, second, 1) },
        ),
    ] {
        assert_eq!(admission(&format!("rate_limit = {text}")).rate_limits, [wanted], "{text}");
    }
    let two = admission("rate_limit = [{ rate = \"1/s\" }, { rate = \"100/h\", key = \"path\" }]");
    assert_eq!(two.rate_limits.len(), 2);
}

#[test]
fn deadlines_classes_and_places() {
    let ours = Deadline { header: "x-mainstay-deadline-ms".to_owned() };
    assert_eq!(admission("deadline = true").deadline, Some(ours.clone()));
    assert_eq!(admission("deadline = {}").deadline, Some(ours));
    let theirs = admission("deadline = { header = \"X-Envoy-Expected-Rq-Timeout-Ms\" }").deadline;
    assert_eq!(theirs, Some(Deadline { header: "x-envoy-expected-rq-timeout-ms".to_owned() }));
    let by = |default, header: &str| Some(ByCriticality { default, header: header.to_owned() });
    assert_eq!(admission("criticality = \"high\"").criticality, by(Criticality::High, "x-mainstay-criticality"));
    let named = admission("criticality = { header = \"x-importance\" }").criticality;
    assert_eq!(named, by(Criticality::Normal, "x-importance"));
    let queue = |size, millis| Queue { size, timeout: Duration::from_millis(millis) };
    let placed = admission("bulkhead = { concurrency = 200, queue = 50, queue_timeout = \"300ms\" }");
    assert_eq!((placed.bulkhead, placed.queue), (Some(Bulkhead { concurrency: 200 }), queue(50, 300)));
    assert_eq!(admission("bulkhead = { concurrency = 1 }").queue, queue(0, 1000));
    let plain = admission("adaptive = true");
    assert_eq!((plain.adaptive, plain.queue), (Some(adaptive::Policy::default()), queue(20, 1000)));
    let tuned = admission(
        "adaptive = { min = 2, max = 50, initial = 9, probe = 3, tolerance = \"200%\", remeasure = \"5m\", jitter = \"30%\", queue = 0 }",
    );
    let wanted = adaptive::Policy {
        min: 2,
        max: 50,
        initial: 9,
        probe: 3,
        tolerance: 2.0,
        remeasure: Duration::from_secs(300),
        jitter: 0.3,
        ..adaptive::Policy::default()
    };
    assert_eq!((tuned.adaptive, tuned.queue), (Some(wanted), queue(0, 1000)));
    let both = admission("adaptive = true\nbulkhead = { concurrency = 9, queue = 4 }");
    assert_eq!(both.queue.size, 4, "the bulkhead's");
}

const REFUSED: &[(&str, &str)] = &[
    (
        "deadline = \"on\"",
        "m.toml:10:12: route[0].deadline: true or a table is needed here, not a string; write deadline = true",
    ),
    (
        "deadline = { header = \"cookie\" }",
        "m.toml:10:23: route[0].deadline.header: `cookie` means something else; leave `header` out for \"x-mainstay-deadline-ms\"",
    ),
    (
        "deadline = { header = \"host\" }",
        "m.toml:10:23: route[0].deadline.header: `host` means something else; leave `header` out for \"x-mainstay-deadline-ms\"",
    ),
    (
        "deadline = { header = \"x-a\" }\ncriticality = { header = \"x-a\" }",
        "m.toml:11:15: route[0].criticality: `x-a` carries the deadline already",
    ),
    (
        "rate_limit = \"100/s\"",
        "m.toml:10:14: route[0].rate_limit: a table is needed here, not a string; write rate_limit = { rate = \"100/s\" }",
    ),
    (
        "rate_limit = { burst = 1 }",
        "m.toml:10:14: route[0].rate_limit: `rate` is missing; say how often: rate = \"100/s\"",
    ),
    (
        "rate_limit = { rate = \"100\" }",
        "m.toml:10:23: route[0].rate_limit.rate: `100` is not a rate; write a number of requests, a slash and a time: \"100/s\", \"5/m\", \"10/30s\"",
    ),
    (
        "rate_limit = { rate = \"1/year\" }",
        "m.toml:10:23: route[0].rate_limit.rate: `1/year` is not a rate; write a number of requests, a slash and a time: \"100/s\", \"5/m\", \"10/30s\"",
    ),
    (
        "rate_limit = { rate = \"0/s\" }",
        "m.toml:10:23: route[0].rate_limit.rate: `0/s` lets nothing through, or everything; the number is at least 1, the time between 1ms and 7d",
    ),
    (
        "rate_limit = { rate = \"1/s\", key = \"ip\" }",
        "m.toml:10:36: route[0].rate_limit.key: `ip` is not known here; it is one of \"all\", \"client\", \"path\"",
    ),
    (
        "rate_limit = { rate = \"1/s\", max_keys = 5 }",
        "m.toml:10:41: route[0].rate_limit.max_keys: this has no effect on a limit for all: there is one bucket; name a `key`, or leave `max_keys` out",
    ),
    (
        "rate_limit = { rate = \"1/s\", key = \"client\", scope = \"cluster\" }",
        "m.toml:10:54: route[0].rate_limit.scope: only a limit for all can be shared by the cluster: nodes do not tell each other of keys; leave `key` out, or `scope`",
    ),
    (
        "criticality = \"sheddible\"",
        "m.toml:10:15: route[0].criticality: `sheddible` is not known here; did you mean \"sheddable\"?",
    ),
    (
        "bulkhead = { queue = 5 }",
        "m.toml:10:12: route[0].bulkhead: `concurrency` is missing; say how many requests may be in at once",
    ),
    (
        "bulkhead = { max_concurrent = 5, concurrency = 1 }",
        "m.toml:10:14: route[0].bulkhead.max_concurrent: unknown key; did you mean `concurrency`?",
    ),
    (
        "bulkhead = { concurrency = 0 }",
        "m.toml:10:28: route[0].bulkhead.concurrency: 0 is out of bounds; it must be between 1 and 1000000",
    ),
    (
        "bulkhead = { concurrency = 5, queue_timeout = \"1s\" }",
        "m.toml:10:47: route[0].bulkhead.queue_timeout: this has no effect without a queue; set `queue` to how many may wait",
    ),
    (
        "adaptive = { min = 50, max = 10 }",
        "m.toml:10:20: route[0].adaptive.min: `min` (50) must not be larger than `max` (10)",
    ),
    (
        "adaptive = { tolerance = \"50%\" }",
        "m.toml:10:26: route[0].adaptive.tolerance: 50% is out of bounds; it must be between 100% and 1000%",
    ),
    (
        "bulkhead = { concurrency = 5 }\nadaptive = { queue = 5 }",
        "m.toml:11:22: route[0].adaptive.queue: the route's bulkhead has the queue; set `queue` there",
    ),
    ("ratelimit = {}", "m.toml:10:1: route[0].ratelimit: unknown key; did you mean `rate_limit`?"),
];

#[test]
fn what_is_refused_says_why() {
    for (lines, wanted) in REFUSED {
        assert_eq!(shown(&with(lines)), [*wanted], "{lines}");
    }
}

//! Circuit breakers: what is read, and what is said of those that are refused.

use std::time::Duration;

use mainstay_core::breaker;

use super::{SMALL, good, shown};

#[test]
fn circuit_breakers() {
    let breaker = |text: &str| good(&format!("{SMALL}\nbreaker = {text}")).spec.services[0].breaker;
    assert_eq!(breaker("\"off\""), None);
    assert_eq!(breaker("\"classic\""), Some(breaker::Policy::CLASSIC));
    assert_eq!(breaker("{}"), Some(breaker::Policy::default()));
    let policy =
        breaker("{ preset = \"classic\", window_calls = 5, consecutive = 3, open_for = \"90s\", ramp = \"1s\" }");
    let policy = policy.expect("a breaker");
    assert_eq!((policy.window, policy.min_calls), (breaker::Span::Calls(5), 5), "no more than the window holds");
    assert_eq!((policy.failure_rate, policy.consecutive, policy.slow), (None, Some(3), None));
    assert_eq!((policy.open_max, policy.probes), (Duration::from_secs(90), 1), "not shorter than it is open");
    let slow = breaker("{ slow_rate = \"25%\", slow_after = \"2s\", failure_rate = \"10%\" }").expect("a breaker");
    assert_eq!(slow.slow, Some(breaker::Slow { rate: 0.25, after: Duration::from_secs(2) }));
    assert_eq!(slow.failure_rate, Some(0.1));
}

/// Added after [`SMALL`], which ends inside the service and is six lines long.
const REFUSED: &[(&str, &[&str])] = &[
    (
        "breaker = \"classical\"",
        &["m.toml:7:11: service[0].breaker: `classical` is not known here; did you mean \"classic\"?"],
    ),
    (
        "breaker = true",
        &[
            "m.toml:7:11: service[0].breaker: a table, \"default\", \"classic\" or \"off\" is needed here, not true or false; write breaker = { failure_rate = \"50%\" }",
        ],
    ),
    (
        "breaker = { failure_rate = \"0%\" }",
        &["m.toml:7:28: service[0].breaker.failure_rate: 0% is out of bounds; it must be between 1% and 100%"],
    ),
    (
        "breaker = { slow_rate = \"10%\" }",
        &[
            "m.toml:7:11: service[0].breaker: `slow_rate` and `slow_after` go together; write slow_rate = \"50%\", slow_after = \"2s\": the share of calls, and what is slow",
        ],
    ),
    (
        "breaker = { window_calls = 10, min_calls = 11, window = \"1s\" }",
        &[
            "m.toml:7:28: service[0].breaker.window_calls: either `window` or `window_calls`, not both; `window` counts calls by time, `window_calls` the last so many",
            "m.toml:7:44: service[0].breaker.min_calls: `min_calls` (11) is never reached in a window of 10 calls; `min_calls` must not be larger than `window_calls`",
        ],
    ),
    (
        "breaker = { open_for = \"10s\", open_max = \"1s\" }",
        &["m.toml:7:42: service[0].breaker.open_max: `open_for` (10s) must not be longer than `open_max` (1s)"],
    ),
];

#[test]
fn refused() {
    for (added, expected) in REFUSED {
        assert_eq!(shown(&format!("{SMALL}{added}\n")), *expected, "{added}");
    }
}

//! Retries and hedges: what is read, and what is said of those that are refused.

use std::time::Duration;

use mainstay_core::{hedge, restart};
use mainstay_gateway::spec::Route;

use super::{SMALL, good, shown};

fn with(text: &str) -> String {
    format!("{SMALL}[[route]]\nname = \"all\"\nservice = \"app\"\n{text}\n")
}

fn route(text: &str) -> Route {
    good(&with(text)).spec.routes[0].clone()
}

#[test]
fn accepted() {
    assert_eq!(route("").hedge, None);
    assert_eq!(route("hedge = \"off\"").hedge, None);
    assert_eq!(route("hedge = \"on\"").hedge, Some(hedge::Policy::default()));
    let hedge = hedge::Policy { quantile: 0.99, min_delay: Duration::from_millis(20) };
    assert_eq!(route("hedge = { quantile = \"99%\", min_delay = \"20ms\" }").hedge, Some(hedge));
    assert_eq!(route("").retry_budget, None, "its service's");
    let budget = route("retry_budget = { ratio = \"10%\", floor = 0 }").retry_budget.expect("its own");
    assert!((budget.ratio - 0.1).abs() < 1e-9 && budget.floor_per_second < 1e-9);
    assert!(!budget.shared);
    let shared = route("retry_budget = { floor = 6, scope = \"cluster\" }").retry_budget.expect("its own");
    assert!(shared.shared && (shared.floor_per_second - 6.0).abs() < 1e-9);
    assert_eq!(route("retry = { retry_after_max = \"9s\" }").retry.retry_after_max, Duration::from_secs(9));
}

#[test]
fn restart_ramps() {
    let read = |text: &str| good(&format!("{SMALL}\nrestart = {text}")).spec.services[0].restart;
    assert_eq!((read("\"off\""), read("\"on\"")), (None, Some(restart::Policy::default())));
    let policy = restart::Policy { after: Duration::ZERO, ramp: Duration::from_secs(60), from: 0.25 };
    assert_eq!(read("{ after = \"0s\", ramp = \"1m\", from = \"25%\" }"), Some(policy));
    assert_eq!(
        shown(&format!("{SMALL}restart = {{ from = \"0%\" }}\n")),
        ["m.toml:7:20: service[0].restart.from: 0% is out of bounds; it must be between 1% and 100%"]
    );
}

#[test]
fn refused() {
    for (text, expected) in [
        ("hedge = \"of\"", "m.toml:10:9: route[0].hedge: `of` is not known here; did you mean \"on\"?"),
        (
            "hedge = { quantile = \"20%\" }",
            "m.toml:10:22: route[0].hedge.quantile: 20% is out of bounds; it must be between 50% and 99.9%",
        ),
        (
            "hedge = 5",
            "m.toml:10:9: route[0].hedge: a table, \"on\" or \"off\" is needed here, not a number; write hedge = { quantile = \"95%\" }",
        ),
    ] {
        assert_eq!(shown(&with(text)), [expected], "{text}");
    }
}

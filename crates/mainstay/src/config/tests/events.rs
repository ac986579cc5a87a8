//! `[events]` and `[tracing]`: what is accepted and what is refused.

use std::time::Duration;

use mainstay_core::sampling::{Policy, Rate};
use mainstay_gateway::spec::{Rotate, Telemetry};

use super::{SMALL, good, shown};

#[test]
fn without_the_sections_every_request_leaves_a_line_and_none_carries_a_trace() {
    let told = good(SMALL).spec.telemetry;
    assert_eq!(told, Telemetry::default());
    assert_eq!((told.events.policy.rate, told.events.query, told.traces), (Rate::ALL, false, false));
    assert!(told.events.headers.is_empty() && told.events.max_per_second.is_none() && told.events.rotate.is_none());
}

#[test]
fn every_key() {
    let text = format!(
        "{SMALL}[events]\nsample = \"1%\"\nslow = \"250ms\"\nmax_per_second = 500\nheaders = [\"User-Agent\", \"user-agent\"]\nquery = true\n\
         redact = {{ headers = [\"x-pin\"], query = [\"PIN\"] }}\nrotate = {{ size = \"10MiB\" }}\n[tracing]\n\
         [[route]]\nname = \"r\"\nservice = \"app\"\nevents = {{ sample = \"10%\" }}\n"
    );
    let spec = good(&text).spec;
    let events = &spec.telemetry.events;
    assert_eq!(events.policy, Policy { rate: Rate(100), slow: Duration::from_millis(250) });
    assert_eq!((events.max_per_second, events.query), (Some(500), true));
    assert_eq!(events.headers, ["user-agent"]);
    assert!(["token", "pin"].iter().all(|key| events.secret_keys.iter().any(|known| known == key)));
    assert_eq!(events.rotate, Some(Rotate { size: 10 << 20, keep: 5 }));
    assert!(spec.telemetry.traces);
    assert_eq!(spec.routes[0].events.map(|policy| policy.rate), Some(Rate(10)));
    assert!(!good(&format!("{SMALL}[tracing]\nenabled = false\n")).spec.telemetry.traces);
}

#[test]
fn what_is_refused_says_why() {
    for (line, expected) in [
        ("sample = \"70%\"", "not one in a whole number of requests"),
        ("sample = 1", "a string is needed here"),
        ("sample = \"200%\"", "not one in a whole number of requests"),
        ("max_per_second = 0", "1"),
        ("headers = [\"Cookie\"]", "`cookie` is never written"),
        ("headers = [\"x-a\"]\nredact = { headers = [\"X-A\"] }", "`x-a` is never written"),
        ("headers = [\"a b\"]", "is not the name of a header"),
        ("rotate = { size = \"1B\" }", "size"),
        ("rotate = { keep = 3 }", "`size` is missing"),
        ("redact = { cookies = [] }", "unknown key"),
        ("samples = \"1%\"", "did you mean `sample`?"),
    ] {
        let problems = shown(&format!("{SMALL}[events]\n{line}\n"));
        assert!(problems.iter().any(|problem| problem.contains(expected)), "{line}: {problems:#?}");
    }
}

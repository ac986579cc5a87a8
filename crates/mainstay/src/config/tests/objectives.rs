//! Objectives, accepted and refused.

use std::time::Duration;

use mainstay_core::slo::Severity;
use mainstay_observe::slo::Good;

use super::{good, shown};

const BASE: &str = "[[listener]]\nname = \"web\"\nbind = \"127.0.0.1:8080\"\n[[route]]\nname = \"checkout\"\nservice = \"app\"\n\
                    [[service]]\nname = \"app\"\nendpoints = [\"127.0.0.1:3001\"]\n";

fn with(keys: &str) -> String {
    format!("{BASE}[[objective]]\nname = \"one\"\n{keys}")
}

#[test]
fn what_is_not_said_has_a_default() {
    let config = good(&with("service = \"app\"\ntarget = \"99.9%\"\n"));
    let [objective] = config.objectives.as_slice() else { panic!("{config:?}") };
    assert_eq!((objective.name.as_str(), objective.subject.to_string().as_str()), ("one", "service/app"));
    assert_eq!(objective.good, Good::Answered);
    assert_eq!(objective.terms.window, Duration::from_secs(28 * 86_400));
    assert!((objective.terms.target - 0.999).abs() < 1e-12);
    assert_eq!(objective.terms.severities, Severity::ALL);
}

#[test]
fn every_key_counts() {
    let config = good(&with(
        "route = \"checkout\"\ngood = \"latency < 500ms\"\ntarget = \"90%\"\nwindow = \"7d\"\nmin_events = 5\n\
         slow_failures = 0\nseverities = [\"P2\", \"P4\"]\n",
    ));
    let objective = &config.objectives[0];
    assert_eq!(objective.good, Good::Within(Duration::from_millis(500)));
    assert_eq!((objective.terms.min_events, objective.terms.slow_failures), (5, 0));
    assert_eq!(objective.terms.severities, [Severity::P2, Severity::P4]);
    assert_eq!(good(BASE).objectives, []);
}

#[test]
fn what_makes_no_sense_is_refused_with_what_to_do() {
    let service = "service = \"app\"\n";
    for (keys, expected) in [
        ("target = \"99%\"\n".to_owned(), "it is not said what the objective is about"),
        (format!("{service}route = \"checkout\"\ntarget = \"99%\"\n"), "an objective is about one thing"),
        ("service = \"ap\"\ntarget = \"99%\"\n".to_owned(), "did you mean `app`?"),
        ("probe = \"login\"\ntarget = \"99%\"\n".to_owned(), "there is no probe `login`"),
        (service.to_owned(), "`target` is missing"),
        (format!("{service}target = \"100%\"\n"), "out of bounds"),
        (format!("{service}target = 0.99\n"), "a percentage needs a % sign"),
        (format!("{service}target = \"99%\"\ngood = \"latency < 300ms\"\n"), "the nearest bounds are 250ms and 500ms"),
        (format!("{service}target = \"99%\"\ngood = \"latency < 20s\"\n"), "the nearest bounds are 10s"),
        (format!("{service}target = \"99%\"\ngood = \"status < 400\"\n"), "only 500 can stand in place of 400"),
        (format!("{service}target = \"99%\"\ngood = \"fast\"\n"), "no measure of what is good"),
        (format!("{service}target = \"99%\"\nwindow = \"90d\"\n"), "it must be between 1d and 35d"),
        (format!("{service}target = \"99%\"\nseverities = [\"P5\"]\n"), "`P5` is not known here"),
        (
            format!("{service}target = \"90%\"\n"),
            "P1 can never fire: if every event is bad, a budget of 10% burns 10.0 times",
        ),
        (format!("{service}target = \"80%\"\n"), "leave them out: severities = [\"P3\", \"P4\"]"),
        (
            format!("{service}target = \"99%\"\n[[objective]]\nname = \"one\"\n{service}target = \"99%\"\n"),
            "there is another objective `one`",
        ),
    ] {
        let problems = shown(&with(&keys));
        assert!(problems.iter().any(|problem| problem.contains(expected)), "{expected}: {problems:#?}");
    }
}

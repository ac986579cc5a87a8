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

/// A group of databases with an objective of these keys.
fn of_database(keys: &str) -> String {
    format!(
        "[node]\nname = \"db1\"\ndata_dir = \"/d\"\n[cluster]\n{BASE}[[database]]\nname = \"orders\"\nengine = \"postgres\"\n\
         [[database.member]]\nnode = \"db1\"\naddress = \"10.0.1.1:5432\"\n\
         [[database.member]]\nnode = \"db2\"\naddress = \"10.0.1.2:5432\"\n[database.server]\n\
         replication_password = {{ env = \"P\" }}\n[[objective]]\nname = \"one\"\n{keys}target = \"99.9%\"\n"
    )
}

#[test]
fn a_database_is_judged_by_its_seconds_or_by_what_its_clients_wait() {
    let config = good(&of_database("database = \"orders\"\ngood = \"writable\"\n"));
    assert_eq!(config.objectives[0].subject.to_string(), "database/orders");
    assert_eq!(good(&of_database("database = \"orders\"\n")).objectives[0].good, Good::Answered);
    let reads = of_database("database = \"orders\"\ngood = \"readable\"\n");
    let with_door = reads.replacen("engine = ", "read = \"127.0.0.1:5433\"\nengine = ", 1);
    let objective = &good(&with_door).objectives[0];
    assert_eq!((objective.subject.to_string().as_str(), objective.good), ("database/orders/read", Good::Answered));
    for (good, series) in [("latency", "database/orders"), ("read latency", "database/orders/read")] {
        let text = of_database(&format!("database = \"orders\"\ngood = \"{good} < 50ms\"\n"));
        let doors = "write = \"127.0.0.1:5432\"\nread = \"127.0.0.1:5433\"\nengine = ";
        let objective = &super::good(&text.replacen("engine = ", doors, 1)).objectives[0];
        let within = Good::Within(Duration::from_millis(50));
        assert_eq!((objective.subject.to_string().as_str(), objective.good), (series, within));
    }
    for (keys, expected) in [
        ("database = \"order\"\n", "did you mean `orders`?"),
        ("database = \"orders\"\ngood = \"latency < 500ms\"\n", "the database `orders` has no listener for writes"),
        ("database = \"orders\"\ngood = \"read latency < 500ms\"\n", "the database `orders` has no listener for reads"),
        ("database = \"orders\"\ngood = \"latency < 40ms\"\n", "the nearest bounds are 25ms and 50ms"),
        ("database = \"orders\"\ngood = \"status < 500\"\n", "no measure of what is good of a database"),
        ("service = \"app\"\ngood = \"writable\"\n", "no measure of what is good"),
        ("service = \"app\"\ngood = \"readable\"\n", "no measure of what is good"),
        ("database = \"orders\"\ngood = \"readable\"\n", "the database `orders` has no listener for reads"),
    ] {
        let problems = shown(&of_database(keys));
        assert!(problems.iter().any(|problem| problem.contains(expected)), "{expected}: {problems:#?}");
    }
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

//! `service.health` beyond thresholds: what is asked of answers.

use mainstay_gateway::spec::json::{Assertion, Pointer, Rules, Scalar, Severity, StatusWord, Wants};
use mainstay_gateway::spec::script::{Capture, Expected, Pattern, Source, Step, Template};
use mainstay_gateway::spec::{HealthCheck, Probe};

use super::{SMALL, good, shown};

fn check(health: &str) -> HealthCheck {
    good(&format!("{SMALL}health = {health}\n")).spec.services[0].health.clone().expect("a check")
}

fn rules(health: &str) -> Rules {
    match check(health).probe {
        Probe::Http { json: Some(rules), .. } => rules,
        other => panic!("{other:?}"),
    }
}

/// What is said of a check, without file, line and column.
fn refused(health: &str) -> Vec<String> {
    let said = shown(&format!("{SMALL}health = {health}\n"));
    said.iter().map(|it| it.split_once(": ").map_or("", |(_place, rest)| rest).to_owned()).collect()
}

fn at(path: &str) -> Pointer {
    Pointer::parse(path).expect("a path")
}

#[test]
fn the_usual_word_is_one_key_away() {
    let usual = Rules { status: Some(StatusWord::usual(at("status"))), assertions: Vec::new(), body_max: 65_536 };
    assert_eq!(rules("{ http = \"/health\", json = true }"), usual);
    assert_eq!(rules("{ https = \"/health\", json = {} }"), usual);
    assert!((check("{ http = \"/\", json = true }").degraded_share - 0.25).abs() < f64::EPSILON);
    assert!((check("{ http = \"/\", json = true, degraded_weight = \"10%\" }").degraded_share - 0.1).abs() < 1e-9);
}

#[test]
fn every_assertion_arrives() {
    let rules = rules(
        "{ http = \"/h\", json = { status = \"/state\", up = \"ready\", degraded = [\"limping\"], max_body = \"4KiB\", assert = [\
         { path = \"db\", equals = \"connected\" }, { path = \"v\", equals = [1, 2.5, true, \"x\"], otherwise = \"degraded\" }, \
         { path = \"/a/b\" }, { path = \"c\", present = false }, { path = \"d\", min = 1, max = 2.5 }, { path = \"e\", max = -1 }] } }",
    );
    assert_eq!(
        rules.status,
        Some(StatusWord { at: at("/state"), up: vec!["ready".into()], degraded: vec!["limping".into()] })
    );
    assert_eq!(rules.body_max, 4096);
    let failed = |path: &str, wants: Wants| Assertion { at: at(path), wants, otherwise: Severity::Failed };
    let values = vec![Scalar::Number(1.0), Scalar::Number(2.5), Scalar::Flag(true), Scalar::Text("x".into())];
    assert_eq!(
        rules.assertions,
        [
            failed("db", Wants::OneOf(vec![Scalar::Text("connected".into())])),
            Assertion { otherwise: Severity::Degraded, ..failed("v", Wants::OneOf(values)) },
            failed("/a/b", Wants::Present(true)),
            failed("c", Wants::Present(false)),
            failed("d", Wants::Within { min: Some(1.0), max: Some(2.5) }),
            failed("e", Wants::Within { min: None, max: Some(-1.0) }),
        ]
    );
}

#[test]
fn assertions_alone_ask_for_no_status_word() {
    assert_eq!(rules("{ http = \"/\", json = { assert = [{ path = \"a\" }] } }").status, None);
    assert!(rules("{ http = \"/\", json = { status = \"s\", assert = [{ path = \"a\" }] } }").status.is_some());
}

#[test]
fn commands() {
    let probe = check(
        "{ command = [\"bin/check\", \"-p\", \"{port}\"], degraded_code = [1, 3], user = \"nobody\", degraded_weight = \"50%\" }",
    )
    .probe;
    let argv = ["/etc/mainstay/bin/check", "-p", "{port}"].map(str::to_owned).to_vec();
    assert_eq!(probe, Probe::Command { argv, degraded: vec![1, 3], user: Some("nobody".into()) });
    let in_path = Probe::Command { argv: vec!["pg_isready".into()], degraded: Vec::new(), user: None };
    assert_eq!(check("{ command = [\"pg_isready\"] }").probe, in_path);
}

#[test]
fn transactions() {
    let probe = check(
        "{ host = \"shop.test\", steps = [\
         { method = \"POST\", path = \"/login\", headers = { Content-Type = \"application/json\" }, body = '{\"a\": {b}}', \
           capture = { token = { json = \"/token\" }, next = { header = \"Location\" } } },\
         { path = \"{next}?x={token}\", headers = { authorization = \"Bearer {token}\" }, expect = [200, 404], json = true, \
           capture = { id = { regex = \"id=(.)\" }, sid = { header = \"set-cookie\", regex = \"s=(.)\" } } }] }",
    )
    .probe;
    let Probe::Script { script, host } = probe else { panic!("{probe:?}") };
    assert_eq!((host.as_deref(), script.steps.len()), (Some("shop.test"), 2));
    let capture = |name: &str, from: Source| Capture { name: name.to_owned(), from };
    let first = Step {
        method: "POST".into(),
        path: Template::parse("/login"),
        headers: vec![("content-type".into(), Template::parse("application/json"))],
        body: Template::parse("{\"a\": {b}}"),
        expect: Expected(vec![(200, 299)]),
        json: None,
        captures: vec![
            capture("token", Source::Json(at("/token"))),
            capture("next", Source::Header("location".into(), None)),
        ],
    };
    assert_eq!(script.steps[0], first);
    let second = &script.steps[1];
    assert_eq!((second.method.as_str(), &second.path), ("GET", &Template::parse("{next}?x={token}")));
    assert_eq!(second.expect, Expected(vec![(200, 200), (404, 404)]));
    assert!(second.json.is_some());
    let pattern = |text: &str| Pattern::new(text).expect("a pattern");
    let found = [
        capture("id", Source::Body(pattern("id=(.)"))),
        capture("sid", Source::Header("set-cookie".into(), Some(pattern("s=(.)")))),
    ];
    assert_eq!(second.captures, found);
}

#[test]
fn transactions_and_commands_that_make_no_sense_are_refused() {
    for (health, expected) in [
        (
            "{ command = [] }",
            "service[0].health.command: a program and its arguments are needed here, 64 at most; write command = [\"/usr/local/bin/check\", \"{host}\", \"{port}\"]",
        ),
        ("{ command = \"check\" }", "service[0].health.command: a list is needed here, not a string; write [ ... ]"),
        ("{ command = [\"\"] }", "service[0].health.command[0]: the program's name is empty"),
        (
            "{ command = [\"x\"], degraded_code = 0 }",
            "service[0].health.degraded_code: 0 is out of bounds; it must be between 1 and 255",
        ),
        (
            "{ command = [\"x\"], user = \"a b\" }",
            "service[0].health.user: a user is needed here; write \"nobody\", or numbers: \"65534:65534\"",
        ),
        (
            "{ http = \"/\", user = \"nobody\" }",
            "service[0].health.user: this has no effect on an HTTP check; name a program: command = [\"/usr/local/bin/check\"]",
        ),
        ("{ command = [\"x\"], expect = 200 }", "service[0].health.expect: this has no effect on a command"),
        (
            "{ steps = [{ path = \"/\" }], expect = 200 }",
            "service[0].health.expect: this has no effect on a transaction; each step has its own `expect`",
        ),
        ("{ steps = [] }", "service[0].health.steps: 0 steps, where 1 to 16 are allowed"),
        (
            "{ steps = [{ method = \"GET\" }] }",
            "service[0].health.steps[0]: `path` is missing; write path = \"/orders\"",
        ),
        (
            "{ steps = [{ path = \"/{id}\" }] }",
            "service[0].health.steps[0].path: no step before this one captures `id`; write capture = { name = { json = \"/id\" } } at the step whose answer holds it",
        ),
        (
            "{ steps = [{ path = \"/\", headers = { host = \"a\" } }] }",
            "service[0].health.steps[0].headers.host: the check writes `host` itself; write `host` beside `steps`",
        ),
        (
            "{ steps = [{ path = \"/\", capture = { \"a b\" = { json = \"/a\" } } }] }",
            "service[0].health.steps[0].capture.a b: `a b` cannot be the name of a value; letters, digits and _ are allowed, and a digit is not the first",
        ),
        (
            "{ steps = [{ path = \"/\", capture = { a = { json = \"/a\", regex = \"b\" } } }] }",
            "service[0].health.steps[0].capture.a: one of `json`, `header` and `regex` is needed, or `header` with `regex`",
        ),
    ] {
        assert_eq!(refused(health), [expected], "{health}");
    }
    let [said] =
        refused("{ steps = [{ path = \"/\", capture = { a = { regex = \"(\" } } }] }").try_into().expect("one");
    assert!(said.starts_with("service[0].health.steps[0].capture.a.regex: not a regular expression: "), "{said}");
}

#[test]
fn what_transactions_send_is_not_shown() {
    let said = shown(&format!(
        "{SMALL}health = {{ steps = [{{ path = \"x\", body = \"s3cret\", headers = {{ a = \"s3cret\" }} }}] }}\n"
    ));
    assert!(!said.is_empty() && !said.iter().any(|it| it.contains("s3cret")), "{said:?}");
}

#[test]
fn what_makes_no_sense_is_refused() {
    for (health, expected) in [
        (
            "{ json = true }",
            "service[0].health.json: this has no effect on a TCP check; name a path: http = \"/health\"",
        ),
        (
            "{ http = \"/\", json = false }",
            "service[0].health.json: `json` can only be true, or a table; leave it out to judge by the status code",
        ),
        (
            "{ http = \"/\", degraded_weight = \"10%\" }",
            "service[0].health.degraded_weight: this has no effect: such a check never finds an endpoint degraded; those with `json` or `degraded_code` do",
        ),
        (
            "{ http = \"/\", json = true, degraded_weight = \"0%\" }",
            "service[0].health.degraded_weight: 0% is out of bounds; it must be between 1% and 100%",
        ),
        (
            "{ http = \"/\", json = { up = [\"ok\"], degraded = [\"OK\"] } }",
            "service[0].health.json.degraded: `OK` cannot mean both up and degraded",
        ),
        (
            "{ http = \"/\", json = { status = \"a..b\" } }",
            "service[0].health.json.status: there is nothing between two dots; write \"checks.database\" or \"/checks/database\"",
        ),
        (
            "{ http = \"/\", json = { assert = [{ equals = 1 }] } }",
            "service[0].health.json.assert[0]: `path` is missing; write path = \"checks.database\"",
        ),
        (
            "{ http = \"/\", json = { assert = [{ path = \"a\", equals = 1, max = 2 }] } }",
            "service[0].health.json.assert[0]: one of `equals`, `present` and a range by `min` and `max`, not several; write a further assertion with the same `path`",
        ),
        (
            "{ http = \"/\", json = { assert = [{ path = \"a\", min = 2, max = 1 }] } }",
            "service[0].health.json.assert[0].max: `max` (1) must not be less than `min` (2)",
        ),
        (
            "{ http = \"/\", json = { assert = [{ path = \"a\", otherwise = \"warn\" }] } }",
            "service[0].health.json.assert[0].otherwise: `warn` is not known here; it is one of \"down\", \"degraded\"",
        ),
        (
            "{ http = \"/\", json = { assert = [{ path = \"a\", equals = {} }] } }",
            "service[0].health.json.assert[0].equals: a string, a number, true or false is needed here, not a table",
        ),
        (
            "{ http = \"/\", json = { max_body = \"2MiB\" } }",
            "service[0].health.json.max_body: 2MiB is out of bounds; it must be between 64B and 1MiB",
        ),
    ] {
        assert_eq!(refused(health), [expected], "{health}");
    }
}

use super::*;

fn at(text: &str) -> Pointer {
    Pointer::parse(text).expect("a path")
}

fn rules(assertions: Vec<Assertion>) -> Rules {
    Rules { status: None, assertions, body_max: 1024 }
}

fn wants(path: &str, wants: Wants) -> Assertion {
    Assertion { at: at(path), wants, otherwise: Severity::Failed }
}

fn text(words: &[&str]) -> Wants {
    Wants::OneOf(words.iter().map(|word| Scalar::Text((*word).to_owned())).collect())
}

#[test]
fn the_words_of_the_field_are_known() {
    let rules = Rules { status: Some(StatusWord::usual(at("status"))), ..rules(Vec::new()) };
    let judge = |word: &str| rules.judge(format!("{{\"status\": \"{word}\", \"more\": 1}}").as_bytes());
    for well in ["up", "UP", "ok", "pass", "healthy", "Healthy"] {
        assert_eq!(judge(well), Finding::Well, "{well}");
    }
    for degraded in ["degraded", "warn", "DEGRADED"] {
        assert_eq!(judge(degraded), Finding::Degraded(format!("`status` is \"{degraded}\"")));
    }
    for failed in ["down", "fail", "unhealthy", "OUT_OF_SERVICE", "starting", ""] {
        assert_eq!(judge(failed), Finding::Failed(format!("`status` is \"{failed}\"")));
    }
    for (body, reason) in [
        ("{}", "the body has no `status`"),
        ("[]", "the body has no `status`"),
        ("{\"status\": 1}", "`status` is 1, not a string"),
        ("{\"status\": null}", "`status` is null, not a string"),
        ("", "the body is not JSON: EOF while parsing a value at line 1 column 0"),
        ("{\"status\": \"up\"} x", "the body is not JSON: trailing characters at line 1 column 18"),
    ] {
        assert_eq!(rules.judge(body.as_bytes()), Finding::Failed(reason.to_owned()), "{body}");
    }
}

#[test]
fn places_are_found_by_dots_and_by_pointers() {
    let document: Value =
        serde_json::from_str(r#"{"a": {"b": [10, {"c": "d"}], "x/y": 1, "x~y": 2, "": 3, "p.q": 4}}"#).expect("JSON");
    for (path, expected) in [
        ("a.b.0", Some("10")),
        ("/a/b/0", Some("10")),
        ("a.b.1.c", Some("\"d\"")),
        ("/a/x~1y", Some("1")),
        ("/a/x~0y", Some("2")),
        ("/a/", Some("3")),
        ("/a/p.q", Some("4")),
        ("a.b.2", None),
        ("a.b.00", None),
        ("a.b.01", None),
        ("a.b.+1", None),
        ("a.b.-1", None),
        ("a.b.0.c", None),
        ("a.c", None),
    ] {
        assert_eq!(at(path).find(&document).map(Value::to_string).as_deref(), expected, "{path}");
    }
    for wrong in ["", "a..b", ".a", "a.", "/a~", "/a~2"] {
        assert!(Pointer::parse(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn assertions_hold_or_say_why_not() {
    let body = br#"{"db": "connected", "pool": {"free": 3, "share": 0.5}, "ready": true, "note": null}"#;
    let within = |min: Option<f64>, max: Option<f64>| Wants::Within { min, max };
    for (assertion, reason) in [
        (wants("db", text(&["connected", "idle"])), None),
        (wants("db", text(&["idle", "gone"])), Some("`db` is \"connected\", expected \"idle\" or \"gone\"")),
        (wants("pool.free", within(Some(3.0), Some(3.0))), None),
        (wants("pool.free", within(Some(4.0), None)), Some("`pool.free` is 3, below 4")),
        (wants("/pool/share", within(None, Some(0.25))), Some("`/pool/share` is 0.5, above 0.25")),
        (wants("db", within(None, Some(1.0))), Some("`db` is \"connected\", not a number")),
        (wants("gone", within(None, Some(1.0))), Some("the body has no `gone`")),
        (wants("pool.free", Wants::OneOf(vec![Scalar::Number(3.0)])), None),
        (wants("ready", Wants::OneOf(vec![Scalar::Flag(true)])), None),
        (wants("ready", Wants::OneOf(vec![Scalar::Flag(false)])), Some("`ready` is true, expected false")),
        (wants("pool", text(&["x"])), Some("`pool` is an object, expected \"x\"")),
        (wants("note", Wants::Present(true)), None),
        (wants("note", Wants::Present(false)), Some("the body has `note`, and must not")),
        (wants("gone", Wants::Present(false)), None),
        (wants("gone", Wants::Present(true)), Some("the body has no `gone`")),
    ] {
        let expected = reason.map_or(Finding::Well, |reason| Finding::Failed(reason.to_owned()));
        assert_eq!(rules(vec![assertion.clone()]).judge(body), expected);
        let mild = Assertion { otherwise: Severity::Degraded, ..assertion };
        let expected = reason.map_or(Finding::Well, |reason| Finding::Degraded(reason.to_owned()));
        assert_eq!(rules(vec![mild]).judge(body), expected);
    }
}

#[test]
fn what_fails_speaks_before_what_is_degraded() {
    let mild = Assertion { otherwise: Severity::Degraded, ..wants("a", Wants::Present(true)) };
    let other = Assertion { otherwise: Severity::Degraded, ..wants("b", Wants::Present(true)) };
    let grave = wants("c", Wants::Present(true));
    let judge = |assertions: &[&Assertion]| rules(assertions.iter().copied().cloned().collect()).judge(b"{}");
    assert_eq!(judge(&[&mild, &other]), Finding::Degraded("the body has no `a`".to_owned()));
    assert_eq!(judge(&[&mild, &grave, &other]), Finding::Failed("the body has no `c`".to_owned()));
}

#[test]
fn a_body_cannot_fill_the_status_table() {
    let word = format!("\u{1b}[31m{}", "x".repeat(10_000));
    let body = serde_json::json!({ "status": word }).to_string();
    let rules = Rules { status: Some(StatusWord::usual(at("status"))), ..rules(Vec::new()) };
    let Finding::Failed(reason) = rules.judge(body.as_bytes()) else { panic!("it fails") };
    assert!(reason.chars().count() < 120 && !reason.contains('\u{1b}'), "{reason}");
}

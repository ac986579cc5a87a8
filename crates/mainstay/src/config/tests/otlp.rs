//! `[otlp]`: what is accepted and what is refused.

use std::path::PathBuf;
use std::time::Duration;

use mainstay_observe::otlp::{Protocol, Signals, Tls};
use mainstay_observe::secret::Secret;

use super::{SMALL, good, shown};

#[test]
fn every_key_and_the_defaults() {
    assert_eq!(good(SMALL).otlp, None);
    let least = good(&format!("{SMALL}[otlp]\nendpoint = \"http://127.0.0.1:4318/\"\n")).otlp.expect("settings");
    assert_eq!((least.endpoint.as_str(), least.protocol), ("http://127.0.0.1:4318", Protocol::Http));
    assert_eq!(least.signals, Signals { logs: true, traces: true, metrics: true });
    assert_eq!((least.timeout, least.metrics_interval), (Duration::from_secs(10), Duration::from_secs(60)));
    let text = format!(
        "{SMALL}[otlp]\nendpoint = \"http://collector:4317\"\nprotocol = \"grpc\"\nsignals = [\"traces\"]\ntimeout = \"2s\"\n\
         retry_for = \"5s\"\nmetrics_interval = \"10s\"\nheaders = {{ Authorization = {{ file = \"token\" }}, x-b = {{ env = \"B\" }} }}\n"
    );
    let all = good(&text).otlp.expect("settings");
    assert_eq!((all.protocol, all.signals.logs, all.signals.traces), (Protocol::Grpc, false, true));
    assert_eq!((all.timeout, all.retry_for), (Duration::from_secs(2), Duration::from_secs(5)));
    let file = Secret::File(PathBuf::from("/etc/mainstay/token"));
    let variable = Secret::Environment("B".to_owned());
    assert_eq!(all.headers, [("authorization".to_owned(), file), ("x-b".to_owned(), variable)]);
}

#[test]
fn certificates_stand_in_files() {
    let text = format!(
        "{SMALL}[otlp]\nendpoint = \"https://collector:4317\"\nprotocol = \"grpc\"\nca = \"ca.pem\"\ncert = \"c.pem\"\nkey = \"k.pem\"\n"
    );
    let tls = good(&text).otlp.expect("settings").tls;
    let path = |name: &str| PathBuf::from("/etc/mainstay").join(name);
    assert_eq!(tls, Tls { ca: Some(path("ca.pem")), identity: Some((path("c.pem"), path("k.pem"))) });
}

#[test]
fn what_is_refused_says_why() {
    let url = "endpoint = \"http://a:1\"\n";
    for (lines, expected) in [
        (String::new(), "`endpoint` is missing"),
        ("endpoint = \"a:1\"".to_owned(), "not the address of a collector"),
        ("endpoint = \"http://u:planted@a:1\"".to_owned(), "credentials do not belong"),
        ("endpoint = \"https://a:1\"\nprotocol = \"grpc\"".to_owned(), "whom to trust"),
        (format!("{url}ca = \"ca.pem\""), "no use at an http address"),
        ("endpoint = \"https://a:1\"\ncert = \"c.pem\"".to_owned(), "a `key` belongs to this certificate"),
        ("endpoint = \"https://a:1\"\nkey = \"k.pem\"".to_owned(), "a `cert` belongs to this key"),
        (format!("{url}signals = []"), "nothing would be sent"),
        (format!("{url}signals = [\"logs\"]"), "is not known here"),
        (format!("{url}headers = {{ a = \"planted\" }}"), "does not belong into the configuration"),
        (format!("{url}headers = {{ a = {{ }} }}"), "one of `file` and `env`"),
        (format!("{url}timeout = \"5m\""), "timeout"),
    ] {
        let problems = shown(&format!("{SMALL}[otlp]\n{lines}\n"));
        assert!(problems.iter().any(|problem| problem.contains(expected)), "{lines}: {problems:#?}");
        assert!(!problems.concat().contains("planted"), "{problems:#?}");
    }
}

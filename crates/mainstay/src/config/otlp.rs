//! `[otlp]`: where requests and metrics are sent.

use std::time::Duration;

use mainstay_observe::otlp::{Protocol, Settings, Signals, Tls};
use mainstay_observe::secret::Secret;

use super::problem::Fault;
use super::reader::{Item, Section};
use super::secret::secret;
use super::{keys, words};

/// Headers with every message, at most.
const HEADERS_MAX: usize = 20;
const SECOND: Duration = Duration::from_secs(1);

/// What the section says; `None` without it: nothing is sent.
pub(super) fn read(root: &Section<'_>) -> Option<Settings> {
    let section = root.item("otlp")?.section(&keys::OTLP)?;
    let protocols = [("http", Protocol::Http), ("grpc", Protocol::Grpc)];
    let protocol = section.field("protocol", Protocol::Http, |item| item.one_of(&protocols)).value;
    let hint = "write endpoint = \"http://127.0.0.1:4318\"";
    let endpoint = section.required("endpoint", hint)?.parsed(parse_url)?;
    let is_encrypted = endpoint.starts_with("https://");
    let all = Signals { logs: true, traces: true, metrics: true };
    Some(Settings {
        endpoint,
        protocol,
        tls: tls(&section, is_encrypted, protocol),
        headers: section.item("headers").map(|item| headers(&item)).unwrap_or_default(),
        signals: section.field("signals", all, signals).value,
        timeout: section.duration("timeout", 10 * SECOND, SECOND / 10..=60 * SECOND).value,
        retry_for: section.duration("retry_for", 60 * SECOND, SECOND..=600 * SECOND).value,
        metrics_interval: section.duration("metrics_interval", 60 * SECOND, SECOND..=3_600 * SECOND).value,
    })
}

/// Whom to trust, and who this node is.
fn tls(section: &Section<'_>, is_encrypted: bool, protocol: Protocol) -> Tls {
    let path = |key| section.field(key, None, |item: &Item<'_>| item.path().map(Some));
    let (ca, certificate, key) = (section.authorities("ca"), path("cert"), path("key"));
    for (field, name) in [(&ca, "ca"), (&certificate, "cert"), (&key, "key")] {
        if field.is_given && !is_encrypted {
            let fault = Fault::new(format!("`{name}` is of no use at an http address"));
            section.reader.error(&field.place, fault.hint("write https:// in `endpoint`"));
        }
    }
    if is_encrypted && protocol == Protocol::Grpc && !ca.is_given {
        let fault = Fault::new("it is not said whom to trust at this https address");
        let hint =
            "write ca = \"ca.pem\", or the file of the system's authorities: \"/etc/ssl/certs/ca-certificates.crt\"";
        section.reader.error(&ca.place, fault.hint(hint));
    }
    let missing = match (certificate.is_given, key.is_given) {
        (true, false) => Some((&certificate, "a `key` belongs to this certificate")),
        (false, true) => Some((&key, "a `cert` belongs to this key")),
        (true, true) | (false, false) => None,
    };
    if let Some((field, what)) = missing {
        section.reader.error(&field.place, Fault::new(what));
    }
    Tls { ca: ca.value, identity: certificate.value.zip(key.value) }
}

fn parse_url(text: &str) -> Result<String, Fault> {
    let hint = "write \"http://HOST:PORT\"; collectors listen on 4318 for HTTP and on 4317 for gRPC";
    let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
    if !["http", "https"].contains(&scheme) {
        return Err(Fault::new("this is not the address of a collector").hint(hint));
    }
    if rest.contains('@') {
        let fault = Fault::new("credentials do not belong into an address");
        return Err(fault.hint("write headers = { authorization = { file = \"otlp.token\" } }"));
    }
    let authority = rest.split('/').next().unwrap_or_default();
    let (host, _port) = authority.rsplit_once(':').unwrap_or((authority, ""));
    if host.is_empty() || rest.contains(['?', '#', ' ']) {
        return Err(Fault::new("this is not the address of a collector").hint(hint));
    }
    Ok(text.trim_end_matches('/').to_owned())
}

fn headers(item: &Item<'_>) -> Vec<(String, Secret)> {
    let mut headers = Vec::new();
    for (name, _span, item) in Section::free_entries(item, HEADERS_MAX) {
        let parsed = words::header_name(name).map_err(|fault| item.error(fault));
        let (Ok(name), Some(secret)) = (parsed, secret(&item)) else { continue };
        headers.push((name, secret));
    }
    headers
}

fn signals(item: &Item<'_>) -> Option<Signals> {
    let words = [("events", 0), ("traces", 1), ("metrics", 2)];
    let mut on = [false; 3];
    for item in item.list_or_one() {
        if let Some(index) = item.one_of(&words) {
            on[index] = true;
        }
    }
    let [logs, traces, metrics] = on;
    if on == [false; 3] {
        item.error(Fault::new("nothing would be sent").hint("write signals = [\"events\", \"traces\", \"metrics\"]"));
        return None;
    }
    Some(Signals { logs, traces, metrics })
}

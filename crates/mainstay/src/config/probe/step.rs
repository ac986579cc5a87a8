//! `[[probe.step]]`: a request over HTTP, a connection over TCP or TLS, or a question to a name server.

use std::time::Duration;

use hyper::Uri;
use mainstay_gateway::spec::Address;
use mainstay_gateway::spec::script::{Expected, Form, Pattern, Template};
use mainstay_observe::probes::{Action, Handshake, Question, Request, Step, Talk};

use super::super::health::{EXPECT, json, read_expect, steps};
use super::super::problem::Fault;
use super::super::reader::{Item, Section, clip};
use super::super::words;

/// What a step does, by the key that says it, and the keys that then have a meaning.
const KINDS: &[(&str, &[&str])] = &[
    (
        "url",
        &[
            "method",
            "headers",
            "body",
            "follow",
            "max_body",
            "expect",
            "expect_headers",
            "expect_text",
            "json",
            "capture",
        ],
    ),
    ("tcp", &["send", "expect_text"]),
    ("tls", &["server_name", "min_days"]),
    ("dns", &["type", "server", "records"]),
];
const NAME_MAX: usize = 100;
const LIST_MAX: usize = 32;
const FOLLOW_MAX: u64 = 10;
const BODY_MAX: u64 = 256 * 1024;
const BODY_MAX_MOST: u64 = 4 * 1024 * 1024;
/// Days before its end from which on a certificate fails the step, if nothing else is said.
const DAYS_MIN: u64 = 14;
const RECORDS: &[&str] = &["A", "AAAA", "CAA", "CNAME", "MX", "NS", "PTR", "SOA", "SRV", "TXT"];

/// Reads a step. `known` are the names that have values by then, to which it adds its own; `has_request` says whether one
/// before it is a request, from whose host it can go on.
pub(super) fn read(section: &Section<'_>, known: &mut Vec<String>, has_request: bool) -> Option<Step> {
    let given: Vec<_> = KINDS.iter().filter(|(key, _others)| section.has(key)).collect();
    let [(key, others)] = given.as_slice() else {
        let fault = Fault::new("a step does one thing").hint("write one of `url`, `tcp`, `tls` and `dns`");
        section.reader.error_if_whole(&section.place, fault);
        return None;
    };
    for (_kind, names) in KINDS {
        for name in names.iter().filter(|name| section.has(name) && !others.contains(name)) {
            let place = section.item(name).map_or_else(|| section.place.clone(), |item| item.place);
            section.reader.error(&place, Fault::new(format!("`{name}` means nothing beside `{key}`")));
        }
    }
    let item = section.item(key)?;
    let (action, default) = match *key {
        "url" => request(section, &item, known, has_request)?,
        "tcp" => talk(section, &item, known)?,
        "tls" => handshake(section, &item)?,
        _dns => question(section, &item)?,
    };
    let bounds = Duration::from_millis(100)..=super::TIMEOUT_MAX;
    Some(Step {
        name: section.field("name", default, |item| item.parsed(shown_name)).value,
        timeout: section.field("timeout", None, |item| item.duration(&bounds).map(Some)).value,
        action,
    })
}

fn shown_name(text: &str) -> Result<String, Fault> {
    if text.is_empty() || text.chars().count() > NAME_MAX || text.contains(char::is_control) {
        return Err(Fault::new(format!("a step's name has 1 to {NAME_MAX} characters, on one line")));
    }
    Ok(text.to_owned())
}

fn request(
    section: &Section<'_>,
    item: &Item<'_>,
    known: &mut Vec<String>,
    has_request: bool,
) -> Option<(Action, String)> {
    let url = item.parsed(|text| url(text, known, has_request));
    let body = section.field("body", String::new(), |item| item.parsed(steps::body_of)).value;
    let method = section.field("method", "GET".to_owned(), |item| item.parsed(words::method)).value;
    let max_body = section.field("max_body", BODY_MAX, |item| item.size(&(1..=BODY_MAX_MOST))).value;
    let captures = section.item("capture").map(|item| steps::read_captures(&item)).unwrap_or_default();
    let request = Request {
        headers: section.item("headers").map(|item| steps::read_headers(&item, known)).unwrap_or_default(),
        // Braces are everywhere in JSON: what is no known name stands for itself.
        body: Template::parse(&body),
        follow: u8::try_from(section.integer("follow", 0, 0..=FOLLOW_MAX).value).unwrap_or_default(),
        body_max: usize::try_from(max_body).unwrap_or(usize::MAX),
        expect: Expected(section.field("expect", vec![EXPECT], read_expect).value),
        expect_headers: section.item("expect_headers").map(|item| read_headers(&item)).unwrap_or_default(),
        expect_body: section.field("expect_text", Vec::new(), read_patterns).value,
        json: section.item("json").and_then(|item| json::read(&item)),
        url: url?,
        captures,
        method,
    };
    known.extend(request.captures.iter().map(|capture| capture.name.clone()));
    let shown = request.url.fill(&[], Form::Plain);
    let shown = shown.split("://").last().unwrap_or_default();
    let path = shown.find('/').and_then(|at| shown.get(at..)).unwrap_or("/");
    let path = if request.url.starts_with_name() { shown } else { path };
    let name: String =
        format!("{} {}", request.method, path.split('?').next().unwrap_or_default()).chars().take(NAME_MAX).collect();
    Some((Action::Http(Box::new(request)), name))
}

fn url(text: &str, known: &[String], has_request: bool) -> Result<Template, Fault> {
    let template = steps::template(text, known)?;
    if text.starts_with('{') || text.starts_with('/') {
        if !has_request {
            let fault = Fault::new("no step before this one says at which host");
            return Err(fault.hint("write the whole URL: \"https://shop.example.com/login\""));
        }
        return Ok(template);
    }
    let mut sample = text.to_owned();
    for name in template.names() {
        sample = sample.replace(&format!("{{{name}}}"), "0");
    }
    let uri = sample.parse::<Uri>().ok().filter(|uri| matches!(uri.scheme_str(), Some("http" | "https")));
    let Some(authority) = uri.as_ref().and_then(Uri::authority) else {
        return Err(Fault::new("this is no URL of HTTP").hint("write \"https://shop.example.com/login\""));
    };
    if authority.as_str().contains('@') {
        let fault = Fault::new("a URL holds no user and no password here");
        return Err(fault.hint("write headers = { authorization = \"{login}\" } and say in `secrets` where it is"));
    }
    Ok(template)
}

fn pattern(text: &str) -> Result<Pattern, Fault> {
    Pattern::new(text).map_err(|error| Fault::new(format!("not a regular expression: {}", clip(&error))))
}

fn read_patterns(item: &Item<'_>) -> Option<Vec<Pattern>> {
    let items = item.list_or_one();
    if items.len() > LIST_MAX {
        item.error(Fault::new(format!("at most {LIST_MAX} patterns are allowed")));
    }
    let patterns: Vec<Pattern> = items.iter().filter_map(|item| item.parsed(pattern)).collect();
    (patterns.len() == items.len()).then_some(patterns)
}

fn read_headers(item: &Item<'_>) -> Vec<(String, Pattern)> {
    let mut headers = Vec::new();
    for (name, _span, value) in Section::free_entries(item, LIST_MAX) {
        match words::header_name(name) {
            Ok(name) => headers.extend(value.parsed(pattern).map(|pattern| (name, pattern))),
            Err(fault) => value.error(fault),
        }
    }
    headers
}

fn talk(section: &Section<'_>, item: &Item<'_>, known: &[String]) -> Option<(Action, String)> {
    let (host, port) = item.parsed(host_and_port)?;
    let send = section.field("send", Template::parse(""), |item| item.parsed(|text| steps::template(text, known)));
    let expect = section.field("expect_text", None, |item| item.parsed(pattern).map(Some)).value;
    let name = format!("TCP {host}:{port}");
    Some((Action::Tcp(Talk { host, port, send: send.value, expect }), name))
}

fn handshake(section: &Section<'_>, item: &Item<'_>) -> Option<(Action, String)> {
    let (host, port) = item.parsed(host_and_port)?;
    let server_name = section
        .field("server_name", None, |item| item.parsed(|text| words::domain(text).map(|()| Some(text.to_owned()))));
    let days_min = section.integer("min_days", DAYS_MIN, 0..=3650).value as f64;
    let name = format!("TLS {host}:{port}");
    Some((Action::Tls(Handshake { host, port, server_name: server_name.value, days_min }), name))
}

fn question(section: &Section<'_>, item: &Item<'_>) -> Option<(Action, String)> {
    let name = item.parsed(|text| words::domain(text.strip_suffix('.').unwrap_or(text)).map(|()| text.to_owned()))?;
    let kinds: Vec<(&str, String)> = RECORDS.iter().map(|kind| (*kind, (*kind).to_owned())).collect();
    let kind = section.field("type", "A".to_owned(), |item| item.one_of(&kinds)).value;
    let records = section.field("records", Vec::new(), |item| {
        let items = item.list_or_one();
        let texts: Vec<String> = items.iter().filter_map(|item| item.text().map(str::to_owned)).collect();
        if texts.len() > LIST_MAX {
            item.error(Fault::new(format!("at most {LIST_MAX} records are allowed")));
        }
        (texts.len() == items.len()).then_some(texts)
    });
    let server = section.field("server", None, |item| item.parsed(words::name_server).map(Some)).value;
    let shown = format!("DNS {name} {kind}");
    // A name without its last dot is whole too: search domains are for people who type.
    let name = format!("{}.", name.trim_end_matches('.'));
    Some((Action::Dns(Question { name, kind, server, records: records.value }), shown))
}

fn host_and_port(text: &str) -> Result<(String, u16), Fault> {
    match words::endpoint(text)? {
        Address::Socket(address) => Ok((address.ip().to_string(), address.port())),
        Address::Name { host, port } => Ok((host, port)),
        Address::Member { .. } | Address::Unix(_) => {
            Err(Fault::new("a host and a port are needed here").hint("write \"db.example.com:5432\""))
        }
    }
}

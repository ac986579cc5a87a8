//! `service.health`: active checks.

mod command;
pub(super) mod json;
pub(super) mod steps;

use std::ops::RangeInclusive;
use std::time::Duration;

use mainstay_core::health::Policy;
use mainstay_gateway::spec::{HealthCheck, Probe};

use super::problem::Fault;
use super::reader::{Item, Section};
use super::{keys, units, words};

const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST_INTERVAL: Duration = Duration::from_secs(3_600);

const PRESETS: &[(&str, Policy)] = &[("conservative", Policy::CONSERVATIVE), ("aggressive", Policy::AGGRESSIVE)];

/// An endpoint that is to get nothing while it is degraded is down.
const DEGRADED: RangeInclusive<f64> = 0.01..=1.0;

/// Codes that pass unless others are named.
pub(super) const EXPECT: (u16, u16) = (200, 299);

/// Reads `health`; `None` turns checks off.
pub(super) fn read(item: &Item<'_>, service_has_tls: bool) -> Option<HealthCheck> {
    if item.is_table() {
        return item.section(&keys::HEALTH).map(|section| read_table(&section, service_has_tls));
    }
    match item.word() {
        Some("off") => None,
        Some(_) => {
            let mut words: Vec<(&str, Option<Policy>)> =
                PRESETS.iter().map(|(word, policy)| (*word, Some(*policy))).collect();
            words.push(("off", None));
            let policy = item.one_of(&words).flatten().unwrap_or_default();
            Some(HealthCheck { policy, ..HealthCheck::default() })
        }
        None => {
            item.wrong_type("a table, \"off\" or a preset", "write health = { http = \"/health\" }");
            Some(HealthCheck::default())
        }
    }
}

fn read_table(section: &Section<'_>, service_has_tls: bool) -> HealthCheck {
    let port = section
        .field("port", None, |item| item.integer(&(1..=65_535)).and_then(|port| u16::try_from(port).ok()).map(Some));
    let probe = read_probe(section);
    if let Probe::Http { tls: false, .. } = probe
        && service_has_tls
        && !port.is_given
        && let Some(item) = section.item("http")
    {
        let fault = Fault::new("this check speaks plain HTTP, but the service's endpoints speak TLS");
        item.reader.warn(&item.place, fault.hint("write https in place of http"));
    }
    let degraded_share = section.field("degraded_weight", HealthCheck::DEGRADED_SHARE, |item| item.share(&DEGRADED));
    if degraded_share.is_given && !can_be_degraded(&probe) {
        let fault = Fault::new("this has no effect: such a check never finds an endpoint degraded");
        section.reader.error(&degraded_share.place, fault.hint("those with `json` or `degraded_code` do"));
    }
    HealthCheck { policy: read_policy(section), probe, port: port.value, degraded_share: degraded_share.value }
}

fn can_be_degraded(probe: &Probe) -> bool {
    match probe {
        Probe::Http { json, .. } => json.is_some(),
        Probe::Command { degraded, .. } => !degraded.is_empty(),
        Probe::Script { script, .. } => script.steps.iter().any(|step| step.json.is_some()),
        Probe::Tcp | Probe::Grpc { .. } => false,
    }
}

fn read_policy(section: &Section<'_>) -> Policy {
    let preset = section.field("preset", Policy::default(), |item| item.one_of(PRESETS)).value;
    let interval = section.duration("interval", preset.interval, SHORTEST..=LONGEST_INTERVAL);
    let timeout = section.duration("timeout", preset.timeout, SHORTEST..=LONGEST_INTERVAL);
    if interval.is_good && timeout.is_good && timeout.value > interval.value {
        let fault = Fault::new(format!(
            "`timeout` ({}) must not be longer than `interval` ({})",
            units::show_duration(timeout.value),
            units::show_duration(interval.value)
        ));
        let (place, other) = if timeout.is_given { (&timeout.place, "interval") } else { (&interval.place, "timeout") };
        let fault =
            if interval.is_given && timeout.is_given { fault } else { fault.hint(format!("set `{other}` too")) };
        section.reader.error(place, fault);
    }
    let count = |key: &str, default: u32| {
        let value = section.integer(key, u64::from(default), 1..=100).value;
        u32::try_from(value).unwrap_or(default)
    };
    Policy {
        interval: interval.value,
        timeout: timeout.value,
        unhealthy: count("unhealthy", preset.unhealthy),
        healthy: count("healthy", preset.healthy),
    }
}

/// The keys that say what is asked; one of them at most.
const KINDS: &[&str] = &["tcp", "http", "https", "grpc", "command", "steps"];
/// Keys that say more about it, and of which kinds.
const FURTHER: &[(&str, &[&str])] = &[
    ("host", &["http", "https", "steps"]),
    ("expect", &["http", "https"]),
    ("json", &["http", "https"]),
    ("degraded_code", &["command"]),
    ("user", &["command"]),
];

fn read_probe(section: &Section<'_>) -> Probe {
    let given: Vec<&str> = KINDS.iter().copied().filter(|key| section.has(key)).collect();
    if let [_, second, ..] = given.as_slice()
        && let Some(item) = section.item(second)
    {
        item.error(Fault::new("one of `tcp`, `http`, `https`, `grpc`, `command` and `steps`, not several"));
    }
    let kind = given.last().copied().unwrap_or("tcp");
    for (key, kinds) in FURTHER.iter().filter(|(_key, kinds)| !kinds.iter().any(|of| given.contains(of))) {
        if let Some(item) = section.item(key) {
            item.error(without_effect(key, kind, kinds));
        }
    }
    match (kind, section.item(kind)) {
        ("grpc", Some(item)) => Probe::Grpc { service: read_grpc(&item) },
        ("command", Some(item)) => command::read(section, &item),
        ("steps", Some(_item)) => {
            let host = section.field("host", None, |item| item.parsed(host_header).map(Some)).value;
            Probe::Script { script: steps::read(section), host }
        }
        ("http" | "https", Some(item)) => {
            let path = item.parsed(words::target).unwrap_or_default();
            let host = section.field("host", None, |item| item.parsed(host_header).map(Some)).value;
            let expect = section.field("expect", vec![EXPECT], read_expect).value;
            let json = section.item("json").and_then(|item| json::read(&item));
            Probe::Http { path, host, expect, tls: kind == "https", json }
        }
        (_tcp, item) => {
            if let Some(item) = item
                && item.flag() == Some(false)
            {
                item.error(Fault::new("`tcp` can only be true").hint("health = \"off\" turns checks off"));
            }
            Probe::Tcp
        }
    }
}

fn without_effect(key: &str, kind: &str, kinds: &[&str]) -> Fault {
    let check = match kind {
        "http" | "https" => "an HTTP check",
        "grpc" => "a gRPC check",
        "command" => "a command",
        "steps" => "a transaction",
        _tcp => "a TCP check",
    };
    let fault = Fault::new(format!("this has no effect on {check}"));
    match (kind, kinds) {
        ("steps", _) => fault.hint(format!("each step has its own `{key}`")),
        (_other, ["command"]) => fault.hint("name a program: command = [\"/usr/local/bin/check\"]"),
        ("tcp", _) => fault.hint("name a path: http = \"/health\""),
        (_other, _) => fault,
    }
}

/// `true` for the server as a whole, or a service's name.
fn read_grpc(item: &Item<'_>) -> String {
    match item.as_flag() {
        Some(true) => String::new(),
        Some(false) => {
            item.error(Fault::new("`grpc` can only be true, or the name of a service"));
            String::new()
        }
        None => item.parsed(grpc_service).unwrap_or_default(),
    }
}

fn grpc_service(text: &str) -> Result<String, Fault> {
    if text.is_empty() || text.len() > 127 || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        let fault = Fault::new("the name of a gRPC service is needed here, of at most 127 characters");
        return Err(fault.hint("write grpc = true to ask about the server as a whole"));
    }
    Ok(text.to_owned())
}

/// A `Host` header: a host, and perhaps a port.
fn host_header(text: &str) -> Result<String, Fault> {
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
    if text.is_empty() || text.len() > 255 || !text.bytes().all(is_host) {
        return Err(Fault::new("a host name is needed here, with a port if it is not the usual one"));
    }
    Ok(text.to_owned())
}

pub(super) fn read_expect(item: &Item<'_>) -> Option<Vec<(u16, u16)>> {
    let one = |item: &Item<'_>| match item.number() {
        Some(number) => words::statuses(number).map_err(|fault| item.error(fault)).ok(),
        None => item.parsed(words::statuses),
    };
    let items = item.list_or_one();
    if items.is_empty() {
        item.error(Fault::new("no status would ever pass").hint("write \"200-299\""));
    }
    let ranges: Vec<(u16, u16)> = items.iter().filter_map(one).collect();
    (!ranges.is_empty() && ranges.len() == items.len()).then_some(ranges)
}

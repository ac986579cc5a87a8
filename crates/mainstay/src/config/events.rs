//! `[events]` and `[tracing]`: which requests leave a line, what stands in it, and whether requests carry a trace.

use std::time::Duration;

use mainstay_core::sampling::{Policy, Rate};
use mainstay_gateway::spec::{Events, Rotate, SECRET_HEADERS, Telemetry};

use super::problem::Fault;
use super::reader::{Item, Section};
use super::{keys, units, words};

/// Headers that one line holds, at most.
const HEADERS_MAX: usize = 16;
/// Keys of queries that can be named beside the known ones.
const SECRET_KEYS_MAX: usize = 100;
const LINES_MAX: u64 = 10_000_000;
const SLOW: std::ops::RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(86_400);
const SIZE: std::ops::RangeInclusive<u64> = 1_048_576..=(1 << 40);
/// Files that are put aside and kept.
const KEEP: u64 = 5;
const KEEP_MAX: u64 = 1000;

/// What the two sections say, or what holds without them: every request leaves a line, and none carries a trace.
pub(super) fn read(root: &Section<'_>) -> Telemetry {
    let events = root.item("events").and_then(|item| item.section(&keys::EVENTS));
    let tracing = root.item("tracing").and_then(|item| item.section(&keys::TRACING));
    Telemetry {
        events: events.as_ref().map(read_events).unwrap_or_default(),
        traces: tracing.is_some_and(|section| section.flag("enabled", true).value),
    }
}

fn read_events(section: &Section<'_>) -> Events {
    let default = Events::default();
    let max = section.field("max_per_second", None, |item| item.integer(&(1..=LINES_MAX)).map(Some)).value;
    let mut hidden = SECRET_HEADERS.iter().map(|name| (*name).to_owned()).collect();
    let mut secret_keys = default.secret_keys;
    if let Some(section) = section.item("redact").and_then(|item| item.section(&keys::EVENTS_REDACT)) {
        hidden = added(&section, "headers", hidden, words::header_name);
        secret_keys = added(&section, "query", secret_keys, |text| Ok(text.to_ascii_lowercase()));
    }
    Events {
        policy: policy(section, default.policy),
        max_per_second: max.and_then(|max| u32::try_from(max).ok()),
        headers: section.field("headers", Vec::new(), |item| headers(item, &hidden)).value,
        query: section.flag("query", false).value,
        secret_keys,
        rotate: section.item("rotate").and_then(|item| rotate(&item)),
    }
}

/// Which requests leave a line. `default` is what holds where a key is left out.
fn policy(section: &Section<'_>, default: Policy) -> Policy {
    Policy {
        rate: section.field("sample", default.rate, rate).value,
        slow: section.duration("slow", default.slow, SLOW).value,
    }
}

/// What a route says of its own.
pub(super) fn of_route(item: &Item<'_>) -> Option<Policy> {
    Some(policy(&item.section(&keys::ROUTE_EVENTS)?, Policy::default()))
}

fn rate(item: &Item<'_>) -> Option<Rate> {
    item.parsed(parse_rate)
}

/// A share such as `1%` as one in so many.
///
/// # Errors
/// If it is no percentage, or no whole number of requests has one of it.
pub(super) fn parse_rate(text: &str) -> Result<Rate, Fault> {
    Rate::of_share(units::share(text)?).ok_or_else(|| {
        let fault = Fault::new(format!("`{text}` is not one in a whole number of requests"));
        fault.hint("write \"100%\", \"50%\", \"33%\", \"25%\", \"20%\", \"10%\", \"5%\", \"1%\", \"0.1%\" or \"0%\"")
    })
}

/// The names of a list, behind those that are known already.
fn added(
    section: &Section<'_>,
    key: &str,
    mut known: Vec<String>,
    parse: impl Fn(&str) -> Result<String, Fault>,
) -> Vec<String> {
    let Some(item) = section.item(key) else { return known };
    let names: Vec<String> = item.list_or_one().iter().filter_map(|item| item.parsed(&parse)).collect();
    if names.len() > SECRET_KEYS_MAX {
        item.error(Fault::new(format!("at most {SECRET_KEYS_MAX} names can stand here")));
    }
    known.extend(names);
    known
}

fn headers(item: &Item<'_>, hidden: &[String]) -> Option<Vec<String>> {
    let mut headers: Vec<String> = Vec::new();
    for item in item.list_or_one() {
        let Some(name) = item.parsed(words::header_name) else { continue };
        if hidden.contains(&name) {
            let fault = Fault::new(format!("`{name}` is never written: it carries secrets"));
            item.error(fault.hint("leave it out here, or out of `redact`"));
        } else if !headers.contains(&name) {
            headers.push(name);
        }
    }
    if headers.len() > HEADERS_MAX {
        item.error(Fault::new(format!("at most {HEADERS_MAX} headers can be named here")));
        return None;
    }
    Some(headers)
}

fn rotate(item: &Item<'_>) -> Option<Rotate> {
    let section = item.section(&keys::EVENTS_ROTATE)?;
    let size = section.required("size", "write rotate = { size = \"100MiB\" }")?.size(&SIZE)?;
    let keep = section.integer("keep", KEEP, 1..=KEEP_MAX).value;
    Some(Rotate { size, keep: u32::try_from(keep).unwrap_or(1) })
}

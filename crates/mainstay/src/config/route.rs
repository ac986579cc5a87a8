//! `[[route]]`: which requests go to which service, and how.

use std::time::Duration;

use mainstay_core::route::{Header, Host, Match, Path};
use mainstay_core::{backoff, retry};
use mainstay_gateway::spec::{HeaderOps, Route};

use super::problem::Fault;
use super::reader::{Field, Item, Place, Section};
use super::service::WHEN_EMPTY;
use super::{
    WEEK, admission, breaker, cache, cell, events, fallback, hedge, isolation, keys, mirror, quarantine, service,
    units, words,
};

const MILLI: Duration = Duration::from_millis(1);

/// Headers that one route matches, or sets in one direction, at most.
const HEADERS_MAX: usize = 100;

/// A route, and where it stands.
pub(super) struct Read {
    pub(super) route: Route,
    pub(super) place: Place,
    pub(super) name: Place,
    /// Where it names its listeners; empty if it leaves them out and serves all.
    pub(super) listeners: Vec<(String, Place)>,
    pub(super) names_listeners: bool,
    pub(super) service: Option<Place>,
    /// Where its mirror names a service.
    pub(super) mirror: Option<Place>,
    /// Its cache, and where the bound of an object stands.
    pub(super) cache: Option<cache::Read>,
    /// What it falls back on, and where that is named.
    pub(super) fallback: Option<fallback::Read>,
    /// Where it says which requests it takes.
    pub(super) matches: Place,
    /// The cells that it leads to, until they are resolved.
    pub(super) cells: Option<cell::Wanted>,
}

impl Read {
    /// A route that stands nowhere in the file.
    pub(super) fn implied(route: Route) -> Self {
        let nowhere = Place { path: String::new(), span: 0..0 };
        Self {
            route,
            place: nowhere.clone(),
            name: nowhere.clone(),
            listeners: Vec::new(),
            names_listeners: false,
            service: None,
            mirror: None,
            cache: None,
            fallback: None,
            matches: nowhere,
            cells: None,
        }
    }
}

/// A route for everything, as an only service has it.
pub(super) fn default_route(service: &str, listeners: Vec<String>) -> Route {
    Route { listeners, ..Route::new("default", service) }
}

pub(super) fn read(section: &Section<'_>) -> Read {
    let name = super::read_name(section);
    let default = Route::new("", "");
    let listeners: Vec<(String, Place)> =
        section.item("listener").map(|item| read_listeners(&item)).unwrap_or_default();
    let service = section.required("service", "name the [[service]] that answers");
    let matching = section.item("match");
    let timeout = section.duration("timeout", default.timeout, MILLI..=WEEK);
    let attempt_timeout = section.field("attempt_timeout", None, |item| item.duration(&(MILLI..=WEEK)).map(Some));
    if let Some(attempt) = attempt_timeout.value
        && timeout.is_good
        && attempt >= timeout.value
    {
        let message = format!(
            "`attempt_timeout` ({}) must be shorter than `timeout` ({}), which bounds all attempts together",
            units::show_duration(attempt),
            units::show_duration(timeout.value)
        );
        section.reader.error(&attempt_timeout.place, Fault::new(message));
    }
    let matches = matching.as_ref().and_then(read_match).unwrap_or(default.matches);
    let rewrite = section.field("rewrite_prefix", None, |item| item.parsed(words::prefix).map(Some));
    check_rewrite(section, &rewrite, &matches);
    let name_of_service = service.as_ref().and_then(Item::word).unwrap_or_default();
    let (mirror, mirror_place) = section.item("mirror").and_then(|item| mirror::read(&item, name_of_service)).unzip();
    let mut cache = section.item("cache").and_then(|item| cache::read(&item));
    let has_cache = section.item("cache").is_some_and(|item| item.as_flag() != Some(false));
    let fallback = section.item("fallback").and_then(|item| fallback::read(&item, name_of_service, has_cache));
    if let (Some(cache), Some(read)) = (&mut cache, &fallback) {
        cache.cache.policy.keep = read.fallback.policy.stale.unwrap_or_default();
    }
    let headers = |key: &str| section.item(key).map(|item| read_header_ops(&item)).unwrap_or_default();
    Read {
        place: section.place.clone(),
        name: name.place,
        names_listeners: section.has("listener"),
        service: service.as_ref().map(|item| item.place.clone()),
        mirror: mirror_place,
        cells: cell::of_route(section),
        matches: matching.as_ref().map_or_else(|| section.place.clone(), |item| item.place.clone()),
        route: Route {
            name: name.value,
            listeners: listeners.iter().map(|(name, _place)| name.clone()).collect(),
            matches,
            service: service.and_then(|item| item.text()).unwrap_or_default().to_owned(),
            timeout: timeout.value,
            attempt_timeout: attempt_timeout.value,
            tunnel_timeout: section.duration("tunnel_timeout", default.tunnel_timeout, MILLI..=WEEK).value,
            retry: section.item("retry").map(|item| read_retry(&item)).unwrap_or_default(),
            rewrite_prefix: rewrite.value,
            request_headers: headers("request_headers"),
            response_headers: headers("response_headers"),
            when_empty: section.field("when_empty", None, |item| item.one_of(WHEN_EMPTY).map(Some)).value,
            mirror,
            fallback: fallback.as_ref().map(|read| read.fallback.clone()),
            tenant: section.item("tenant").and_then(|item| isolation::tenant(&item)),
            hedge: section.item("hedge").and_then(|item| hedge::read(&item)),
            retry_budget: section.item("retry_budget").map(|item| service::read_budget(&item)),
            breaker: section.item("breaker").and_then(|item| breaker::read(&item)),
            admission: admission::read(section),
            cells: None,
            quarantine: section.item("quarantine").and_then(|item| quarantine::read(&item)),
            cache: cache.as_ref().map(|read| read.cache.clone()),
            events: section.item("events").and_then(|item| events::of_route(&item)),
        },
        cache,
        fallback,
        listeners,
    }
}

/// Only a prefix can be replaced.
fn check_rewrite(section: &Section<'_>, rewrite: &Field<Option<String>>, matches: &Match) {
    if rewrite.is_given && matches!(matches.path, Path::Exact(_)) {
        let fault = Fault::new("`rewrite_prefix` replaces a matched prefix, but this route matches by `path_exact`");
        section.reader.error(&rewrite.place, fault.hint("match by `path`"));
    }
}

fn read_listeners(item: &Item<'_>) -> Vec<(String, Place)> {
    let items = item.list_or_one();
    if items.is_empty() && item.is_list() {
        item.error(Fault::new("the list is empty").hint("leave `listener` out to serve every HTTP listener"));
    }
    let mut names: Vec<(String, Place)> = Vec::new();
    for item in &items {
        let Some(name) = item.text() else { continue };
        if names.iter().any(|(known, _place)| known == name) {
            item.error(Fault::new("this listener is named twice"));
        } else {
            names.push((name.to_owned(), item.place.clone()));
        }
    }
    names
}

fn read_match(item: &Item<'_>) -> Option<Match> {
    let section = item.section(&keys::MATCH)?;
    let host = section.field("host", Host::Any, |item| item.parsed(words::host)).value;
    let prefix = section.field("path", "/".to_owned(), |item| item.parsed(words::prefix));
    let exact = section.field("path_exact", None, |item| item.parsed(words::path).map(Some));
    if prefix.is_given && exact.is_given {
        let fault = Fault::new("either `path` or `path_exact`, not both");
        section.reader.error(&exact.place, fault.hint("`path` takes everything below it too"));
    }
    let path = exact.value.map_or(Path::Prefix(prefix.value), Path::Exact);
    let methods = section.item("method").map(|item| read_methods(&item)).unwrap_or_default();
    let headers = section.item("headers").map(|item| read_header_matches(&item)).unwrap_or_default();
    Some(Match { host, path, methods, headers })
}

fn read_methods(item: &Item<'_>) -> Vec<String> {
    let mut methods: Vec<String> = item.list_or_one().iter().filter_map(|item| item.parsed(words::method)).collect();
    methods.sort();
    methods.dedup();
    methods
}

fn read_header_matches(item: &Item<'_>) -> Vec<Header> {
    let mut headers: Vec<Header> = Vec::new();
    for (name, span, item) in Section::free_entries(item, HEADERS_MAX) {
        let place = Place { path: item.place.path.clone(), span };
        let parsed = words::header_name(name).map_err(|fault| item.reader.error(&place, fault));
        let value = item.parsed(words::header_value);
        let (Ok(name), Some(value)) = (parsed, value) else { continue };
        if name == "host" {
            item.reader.error(&place, Fault::new("the host is matched by `match.host`"));
        } else if headers.iter().any(|known| known.name == name) {
            item.reader.error(&place, Fault::new(format!("`{name}` is there twice: case does not count")));
        } else {
            headers.push(Header { name, value: (value != "*").then_some(value) });
        }
    }
    headers
}

fn read_retry(item: &Item<'_>) -> retry::Policy {
    let default = retry::Policy::default();
    if item.word() == Some("off") {
        return retry::Policy { attempts: 1, ..default };
    }
    if !item.is_table() {
        item.wrong_type("a table or \"off\"", "write retry = { attempts = 3 } or retry = \"off\"");
        return default;
    }
    let Some(section) = item.section(&keys::RETRY) else { return default };
    let attempts = section.integer("attempts", u64::from(default.attempts), 1..=10);
    let on = section.field("on", Vec::new(), |item| {
        Some(
            item.list_or_one()
                .iter()
                .filter_map(|item| item.one_of(&[("5xx", On::Status), ("timeout", On::Timeout)]))
                .collect(),
        )
    });
    let base = section.duration("backoff", default.backoff.base, MILLI..=WEEK);
    let cap = section.duration("backoff_cap", default.backoff.cap, MILLI..=WEEK);
    if base.is_good && cap.is_good && base.value > cap.value {
        let message = format!(
            "`backoff` ({}) must not be longer than `backoff_cap` ({})",
            units::show_duration(base.value),
            units::show_duration(cap.value)
        );
        section.reader.error(if base.is_given { &base.place } else { &cap.place }, Fault::new(message));
    }
    let retry_after_max = section.duration("retry_after_max", default.retry_after_max, Duration::ZERO..=WEEK);
    if attempts.value == 1 && (on.is_given || base.is_given || cap.is_given) {
        section.reader.warn(&attempts.place, Fault::new("one attempt means no retry: the other keys have no effect"));
    }
    retry::Policy {
        attempts: u32::try_from(attempts.value).unwrap_or(1),
        backoff: backoff::Policy { base: base.value, cap: cap.value },
        on_5xx: on.value.contains(&On::Status),
        on_timeout: on.value.contains(&On::Timeout),
        retry_after_max: retry_after_max.value,
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum On {
    Status,
    Timeout,
}

fn read_header_ops(item: &Item<'_>) -> HeaderOps {
    let Some(section) = item.section(&keys::HEADERS) else { return HeaderOps::default() };
    let mut ops = HeaderOps::default();
    for (name, span, item) in
        section.item("set").map(|item| Section::free_entries(&item, HEADERS_MAX)).unwrap_or_default()
    {
        let place = Place { path: item.place.path.clone(), span };
        let name = changeable(name).map_err(|fault| item.reader.error(&place, fault));
        let (Ok(name), Some(value)) = (name, item.parsed(words::header_value)) else { continue };
        if ops.set.iter().any(|(known, _value)| *known == name) {
            item.reader.error(&place, Fault::new(format!("`{name}` is set twice: case does not count")));
        } else {
            ops.set.push((name, value));
        }
    }
    for item in section.item("remove").map(|item| item.list_or_one()).unwrap_or_default() {
        let Some(name) = item.parsed(changeable) else { continue };
        if ops.set.iter().any(|(known, _value)| *known == name) {
            let fault = Fault::new(format!("`{name}` is both set and removed"));
            item.error(fault.hint("`set` alone replaces whatever was there"));
        } else if !ops.remove.contains(&name) {
            ops.remove.push(name);
        }
    }
    ops
}

/// The name of a header that may be set or removed.
fn changeable(text: &str) -> Result<String, Fault> {
    let name = words::header_name(text)?;
    if words::is_untouchable(&name) {
        return Err(Fault::new(format!("`{name}` cannot be changed: it belongs to the connection or the framing")));
    }
    if name.starts_with("x-mainstay-") {
        return Err(Fault::new(format!("`{name}` cannot be changed: Mainstay speaks through it")));
    }
    Ok(name)
}

//! `[route] deadline`, `rate_limit`, `criticality`, `bulkhead`, `adaptive`: which requests are let in, and when.

use std::time::Duration;

use mainstay_core::adaptive;
use mainstay_core::criticality::Criticality;
use mainstay_core::limiter::Rate;
use mainstay_gateway::spec::{Admission, Bulkhead, ByCriticality, Deadline, Queue, RateKey, RateLimit, Scope};

use super::problem::Fault;
use super::reader::{Field, Item, Section, clip};
use super::{WEEK, keys, units, words};

const DEADLINE_HEADER: &str = "x-mainstay-deadline-ms";
const CRITICALITY_HEADER: &str = "x-mainstay-criticality";
const MILLI: Duration = Duration::from_millis(1);
/// For whom a limit is.
pub(super) const SCOPES: [(&str, Scope); 2] = [("node", Scope::Node), ("cluster", Scope::Cluster)];
/// Rate limits of one route: each is asked for every request.
const LIMITS_MAX: usize = 8;
const KEYS: u64 = 10_000;
/// At 16 bytes each, 16 MiB.
const KEYS_MAX: u64 = 1_000_000;
const CONCURRENCY_MAX: u64 = 1_000_000;
const QUEUE_MAX: u64 = 65_536;
/// Who waits behind an adaptive limit alone: enough for the important to overtake the others.
const ADAPTIVE_QUEUE: u64 = 20;

pub(super) fn read(section: &Section<'_>) -> Admission {
    let deadline = section.item("deadline").and_then(|item| read_deadline(&item));
    let criticality = section.item("criticality").and_then(|item| read_criticality(&item));
    if let (Some(deadline), Some(criticality), Some(item)) = (&deadline, &criticality, section.item("criticality"))
        && deadline.header == criticality.header
    {
        item.error(Fault::new(format!("`{}` carries the deadline already", deadline.header)));
    }
    let bulkhead = section.item("bulkhead").and_then(|item| read_bulkhead(&item));
    let adaptive = section.item("adaptive").and_then(|item| read_adaptive(&item, bulkhead.is_some()));
    let queue = match (bulkhead, adaptive) {
        (Some((_, queue)), _) | (None, Some((_, queue))) => queue,
        (None, None) => Queue::default(),
    };
    Admission {
        deadline,
        rate_limits: section.item("rate_limit").map(|item| read_rate_limits(&item)).unwrap_or_default(),
        criticality,
        bulkhead: bulkhead.map(|(bulkhead, _queue)| bulkhead),
        adaptive: adaptive.map(|(policy, _queue)| policy),
        queue,
    }
}

fn read_deadline(item: &Item<'_>) -> Option<Deadline> {
    let plain = Deadline { header: DEADLINE_HEADER.to_owned() };
    if let Some(is_on) = item.as_flag() {
        return is_on.then_some(plain);
    }
    if !item.is_table() {
        item.wrong_type("true or a table", "write deadline = true");
        return None;
    }
    let section = item.section(&keys::DEADLINE)?;
    Some(Deadline { header: read_header(&section, DEADLINE_HEADER) })
}

fn read_criticality(item: &Item<'_>) -> Option<ByCriticality> {
    let classes = Criticality::ALL.map(|class| (class.word(), class));
    if !item.is_table() {
        let default = item.one_of(&classes)?;
        return Some(ByCriticality { default, header: CRITICALITY_HEADER.to_owned() });
    }
    let section = item.section(&keys::CRITICALITY)?;
    let default = section.field("default", Criticality::default(), |item| item.one_of(&classes)).value;
    Some(ByCriticality { default, header: read_header(&section, CRITICALITY_HEADER) })
}

/// The header by which callers and endpoints are talked to.
fn read_header(section: &Section<'_>, default: &str) -> String {
    section
        .field("header", default.to_owned(), |item| {
            item.parsed(|text| {
                let name = words::header_name(text)?;
                let taken =
                    ["authorization", "content-type", "cookie", "date", "forwarded", "grpc-timeout", "x-request-id"];
                let is_ours = name.starts_with("x-mainstay-") && name != default;
                let is_taken = taken.contains(&name.as_str()) || name.starts_with("x-forwarded-");
                if is_ours || is_taken || words::is_untouchable(&name) {
                    let fault = Fault::new(format!("`{name}` means something else"));
                    return Err(fault.hint(format!("leave `header` out for \"{default}\"")));
                }
                Ok(name)
            })
        })
        .value
}

fn read_rate_limits(item: &Item<'_>) -> Vec<RateLimit> {
    let items = item.list_or_one();
    if items.len() > LIMITS_MAX {
        item.error(Fault::new(format!("{} limits are too many", items.len())).hint(format!("at most {LIMITS_MAX}")));
        return Vec::new();
    }
    items.iter().filter_map(read_rate_limit).collect()
}

fn read_rate_limit(item: &Item<'_>) -> Option<RateLimit> {
    if !item.is_table() {
        item.wrong_type("a table", "write rate_limit = { rate = \"100/s\" }");
        return None;
    }
    let section = item.section(&keys::RATE_LIMIT)?;
    let rate = section.required("rate", "say how often: rate = \"100/s\"");
    let key = section.field("key", RateKey::All, read_key);
    let max_keys = section.integer("max_keys", KEYS, 1..=KEYS_MAX);
    if max_keys.is_given && key.is_good && key.value == RateKey::All {
        let fault = Fault::new("this has no effect on a limit for all: there is one bucket");
        section.reader.error(&max_keys.place, fault.hint("name a `key`, or leave `max_keys` out"));
    }
    let scope = section.field("scope", Scope::Node, |item| item.one_of(&SCOPES));
    if scope.value == Scope::Cluster && key.is_good && key.value != RateKey::All {
        let fault =
            Fault::new("only a limit for all can be shared by the cluster: nodes do not tell each other of keys");
        section.reader.error(&scope.place, fault.hint("leave `key` out, or `scope`"));
    }
    let burst = section.field("burst", None, |item| item.integer(&(1..=1_000_000)).map(Some));
    let (requests, per) = rate?.parsed(parse_rate)?;
    // What comes in a second, as it would at an even pace.
    let in_a_second = (f64::from(requests) / per.as_secs_f64()).ceil().max(1.0) as u64;
    let burst = u32::try_from(burst.value.unwrap_or(in_a_second)).unwrap_or(u32::MAX);
    Some(RateLimit {
        rate: Rate::new(requests, per, burst),
        key: key.value,
        keys_max: usize::try_from(max_keys.value).unwrap_or(usize::MAX),
        scope: scope.value,
    })
}

/// A rate such as `100/s`, `5/m` or `10/30s`.
fn parse_rate(text: &str) -> Result<(u32, Duration), Fault> {
    let fault = || {
        Fault::new(format!("`{}` is not a rate", clip(text)))
            .hint("write a number of requests, a slash and a time: \"100/s\", \"5/m\", \"10/30s\"")
    };
    let (requests, per) = text.split_once('/').ok_or_else(fault)?;
    let requests = requests.parse::<u32>().map_err(|_error| fault())?;
    let per = match per.bytes().next() {
        Some(first) if first.is_ascii_digit() => units::duration(per)?,
        Some(_) => units::duration(&format!("1{per}")).map_err(|_error| fault())?,
        None => return Err(fault()),
    };
    if requests == 0 || per.is_zero() || per > WEEK {
        let fault = Fault::new(format!("`{}` lets nothing through, or everything", clip(text)));
        return Err(fault.hint("the number is at least 1, the time between 1ms and 7d"));
    }
    Ok((requests, per))
}

fn read_key(item: &Item<'_>) -> Option<RateKey> {
    if !item.is_table() {
        return item.one_of(&[("all", RateKey::All), ("client", RateKey::Client), ("path", RateKey::Path)]);
    }
    let section = item.section(&keys::RATE_KEY)?;
    let header = section.required("header", "name the header whose values have a bucket each")?;
    header.parsed(words::header_name).map(RateKey::Header)
}

fn read_queue(section: &Section<'_>, size: u64) -> Queue {
    let default = Queue::default();
    let queue = section.integer("queue", size, 0..=QUEUE_MAX);
    let timeout = section.duration("queue_timeout", default.timeout, MILLI..=WEEK);
    if timeout.is_given && queue.is_good && queue.value == 0 {
        let fault = Fault::new("this has no effect without a queue");
        section.reader.error(&timeout.place, fault.hint("set `queue` to how many may wait"));
    }
    Queue { size: narrow(&queue), timeout: timeout.value }
}

fn read_bulkhead(item: &Item<'_>) -> Option<(Bulkhead, Queue)> {
    if !item.is_table() {
        item.wrong_type("a table", "write bulkhead = { concurrency = 100, queue = 50 }");
        return None;
    }
    let section = item.section(&keys::BULKHEAD)?;
    let concurrency = section.required("concurrency", "say how many requests may be in at once");
    let queue = read_queue(&section, 0);
    let concurrency = concurrency?.integer(&(1..=CONCURRENCY_MAX))?;
    Some((Bulkhead { concurrency: u32::try_from(concurrency).unwrap_or(u32::MAX) }, queue))
}

fn read_adaptive(item: &Item<'_>, has_bulkhead: bool) -> Option<(adaptive::Policy, Queue)> {
    let default = adaptive::Policy::default();
    if let Some(is_on) = item.as_flag() {
        let queue = Queue { size: ADAPTIVE_QUEUE as u32, ..Queue::default() };
        return is_on.then_some((default, queue));
    }
    if !item.is_table() {
        item.wrong_type("true or a table", "write adaptive = true");
        return None;
    }
    let section = item.section(&keys::ADAPTIVE)?;
    let count = |key: &str, default: u32| section.integer(key, u64::from(default), 1..=CONCURRENCY_MAX);
    let (min, max) = (count("min", default.min), count("max", default.max));
    if min.is_good && max.is_good && min.value > max.value {
        let message = format!("`min` ({}) must not be larger than `max` ({})", min.value, max.value);
        section.reader.error(if min.is_given { &min.place } else { &max.place }, Fault::new(message));
    }
    let initial = count("initial", default.initial);
    let probe = count("probe", default.probe);
    for key in ["queue", "queue_timeout"].into_iter().filter(|_key| has_bulkhead) {
        if let Some(item) = section.item(key) {
            item.error(Fault::new("the route's bulkhead has the queue").hint(format!("set `{key}` there")));
        }
    }
    let policy = adaptive::Policy {
        min: narrow(&min),
        max: narrow(&max),
        initial: narrow(&initial),
        probe: narrow(&probe),
        tolerance: section.field("tolerance", default.tolerance, |item| item.share(&(1.0..=10.0))).value,
        remeasure: section.duration("remeasure", default.remeasure, Duration::from_secs(5)..=WEEK).value,
        jitter: section.field("jitter", default.jitter, |item| item.share(&(0.0..=1.0))).value,
        ..default
    };
    Some((policy, read_queue(&section, ADAPTIVE_QUEUE)))
}

/// A number whose bounds are those of 32 bits.
fn narrow(field: &Field<u64>) -> u32 {
    u32::try_from(field.value).unwrap_or(u32::MAX)
}

//! `[[objective]]`: what share of the requests of a route, a service or a probe, or of a database's seconds or commands, is to be good.

use std::collections::BTreeMap;
use std::time::Duration;

use mainstay_core::slo::{self, Severity};
use mainstay_gateway::state::BUCKETS;
use mainstay_observe::history::{Kind, Series};
use mainstay_observe::probes::Probe;
use mainstay_observe::slo::{Good, Objective};

use super::database::{self, Doors};
use super::problem::{Fault, listed, near};
use super::reader::{Item, Place, Reader, Section, clip};
use super::units::{self, show_duration, show_share};
use super::{keys, route, service};

const DAY: Duration = Duration::from_secs(86_400);
/// Nothing older is remembered.
const WINDOW_MAX: Duration = Duration::from_secs(35 * 86_400);
/// Each is judged every ten seconds, and has about twenty metrics.
const OBJECTIVES_MAX: usize = 200;
const EVENTS_MAX: u64 = 1_000_000_000;

const SEVERITIES: &[(&str, Severity)] =
    &[("P1", Severity::P1), ("P2", Severity::P2), ("P3", Severity::P3), ("P4", Severity::P4)];

/// The objectives of a document whose routes, services, probes and databases are these.
pub(super) fn read_all(
    root: &Section<'_>,
    routes: &[route::Read],
    services: &[service::Read],
    probes: &[Probe],
    databases: &[database::Read],
) -> Vec<Objective> {
    let sections = root.sections("objective", &keys::OBJECTIVE);
    if let Some(section) = sections.get(OBJECTIVES_MAX) {
        let fault = Fault::new(format!("there are {} objectives, and at most {OBJECTIVES_MAX}", sections.len()));
        section.reader.error(&section.place, fault);
    }
    let names = Names {
        routes: routes.iter().map(|read| read.route.name.as_str()).collect(),
        services: services.iter().map(|read| read.service.name.as_str()).collect(),
        probes: probes.iter().map(|probe| probe.name.as_str()).collect(),
        databases: databases.iter().map(|read| read.database.name.as_str()).collect(),
        doors: databases.iter().map(|read| &read.database.doors).collect(),
    };
    let mut seen: BTreeMap<String, Place> = BTreeMap::new();
    let mut objectives = Vec::new();
    for section in &sections {
        let name = super::read_name(section);
        if let Some(other) = seen.get(&name.value).filter(|_other| name.is_given && name.is_good) {
            let line = section.reader.line(other);
            let message = format!("there is another objective `{}`, in line {line}", name.value);
            section.reader.error(&name.place, Fault::new(message));
        }
        seen.insert(name.value.clone(), name.place.clone());
        objectives.extend(read(section, name.value, &names));
    }
    objectives
}

/// What objectives may be about.
struct Names<'n> {
    routes: Vec<&'n str>,
    services: Vec<&'n str>,
    probes: Vec<&'n str>,
    databases: Vec<&'n str>,
    /// Where they are listened for, in the same order.
    doors: Vec<&'n Doors>,
}

fn read(section: &Section<'_>, name: String, names: &Names<'_>) -> Option<Objective> {
    let subject = subject(section, names).map(|subject| by_listener(section, subject, names));
    let kind = subject.as_ref().map_or(Kind::Service, |subject| subject.kind);
    let good = section.field("good", Good::Answered, |item| item.parsed(|text| good(text, kind))).value;
    section.required("target", "write the share that is to be good: target = \"99.9%\"");
    let target = section.field("target", 0.999, |item| item.share(&(0.5..=0.99999)));
    let default = slo::Objective::new(target.value);
    let severities = section.field("severities", default.severities.clone(), severities);
    let terms = slo::Objective {
        window: section.duration("window", default.window, DAY..=WINDOW_MAX).value,
        min_events: section.integer("min_events", default.min_events, 1..=EVENTS_MAX).value,
        slow_failures: section.integer("slow_failures", default.slow_failures, 0..=EVENTS_MAX).value,
        severities: severities.value,
        ..default
    };
    if target.is_good && severities.is_good {
        refuse_mute(section.reader, &target.place, &terms);
    }
    Some(Objective { name, subject: subject?, good, terms })
}

fn subject(section: &Section<'_>, names: &Names<'_>) -> Option<Series> {
    let of = [
        ("route", Kind::Route, &names.routes),
        ("service", Kind::Service, &names.services),
        ("probe", Kind::Probe, &names.probes),
        ("database", Kind::Database, &names.databases),
    ];
    let given: Vec<_> =
        of.iter().filter_map(|(key, kind, known)| Some((section.item(key)?, *key, *kind, *known))).collect();
    let [(item, key, kind, known)] = given.as_slice() else {
        let message = if given.is_empty() {
            "it is not said what the objective is about"
        } else {
            "an objective is about one thing"
        };
        let fault = Fault::new(message).hint("write one of `route`, `service`, `probe` and `database` with a name");
        section.reader.error_if_whole(&section.place, fault);
        return None;
    };
    let name = item.text()?;
    if known.contains(&name) {
        return Some(Series::new(*kind, name));
    }
    let fault = Fault::new(format!("there is no {key} `{}`", clip(name)));
    item.reader.error_if_whole(
        &item.place,
        match near(name, known.iter().copied()) {
            Some(meant) => fault.hint(format!("did you mean `{meant}`?")),
            None if known.is_empty() => fault,
            None => fault.hint(format!("there are {}", listed(known.iter().copied()))),
        },
    );
    None
}

/// The reads of a database are another series than its writes. What happens at a listener needs one.
fn by_listener(section: &Section<'_>, subject: Series, names: &Names<'_>) -> Series {
    let Some(item) = section.item("good").filter(|_item| subject.kind == Kind::Database) else { return subject };
    let words: Vec<&str> = item.text().unwrap_or_default().split_whitespace().collect();
    let is_read = matches!(words.as_slice(), ["readable"] | ["read", "latency", ..]);
    if !is_read && words.first() != Some(&"latency") {
        return subject;
    }
    let at = names.databases.iter().position(|name| *name == subject.name.as_ref());
    let doors = at.and_then(|at| names.doors.get(at));
    if doors.is_none_or(|doors| if is_read { doors.read.is_none() } else { doors.write.is_none() }) {
        let (what, key) = if is_read { ("reads", "read") } else { ("writes", "write") };
        let fault = Fault::new(format!("the database `{}` has no listener for {what}", clip(&subject.name)));
        item.reader.error_if_whole(&item.place, fault.hint(format!("give it `{key}`, or write good = \"writable\"")));
    }
    if is_read { Series::reads_of(&subject.name) } else { subject }
}

fn good(text: &str, kind: Kind) -> Result<Good, Fault> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let (is_probe, is_database) = (kind == Kind::Probe, kind == Kind::Database);
    match words.as_slice() {
        ["writable" | "readable"] if is_database => Ok(Good::Answered),
        ["latency", "<", bound] | ["read", "latency", "<", bound] if is_database => bucket(units::duration(bound)?),
        _other if is_database => {
            let hint = "write good = \"writable\" or good = \"readable\", the seconds in which it takes writes or can be read, or \
                        good = \"latency < 50ms\" or good = \"read latency < 50ms\", what clients wait";
            Err(Fault::new(format!("`{}` is no measure of what is good of a database", clip(text))).hint(hint))
        }
        ["passed"] if is_probe => Ok(Good::Answered),
        ["status", "<", "500"] if !is_probe => Ok(Good::Answered),
        ["status", "<", status] if !is_probe => {
            Err(Fault::new(format!("only 500 can stand in place of {}", clip(status)))
                .hint("responses are counted by class, and what is below 500 is the client's: good = \"status < 500\""))
        }
        ["latency", "<", bound] => bucket(units::duration(bound)?),
        _other => {
            let availability = if is_probe { "passed" } else { "status < 500" };
            let hint = format!("write good = \"{availability}\" or good = \"latency < 500ms\"");
            Err(Fault::new(format!("`{}` is no measure of what is good", clip(text))).hint(hint))
        }
    }
}

/// Durations are counted in buckets, and only at their bounds it is known on which side an event lies.
fn bucket(wanted: Duration) -> Result<Good, Fault> {
    let bounds = BUCKETS.map(Duration::from_secs_f64);
    if bounds.contains(&wanted) {
        return Ok(Good::Within(wanted));
    }
    let below = bounds.iter().rev().find(|bound| **bound < wanted).copied();
    let above = bounds.iter().find(|bound| **bound > wanted).copied();
    let nearest: Vec<String> = [below, above].into_iter().flatten().map(show_duration).collect();
    let message =
        format!("{} is not the bound of a bucket, so that it is not known how many took longer", show_duration(wanted));
    Err(Fault::new(message).hint(format!("the nearest bounds are {}", nearest.join(" and "))))
}

fn severities(item: &Item<'_>) -> Option<Vec<Severity>> {
    let listed = item.list();
    let read: Vec<Severity> = listed.iter().filter_map(|item| item.one_of(SEVERITIES)).collect();
    (read.len() == listed.len()).then_some(read)
}

fn refuse_mute(reader: &Reader<'_>, place: &Place, terms: &slo::Objective) {
    let mute = terms.mute_rules();
    let Some(worst) = mute.first() else { return };
    let names: Vec<&str> = mute.iter().map(|rule| rule.severity.word()).collect();
    let fastest = 1.0 / (1.0 - terms.target);
    let message = format!(
        "{} can never fire: if every event is bad, a budget of {} burns {fastest:.1} times as fast as it may, and {} asks for \
         more than {}",
        names.join(" and "),
        show_share(1.0 - terms.target),
        worst.severity.word(),
        worst.burn
    );
    let able: Vec<String> = terms
        .rules()
        .filter(|rule| rule.can_fire(terms.target))
        .map(|rule| format!("\"{}\"", rule.severity.word()))
        .collect();
    let least = show_share(1.0 - 1.0 / worst.burn);
    let hint = format!("set a target above {least}, or leave them out: severities = [{}]", able.join(", "));
    reader.error(place, Fault::new(message).hint(hint));
}

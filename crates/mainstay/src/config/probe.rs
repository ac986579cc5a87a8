//! `[[probe]]`: journeys of users that are tried from the outside.

mod step;

use std::collections::BTreeMap;
use std::time::Duration;

use mainstay_observe::probes::{PROBES_MAX, Probe, STEPS_MAX};
use mainstay_observe::secret::Secret;

use super::keys;
use super::problem::Fault;
use super::reader::{Item, Place, Section, clip};
use super::secret::secret;
use super::words;

const SECOND: Duration = Duration::from_secs(1);
/// Secrets of a probe, and nodes that make it, at most.
const LIST_MAX: usize = 32;
const INTERVAL: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(10);
const TIMEOUT_MAX: Duration = Duration::from_secs(120);

/// The probes of a document.
pub(super) fn read_all(root: &Section<'_>) -> Vec<Probe> {
    let sections = root.sections("probe", &keys::PROBE);
    if let Some(section) = sections.get(PROBES_MAX) {
        let fault = Fault::new(format!("there are {} probes, and at most {PROBES_MAX}", sections.len()));
        section.reader.error(&section.place, fault);
    }
    let mut seen: BTreeMap<String, Place> = BTreeMap::new();
    let mut probes = Vec::new();
    for section in &sections {
        let name = super::read_name(section);
        if let Some(other) = seen.get(&name.value).filter(|_other| name.is_given && name.is_good) {
            let line = section.reader.line(other);
            let message = format!("there is another probe `{}`, in line {line}", name.value);
            section.reader.error(&name.place, Fault::new(message));
        }
        seen.insert(name.value.clone(), name.place.clone());
        probes.push(read(section, name.value));
    }
    probes
}

fn read(section: &Section<'_>, name: String) -> Probe {
    let interval = section.duration("interval", INTERVAL, SECOND..=Duration::from_secs(86_400));
    let timeout = section.duration("timeout", TIMEOUT.min(interval.value), SECOND / 10..=TIMEOUT_MAX);
    if timeout.value > interval.value && timeout.is_good && interval.is_good {
        let fault = Fault::new("a journey may not take longer than the interval to the next");
        section.reader.error(&timeout.place, fault.hint("lower `timeout`, or raise `interval`"));
    }
    let secrets = section.item("secrets").map(|item| read_secrets(&item)).unwrap_or_default();
    let mut known: Vec<String> = secrets.iter().map(|(name, _secret)| name.clone()).collect();
    let entries = section.sections("step", &keys::PROBE_STEP);
    if !(1..=STEPS_MAX).contains(&entries.len()) {
        let fault = Fault::new(format!("{} steps, where 1 to {STEPS_MAX} are allowed", entries.len()));
        section.reader.error_if_whole(&section.place, fault.hint("write [[probe.step]] below the probe"));
    }
    let mut has_request = false;
    let mut steps = Vec::new();
    for entry in &entries {
        let read = step::read(entry, &mut known, has_request);
        has_request |= entry.has("url");
        steps.extend(read);
    }
    Probe {
        name,
        interval: interval.value,
        timeout: timeout.value,
        from: section.field("from", Vec::new(), read_nodes).value,
        secrets,
        ca: section.authorities("ca").value,
        steps,
    }
}

fn read_nodes(item: &Item<'_>) -> Option<Vec<String>> {
    let items = item.list();
    if items.is_empty() || items.len() > LIST_MAX {
        item.error(
            Fault::new(format!("between 1 and {LIST_MAX} nodes can be named here")).hint("leave it out for all"),
        );
    }
    let names: Vec<String> = items.iter().filter_map(|item| item.parsed(words::name)).collect();
    (names.len() == items.len()).then_some(names)
}

fn read_secrets(item: &Item<'_>) -> Vec<(String, Secret)> {
    let mut secrets = Vec::new();
    for (name, _span, item) in Section::free_entries(item, LIST_MAX) {
        if mainstay_gateway::spec::script::is_name(name) {
            secrets.extend(secret(&item).map(|secret| (name.to_owned(), secret)));
        } else {
            let fault = Fault::new(format!("`{}` cannot be the name of a value", clip(name)));
            item.error(fault.hint("letters, digits and _ are allowed, and a digit is not the first"));
        }
    }
    secrets
}

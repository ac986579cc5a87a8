//! `service.health.json`: what the body of a check's answer must say.

use std::ops::RangeInclusive;

use mainstay_gateway::spec::json::{Assertion, Pointer, Rules, Scalar, Severity, StatusWord, Wants};

use super::super::keys;
use super::super::problem::Fault;
use super::super::reader::{Item, Section};

/// Where the word stands unless something else is said.
const STATUS: &str = "status";
/// Room for the body of a check, unless something else is said.
const BODY_MAX: u64 = 64 * 1024;
const BODY_BOUNDS: RangeInclusive<u64> = 64..=1024 * 1024;
const ASSERTIONS_MAX: usize = 64;
const WORDS_MAX: usize = 32;

/// Reads `json`: `true` for the usual word at `status`, or a table.
pub(in crate::config) fn read(item: &Item<'_>) -> Option<Rules> {
    match item.as_flag() {
        Some(true) => return Some(Rules { status: pointer(STATUS).ok().map(StatusWord::usual), ..nothing(BODY_MAX) }),
        Some(false) => {
            item.error(
                Fault::new("`json` can only be true, or a table").hint("leave it out to judge by the status code"),
            );
            return None;
        }
        None => {}
    }
    let section = item.section(&keys::HEALTH_JSON)?;
    let body_max = section.field("max_body", BODY_MAX, |item| item.size(&BODY_BOUNDS)).value;
    let entries = section.sections("assert", &keys::HEALTH_ASSERT);
    if entries.len() > ASSERTIONS_MAX
        && let Some(item) = section.item("assert")
    {
        item.error(Fault::new(format!("{} assertions are too many", entries.len())).hint("at most 64 are allowed"));
    }
    let assertions: Vec<Assertion> = entries.iter().filter_map(read_assertion).collect();
    let status = read_status(&section, !entries.is_empty());
    Some(Rules { status, assertions, ..nothing(body_max) })
}

fn nothing(body_max: u64) -> Rules {
    Rules { status: None, assertions: Vec::new(), body_max: usize::try_from(body_max).unwrap_or(usize::MAX) }
}

/// The status word is looked for if anything is said about it, or if nothing else is asked for.
fn read_status(section: &Section<'_>, has_assertions: bool) -> Option<StatusWord> {
    let is_named = ["status", "up", "degraded"].iter().any(|key| section.has(key));
    if has_assertions && !is_named {
        return None;
    }
    let default = pointer(STATUS).ok()?;
    let at = section.field("status", default, |item| item.parsed(pointer)).value;
    let usual = StatusWord::usual(at);
    let up = section.field("up", usual.up, read_words).value;
    let degraded = section.field("degraded", usual.degraded, read_words);
    if let Some(word) = degraded.value.iter().find(|word| up.iter().any(|known| known.eq_ignore_ascii_case(word))) {
        let fault = Fault::new(format!("`{word}` cannot mean both up and degraded"));
        section.reader.error(&degraded.place, fault);
    }
    Some(StatusWord { at: usual.at, up, degraded: degraded.value })
}

fn read_words(item: &Item<'_>) -> Option<Vec<String>> {
    let items = item.list_or_one();
    if items.len() > WORDS_MAX {
        item.error(Fault::new(format!("{} words are too many", items.len())).hint("at most 32 are allowed"));
    }
    let words: Vec<String> = items.iter().filter_map(|item| item.text().map(str::to_owned)).collect();
    (words.len() == items.len()).then_some(words)
}

fn read_assertion(section: &Section<'_>) -> Option<Assertion> {
    let at = section.required("path", "write path = \"checks.database\"");
    let at = at.and_then(|item| item.parsed(pointer));
    let severities = [("down", Severity::Failed), ("degraded", Severity::Degraded)];
    let otherwise = section.field("otherwise", Severity::Failed, |item| item.one_of(&severities)).value;
    let wants = read_wants(section);
    Some(Assertion { at: at?, wants: wants?, otherwise })
}

fn read_wants(section: &Section<'_>) -> Option<Wants> {
    let bounds = ["min", "max"].iter().any(|key| section.has(key));
    let equals = section.item("equals");
    let present = section.item("present");
    if usize::from(bounds) + usize::from(equals.is_some()) + usize::from(present.is_some()) > 1 {
        let fault = Fault::new("one of `equals`, `present` and a range by `min` and `max`, not several");
        section.reader.error(&section.place, fault.hint("write a further assertion with the same `path`"));
        return None;
    }
    if let Some(item) = equals {
        return read_scalars(&item).map(Wants::OneOf);
    }
    if let Some(item) = present {
        return item.flag().map(Wants::Present);
    }
    if !bounds {
        return Some(Wants::Present(true));
    }
    let bound = |key: &str| section.field(key, None, |item| real(item).map(Some));
    let (min, max) = (bound("min"), bound("max"));
    if let (Some(low), Some(high)) = (min.value, max.value)
        && low > high
    {
        section.reader.error(&max.place, Fault::new(format!("`max` ({high}) must not be less than `min` ({low})")));
    }
    Some(Wants::Within { min: min.value, max: max.value })
}

/// A value, or a list of values of which one must be there.
fn read_scalars(item: &Item<'_>) -> Option<Vec<Scalar>> {
    let items = item.list_or_one();
    if items.is_empty() || items.len() > WORDS_MAX {
        item.error(Fault::new("between 1 and 32 values are needed here"));
        return None;
    }
    let one = |item: &Item<'_>| match (item.word(), item.as_flag()) {
        (Some(text), _) => Some(Scalar::Text(text.to_owned())),
        (None, Some(flag)) => Some(Scalar::Flag(flag)),
        (None, None) if item.number().is_some() => real(item).map(Scalar::Number),
        (None, None) => {
            item.wrong_type("a string, a number, true or false", "");
            None
        }
    };
    let values: Vec<Scalar> = items.iter().filter_map(one).collect();
    (values.len() == items.len()).then_some(values)
}

/// A finite number, whole or not.
fn real(item: &Item<'_>) -> Option<f64> {
    let Some(text) = item.number() else {
        item.wrong_type("a number", "");
        return None;
    };
    let number = text.parse::<f64>().ok().filter(|number| number.is_finite());
    if number.is_none() {
        item.error(Fault::new("this number cannot be compared with").hint("write it in decimal digits"));
    }
    number
}

pub(super) fn pointer(text: &str) -> Result<Pointer, Fault> {
    Pointer::parse(text).map_err(|reason| Fault::new(reason).hint("write \"checks.database\" or \"/checks/database\""))
}

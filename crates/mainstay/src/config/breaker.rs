//! `breaker` of a route or a service: when calls are stopped before they are made.

use std::time::Duration;

use mainstay_core::breaker::{CALLS_MAX, PROBES_MAX, Policy, Slow, Span};

use super::problem::Fault;
use super::reader::{Item, Section};
use super::{WEEK, keys, units};

const MILLI: Duration = Duration::from_millis(1);
const DAY: Duration = Duration::from_secs(86_400);

fn presets() -> [(&'static str, Policy); 2] {
    [("default", Policy::default()), ("classic", Policy::CLASSIC)]
}

/// A table, the name of a preset, or `"off"`.
pub(super) fn read(item: &Item<'_>) -> Option<Policy> {
    match item.word() {
        Some("off") => return None,
        Some(_) => return item.one_of(&presets()),
        None => {}
    }
    if !item.is_table() {
        item.wrong_type("a table, \"default\", \"classic\" or \"off\"", "write breaker = { failure_rate = \"50%\" }");
        return None;
    }
    let section = item.section(&keys::BREAKER)?;
    let base = section.field("preset", Policy::default(), |item| item.one_of(&presets())).value;
    let window = read_window(&section, base.window);
    let rate = |key: &str| section.field(key, None, |item| item.share(&(0.01..=1.0)).map(Some)).value;
    let consecutive =
        section.field("consecutive", None, |item| item.integer(&(1..=10_000)).map(|it| u32::try_from(it).ok()));
    let slow = read_slow(&section, rate("slow_rate"));
    let given = rate("failure_rate");
    // Who asks for another rule and not for this one does not want this one.
    let is_alone = consecutive.value.is_none() && slow.is_none();
    let failure_rate = given.or(if is_alone { base.failure_rate } else { None });
    let enough = if let Span::Calls(most) = window { base.min_calls.min(most) } else { base.min_calls };
    let min_calls = section.integer("min_calls", u64::from(enough), 1..=1_000_000);
    if let Span::Calls(most) = window
        && min_calls.value > u64::from(most)
    {
        let message = format!("`min_calls` ({}) is never reached in a window of {most} calls", min_calls.value);
        let fault = Fault::new(message).hint("`min_calls` must not be larger than `window_calls`");
        section.reader.error(&min_calls.place, fault);
    }
    let open_for = section.duration("open_for", base.open_for, MILLI..=DAY);
    let open_max = section.duration("open_max", base.open_max.max(open_for.value), MILLI..=DAY);
    if open_for.is_good && open_max.is_good && open_for.value > open_max.value {
        let message = format!(
            "`open_for` ({}) must not be longer than `open_max` ({})",
            units::show_duration(open_for.value),
            units::show_duration(open_max.value)
        );
        section.reader.error(&open_max.place, Fault::new(message));
    }
    let jitter = section.field("jitter", base.jitter, |item| item.share(&(0.0..=1.0))).value;
    let probes = section.integer("probes", u64::from(base.probes), 1..=u64::from(PROBES_MAX)).value;
    Some(Policy {
        window,
        min_calls: u32::try_from(min_calls.value).unwrap_or(base.min_calls),
        failure_rate,
        consecutive: consecutive.value,
        slow,
        open_for: open_for.value,
        open_max: open_max.value,
        jitter,
        probes: u32::try_from(probes).unwrap_or(base.probes),
        probe_timeout: section.duration("probe_timeout", base.probe_timeout, MILLI..=DAY).value,
        ramp: section.duration("ramp", base.ramp, Duration::ZERO..=DAY).value,
    })
}

fn read_window(section: &Section<'_>, default: Span) -> Span {
    let time = section.field("window", default, |item| item.duration(&(MILLI..=WEEK)).map(Span::Time));
    let calls = section.field("window_calls", default, |item| {
        item.integer(&(1..=u64::from(CALLS_MAX))).map(|calls| Span::Calls(u32::try_from(calls).unwrap_or(CALLS_MAX)))
    });
    if time.is_given && calls.is_given {
        let fault = Fault::new("either `window` or `window_calls`, not both");
        section
            .reader
            .error(&calls.place, fault.hint("`window` counts calls by time, `window_calls` the last so many"));
    }
    if calls.is_given { calls.value } else { time.value }
}

fn read_slow(section: &Section<'_>, rate: Option<f64>) -> Option<Slow> {
    let after = section.field("slow_after", None, |item| item.duration(&(MILLI..=DAY)).map(Some));
    match (rate, after.value) {
        (Some(rate), Some(after)) => Some(Slow { rate, after }),
        (None, None) => None,
        (Some(_), None) | (None, Some(_)) => {
            // A value that could not be read has been reported already.
            if section.has("slow_rate") != section.has("slow_after") {
                let fault = Fault::new("`slow_rate` and `slow_after` go together");
                let hint = "write slow_rate = \"50%\", slow_after = \"2s\": the share of calls, and what is slow";
                section.reader.error(&section.place, fault.hint(hint));
            }
            None
        }
    }
}

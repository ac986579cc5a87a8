//! `service.outlier`: endpoints that fail real requests, or stand out among their siblings.

use std::time::Duration;

use mainstay_core::outlier::{self, gray};

use super::problem::Fault;
use super::reader::Item;
use super::{WEEK, keys, units};

const MILLI: Duration = Duration::from_millis(1);
const INTERVAL_LEAST: Duration = Duration::from_millis(100);
const INTERVAL_MOST: Duration = Duration::from_secs(60);
const SLOWER_BY_MOST: Duration = Duration::from_secs(60);

/// When real failures take an endpoint out; `None` if nothing does.
pub(super) fn read(item: &Item<'_>) -> Option<outlier::Policy> {
    let default = outlier::Policy::default();
    if item.word() == Some("off") {
        return None;
    }
    if !item.is_table() {
        item.wrong_type("a table or \"off\"", "write outlier = { consecutive = 5 } or outlier = \"off\"");
        return Some(default);
    }
    let section = item.section(&keys::OUTLIER)?;
    let consecutive = section.integer("consecutive", u64::from(default.consecutive), 1..=10_000).value;
    let base = section.duration("base", default.base, MILLI..=WEEK);
    let cap = section.duration("cap", default.cap, MILLI..=WEEK);
    if base.is_good && cap.is_good && base.value > cap.value {
        let message = format!(
            "`base` ({}) must not be longer than `cap` ({})",
            units::show_duration(base.value),
            units::show_duration(cap.value)
        );
        section.reader.error(if base.is_given { &base.place } else { &cap.place }, Fault::new(message));
    }
    let max_ejected = section.field("max_ejected", default.max_ejected, |item| {
        if item.word() == Some("0%") {
            item.error(Fault::new("nothing could ever be ejected").hint("write outlier = \"off\""));
            return None;
        }
        item.share(&(0.001..=1.0))
    });
    Some(outlier::Policy {
        consecutive: u32::try_from(consecutive).unwrap_or(default.consecutive),
        base: base.value,
        cap: cap.value,
        max_ejected: max_ejected.value,
        gray: section.field("gray", None, |item| Some(read_gray(item))).value,
    })
}

/// How endpoints are compared with each other: `true`, or a table.
fn read_gray(item: &Item<'_>) -> Option<gray::Policy> {
    let default = gray::Policy::default();
    if let Some(flag) = item.as_flag() {
        return flag.then_some(default);
    }
    if !item.is_table() {
        item.wrong_type("true or a table", "write gray = true");
        return None;
    }
    let section = item.section(&keys::GRAY)?;
    let slower = section.integer("slower", default.slower as u64, 2..=1_000).value;
    let min_requests = section.integer("min_requests", default.min_requests, 1..=1_000_000).value;
    let min_endpoints = section.integer("min_endpoints", default.min_endpoints as u64, 2..=1_000).value;
    Some(gray::Policy {
        interval: section.duration("interval", default.interval, INTERVAL_LEAST..=INTERVAL_MOST).value,
        slower: slower as f64,
        slower_by: section.duration("slower_by", default.slower_by, MILLI..=SLOWER_BY_MOST).value,
        errors: section.field("errors", default.errors, |item| item.share(&(0.01..=1.0))).value,
        min_requests,
        min_endpoints: usize::try_from(min_endpoints).unwrap_or(default.min_endpoints),
    })
}

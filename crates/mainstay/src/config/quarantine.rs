//! `quarantine` of routes: requests that reset connections at several endpoints are kept from the others.

use std::time::Duration;

use mainstay_core::quarantine::{ENDPOINTS_MAX, Policy};
use mainstay_gateway::spec::{Quarantine, RequestKind};

use super::problem::Fault;
use super::reader::Item;
use super::{keys, units, words};

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);
const ENTRIES_MAX: u64 = 65_536;
const STATUS: u64 = 422;
const HEADERS_MAX: usize = 16;
/// Bytes of a body that are waited for, at most: buffers hold more than that behind the longest head.
const BODY_MAX: u64 = 4096;

/// The settings, or the defaults for `true`.
pub(super) fn read(item: &Item<'_>) -> Option<Quarantine> {
    let default = Policy::default();
    if let Some(flag) = item.as_flag() {
        let kind = RequestKind { query: true, headers: Vec::new(), body: 0 };
        return flag.then_some(Quarantine { policy: default, status: STATUS as u16, kind });
    }
    if !item.is_table() {
        item.wrong_type("true or a table", "write quarantine = true or quarantine = { endpoints = 2 }");
        return None;
    }
    let section = item.section(&keys::QUARANTINE)?;
    let whole = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let hold = section.duration("hold", default.hold, SECOND..=DAY);
    let cap = section.duration("cap", default.cap.max(hold.value), SECOND..=DAY);
    if hold.is_good && cap.is_good && hold.value > cap.value {
        let message = format!(
            "`hold` ({}) must not be longer than `cap` ({})",
            units::show_duration(hold.value),
            units::show_duration(cap.value)
        );
        section.reader.error(&cap.place, Fault::new(message));
    }
    let list = section.item("headers");
    let headers: Vec<String> =
        list.iter().flat_map(Item::list_or_one).filter_map(|item| item.parsed(words::header_name)).collect();
    if let Some(list) = list.filter(|_list| headers.len() > HEADERS_MAX) {
        list.error(Fault::new(format!("at most {HEADERS_MAX} headers can be named here")));
    }
    let body = section.field("body", 0, |item| item.size(&(1..=BODY_MAX))).value;
    let status = section.integer("status", STATUS, 400..=599).value;
    Some(Quarantine {
        policy: Policy {
            endpoints: whole(section.integer("endpoints", default.endpoints as u64, 1..=ENDPOINTS_MAX as u64).value),
            window: section.duration("window", default.window, SECOND..=DAY).value,
            hold: hold.value,
            cap: cap.value,
            entries: whole(section.integer("entries", default.entries as u64, 1..=ENTRIES_MAX).value),
        },
        status: u16::try_from(status).unwrap_or(STATUS as u16),
        kind: RequestKind { query: section.flag("query", true).value, headers, body: whole(body) },
    })
}

//! `[service] restart`: how traffic comes back after an outage.

use std::time::Duration;

use mainstay_core::restart::Policy;

use super::keys;
use super::reader::Item;

const HOUR: Duration = Duration::from_secs(3_600);

/// A table, `"on"` or `"off"`.
pub(super) fn read(item: &Item<'_>) -> Option<Policy> {
    match item.word() {
        Some("off") => return None,
        Some(_) => return item.one_of(&[("on", Policy::default()), ("off", Policy::default())]),
        None => {}
    }
    if !item.is_table() {
        item.wrong_type("a table, \"on\" or \"off\"", "write restart = { ramp = \"10s\" }");
        return None;
    }
    let section = item.section(&keys::RESTART)?;
    let default = Policy::default();
    Some(Policy {
        after: section.duration("after", default.after, Duration::ZERO..=HOUR).value,
        ramp: section.duration("ramp", default.ramp, Duration::from_millis(100)..=HOUR).value,
        from: section.field("from", default.from, |item| item.share(&(0.01..=1.0))).value,
    })
}

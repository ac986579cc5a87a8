//! `[route] hedge`: another endpoint is asked beside one that takes long.

use std::time::Duration;

use mainstay_core::hedge::Policy;

use super::keys;
use super::reader::Item;

/// A table, `"on"` or `"off"`.
pub(super) fn read(item: &Item<'_>) -> Option<Policy> {
    match item.word() {
        Some("off") => return None,
        Some(_) => return item.one_of(&[("on", Policy::default()), ("off", Policy::default())]),
        None => {}
    }
    if !item.is_table() {
        item.wrong_type("a table, \"on\" or \"off\"", "write hedge = { quantile = \"95%\" }");
        return None;
    }
    let section = item.section(&keys::HEDGE)?;
    let default = Policy::default();
    // Below this every other request would be sent twice, which is no hedge but twice the load.
    let quantile = section.field("quantile", default.quantile, |item| item.share(&(0.5..=0.999)));
    let bounds = Duration::from_millis(1)..=Duration::from_secs(60);
    Some(Policy { quantile: quantile.value, min_delay: section.duration("min_delay", default.min_delay, bounds).value })
}

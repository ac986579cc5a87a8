//! `[route] cache`: responses that are stored and served again.

use std::time::Duration;

use mainstay_core::cache::Policy;
use mainstay_gateway::spec::Cache;

use super::keys;
use super::reader::{Field, Item, Place};

/// What stored responses may take unless the configuration says otherwise.
pub(super) const MEMORY: u64 = 64 * MIB;
/// Below it nothing worth the name could be stored.
pub(super) const MEMORY_LEAST: u64 = MIB;
/// More than any machine has.
pub(super) const MEMORY_MOST: u64 = 1 << 44;

const MIB: u64 = 1 << 20;
const MAX_OBJECT: u64 = MIB;
const DAY: Duration = Duration::from_secs(86_400);
const YEAR: Duration = Duration::from_secs(365 * 86_400);

/// A cache, and where the bound of an object stands.
pub(super) struct Read {
    pub(super) cache: Cache,
    pub(super) max_object: Place,
}

/// `cache = true`, or a table.
pub(super) fn read(item: &Item<'_>) -> Option<Read> {
    match item.as_flag() {
        Some(false) => return None,
        Some(true) => return Some(Read { cache: default(), max_object: item.place.clone() }),
        None if !item.is_table() => {
            item.wrong_type("a table or true", "write cache = true or cache = { default_ttl = \"10s\" }");
            return None;
        }
        None => {}
    }
    let section = item.section(&keys::CACHE)?;
    let standard = default();
    let policy = standard.policy;
    let zero = Duration::ZERO;
    let max_object: Field<u64> = section.field("max_object", MAX_OBJECT, |item| item.size(&(1..=MEMORY_MOST)));
    let cache = Cache {
        policy: Policy {
            default_ttl: section.duration("default_ttl", policy.default_ttl, zero..=YEAR).value,
            max_ttl: section.duration("max_ttl", policy.max_ttl, zero..=YEAR).value,
            jitter: section.field("jitter", policy.jitter, |item| item.share(&(0.0..=0.5))).value,
            while_revalidate: section.duration("stale_while_revalidate", policy.while_revalidate, zero..=YEAR).value,
            if_error: section.duration("stale_if_error", policy.if_error, zero..=YEAR).value,
            keep: zero,
        },
        max_object: max_object.value,
        obeys_clients: section.flag("obey_clients", standard.obeys_clients).value,
    };
    Some(Read { cache, max_object: max_object.place })
}

/// What `cache = true` means: what origins allow, and nothing else.
fn default() -> Cache {
    Cache {
        policy: Policy {
            default_ttl: Duration::ZERO,
            max_ttl: DAY,
            jitter: 0.1,
            while_revalidate: Duration::ZERO,
            if_error: Duration::ZERO,
            keep: Duration::ZERO,
        },
        max_object: MAX_OBJECT,
        obeys_clients: true,
    }
}

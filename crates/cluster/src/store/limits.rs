//! How much a store holds.

use std::time::Duration;

use crate::coordinator::Entry;

/// What an entry costs beside its key and value, roughly.
const ENTRY_BYTES: usize = 64;

/// The bounds of a store. They must be the same on all replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all keys and values, with 64 bytes for each entry.
    pub bytes: usize,
    /// Bytes of keys and values that one transaction brings along, counted in the same way.
    pub transaction_bytes: usize,
    /// Bytes of entries that one answer has. A single entry goes out in any case.
    pub answer_bytes: usize,
    /// Revisions that are kept for watches and for reads in the past. The last one is kept in any case.
    pub history_revisions: usize,
    /// Bytes of what these revisions changed, before and after.
    pub history_bytes: usize,
    /// Leases at a time.
    pub leases: usize,
    /// The shortest life of a lease.
    pub ttl_min: Duration,
    /// The longest.
    pub ttl_max: Duration,
    /// Answered requests that are remembered.
    pub requests: usize,
    /// Bytes of their answers.
    pub request_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes: 64 << 20,
            transaction_bytes: 4 << 20,
            answer_bytes: 8 << 20,
            history_revisions: 16_384,
            history_bytes: 16 << 20,
            leases: 4096,
            ttl_min: Duration::from_millis(100),
            ttl_max: Duration::from_secs(24 * 3600),
            requests: 8192,
            request_bytes: 4 << 20,
        }
    }
}

/// What an entry counts for.
pub(super) fn cost(entry: &Entry) -> usize {
    cost_of(&entry.key, entry.value.len())
}

/// What an entry with this key and so many bytes of value counts for.
pub(super) fn cost_of(key: &str, value_bytes: usize) -> usize {
    key.len().saturating_add(value_bytes).saturating_add(ENTRY_BYTES)
}

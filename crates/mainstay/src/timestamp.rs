//! Times of day as people and machines read them (RFC 3339, UTC).

use std::time::{SystemTime, UNIX_EPOCH};

/// `2026-11-21T10:33:07.042Z`.
pub fn rfc3339(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    mainstay_core::timestamp::rfc3339(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

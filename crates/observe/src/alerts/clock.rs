//! The time of day as alerts have it.

use std::time::{SystemTime, UNIX_EPOCH};

use mainstay_core::alert::Millis;

/// Now.
pub fn now() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis::try_from(since.as_millis()).unwrap_or(Millis::MAX)
}

//! What a member's driver does to its server, and how it fares.

use mainstay_core::database::agent::Action;
use mainstay_core::random::Rng;
use mainstay_core::time::Moment;

/// How what is done fares.
#[derive(Debug)]
pub(super) struct Work {
    /// What was done last.
    pub(super) last: Option<Action>,
    /// How often it has failed.
    pub(super) failures: u32,
    /// The error is what the server was seen to lack, and not that something failed.
    pub(super) is_trouble: bool,
    pub(super) not_before: Moment,
    /// What went wrong last, until something goes right.
    pub(super) error: Option<String>,
    pub(super) rng: Rng,
}

impl Default for Work {
    fn default() -> Self {
        Self { last: None, failures: 0, is_trouble: false, not_before: Moment::ZERO, error: None, rng: Rng::seeded(0) }
    }
}

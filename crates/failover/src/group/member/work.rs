//! What a member's driver does to its server, and how it fares.

use mainstay_core::database::agent::{Action, Stop};
use mainstay_core::random::Rng;
use mainstay_core::time::Moment;

use super::Member;
use crate::Executor;
use crate::group::mandate::Cut;

/// How what is done fares.
#[derive(Debug)]
pub(super) struct Work {
    /// What was done last.
    pub(super) last: Option<Action>,
    /// What is being done to it, if something is.
    pub(super) under_way: Option<Action>,
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
        Self {
            last: None,
            under_way: None,
            failures: 0,
            is_trouble: false,
            not_before: Moment::ZERO,
            error: None,
            rng: Rng::seeded(0),
        }
    }
}

impl<E: Executor> Member<E> {
    /// Stops a server whose action was ended before its end, if it is to stop. A switchover may begin in the middle of anything: its
    /// primary is stopped in order all the same.
    pub(super) async fn end_what_was_cut(&mut self, cut: Cut) {
        let stop = match (cut, self.decide()) {
            (Cut::Deadline, _) => Some(Stop::Immediate),
            (Cut::Plan, Action::Stop(stop)) => Some(stop),
            (Cut::Plan, _other) => None,
        };
        if let Some(stop) = stop {
            Box::pin(self.stop(stop)).await;
        }
    }
}

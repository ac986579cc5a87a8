//! What can go wrong.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{LeaseId, Revision};

/// Why the coordinator did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
pub enum Error {
    /// There is no quorum, no leader, or no way to them. Nothing was changed.
    #[error("the coordinator is not available: {0}")]
    Unavailable(String),
    /// A change was sent and no answer came: it may have been made, or may be made yet.
    #[error("it is not known whether the change was made: {0}")]
    Unknown(String),
    /// What happened up to `oldest` is forgotten, that revision excluded.
    #[error("revision {asked} is compacted; the oldest that is known is {oldest}")]
    Compacted {
        /// What was asked for.
        asked: Revision,
        /// The oldest revision that can be asked for.
        oldest: Revision,
    },
    /// A revision that has not come.
    #[error("revision {asked} has not come yet; the present one is {present}")]
    Future {
        /// What was asked for.
        asked: Revision,
        /// The present revision.
        present: Revision,
    },
    /// No such lease: it has ended, or never was.
    #[error("lease {:x} is not there: it has ended, or was never granted", .0.0)]
    LeaseNotFound(LeaseId),
    /// The request breaks a limit or contradicts itself. Asking again will not help.
    #[error("the coordinator refuses the request: {0}")]
    Invalid(String),
    /// The engine cannot go on: its disk is full or broken, say. The operator is needed.
    #[error("the coordinator's storage has failed: {0}")]
    Storage(String),
}

//! In what kinds of servers differ, as far as decisions depend on it.

use serde::{Deserialize, Serialize};

/// What kind of servers a group has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Engine {
    /// PostgreSQL.
    #[default]
    Postgres,
    /// Redis.
    Redis,
}

impl Engine {
    /// Whether one that crashed has everything that it acknowledged, so that it may go on as the primary that it was. Redis
    /// comes back with its last snapshot, or empty, and its replicas would follow it there.
    pub fn outlives_crashes(self) -> bool {
        match self {
            Self::Postgres => true,
            Self::Redis => false,
        }
    }

    /// Whether data that went its own way can be taken back to where it left the primary's. Otherwise it is copied whole.
    pub fn rewinds(self) -> bool {
        match self {
            Self::Postgres => true,
            Self::Redis => false,
        }
    }

    /// Whether a primary can become a replica while it runs.
    pub fn steps_down(self) -> bool {
        match self {
            Self::Postgres => false,
            Self::Redis => true,
        }
    }

    /// Whether each promotion gives the data's history a new name, with the one before remembered. PostgreSQL counts
    /// timelines within one name instead.
    pub fn renames(self) -> bool {
        match self {
            Self::Postgres => false,
            Self::Redis => true,
        }
    }
}

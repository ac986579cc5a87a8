//! Where sessions belong: a table in each node, told to the others as it changes, or one in Redis.
//!
//! Three ways in which nodes come to hold the same, each for what it is good at. A session that is new or moves is told to
//! all others at once, and as many as [`Policy::ack`] says have it before the client hears of it ([`replicate`]). When it
//! was last used is told once a second, in batches that nobody waits for. And every half minute, at the start and after an
//! absence each node compares what it has with what the others have, and fetches what it lacks: that mends whatever was lost
//! on the other two ways.

pub mod redis;
pub mod replicate;
mod store;
pub mod wire;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub use store::{Change, Counts, Found, Store};

/// How many others must know of a session before its client does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ack {
    /// None: a session that was just bound may be lost with its node.
    None,
    /// One. It outlives the loss of any single node.
    #[default]
    One,
    /// As many as make a majority of the cluster's nodes together with this one.
    Majority,
}

impl Ack {
    /// How many answers it takes if there are `others` besides this node.
    pub const fn needed(self, others: usize) -> usize {
        match self {
            Self::None => 0,
            Self::One => {
                if others == 0 {
                    0
                } else {
                    1
                }
            }
            Self::Majority => others.div_ceil(2),
        }
    }
}

/// How a table is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Sessions that a node holds, at most.
    pub max: usize,
    /// How many others must know of a session before its client does.
    pub ack: Ack,
    /// How long that is waited for. The answer then goes out all the same.
    pub ack_timeout: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self { max: 100_000, ack: Ack::One, ack_timeout: Duration::from_millis(100) }
    }
}

/// Milliseconds since 1970, by this node's clock.
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_majority_counts_this_node() {
        for (others, one, majority) in [(0, 0, 0), (1, 1, 1), (2, 1, 1), (3, 1, 2), (4, 1, 2)] {
            assert_eq!((Ack::One.needed(others), Ack::Majority.needed(others)), (one, majority), "{others}");
        }
        assert_eq!(Ack::None.needed(4), 0);
    }
}

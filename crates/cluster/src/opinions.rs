//! What nodes think of endpoints, and what they make of it together.
//!
//! A change of a node's verdicts is an event: all its verdicts stand in one key of the coordinator, on the node's lease, and
//! are written anew when one has changed, but never more often than [`Pace::write`] allows, however many endpoints flap. Every
//! other node watches these keys; whose key is there is alive. Twice a minute each node also asks every other one for all its
//! verdicts, which mends what a store that could not be written has kept from being known.
//!
//! What is made of it is decided in [`mainstay_core::opinion`]. A node without a lease cannot know what the others think: it
//! keeps to what was agreed last for [`Pace::freeze`], and then goes by its own verdicts alone.

mod board;
mod driver;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use mainstay_core::opinion::{Effect, Verdict};
use mainstay_core::random;

pub use board::{Answerer, Report};
pub use driver::Exchange;

/// Verdicts of nodes, by node.
pub const HEALTH: &str = "health/";

/// Endpoints that a node tells of, at most; what is beyond is this node's own affair.
pub const ENDPOINTS_MAX: usize = 50_000;

/// The endpoints that opinions are about.
pub trait Endpoints {
    /// What this node says of them, by their numbers.
    fn verdicts(&self) -> HashMap<u64, Verdict>;

    /// Heeds what came of the opinions: `effect` says what to do with an endpoint of which this node has a verdict, or has none
    /// yet. Answers for how many that is news.
    fn heed(&self, effect: &dyn Fn(u64, Option<Verdict>) -> Effect) -> usize;
}

/// How often what is done. The defaults suit everybody; tests are in more of a hurry.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Between two looks at the own verdicts, and at least between two writes of them.
    pub write: Duration,
    /// Between two rounds of asking the others, give or take a quarter.
    pub compare: Duration,
    /// How long what was agreed last holds without a lease.
    pub freeze: Duration,
    /// How long an answer of another node is waited for.
    pub call: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            write: Duration::from_millis(200),
            compare: Duration::from_secs(30),
            freeze: Duration::from_secs(60),
            call: Duration::from_secs(1),
        }
    }
}

/// What is known of it all, for people and metrics.
#[derive(Debug, Default)]
pub struct Counts {
    /// Nodes whose opinions are heard, this one included.
    pub live: AtomicU64,
    /// This node's opinion is set aside: it sees everything down while others do not.
    pub is_cut_off: AtomicBool,
    /// There is no agreement on anything new.
    pub is_frozen: AtomicBool,
    /// Endpoints that are down because most nodes say so.
    pub down: AtomicU64,
    /// Writes of the own verdicts.
    pub written: AtomicU64,
    /// Verdicts of other nodes that came by the store.
    pub received: AtomicU64,
    /// Verdicts of other nodes that only asking has brought.
    pub repaired: AtomicU64,
    /// Questions to other nodes that were answered.
    pub comparisons: AtomicU64,
}

/// The number that a node has in opinions: the same on all nodes, with every engine.
pub fn node_number(name: &str) -> u64 {
    random::hash(name.as_bytes())
}

//! How large a bulkhead is.

use std::time::Duration;

pub use mainstay_core::adaptive::Policy as Adaptive;

/// The size of a bulkhead.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    /// Calls at once.
    pub concurrency: Concurrency,
    /// Calls that wait, at most 65,536; 0 for none. Once the queue has not been empty for 100 ms, the newest goes first: those
    /// that came first have waited for so long that their callers are about to give up.
    pub queue: u32,
    /// How long a call waits.
    pub queue_timeout: Duration,
}

impl Policy {
    /// So many calls at once, without a queue.
    pub const fn fixed(concurrency: u32) -> Self {
        Self { concurrency: Concurrency::Fixed(concurrency), queue: 0, queue_timeout: Duration::from_secs(1) }
    }
}

/// How many calls there may be at once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Concurrency {
    /// So many, at least 1.
    Fixed(u32),
    /// As many as the service takes without becoming slow, found by the gradient of its latency.
    Adaptive(Adaptive),
}

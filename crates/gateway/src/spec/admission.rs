//! Which requests of a route are let in, and when.

use std::time::Duration;

use mainstay_core::adaptive;
use mainstay_core::criticality::Criticality;
use mainstay_core::limiter::Rate;

/// Which requests of a route are let in, and when; nothing is limited by default.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Admission {
    /// Callers say how long they wait, and endpoints are told.
    pub deadline: Option<Deadline>,
    /// Rates that all have to allow a request.
    pub rate_limits: Vec<RateLimit>,
    /// How much requests matter.
    pub criticality: Option<ByCriticality>,
    /// How many requests are in at once.
    pub bulkhead: Option<Bulkhead>,
    /// How many requests are in at once, by their latency.
    pub adaptive: Option<adaptive::Policy>,
    /// Who waits for a place, if `bulkhead` or `adaptive` is set.
    pub queue: Queue,
}

impl Admission {
    /// Whether anything here has to be remembered from one request to the next.
    pub fn has_memory(&self) -> bool {
        !self.rate_limits.is_empty() || self.bulkhead.is_some() || self.adaptive.is_some()
    }
}

/// How a deadline comes in and goes out: milliseconds that are left, as a decimal number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deadline {
    /// The header, in lower case.
    pub header: String,
}

/// A limit of how often.
#[derive(Clone, Debug, PartialEq)]
pub struct RateLimit {
    /// How often.
    pub rate: Rate,
    /// What has a bucket of its own.
    pub key: RateKey,
    /// Keys that are remembered, rounded up; of no meaning for [`RateKey::All`].
    pub keys_max: usize,
    /// For whom the rate is.
    pub scope: Scope,
}

/// For whom a limit is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// Each node has all of it.
    #[default]
    Node,
    /// All nodes of the cluster have it together; each enforces its part.
    Cluster,
}

/// What has a bucket of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RateKey {
    /// All requests of the route share one.
    All,
    /// Each client address; of IPv6 each /64, which is what one customer has at least.
    Client,
    /// Each path, without its query.
    Path,
    /// Each value of this header, in lower case. Requests without it share one.
    Header(String),
}

/// How much requests matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ByCriticality {
    /// The class of a request of which nobody says anything.
    pub default: Criticality,
    /// The header in lower case by which trusted proxies name the class, and endpoints are told of it.
    pub header: String,
}

/// A limit of how many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bulkhead {
    /// Requests at once, over all workers; at least 1.
    pub concurrency: u32,
}

/// Who waits for a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue {
    /// Requests that wait; 0 for none.
    pub size: u32,
    /// One that waits for longer is refused.
    pub timeout: Duration,
}

impl Default for Queue {
    fn default() -> Self {
        Self { size: 0, timeout: Duration::from_secs(1) }
    }
}

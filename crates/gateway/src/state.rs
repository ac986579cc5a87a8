//! What the gateway knows and counts, readable from any thread while it serves.
//!
//! Counters have one writer each (a worker) and are summed when read, so that requests never share a cache line.

mod breaker;
mod choices;
mod counters;
mod database;
mod endpoint;
mod exemplar;
mod factors;
mod guard;
mod hedging;
mod listener;
mod load;
mod restart;
mod route;
mod service;

use std::sync::Arc;
use std::time::SystemTime;

pub(crate) use breaker::Permit;
pub use breaker::{Breaker, Subject};
pub use choices::{Choices, ZoneLoss};
pub use counters::{BUCKETS, Counter, Histogram, Shards};
pub(crate) use database::Seat;
pub use database::{Database, DatabaseCounters, Refusals};
pub use endpoint::{Endpoint, EndpointCounters};
pub use exemplar::{Exemplar, Exemplars};
pub use factors::Factor;
pub use guard::Guard;
pub use hedging::{HedgeCounters, Hedging};
pub use listener::{Listener, ListenerCounters, ProxyProtocolFailures};
pub use load::Load;
pub use restart::Restart;
pub use route::{CacheCounters, FallbackCounters, IsolationCounters, MirrorCounters, Route, RouteCounters};
pub use service::{Service, Source};

pub use crate::cache::Store;
use crate::cells::Cells;
use crate::sessions::Sessions;
use crate::spec;

/// The whole state behind the spec that is served now. A reload makes a new one that shares the parts that did not change.
#[derive(Debug)]
pub struct State {
    /// Number of the spec: 1 at start, one more at each reload.
    pub generation: u64,
    /// When it was applied.
    pub applied_at: SystemTime,
    /// Listeners, as in the spec.
    pub listeners: Vec<Arc<Listener>>,
    /// Routes, as in the spec.
    pub routes: Vec<Arc<Route>>,
    /// Services, as in the spec.
    pub services: Vec<Arc<Service>>,
    /// How names are looked up.
    pub resolver: spec::Resolver,
    /// Stored responses; there is a store exactly if a route has a cache.
    pub cache: Option<Arc<Store>>,
    /// Which cell each account is in, if there are cells.
    pub cells: Option<Arc<Cells>>,
    /// Where sessions are kept, for services that keep them in a table.
    pub sessions: Option<Arc<dyn Sessions>>,
    /// Database groups that listeners lead to.
    pub databases: Vec<Arc<Database>>,
    /// What is told of requests.
    pub telemetry: Arc<spec::Telemetry>,
}

//! What is put to the test: some nodes that clients reach, and what can go wrong with them.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use mainstay_cluster::coordinator::Coordinator;
use mainstay_core::random::Rng;
use tokio::sync::watch;

/// Nodes of a site.
pub(crate) const NODES: usize = 3;
/// How long anything may take that must happen once all faults are over.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// A store as clients see it, and a number that changes when they must not wait for it any longer.
pub(crate) type Client = (Arc<dyn Coordinator>, watch::Receiver<u64>);

/// The nodes.
#[async_trait(?Send)]
pub(crate) trait Site {
    /// The way to a node, if it lives.
    fn client(&self, node: usize) -> Option<Client>;

    /// A short life for a lease, that it grants as it is.
    fn ttl(&self) -> Duration;

    /// How long faults go on in one run.
    fn length(&self) -> Duration;

    /// Makes one fault after another, drawn from `rng`, for so long, then mends everything. Answers how many.
    async fn torment(&self, rng: Rng) -> u64;

    /// Ends everything.
    async fn stop(&self);
}

/// A time between two numbers of milliseconds.
pub(crate) fn millis(rng: &mut Rng, from: u64, to: u64) -> Duration {
    Duration::from_millis(from + rng.below((to - from) as usize) as u64)
}

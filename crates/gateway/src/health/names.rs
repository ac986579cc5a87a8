use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

/// How names of endpoints are resolved, and how often.
#[derive(Clone)]
pub(super) struct Names {
    pub(super) resolve: Resolve,
    /// Time between two look-ups of a name that resolves.
    pub(super) again: Duration,
    /// Time between two look-ups of one that does not.
    pub(super) retry: Duration,
}

/// Looks up a host with a port; a pointer, so that tests can stand in for DNS.
pub(super) type Resolve = fn(String, u16) -> Resolving;

pub(super) type Resolving = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>>>>;

/// A resolver that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(5);

impl Default for Names {
    fn default() -> Self {
        Self {
            resolve: |host, port| {
                Box::pin(async move { mainstay_runtime::names::resolve(&host, port, PATIENCE).await })
            },
            again: Duration::from_secs(30),
            retry: Duration::from_secs(5),
        }
    }
}

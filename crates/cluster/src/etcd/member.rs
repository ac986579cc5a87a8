//! One member of the etcd cluster, as reached by its address.

use std::sync::{Mutex, MutexGuard, PoisonError};

use etcd_client::{Client, ConnectOptions};
use tracing::{info, warn};

use super::fault::Fault;
use super::version;

/// One address, with the connections to it.
#[derive(Debug)]
pub(super) struct Member {
    url: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The connection that asks for a leader to be there.
    strict: Option<Client>,
    /// Whether `strict` has answered since something last went wrong with it.
    proven: bool,
    /// The connection that does not, for local reads.
    local: Option<Client>,
    /// What the member said about itself, once it has.
    version: Option<String>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("proven", &self.proven).field("version", &self.version).finish_non_exhaustive()
    }
}

impl Member {
    pub(super) fn new(url: &str) -> Self {
        Self { url: url.to_owned(), state: Mutex::default() }
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Its version, if it has ever answered.
    pub(super) fn version(&self) -> Option<String> {
        self.lock().version.clone()
    }

    /// A client of it that has proven to reach it. A change is never the first message on a connection: of a question that
    /// gets lost it is known that nothing was changed.
    pub(super) async fn client(&self, options: &ConnectOptions) -> Result<Client, Fault> {
        let known = {
            let state = self.lock();
            state.strict.clone().map(|client| (client, state.proven))
        };
        let mut client = match known {
            Some((client, true)) => return Ok(client),
            Some((client, false)) => client,
            None => {
                let client = Client::connect([&self.url], Some(options.clone().with_require_leader(true))).await?;
                // Kept before it has answered, so that a slow connection goes on being made after the first caller has
                // lost patience.
                self.lock().strict.get_or_insert(client).clone()
            }
        };
        let status = client.status().await?;
        let mut state = self.lock();
        state.proven = true;
        if state.version.as_deref() != Some(status.version()) {
            state.version = Some(status.version().to_owned());
            match version::fault_of(status.version()) {
                Some(fault) => warn!(member = self.url, "{fault}"),
                None => info!(member = self.url, version = status.version(), "etcd reached"),
            }
        }
        Ok(client)
    }

    /// A client for reads that need neither a quorum nor a leader.
    pub(super) async fn local(&self, options: &ConnectOptions) -> Result<Client, Fault> {
        if let Some(client) = self.lock().local.clone() {
            return Ok(client);
        }
        let client = Client::connect([&self.url], Some(options.clone())).await?;
        Ok(self.lock().local.get_or_insert(client).clone())
    }

    /// Something went wrong with it: it has to prove itself again.
    pub(super) fn doubt(&self) {
        self.lock().proven = false;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! What this node knows of its groups of database servers: the configuration, what its drivers found out, and what other nodes
//! say of their part. Nodes say that in their registrations.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mainstay_cluster::coordinator::{Consistency, Range};
use mainstay_cluster::keys;
use mainstay_failover::group::board::{Board, Own};
use serde::{Deserialize, Serialize};

use super::Context;
use super::available::Seconds;
use crate::config::database::Database;
use crate::database::rest::{self, Rest};

/// How often it is read what others say.
const LOOK: Duration = Duration::from_secs(1);
/// What others say is at hand; only etcd is asked over the network, and may be gone.
const PATIENCE: Duration = Duration::from_secs(1);
/// Registrations that are read, at most.
const NODES_MAX: usize = 256;

/// The groups of this node.
#[derive(Debug)]
pub struct Groups {
    configured: Vec<Database>,
    guard: Duration,
    board: Board,
    told: Mutex<BTreeMap<String, Tellings>>,
    seconds: Seconds,
}

/// What a node says, by group.
pub type Tellings = BTreeMap<String, Telling>;

/// What a node says of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Telling {
    /// What its configuration says that has to be the same on all nodes.
    pub config: BTreeMap<String, String>,
    /// What it does for its own server; `None` if it is no member.
    pub own: Option<Own>,
}

/// A registration, as far as it matters here.
#[derive(Default, Deserialize)]
struct Registration {
    #[serde(default)]
    databases: Option<Tellings>,
}

impl Groups {
    /// Those of a configuration. `guard` is how long after the end of a lease nobody is promoted.
    pub fn new(configured: Vec<Database>, guard: Duration) -> Self {
        Self { configured, guard, board: Board::default(), told: Mutex::default(), seconds: Seconds::default() }
    }

    /// What the configuration says.
    pub fn configured(&self) -> &[Database] {
        &self.configured
    }

    /// One of them.
    pub fn database(&self, name: &str) -> Option<&Database> {
        self.configured.iter().find(|database| database.name == name)
    }

    /// How long after the end of a lease nobody is promoted.
    pub fn guard(&self) -> Duration {
        self.guard
    }

    /// What the drivers found out.
    pub fn board(&self) -> &Board {
        &self.board
    }

    /// The seconds in which they took writes.
    pub fn seconds(&self) -> &Seconds {
        &self.seconds
    }

    /// What this node has to say.
    pub fn tell(&self) -> Tellings {
        let telling = |database: &Database| Telling {
            config: database.agreed(),
            own: self.board.view(&database.name).and_then(|view| view.own),
        };
        self.configured.iter().map(|database| (database.name.clone(), telling(database))).collect()
    }

    /// What all nodes said last, by name.
    pub fn told(&self) -> BTreeMap<String, Tellings> {
        self.lock().clone()
    }

    /// Takes what nodes say.
    pub fn hear(&self, told: BTreeMap<String, Tellings>) {
        *self.lock() = told;
    }

    // What is inside is replaced whole, so that a holder that panicked left nothing half done.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Tellings>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells load balancers what role this node's servers have, where the configuration says so.
fn serve_rest(context: &Context) {
    for database in context.handle.groups().configured() {
        let (Some(bind), Some(server)) = (database.doors.rest, &database.server) else { continue };
        // A server that is empty yet has no version; it is looked up at the next start.
        let version = std::fs::read_to_string(server.data_dir.join("PG_VERSION")).ok();
        let rest = Rest {
            group: database.name.clone(),
            node: context.name.clone(),
            major: version.and_then(|version| version.trim().parse().ok()),
            no_reads: database.member(&context.name).is_some_and(|member| member.no_reads),
            source: std::sync::Arc::clone(&context.handle) as std::sync::Arc<dyn rest::Source>,
        };
        if let Err(error) = rest::start(rest, bind, context.leaving.clone()) {
            tracing::error!(%error, group = database.name, "`rest` is not served");
        }
    }
}

/// Reads what other nodes say, as long as there is a group.
pub(super) async fn run(context: Context) {
    let groups = context.handle.groups();
    if groups.configured().is_empty() {
        return;
    }
    serve_rest(&context);
    let mut ticks = tokio::time::interval(LOOK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = context.left() => return,
            _tick = ticks.tick() => {}
        }
        let read = context.coordinator.range(Range::prefix(keys::NODES), None, NODES_MAX, Consistency::Local);
        // What was heard before stays while nobody can be asked.
        let Ok(Ok(listing)) = tokio::time::timeout(PATIENCE, read).await else { continue };
        let said = listing.entries.iter().filter_map(|entry| {
            let name = entry.key.strip_prefix(keys::NODES)?;
            let said: Registration = serde_json::from_slice(&entry.value).unwrap_or_default();
            Some((name.to_owned(), said.databases?))
        });
        groups.hear(said.collect());
    }
}

//! The admin interface: health, readiness, metrics, status and drains, on a thread of its own, so that an overloaded
//! gateway can still be looked into.
//!
//! Whoever can open the unix socket (its owner and root) may do everything. Over TCP without `[access]` it only answers
//! questions; with it, it asks for a token or a session (`gate.rs`).

pub mod access;
pub mod acme;
pub mod addresses;
pub mod alertmanager;
pub mod alerts;
pub mod api;
pub mod attention;
pub mod audit;
pub mod bind;
pub mod cells;
pub mod certificates;
pub mod cluster;
pub mod databases;
pub mod document;
pub mod drains;
pub mod events;
pub mod explanation;
mod feed;
pub mod gate;
pub mod guard;
mod hashing;
pub mod history;
pub mod identities;
pub mod incidents;
pub mod ledger;
pub mod login;
pub mod merged;
pub mod metrics;
pub mod nodes;
pub mod objectives;
pub mod overview;
pub mod pages;
pub mod passed;
pub mod probes;
pub mod process;
pub mod purge;
pub mod requests;
#[cfg(test)]
pub(crate) mod sample_state;
pub mod sampler;
pub mod scope;
pub mod serve;
pub mod shared;
pub mod shared_config;
pub mod snapshot;
pub mod socket;
mod streamed;
pub mod table;
pub mod telemetry;
pub mod tls;
mod told;
pub mod upgrade;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use mainstay_cluster::opinions;
use mainstay_core::transition::Word;
use mainstay_gateway::Gateway;
use mainstay_observe::acme::shelf::Shelf;
use mainstay_observe::alerts::desk::Desk;
use mainstay_observe::history::History;
use mainstay_observe::ledger::Ledger;
use mainstay_observe::otlp::Exporter;
use mainstay_observe::slo::Objective;
use mainstay_runtime::journal::Journal;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;

use crate::admin::access::Access;
use crate::admin::document::{Configuration, Reload, Status};
use crate::admin::sampler::Sampler;
use crate::admin::upgrade::Asked;
use crate::cluster::Handle;
use crate::config::Config;
use crate::doors::Doors;
use crate::sessions::Tables;
use crate::shared_config::Board;
use crate::timestamp::rfc3339;

/// What the admin interface speaks for.
#[derive(Debug)]
pub struct Node {
    name: String,
    file: Option<PathBuf>,
    started_at: SystemTime,
    started: Instant,
    gateway: Arc<Gateway>,
    sessions: Arc<Tables>,
    opinions: Arc<opinions::Counts>,
    leaving: AtomicBool,
    reload: Mutex<Reload>,
    sampler: Mutex<Sampler>,
    /// To the main thread; taken away once the node leaves.
    upgrades: Mutex<Option<UnboundedSender<Asked>>>,
    /// Whether another process answers in this one's place.
    succeeded: watch::Sender<bool>,
    /// The node's part in a cluster, once it has one.
    cluster: OnceLock<Arc<Handle>>,
    shared: Board,
    doors: Doors,
    journal: Journal,
    history: History,
    objectives: Mutex<Arc<[Objective]>>,
    probes: Arc<mainstay_observe::probes::board::Board>,
    access: Access,
    alerts: Arc<Desk>,
    certificates: certificates::Watched,
    data_dir: Option<PathBuf>,
    /// The certificate of the admin interface.
    admin_tls: Option<PathBuf>,
    /// Certificates that authorities issue.
    acme: OnceLock<Arc<Shelf>>,
    /// What sends telemetry to other systems.
    exporter: OnceLock<Exporter>,
    ledger: Ledger,
    ledger_sums: ledger::sums::Sums,
    /// Questions of other nodes, on their way to the thread of the admin interface.
    passed: passed::Queue,
    /// What the other nodes of its cluster have counted for objectives.
    others: merged::Others,
}

impl Node {
    /// A node that has just started with this configuration, and where it gives upgrades that are asked for. `shared` is
    /// what it has of the configuration of its cluster, `journal` where changes are told, `access` who may use it.
    #[expect(clippy::too_many_arguments, reason = "each is another part of the node, and it is made once")]
    pub fn new(
        config: &Config,
        file: Option<PathBuf>,
        gateway: Arc<Gateway>,
        sessions: Arc<Tables>,
        upgrades: UnboundedSender<Asked>,
        shared: Board,
        journal: Journal,
        access: Access,
    ) -> Self {
        Self {
            name: config.spec.node.name.clone(),
            file,
            started_at: SystemTime::now(),
            started: Instant::now(),
            gateway,
            sessions,
            opinions: Arc::default(),
            leaving: AtomicBool::new(false),
            reload: Mutex::default(),
            sampler: Mutex::default(),
            upgrades: Mutex::new(Some(upgrades)),
            succeeded: watch::Sender::new(false),
            cluster: OnceLock::new(),
            shared,
            doors: Doors::new(config),
            ledger: ledger::start(config, &journal),
            ledger_sums: ledger::sums::Sums::default(),
            journal,
            history: history::start(config),
            objectives: Mutex::new(config.objectives.clone().into()),
            probes: probes::board(config),
            access,
            alerts: Arc::new(Desk::new(config.alerting.clone())),
            certificates: certificates::Watched::default(),
            data_dir: config.spec.node.data_dir.clone(),
            admin_tls: config.admin_tls.as_ref().map(|pair| pair.cert.clone()),
            acme: OnceLock::new(),
            exporter: OnceLock::new(),
            passed: passed::Queue::default(),
            others: merged::Others::default(),
        }
    }

    /// The gateway that it runs.
    pub fn gateway(&self) -> &Arc<Gateway> {
        &self.gateway
    }

    /// Has its metrics sent by `exporter`.
    pub fn export_through(&self, exporter: Exporter) {
        let _set_once = self.exporter.set(exporter);
    }

    /// What sends telemetry to other systems.
    pub fn exporter(&self) -> Option<&Exporter> {
        self.exporter.get()
    }

    /// Its configuration's file, unless it was started without one.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// What it has of the configuration of its cluster.
    pub fn shared(&self) -> &Board {
        &self.shared
    }

    /// Where other nodes' questions to its admin interface wait.
    pub fn passed(&self) -> &passed::Queue {
        &self.passed
    }

    /// What it wrote down of how available services were, and the incidents.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// What changed on it, for whoever follows.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Who may use it, and what they did.
    pub fn access(&self) -> &Access {
        &self.access
    }

    /// What it has counted, for five weeks.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// What is to hold of its routes, services and probes.
    pub fn objectives(&self) -> Arc<[Objective]> {
        lock(&self.objectives).clone()
    }

    /// Takes the objectives of another configuration.
    pub fn set_objectives(&self, objectives: &[Objective]) {
        *lock(&self.objectives) = objectives.into();
    }

    /// Whether it leaves, or another process has taken over.
    pub fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Acquire) || *self.succeeded.borrow()
    }

    /// Which of its listeners are open.
    pub fn doors(&self) -> &Doors {
        &self.doors
    }

    /// Notes that the node takes part in a cluster, once.
    pub fn take_part(&self, cluster: Arc<Handle>) {
        let _only_one_thread_does = self.cluster.set(cluster);
    }

    /// The node's part in a cluster, if it has one and has opened it.
    pub fn cluster(&self) -> Option<&Arc<Handle>> {
        self.cluster.get()
    }

    /// Where its sessions are kept.
    pub fn sessions(&self) -> &Arc<Tables> {
        &self.sessions
    }

    /// What is known of the opinions of all nodes; nothing without a cluster.
    pub fn opinions(&self) -> &Arc<opinions::Counts> {
        &self.opinions
    }

    /// From here on the node is not ready.
    pub fn leave(&self) {
        if !self.leaving.swap(true, Ordering::AcqRel) {
            self.tell_life(Word::Serving, Word::Leaving, "");
        }
        lock(&self.upgrades).take();
    }

    /// From here on another process answers those who ask; whoever has asked already gets an answer from this one.
    pub fn succeed(&self) {
        self.succeeded.send_replace(true);
        // The other process waits for the folder.
        self.history.close();
        self.tell_life(Word::Serving, Word::HandedOver, "another process took over");
    }

    /// Passes on that an upgrade is asked for.
    ///
    /// # Errors
    /// If the node leaves.
    pub fn ask_upgrade(&self, asked: Asked) -> Result<(), Asked> {
        match &*lock(&self.upgrades) {
            Some(upgrades) => upgrades.send(asked).map_err(|error| error.0),
            None => Err(asked),
        }
    }

    /// Why the node should not get traffic; empty if it should.
    pub fn not_ready(&self) -> Vec<String> {
        if self.leaving.load(Ordering::Acquire) {
            return vec!["shutting down".to_owned()];
        }
        if self.gateway.is_ready() {
            return Vec::new();
        }
        let waiting = snapshot::waiting_for(&self.gateway.state());
        if waiting.is_empty() { vec!["the gateway is starting or leaving".to_owned()] } else { waiting }
    }

    fn sample(&self) {
        crate::logging::tick();
        let state = self.gateway.state();
        if let Some(exporter) = self.exporter.get().filter(|exporter| exporter.are_metrics_due(Instant::now()))
            && let Ok(text) = metrics::render(state.clone(), self.facts(), metrics::Format::OpenMetrics)
        {
            exporter.metrics(text, self.started_at);
        }
        lock(&self.sampler).note(Instant::now(), &state);
        self.ledger_sums.tick(self.ledger.folder(), Instant::now());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        self.cluster().into_iter().for_each(|cluster| cluster.groups().seconds().count(cluster, &state, &self.history));
        feed::feed(&self.history, now, &self.name, &state, &process::Usage::read());
    }

    /// Everything about it.
    pub fn status(&self) -> Status {
        let (state, now, clock) = (self.gateway.state(), Instant::now(), SystemTime::now());
        let sampler = lock(&self.sampler);
        let not_ready = self.not_ready();
        let services = snapshot::services(&state, &sampler, now);
        let leaving = self.leaving.load(Ordering::Acquire);
        Status {
            verdict: snapshot::verdict(not_ready.is_empty(), leaving, &services),
            node: document::Node {
                name: self.name.clone(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                pid: std::process::id(),
                started_at: rfc3339(self.started_at),
                uptime_seconds: self.started.elapsed().as_secs(),
                now: rfc3339(clock),
                ready: not_ready.is_empty(),
                not_ready,
            },
            configuration: Configuration {
                file: self.file.as_ref().map(|file| file.display().to_string()),
                generation: state.generation,
                applied_at: rfc3339(state.applied_at),
                last_reload: lock(&self.reload).clone(),
                cluster: self.cluster().map(|_cluster| self.shared.status()),
            },
            listeners: snapshot::listeners(&state),
            acme: self.ordered().iter().map(Into::into).collect(),
            routes: snapshot::routes(&state, &sampler, now),
            services,
            cells: cells::status(self),
            sessions: shared::sessions(self),
            opinions: shared::opinions(self),
            probes: probes::all(self),
            cluster: self.cluster().map(|handle| cluster::report(&self.name, handle)),
            addresses: addresses::status(self),
            databases: databases::all(self),
            temporary: telemetry::temporary(self),
            attention: attention::of(self),
        }
    }

    fn facts(&self) -> metrics::Facts {
        metrics::Facts {
            ready: self.not_ready().is_empty(),
            reload: lock(&self.reload).clone(),
            access_log_dropped: self.gateway.access_log_dropped(),
            access_log_limited: self.gateway.access_log_limited(),
            log_left_out: crate::logging::facts().left_out,
            telemetry: self.exporter.get().map(Exporter::counts).unwrap_or_default(),
            started_at: Some(self.started_at),
            usage: process::Usage::read(),
            history: self.history.facts(),
            objectives: objectives::all(self),
            probes: probes::all(self),
            sessions: shared::sessions(self),
            shared_config: self.cluster().map(|_cluster| self.shared.facts()),
            opinions: shared::opinions(self),
            cluster: self.cluster().map(|handle| addresses::facts(self, handle)),
            databases: databases::all(self),
            alerts: Some(Arc::clone(&self.alerts)),
            certificates: self.certificates(),
            acme: self.ordered(),
            ledger: metrics::ledger::facts(&self.ledger, &self.ledger_sums),
        }
    }
}

// A poisoned lock only says that its holder panicked; samples and reload outcomes are replaced whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

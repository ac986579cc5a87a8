//! Reloads: another configuration is applied whole, or the present one is kept and the reason is said.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mainstay_cluster::config::Kept;
use mainstay_runtime::watch::Files;

use crate::admin::Node;
use crate::config::{self, Config, Problem, Severity};
use crate::run::{notify, said, watched};
use crate::shared_config::{self, Change};

pub(super) struct Reloader {
    node: Arc<Node>,
    file: Option<PathBuf>,
    /// What is served, as it was applied last.
    present: Config,
    /// The cluster's configuration, if that is served; of the file only what is the node's own counts then.
    shared: Option<Kept>,
    /// The number of workers that run; it is fixed at start.
    workers: usize,
}

impl Reloader {
    pub(super) fn new(node: Arc<Node>, file: Option<PathBuf>, present: Config, shared: Option<Kept>) -> Self {
        let workers = present.spec.node.workers;
        Self { node, file, present, shared, workers }
    }

    /// Whether `path` is the configuration's own file.
    pub(super) fn is_configuration(&self, path: &Path) -> bool {
        self.file.as_deref() == Some(path)
    }

    /// Loads the file again. Unless `always`, a configuration that says what is served already is not applied: editors
    /// write files that have not changed, and a change may have been applied by SIGHUP before the watch saw it.
    pub(super) fn reload(&mut self, files: &mut Files, cause: &str, always: bool) {
        let Some(file) = self.file.clone() else {
            tracing::info!(cause, "nothing to reload: this node runs without a configuration file");
            return;
        };
        notify::reloading("loading the configuration");
        // Noted before reading, so that whatever is written from here on is seen as a further change.
        let watched_before = watched::files(Some(&file), &self.present.spec);
        *files = Files::watch(watched_before.clone());
        match load(&file, self.shared.as_ref()) {
            Ok(config) if !always && config == self.present => {
                tracing::info!(cause, "configuration unchanged");
            }
            Ok(config) => {
                let _said = self.apply(config, cause);
            }
            Err(problems) => {
                let errors = problems.iter().filter(|problem| problem.severity == Severity::Error);
                self.refuse(cause, errors.map(|problem| problem.to_string()).collect());
            }
        }
        let watched_now = watched::files(Some(&file), &self.present.spec);
        if watched_now != watched_before {
            *files = Files::watch(watched_now);
        }
        notify::ready();
    }

    /// How long connections are drained when the node leaves.
    pub(super) fn deadline(&self) -> Duration {
        self.present.spec.node.shutdown.deadline
    }

    /// Serves another version of the cluster's configuration, or the own file again; what comes of it goes to who asks, unless
    /// they have given up.
    pub(super) fn serve_shared(&mut self, files: &mut Files, change: Change) {
        let Change { shared, answer } = change;
        if answer.is_closed() {
            return;
        }
        let Some(file) = self.file.clone() else {
            let _asker = answer.send(Err("this node runs without a configuration file".to_owned()));
            return;
        };
        let cause = match &shared {
            Some(shared) => format!("version {} of the cluster's configuration", shared.version),
            None => "no configuration of the cluster any more".to_owned(),
        };
        let result = match load(&file, shared.as_ref()) {
            Ok(config) => self.apply(config, &cause),
            Err(problems) => {
                let errors = problems.iter().filter(|problem| problem.severity == Severity::Error);
                let reasons: Vec<String> = errors.map(|problem| problem.to_string()).collect();
                self.refuse(&cause, reasons.clone());
                Err(reasons.join(" | "))
            }
        };
        if result.is_ok() {
            self.shared = shared;
            *files = Files::watch(watched::files(Some(&file), &self.present.spec));
        }
        // Whoever has given up meanwhile asks again, and finds it served.
        let _asker = answer.send(result);
    }

    fn apply(&mut self, config: Config, cause: &str) -> Result<(), String> {
        if let Err(failure) = self.node.sessions().apply(&config.sessions) {
            self.refuse(cause, vec![failure.to_string()]);
            return Err(failure.to_string());
        }
        let mut spec = config.spec.clone();
        spec.node.workers = self.workers;
        if let Some(shelf) = self.node.acme() {
            shelf.recall(&config.acme);
        }
        match self.node.doors().apply(self.node.gateway(), spec, &config) {
            Ok(()) => {
                if let Some(exporter) = self.node.exporter() {
                    exporter.configure(config.otlp.clone());
                }
                self.warn_of_restarts(&config);
                for warning in &config.warnings {
                    tracing::warn!(problem = %warning, "configuration");
                }
                self.node.set_objectives(&config.objectives);
                self.node.probes().adopt(&config.probes);
                self.node.reloaded(cause, Vec::new());
                self.node.alerts().adopt(config.alerting.clone());
                if let Some(shelf) = self.node.acme() {
                    shelf.desk().adopt(&config.acme);
                }
                tracing::info!(cause, generation = self.node.gateway().state().generation, "configuration applied");
                self.present = config;
                Ok(())
            }
            Err(error) => {
                self.refuse(cause, vec![said(&error)]);
                Err(said(&error))
            }
        }
    }

    fn refuse(&self, cause: &str, problems: Vec<String>) {
        let generation = self.node.gateway().state().generation;
        tracing::error!(
            cause,
            generation,
            problems = problems.len(),
            reason = problems.join(" | "),
            "configuration refused"
        );
        self.node.reloaded(cause, problems);
    }

    fn warn_of_restarts(&self, config: &Config) {
        let (old, new) = (&self.present, config);
        let changes = [
            ("node.name", old.spec.node.name != new.spec.node.name),
            ("node.workers", old.spec.node.workers != new.spec.node.workers),
            ("node.admin", old.admin != new.admin),
            ("node.admin_socket", old.admin_socket != new.admin_socket),
            ("cluster", old.cluster != new.cluster),
            ("address", old.addresses != new.addresses),
            ("database", old.databases != new.databases),
            ("node.spare", old.spare != new.spare),
        ];
        for (key, _changed) in changes.iter().filter(|(_key, changed)| *changed) {
            tracing::warn!(key, "this change takes effect at the next restart");
        }
    }
}

/// What the node serves: its file, or what is its own of it and the rest of the cluster's configuration.
fn load(file: &Path, shared: Option<&Kept>) -> Result<Config, Vec<Problem>> {
    match shared {
        Some(shared) => config::shared::overlay(file, &shared.text, shared_config::NAME),
        None => config::load(file),
    }
}

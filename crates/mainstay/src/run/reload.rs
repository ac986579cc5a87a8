//! Reloads: another configuration is applied whole, or the present one is kept and the reason is said.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mainstay_runtime::watch::Files;

use crate::admin::Node;
use crate::config::{self, Config, Severity};
use crate::run::{notify, said, watched};

pub(super) struct Reloader {
    node: Arc<Node>,
    file: Option<PathBuf>,
    /// What the file said when it was applied last.
    present: Config,
    /// The number of workers that run; it is fixed at start.
    workers: usize,
}

impl Reloader {
    pub(super) fn new(node: Arc<Node>, file: Option<PathBuf>, present: Config) -> Self {
        let workers = present.spec.node.workers;
        Self { node, file, present, workers }
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
        match config::load(&file) {
            Ok(config) if !always && config == self.present => {
                tracing::info!(cause, "configuration unchanged");
            }
            Ok(config) => self.apply(config, cause),
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

    fn apply(&mut self, config: Config, cause: &str) {
        if let Err(failure) = self.node.sessions().apply(&config.sessions) {
            return self.refuse(cause, vec![failure.to_string()]);
        }
        let mut spec = config.spec.clone();
        spec.node.workers = self.workers;
        match self.node.gateway().apply(spec) {
            Ok(()) => {
                self.warn_of_restarts(&config);
                for warning in &config.warnings {
                    tracing::warn!(problem = %warning, "configuration");
                }
                self.node.reloaded(Vec::new());
                tracing::info!(cause, generation = self.node.gateway().state().generation, "configuration applied");
                self.present = config;
            }
            Err(error) => self.refuse(cause, vec![said(&error)]),
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
        self.node.reloaded(problems);
    }

    fn warn_of_restarts(&self, config: &Config) {
        let (old, new) = (&self.present, config);
        let changes = [
            ("node.name", old.spec.node.name != new.spec.node.name),
            ("node.workers", old.spec.node.workers != new.spec.node.workers),
            ("node.admin", old.admin != new.admin),
            ("node.admin_socket", old.admin_socket != new.admin_socket),
            ("cluster", old.cluster != new.cluster),
        ];
        for (key, _changed) in changes.iter().filter(|(_key, changed)| *changed) {
            tracing::warn!(key, "this change takes effect at the next restart");
        }
    }
}

//! The configuration that the nodes of a cluster share, as far as this process goes: the driver that follows and applies it
//! ([`run`]), what the main thread and the admin interface know of it ([`Board`]), and `mainstay config` ([`command`]).

pub mod command;
mod diff;
pub mod event;
mod host;
mod meter;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use mainstay_cluster::config::{Controller, Fence, Follower, Kept, ROLE, View};
use mainstay_cluster::keys;
use mainstay_cluster::role::{Role, Standing, Stops};
use mainstay_core::release::{Policy, Version};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{oneshot, watch};

use crate::admin::document::SharedStatus;
use crate::admin::metrics::SharedFacts;
use crate::cluster::Context;
use crate::config::{self, Config, Problem};

/// What problems call the shared text.
pub const NAME: &str = "cluster configuration";

/// A version that the main thread is asked to serve.
#[derive(Debug)]
pub struct Change {
    /// What.
    pub shared: Option<Kept>,
    /// What came of it; closed if nobody waits any more, and then nothing shall be changed.
    pub answer: oneshot::Sender<Result<(), String>>,
}

/// What the process knows of the shared configuration.
#[derive(Debug)]
pub struct Board {
    changes: UnboundedSender<Change>,
    serves: AtomicU64,
    seen: watch::Sender<Option<View>>,
}

impl Board {
    /// Of a process that serves `serves` from its start on, and takes changes at the other end of `changes`.
    pub fn new(changes: UnboundedSender<Change>, serves: Version) -> Self {
        Self { changes, serves: AtomicU64::new(serves), seen: watch::Sender::new(None) }
    }

    /// The version that is served; 0: the node's own file.
    pub fn serves(&self) -> Version {
        self.serves.load(Ordering::Acquire)
    }

    /// What the node knows of the cluster's configuration, as it changes; `None` until it has reached the coordinator.
    pub fn seen(&self) -> watch::Receiver<Option<View>> {
        self.seen.subscribe()
    }

    /// For the metrics.
    pub fn facts(&self) -> SharedFacts {
        let seen = self.seen.borrow();
        let record = seen.as_ref().and_then(|view| view.record.as_ref());
        SharedFacts {
            serves: self.serves(),
            current: seen.as_ref().and_then(|view| view.current).map(|current| current.version),
            release: record.map(|(_revision, record)| (record.release.version, record.release.stage.word())),
        }
    }

    /// For `mainstay status`.
    pub fn status(&self) -> SharedStatus {
        let SharedFacts { serves, current, release } = self.facts();
        let seen = self.seen.borrow();
        let stage = seen.as_ref().and_then(|view| view.record.as_ref()).map(|(_, record)| &record.release.stage);
        SharedStatus {
            serves,
            current,
            release: release.map(|(version, _stage)| version),
            stage: stage.map(ToString::to_string),
            releasing: stage.is_some_and(|stage| !stage.is_over()),
        }
    }

    fn set_serves(&self, version: Version) {
        self.serves.store(version, Ordering::Release);
    }
}

/// Where the last version is kept.
fn kept_at(data_dir: &Path) -> PathBuf {
    data_dir.join("cluster").join("config.toml")
}

/// What a node that starts serves: the cluster's configuration if it had one, or else its own file. What is kept and cannot
/// be used is said, and is no reason not to start.
pub fn at_start(own: &Path, config: Config) -> (Config, Option<Kept>) {
    let data_dir = config.spec.node.data_dir.clone().filter(|_folder| config.cluster.is_some());
    let Some(path) = data_dir.map(|folder| kept_at(&folder)) else { return (config, None) };
    let kept = match Kept::read(&path) {
        Ok(Some(kept)) => kept,
        Ok(None) => return (config, None),
        Err(error) => {
            tracing::error!(%error, "the cluster's configuration as of the last run cannot be used; the own file is served");
            return (config, None);
        }
    };
    match config::shared::overlay(own, &kept.text, NAME) {
        Ok(effective) => {
            tracing::info!(version = kept.version, "starting with the cluster's configuration as of the last run");
            (effective, Some(kept))
        }
        Err(problems) => {
            let reason = one_line(&problems);
            tracing::error!(
                version = kept.version,
                reason,
                "the cluster's configuration as of the last run is refused"
            );
            (config, None)
        }
    }
}

fn one_line(problems: &[Problem]) -> String {
    errors(problems).join(" | ")
}

/// The problems that stand in the way, each on a line.
fn errors(problems: &[Problem]) -> Vec<String> {
    let errors = problems.iter().filter(|problem| problem.severity == config::Severity::Error);
    errors.map(Problem::to_string).collect()
}

/// The driver on the cluster's thread.
pub async fn run(context: Context) {
    let board = context.node.shared();
    let Some(file) = context.node.file().map(Path::to_owned) else { return };
    let host = Arc::new(host::Gateway::new(Arc::clone(&context.node), file));
    let kept = context.data_dir.as_deref().map(kept_at);
    let seed = u64::from(std::process::id()) ^ mainstay_core::random::hash(context.name.as_bytes());
    let store = Arc::clone(&context.coordinator);
    let follower = Follower::new(Arc::clone(&store), host.clone(), &context.name, kept, board.serves(), seed);
    let mut seen = follower.seen();
    let tell = async {
        while seen.changed().await.is_ok() {
            let view = seen.borrow_and_update().clone();
            board.seen.send_replace(view);
        }
    };
    let role = match context.session.role(keys::role(ROLE), Stops::ByItself) {
        Ok(role) => role,
        Err(error) => {
            tracing::error!(%error, "releases of the cluster's configuration cannot be planned by this node");
            return;
        }
    };
    role.want(true);
    let (give, held) = watch::channel(None);
    let controller = Controller::new(store, Policy::default(), held, seed);
    let work =
        async { tokio::join!(follower.run(), controller.run(), host.meter().run(), tell, watch_role(&role, &give)) };
    tokio::select! {
        () = context.left() => role.resign().await,
        _never = work => {}
    }
}

/// Tells the controller what it holds the role by. What it writes is compared with that, so that nothing has to be stopped in
/// time.
async fn watch_role(role: &Role, give: &watch::Sender<Option<Fence>>) {
    let mut follow = role.follow();
    loop {
        let fence = match follow.standing() {
            Standing::Holding { token, .. } => Some(Fence { key: role.key().to_owned(), created: token }),
            Standing::Outside | Standing::Stopping { .. } => None,
        };
        // A renewal changes nothing here.
        give.send_if_modified(|held| {
            let is_news = *held != fence;
            *held = fence;
            is_news
        });
        if !follow.changed().await {
            return;
        }
    }
}

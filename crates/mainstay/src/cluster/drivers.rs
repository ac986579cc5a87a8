//! What runs on the cluster's thread.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use mainstay_runtime::task::{self, Ended, Kind, Task};

use super::{
    Context, addresses, changes, chronicle, databases, groups, leads, limits, members, opinions, passed, quorum,
    registration, sessions,
};
use crate::{acme, alerts, probes, shared_config};

/// The driver of the groups of database servers.
pub(super) const DATABASES: &str = "databases";

/// After a driver ended by a defect, it is started again, but not at once.
const PAUSE: Duration = Duration::from_secs(1);

/// Starts all drivers. A further one is a line here: its name for the log, and an `async fn run(context: Context)`, which
/// returns once the node leaves and whatever it held is handed over.
pub(super) fn start(context: &Context) -> Drivers {
    let mut drivers = Drivers::default();
    drivers.add("quorum", context, quorum::run);
    drivers.add("registration", context, registration::run);
    drivers.add("chronicle", context, chronicle::run);
    drivers.add("config", context, shared_config::run);
    drivers.add("addresses", context, addresses::run);
    drivers.add("groups", context, groups::run);
    drivers.add("leads", context, leads::run);
    drivers.add("changes", context, changes::run);
    drivers.add(DATABASES, context, databases::run);
    drivers.add("sessions", context, sessions::run);
    drivers.add("opinions", context, opinions::run);
    drivers.add("limits", context, limits::run);
    drivers.add("passed", context, passed::run);
    drivers.add("alerts", context, alerts::run);
    drivers.add("probes", context, probes::run);
    drivers.add("acme", context, acme::run);
    drivers.add("directory", context, members::directory);
    drivers.add("admission", context, members::admission);
    drivers.add("contacts", context, members::contacts);
    drivers.add("presence", context, members::presence);
    drivers.add("tidying", context, members::tidying);
    drivers.add("promotion", context, members::promotion);
    drivers.add("renewal", context, members::renewal);
    drivers
}

/// The running drivers.
#[derive(Default)]
pub(super) struct Drivers(BTreeMap<&'static str, Task>);

impl Drivers {
    fn add<F>(&mut self, name: &'static str, context: &Context, run: impl Fn(Context) -> F + 'static)
    where
        F: Future<Output = ()> + 'static,
    {
        let context = context.clone();
        let keep = async move {
            while task::spawn_local(Kind::Control, run(context.clone())).await == Ended::Panicked {
                tracing::error!(driver = name, "cluster: a driver ended by a defect and is started again");
                tokio::time::sleep(PAUSE).await;
            }
        };
        self.0.insert(name, task::spawn_local(Kind::Control, keep));
    }

    /// Waits until all have ended.
    pub(super) async fn ended(&mut self) {
        self.ended_where(|_name| true).await;
    }

    /// Waits until this one has ended.
    pub(super) async fn ended_of(&mut self, name: &str) {
        self.ended_where(|it| it == name).await;
    }

    /// Waits until all but this one have ended.
    pub(super) async fn others_ended(&mut self, name: &str) {
        self.ended_where(|it| it != name).await;
    }

    async fn ended_where(&mut self, is_meant: impl Fn(&str) -> bool) {
        for (_name, task) in self.0.iter_mut().filter(|(name, task)| is_meant(name) && !task.is_finished()) {
            task.await;
        }
    }

    /// Those that run.
    pub(super) fn names(&self) -> Vec<&'static str> {
        self.0.iter().filter(|(_name, task)| !task.is_finished()).map(|(name, _task)| *name).collect()
    }
}

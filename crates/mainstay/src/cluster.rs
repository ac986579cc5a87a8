//! The node's part in its cluster: one thread, on which the engine and everything that rests on it run. It has nothing to do
//! with the workers: they serve on whatever happens here, and this goes on whatever happens to them.
//!
//! [`drivers`] lists what runs on the thread. Each driver gets a [`Context`] and ends when the node leaves.

mod addresses;
mod available;
mod changes;
mod chronicle;
pub mod commands;
mod context;
mod databases;
mod drivers;
mod engine;
pub mod groups;
mod handle;
mod leads;
mod limits;
mod members;
mod opinions;
mod passed;
mod quorum;
mod registration;
mod sessions;
mod succession;

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use mainstay_cluster::session::{Session, Settings};
use mainstay_cluster::timings::Timings;
use mainstay_core::random::hash;
use mainstay_runtime::clock::Boottime;
use mainstay_runtime::journal::Journal;
use mainstay_runtime::task::Task;
use mainstay_runtime::thread;
use tokio::sync::watch;

pub use context::Context;
pub use engine::connect_to_etcd;
pub use handle::{Handle, Parts, Quorum};

use self::drivers::Drivers;
use self::succession::Succession;
use crate::admin::Node;
use crate::config::Config;
use crate::failure::Failure;
use crate::guard;

/// Drivers hand over what they hold within this time when the node leaves; then they are dropped.
const LEAVE_LIMIT: Duration = Duration::from_secs(10);
/// Servers that run on for the next process of the node are left to it after this time, whatever else is still held.
const OTHERS_LIMIT: Duration = Duration::from_secs(6);

/// What the node needs to take part, read before anything else starts, so that what is wrong is said at once.
#[derive(Debug)]
pub struct Plan {
    config: Arc<Config>,
    engine: engine::Plan,
}

/// The running thread.
#[derive(Debug)]
pub struct Running {
    leave: watch::Sender<bool>,
    succession: Arc<Succession>,
    thread: Option<JoinHandle<()>>,
}

/// Reads what a configuration with `[cluster]` needs; `None` without.
///
/// # Errors
/// If the node belongs to no cluster yet, or its files are damaged.
pub fn prepare(config: &Config) -> Result<Option<Plan>, Failure> {
    let Some(cluster) = &config.cluster else { return Ok(None) };
    let engine = engine::prepare(cluster, &config.spec.node)?;
    Ok(Some(Plan { config: Arc::new(config.clone()), engine }))
}

impl Plan {
    /// Whether nodes tell each other of sessions.
    pub fn shares_sessions(&self) -> bool {
        self.engine.is_embedded()
    }

    /// The nodes that share limits, as far as this one knows before it has heard of any; at least 1.
    pub fn nodes(&self) -> usize {
        self.engine.nodes()
    }
}

/// Starts the thread. What the cluster knows and does is at the node's [`Handle`] from then on.
///
/// # Errors
/// If the system refuses the thread.
pub fn start(plan: Plan, node: &Arc<Node>) -> io::Result<Running> {
    let (leave, leaving) = watch::channel(false);
    let (node, succession) = (Arc::clone(node), Arc::<Succession>::default());
    let departure = (leaving, Arc::clone(&succession));
    let thread = thread::spawn_local_runtime("cluster", move || live(plan, node, departure))?;
    Ok(Running { leave, succession, thread: Some(thread) })
}

async fn live(plan: Plan, node: Arc<Node>, (leaving, succession): (watch::Receiver<bool>, Arc<Succession>)) {
    let guard = plan.config.cluster.as_ref().map_or(Timings::DEFAULT, |cluster| cluster.timings).guard;
    let groups = groups::Groups::new(plan.config.databases.clone(), guard);
    let handle = Arc::new(Handle::new(plan.engine.name(), groups));
    node.take_part(Arc::clone(&handle));
    let _limit = sessions::limit_waiting(node.sessions().embedded());
    let mut gone = leaving.clone();
    let opened = tokio::select! {
        biased;
        _leaving = gone.wait_for(|leaves| *leaves) => return,
        opened = engine::open(&plan.engine, &handle) => opened,
    };
    let Some(mut opened) = opened else {
        // What is wrong is in the status until the node leaves; it serves on meanwhile.
        until(&mut gone).await;
        return;
    };
    handle.open(&opened);
    // They end last.
    let tasks = std::mem::take(&mut opened.tasks);
    let membership = opened.membership.as_ref().map(|(membership, _transport)| membership.clone());
    let (session, renewing) = start_session(&plan.config.spec.node.name, &opened, node.journal().clone());
    handle.note_session(&session);
    let keeper = guard::keeper(&plan.config, &session);
    let departure = (leaving, Arc::clone(&succession));
    let context = Context::new(&plan.config, opened, node, Arc::clone(&handle), session, keeper, departure);
    tracing::info!(node = context.name, id = %context.id, engine = plan.engine.name(), "cluster: taking part");
    let mut drivers = drivers::start(&context);
    until(&mut gone).await;
    part(&context, &mut drivers).await;
    renewing.abort();
    handle.close();
    if let Some(membership) = membership {
        membership.engine.shutdown().await;
    }
    drop(tasks);
    tracing::info!("cluster: left");
}

/// Lets the drivers end, and the session after them.
async fn part(context: &Context, drivers: &mut Drivers) {
    let leaves_servers = context.succession.to().is_some() && !context.handle.groups().configured().is_empty();
    if leaves_servers {
        let others = drivers.others_ended(drivers::DATABASES);
        if tokio::time::timeout(OTHERS_LIMIT, others).await.is_err() {
            tracing::warn!("cluster: servers are handed over before everything else is");
        }
    }
    context.succession.let_last_leave();
    let handed_over = async {
        if leaves_servers {
            drivers.ended_of(drivers::DATABASES).await;
            if context.succession.keeps_lease() {
                // It goes on in the next process, which has as long as the lease lasts.
                return;
            }
        }
        drivers.ended().await;
        if !context.succession.keeps_lease() {
            // What drivers did not give up goes with the session.
            context.session.close().await;
        }
    };
    if tokio::time::timeout(LEAVE_LIMIT, handed_over).await.is_err() {
        tracing::warn!(left = drivers.names().join(" "), "cluster: not everything was handed over in time");
    }
    if !context.succession.keeps_lease() {
        context.keeper.dismiss();
    }
}

/// Waits until the node leaves. What the wait answers holds the channel's lock: if it were kept, the next one to say that the
/// node leaves would wait for it, and everybody who looks for that one.
async fn until(leaving: &mut watch::Receiver<bool>) {
    drop(leaving.wait_for(|leaves| *leaves).await);
}

/// The one session of this node, on which its roles and its registration rest.
fn start_session(name: &str, opened: &engine::Opened, journal: Journal) -> (Arc<Session>, Task) {
    let seed = hash(name.as_bytes()) ^ u64::from(std::process::id());
    let settings =
        Settings { node: name.to_owned(), timings: opened.timings, clock: Boottime::system(), seed, journal };
    let (session, renewing) = Session::start(Arc::clone(&opened.coordinator), settings);
    (Arc::new(session), renewing)
}

impl Running {
    /// Lets drivers hand over what they hold. The thread ends once they have.
    pub fn leave(&self) {
        self.leave.send_replace(true);
    }

    /// As [`Self::leave`]: another process of the node, of that number, takes over. Servers of databases run on for it.
    pub fn hand_over(&self, to: u32) {
        self.succession.begin(to);
        self.leave();
    }

    /// Leaves, and waits for the end of the thread.
    pub fn join(mut self) {
        self.leave();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread of the cluster ended by a defect");
        }
    }
}

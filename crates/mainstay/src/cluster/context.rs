//! What drivers work with.

use std::path::PathBuf;
use std::sync::Arc;

use mainstay_cluster::coordinator::Coordinator;
use mainstay_cluster::guard::Keeper;
use mainstay_cluster::membership::Membership;
use mainstay_cluster::peer::directory::Directory;
use mainstay_cluster::peer::server::Handlers;
use mainstay_cluster::peer::{NodeId, Transport};
use mainstay_cluster::session::Session;
use mainstay_cluster::timings::Timings;
use mainstay_runtime::clock::Clock;
use tokio::sync::watch;

use super::engine::Opened;
use super::handle::Handle;
use super::succession::Succession;
use crate::admin::Node;
use crate::config::Config;

/// What every driver gets. All copies speak of the same node.
#[derive(Clone)]
pub struct Context {
    /// The node's name.
    pub name: String,
    /// Its number in the cluster; 0 if nodes have none, with etcd and no identity.
    pub id: NodeId,
    /// What nodes agree by.
    pub coordinator: Arc<dyn Coordinator>,
    /// Who belongs, of nodes that keep the agreement themselves.
    pub membership: Option<Membership>,
    /// Asks other nodes.
    pub transport: Arc<dyn Transport>,
    /// Where drivers attach who answers other nodes.
    pub handlers: Handlers,
    /// Where other nodes are.
    pub directory: Directory,
    /// How long nodes wait for each other.
    pub timings: Timings,
    /// The process's clock.
    pub clock: Clock,
    /// What the process serves.
    pub node: Arc<Node>,
    /// The configuration as of the start.
    pub config: Arc<Config>,
    /// For what outlives the process.
    pub data_dir: Option<PathBuf>,
    /// Where drivers leave what others want to know.
    pub handle: Arc<Handle>,
    /// The node's session: roles and registrations are made on it.
    pub session: Arc<Session>,
    /// Whoever ends what this node holds when it cannot.
    pub keeper: Keeper,
    /// True once the node leaves: drivers hand over and end.
    pub leaving: watch::Receiver<bool>,
    /// The node's next process, if it leaves for one.
    pub succession: Arc<Succession>,
}

impl Context {
    pub(super) fn new(
        config: &Arc<Config>,
        opened: Opened,
        node: Arc<Node>,
        handle: Arc<Handle>,
        session: Arc<Session>,
        keeper: Keeper,
        (leaving, succession): (watch::Receiver<bool>, Arc<Succession>),
    ) -> Self {
        Self {
            name: config.spec.node.name.clone(),
            id: opened.id,
            coordinator: opened.coordinator,
            membership: opened.membership.map(|(membership, _transport)| membership),
            transport: opened.transport,
            handlers: opened.handlers,
            directory: opened.directory,
            timings: opened.timings,
            clock: Clock::new(),
            node,
            config: Arc::clone(config),
            data_dir: config.spec.node.data_dir.clone(),
            handle,
            session,
            keeper,
            leaving,
            succession,
        }
    }

    /// Waits until the node leaves.
    pub async fn left(&self) {
        // The sender lives as long as the thread.
        let mut leaving = self.leaving.clone();
        let _leaves = leaving.wait_for(|leaves| *leaves).await;
    }
}

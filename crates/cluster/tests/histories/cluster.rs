//! Three nodes in this process, on a network that can fail.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use mainstay_cluster::coordinator::Coordinator;
use mainstay_cluster::embedded::{Embedded, Part, Peer, Settings};
use mainstay_cluster::peer::NodeId;
use mainstay_cluster::peer::switchboard::Switchboard;
use mainstay_cluster::timings::Timings;
use mainstay_core::random::Rng;
use mainstay_runtime::clock::Clock;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::faults;
use crate::site::{Client, NODES, SOON, Site};

/// Short, so that a run of a second has many elections. They need not be right for anybody: safety does not depend on them.
pub(crate) const TIMINGS: Timings = Timings {
    heartbeat: Duration::from_millis(15),
    election_min: Duration::from_millis(60),
    election_max: Duration::from_millis(110),
    ttl: Duration::from_millis(300),
    renew: Duration::from_millis(60),
    rpc: Duration::from_millis(60),
    stop_budget: Duration::from_millis(30),
    guard: Duration::from_millis(20),
};

/// The cluster.
pub(crate) struct Cluster {
    pub(crate) network: Switchboard,
    nodes: Vec<Node>,
    _dir: TempDir,
}

struct Node {
    folder: PathBuf,
    engine: RefCell<Option<Arc<Embedded>>>,
    /// How far its clock has leapt.
    leapt: Arc<AtomicU64>,
    /// Told when the node dies.
    deaths: watch::Sender<u64>,
}

pub(crate) fn id(index: usize) -> NodeId {
    NodeId(index as u64 + 1)
}

impl Cluster {
    /// Starts the nodes, each with an empty disk.
    pub(crate) async fn start() -> Self {
        // Nobody pulls the plug here, so that memory is as good as a disk, and the tests of a busy machine end sooner.
        let memory = std::path::Path::new("/dev/shm");
        let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
        let node = |index: usize| Node {
            folder: dir.path().join(index.to_string()),
            engine: RefCell::new(None),
            leapt: Arc::default(),
            deaths: watch::Sender::new(0),
        };
        let cluster = Self { network: Switchboard::default(), nodes: (0..NODES).map(node).collect(), _dir: dir };
        for index in 0..NODES {
            cluster.launch(index).await;
        }
        let peer = |index: usize| Peer { name: format!("n{index}"), address: String::new(), voter: true };
        let members: BTreeMap<_, _> = (0..NODES).map(|index| (id(index), peer(index))).collect();
        cluster.engine(0).unwrap().initialize(members).await.unwrap();
        cluster
    }

    /// Starts a node, with the disk that it had.
    pub(crate) async fn launch(&self, index: usize) {
        let node = &self.nodes[index];
        let end = Instant::now() + SOON;
        let engine = loop {
            let (clock, leapt) = (Clock::new(), Arc::clone(&node.leapt));
            let clock = move || clock.now().after(Duration::from_millis(leapt.load(Ordering::Relaxed)));
            let settings = Settings {
                clock: Arc::new(clock),
                ..Settings::new(id(index), &node.folder, TIMINGS, self.network.transport(id(index)))
            };
            match Embedded::start(settings).await {
                Ok(engine) => break engine,
                // The thread of the one before may not have closed the file yet.
                Err(error) => assert!(Instant::now() < end, "node {index} does not start: {error}"),
            }
            sleep(Duration::from_millis(5)).await;
        };
        for (service, handler) in engine.handlers() {
            self.network.attach(id(index), service, handler);
        }
        *node.engine.borrow_mut() = Some(Arc::new(engine));
    }

    /// Lets the clock of a node leap, as that of a machine does that was suspended.
    pub(crate) fn leap(&self, index: usize, by: Duration) {
        let millis = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.nodes[index].leapt.fetch_add(millis, Ordering::Relaxed);
    }

    /// Takes a node out at once: nothing of it reaches anybody any more, and who asked it never learns what came of it.
    pub(crate) async fn kill(&self, index: usize) {
        self.network.detach(id(index));
        for other in 0..NODES {
            self.network.cut(id(index), id(other), true);
        }
        let Some(engine) = self.nodes[index].engine.take() else { return };
        self.nodes[index].deaths.send_modify(|deaths| *deaths += 1);
        // Openraft's tasks hold on to the disk until they are told to end.
        engine.shutdown().await;
        drop(engine);
        for other in 0..NODES {
            self.network.cut(id(index), id(other), false);
        }
    }

    fn engine(&self, index: usize) -> Option<Arc<Embedded>> {
        self.nodes[index].engine.borrow().clone()
    }

    /// Who takes itself for the leader. There may be several, or none.
    pub(crate) fn leader(&self) -> Option<usize> {
        (0..NODES).find(|index| self.engine(*index).is_some_and(|engine| engine.status().part == Part::Leader))
    }
}

#[async_trait(?Send)]
impl Site for Cluster {
    fn client(&self, node: usize) -> Option<Client> {
        let deaths = self.nodes[node].deaths.subscribe();
        self.engine(node).map(|engine| (engine as Arc<dyn Coordinator>, deaths))
    }

    fn ttl(&self) -> Duration {
        TIMINGS.ttl
    }

    fn length(&self) -> Duration {
        Duration::from_millis(1500)
    }

    async fn torment(&self, rng: Rng) -> u64 {
        faults::torment(self, rng, self.length()).await
    }

    async fn stop(&self) {
        for node in 0..NODES {
            self.kill(node).await;
        }
    }
}

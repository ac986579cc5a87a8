//! Clusters in one process, whose links and nodes fail as the test wants.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use mainstay_cluster::coordinator::{Consistency, Coordinator, Entry, Error, Range};
use mainstay_cluster::embedded::{Embedded, Part, Peer, Settings, StartError, Status};
use mainstay_cluster::peer::NodeId;
use mainstay_cluster::peer::switchboard::Switchboard;
use mainstay_cluster::timings::Timings;
use mainstay_runtime::thread::run_here;
use tempfile::TempDir;

/// Runs a test to its end, within a time that no healthy run needs; twenty times with `MAINSTAY_SOAK=1`, as no two runs have
/// the same timing.
pub(crate) fn run(test: impl AsyncFn()) {
    run_times(1, test);
}

/// The same, three times without a soak: for what may come out otherwise the next time.
pub(crate) fn run_thrice(test: impl AsyncFn()) {
    run_times(3, test);
}

fn run_times(times: usize, test: impl AsyncFn()) {
    let times = if std::env::var("MAINSTAY_SOAK").is_ok_and(|soak| soak == "1") { 20 } else { times };
    for _nth in 0..times {
        let once =
            async { tokio::time::timeout(Duration::from_secs(100), test()).await.expect("the test ends in time") };
        run_here(once).unwrap();
    }
}

/// Waits until it is so.
pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < Duration::from_secs(30), "not within 30 s: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub(crate) struct Cluster {
    pub(crate) network: Switchboard,
    pub(crate) timings: Timings,
    pub(crate) snapshot_entries: u64,
    pub(crate) disk_bytes_max: BTreeMap<u64, u64>,
    folder: TempDir,
    nodes: BTreeMap<u64, Embedded>,
}

pub(crate) fn peer(node: u64) -> Peer {
    Peer { name: format!("n{node}"), address: format!("127.0.0.{node}:7946"), voter: true }
}

impl Cluster {
    pub(crate) fn empty() -> Self {
        Self {
            network: Switchboard::default(),
            timings: Timings::DEFAULT,
            snapshot_entries: 4000,
            disk_bytes_max: BTreeMap::new(),
            folder: tempfile::tempdir().unwrap(),
            nodes: BTreeMap::new(),
        }
    }

    /// One of voters 1 to `count`, with a leader.
    pub(crate) async fn of(count: u64) -> Self {
        let mut cluster = Self::empty();
        cluster.found(count).await;
        cluster
    }

    pub(crate) async fn found(&mut self, count: u64) {
        for node in 1..=count {
            self.start(node).await;
        }
        self.node(1).initialize((1..=count).map(|node| (NodeId(node), peer(node))).collect()).await.unwrap();
        self.leader().await;
    }

    pub(crate) fn folder(&self, node: u64) -> PathBuf {
        self.folder.path().join(node.to_string())
    }

    pub(crate) async fn try_start(&mut self, node: u64) -> Result<(), StartError> {
        let transport = self.network.transport(NodeId(node));
        let mut settings = Settings::new(NodeId(node), self.folder(node), self.timings, transport);
        settings.snapshot_entries = self.snapshot_entries;
        settings.disk_bytes_max = self.disk_bytes_max.get(&node).copied().unwrap_or(settings.disk_bytes_max);
        let embedded = Embedded::start(settings).await?;
        for (service, handler) in embedded.handlers() {
            self.network.attach(NodeId(node), service, handler);
        }
        self.nodes.insert(node, embedded);
        Ok(())
    }

    pub(crate) async fn start(&mut self, node: u64) {
        self.try_start(node).await.unwrap_or_else(|error| panic!("node {node}: {error}"));
    }

    /// Takes a node off the network at once and ends it.
    pub(crate) async fn kill(&mut self, node: u64) {
        self.network.detach(NodeId(node));
        let gone = self.nodes.remove(&node).unwrap();
        gone.shutdown().await;
    }

    pub(crate) fn node(&self, node: u64) -> &Embedded {
        &self.nodes[&node]
    }

    pub(crate) fn on(&self, node: u64) -> &dyn Coordinator {
        &self.nodes[&node]
    }

    pub(crate) fn ids(&self) -> Vec<u64> {
        self.nodes.keys().copied().collect()
    }

    pub(crate) fn status(&self, node: u64) -> Status {
        self.node(node).status()
    }

    /// The node that leads and is followed by a majority.
    pub(crate) async fn leader(&self) -> u64 {
        let leads = |node: &&u64| {
            let status = self.status(**node);
            status.part == Part::Leader && status.quorum.reached
        };
        eventually("a node leads", || self.nodes.keys().any(|node| leads(&node))).await;
        *self.nodes.keys().find(leads).unwrap()
    }

    pub(crate) fn cut(&self, one: u64, other: u64) {
        self.network.cut(NodeId(one), NodeId(other), true);
        self.network.cut(NodeId(other), NodeId(one), true);
    }

    /// Cuts a node off from all others.
    pub(crate) fn isolate(&self, node: u64) {
        self.nodes.keys().filter(|other| **other != node).for_each(|other| self.cut(node, *other));
    }

    /// What a node has, as recent as can be.
    pub(crate) async fn all(&self, node: u64) -> Result<Vec<Entry>, Error> {
        let listing = self.on(node).range(Range::prefix(""), None, 0, Consistency::Linearizable).await?;
        Ok(listing.entries)
    }

    /// Waits until all nodes have the same, and answers it.
    pub(crate) async fn agreed(&self) -> Vec<Entry> {
        let started = Instant::now();
        loop {
            let mut views = Vec::new();
            for node in self.nodes.keys() {
                views.push(self.all(*node).await);
            }
            if let Some(Ok(first)) = views.first()
                && views.iter().all(|view| view.as_ref() == Ok(first))
            {
                return first.clone();
            }
            assert!(started.elapsed() < Duration::from_secs(30), "no agreement: {views:?}");
        }
    }
}

pub(crate) fn text(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

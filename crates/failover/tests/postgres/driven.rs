//! The drivers with real servers, over a store in memory: each node's tasks are its agent, and can be ended at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mainstay_cluster::coordinator::Coordinator;
use mainstay_cluster::memory::Memory;
use mainstay_cluster::session::{Session, Settings};
use mainstay_cluster::timings::Timings;
use mainstay_core::database::{Durability, Policy, Server};
use mainstay_failover::group::board::{Board, Engine, View};
use mainstay_failover::group::member::{self, Seat};
use mainstay_failover::group::planning;
use mainstay_failover::group::view::{self, Feeds, Group};
use mainstay_failover::postgres::{self, Instance};
use mainstay_runtime::clock::Boottime;
use mainstay_runtime::journal::Journal;
use mainstay_runtime::task::{AbortOnDrop, Kind, spawn_local};
use mainstay_runtime::thread::run_here;
use tempfile::TempDir;

use crate::group::{NAMES, kill_server, policy, settings};
use crate::sql;

const GROUP: &str = "orders";
/// Nothing here takes as long on a machine that does anything at all.
const WITHIN: Duration = Duration::from_secs(120);

struct Node {
    settings: postgres::Settings,
    board: Board,
    /// Dropping them is the agent's death.
    tasks: Vec<AbortOnDrop>,
}

struct Site {
    nodes: Vec<Node>,
    store: Memory,
    policy: Policy,
    _folder: TempDir,
}

impl Site {
    fn new(policy: Policy) -> Self {
        let folder = tempfile::tempdir().expect("a directory");
        let nodes = settings(folder.path()).into_iter();
        let nodes = nodes.map(|settings| Node { settings, board: Board::default(), tasks: Vec::new() }).collect();
        let mut site = Self { nodes, store: Memory::new(), policy, _folder: folder };
        (0..NAMES.len()).for_each(|at| site.start(at));
        site
    }

    fn start(&mut self, at: usize) {
        let coordinator: Arc<dyn Coordinator> = Arc::new(self.store.clone());
        let session = Settings {
            node: NAMES[at].to_owned(),
            timings: Timings::CONSERVATIVE,
            clock: Boottime::system(),
            seed: at as u64,
            journal: Journal::default(),
        };
        let (session, driver) = Session::start(Arc::clone(&coordinator), session);
        let members = NAMES.iter().zip(&self.nodes).map(|(name, node)| ((*name).to_owned(), node.settings.listen));
        let group = Group {
            name: GROUP.to_owned(),
            engine: Engine::Postgres,
            members: members.collect(),
            policy: self.policy.clone(),
        };
        let groups = vec![group];
        let feeds = Feeds::new(&groups);
        let node = &mut self.nodes[at];
        let seat = Seat {
            session: session.clone(),
            coordinator: Arc::clone(&coordinator),
            feed: feeds.of(GROUP).expect("it is one of them"),
            board: node.board.clone(),
            group: GROUP.to_owned(),
            engine: Engine::Postgres,
            warden: None,
            seed: at as u64,
            times: mainstay_cluster::session::policy(&Timings::DEFAULT),
            failsafe: None,
            handed: None,
        };
        let instance = Instance::open(node.settings.clone()).expect("files can be made");
        let policies = BTreeMap::from([(GROUP.to_owned(), self.policy.clone())]);
        let never = std::future::pending::<()>;
        let view = view::run(session.clone(), Arc::clone(&coordinator), groups, feeds, node.board.clone(), never());
        let plans = async move {
            planning::run(session, coordinator, policies, BTreeMap::new(), Journal::default(), never())
                .await
                .expect("there is room")
        };
        let spawn =
            |task: std::pin::Pin<Box<dyn Future<Output = ()>>>| spawn_local(Kind::Control, task).abort_on_drop();
        node.tasks = vec![
            driver.abort_on_drop(),
            spawn(Box::pin(view)),
            spawn(Box::pin(plans)),
            spawn(Box::pin(async move { drop(member::run(seat, instance, std::future::pending()).await) })),
        ];
    }

    /// The power of a host is cut.
    fn power_off(&mut self, at: usize) {
        self.nodes[at].tasks.clear();
        kill_server(&self.nodes[at].settings);
    }

    /// What a node knows whose agent lives.
    fn view(&self) -> Option<View> {
        self.nodes.iter().find(|node| !node.tasks.is_empty())?.board.view(GROUP)
    }

    /// One serves, with so many replicas that stream from it, and its commits are known to wait for them.
    fn serves(&self, replicas: usize) -> Option<usize> {
        let view = self.view()?;
        let primary = view.plan.serving()?;
        let report = |name: &str| view.members.iter().find(|member| member.node == name)?.report.as_ref();
        let streams = |name: &&&str| {
            let upstream = Server::Replica { upstream: Some(primary.to_owned()) };
            report(name).is_some_and(|report| report.server == upstream)
        };
        let is_whole = NAMES.iter().filter(streams).count() == replicas
            && report(primary)?.sync == Some(view.plan.sync_since)
            && view.plan.sync.names.len() == replicas
            && view.plan.regimes.len() == 1;
        is_whole.then(|| NAMES.iter().position(|name| *name == primary))?
    }

    async fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let begun = Instant::now();
        while !is_so(self) {
            assert!(begun.elapsed() < WITHIN, "{what}: {:?}", self.view());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Writes rows, and answers those that were acknowledged.
    async fn write(&self, at: usize, rows: std::ops::Range<u32>) -> BTreeSet<String> {
        let mut acknowledged = BTreeSet::new();
        for row in rows {
            if sql(&self.nodes[at].settings, &format!("INSERT INTO rows VALUES ({row})")).await.is_ok() {
                acknowledged.insert(row.to_string());
            }
        }
        acknowledged
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.nodes.iter_mut().for_each(|node| node.tasks.clear());
        self.nodes.iter().for_each(|node| kill_server(&node.settings));
    }
}

#[test]
fn three_nodes_found_a_group_and_outlive_a_server_and_a_host() {
    let test = async {
        let mut site = Site::new(Policy { gather: Duration::from_secs(1), ..policy(Durability::SyncStrict) });
        site.until("three members", |site| site.serves(2).is_some()).await;
        let first = site.serves(2).expect("just seen");
        let made = sql(&site.nodes[first].settings, "CREATE TABLE rows (n int)").await;
        made.expect("it serves");
        let mut acknowledged = site.write(first, 0..20).await;
        assert_eq!(acknowledged.len(), 20);

        // The server alone is killed: writes go on, on the same one unless the machine is too slow for that.
        kill_server(&site.nodes[first].settings);
        let begun = Instant::now();
        while acknowledged.len() == 20 {
            assert!(begun.elapsed() < WITHIN, "writes go on: {:?}", site.view());
            let primary = site.view().and_then(|view| view.plan.serving().map(str::to_owned));
            if let Some(primary) = primary.and_then(|primary| NAMES.iter().position(|name| *name == primary)) {
                acknowledged.extend(site.write(primary, 20..21).await);
            }
            // The drivers are on this thread, too.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        site.until("three members", |site| site.serves(2).is_some()).await;
        let first = site.serves(2).expect("just seen");

        // Then the host.
        site.power_off(first);
        site.until("a successor", |site| site.serves(1).is_some_and(|primary| primary != first)).await;
        let second = site.serves(1).expect("just seen");
        acknowledged.extend(site.write(second, 30..50).await);
        let found = sql(&site.nodes[second].settings, "SELECT n FROM rows").await.expect("it serves");
        assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), acknowledged);

        // It comes back by itself.
        site.start(first);
        site.until("its return", |site| site.serves(2) == Some(second)).await;
    };
    run_here(test).expect("a runtime");
}

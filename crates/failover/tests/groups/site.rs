//! Three nodes with the drivers as they are built, each on a thread of its own, over a store in memory and servers that are a
//! model. Threads can be frozen and killed, links cut. Whether two can acknowledge is looked at all the time.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mainstay_cluster::coordinator::Coordinator;
use mainstay_cluster::memory::{Fault, Link, Memory};
use mainstay_cluster::role::Holder;
use mainstay_cluster::timings::Timings;
use mainstay_core::database::{Candidate, Durability, Phase, Plan, Policy, Report, Request, Server};
use mainstay_failover::group::board::{Board, Engine, View};
use mainstay_failover::group::failsafe::Failsafe;
use mainstay_failover::group::handover::Handed;
use mainstay_failover::group::stored::{decode, encode};
use mainstay_failover::group::{keys, planning};
use mainstay_runtime::thread::run_here;

use crate::fake::{Fake, Mood};
use crate::process::{Order, Orders, live, obey};
use crate::switchboard::Switchboard;
use crate::world::{NAMES, Process, World, index};

pub(crate) const GROUP: &str = "orders";
/// Nothing here takes as long on a machine that does anything at all.
const WITHIN: Duration = Duration::from_secs(60);

pub(crate) struct Node {
    pub(crate) link: Arc<Link>,
    pub(crate) board: Board,
    pub(crate) mood: Arc<Mood>,
    orders: Orders,
    thread: Option<JoinHandle<Option<Handed>>>,
}

impl Node {
    fn order(&self, order: Order) {
        *self.orders.0.lock().expect("nobody panics with it") = order;
        self.orders.1.notify_all();
    }

    pub(crate) fn view(&self) -> View {
        self.board.view(GROUP).expect("it knows of the group")
    }
}

pub(crate) struct Site {
    pub(crate) store: Memory,
    pub(crate) world: Arc<Mutex<World>>,
    pub(crate) nodes: Vec<Node>,
    policy: Policy,
    timings: Timings,
    guarded: bool,
    switchboard: Switchboard,
    /// What nodes have written down.
    folder: tempfile::TempDir,
}

pub(crate) fn policy(durability: Durability) -> Policy {
    let candidate = |name: &&str| Candidate { node: (*name).to_owned(), priority: 1, zone: None, no_sync: false };
    Policy {
        engine: Engine::Postgres,
        durability,
        acks: 1,
        lag_max: u64::MAX,
        members: NAMES.iter().map(candidate).collect(),
        restart_within: Duration::from_secs(2),
        gather: Duration::from_millis(300),
        guard: Duration::from_millis(200),
        cooldown: Duration::ZERO,
        yield_within: Duration::from_secs(10),
        failsafe: false,
    }
}

impl Site {
    /// Three nodes, the first of which is primary. Whether something beside the drivers stops a primary at the lease's end.
    pub(crate) async fn new(world: World, policy: Policy, timings: Timings, guarded: bool) -> Self {
        let store = Memory::new();
        let coordinator: &dyn Coordinator = &store;
        coordinator.put(&keys::plan(GROUP), encode(&world.nodes[0].seen), None).await.expect("it is there");
        let (switchboard, folder) = (Switchboard::default(), tempfile::tempdir().expect("a directory"));
        let world = Arc::new(Mutex::new(world));
        let mut site = Self { store, world, nodes: Vec::new(), policy, timings, guarded, switchboard, folder };
        for at in 0..NAMES.len() {
            let node = site.start(at, None);
            site.nodes.push(node);
        }
        site
    }

    fn start(&self, at: usize, handed: Option<Handed>) -> Node {
        let link = Arc::new(self.store.link());
        let (board, mood, orders) =
            (Board::default(), Arc::new(Mood::default()), Orders::new((Mutex::new(Order::Run), Condvar::new())));
        let failsafe = self.policy.failsafe.then(|| Failsafe {
            vows: self.switchboard.open(at, self.folder.path().join(NAMES[at]), self.timings.guard),
            ask: Arc::new(self.switchboard.clone()),
        });
        let work = live(at, Arc::clone(&link), self.policy.clone(), self.timings, board.clone(), (failsafe, handed));
        let fake = Fake { at, world: Arc::clone(&self.world), mood: Arc::clone(&mood), discarded: None };
        let ordered = Arc::clone(&orders);
        let thread = std::thread::spawn(move || {
            run_here(async move {
                let leave = tokio::sync::watch::Sender::new(None);
                let work = work(fake, leave.subscribe());
                tokio::select! {
                    () = obey(&ordered, &leave) => None,
                    handed = work => handed,
                }
            })
            .expect("a runtime")
        });
        Node { link, board, mood, orders, thread: Some(thread) }
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn freeze(&self, at: usize) {
        self.switchboard.hang_up(at);
        self.nodes[at].order(Order::Freeze);
    }

    pub(crate) fn thaw(&self, at: usize) {
        self.nodes[at].order(Order::Run);
    }

    /// The power of the node is cut.
    pub(crate) fn kill(&mut self, at: usize) {
        self.switchboard.hang_up(at);
        self.nodes[at].order(Order::Die);
        let thread = self.nodes[at].thread.take().expect("it lives");
        thread.join().expect("no panic");
        self.world().nodes[at].process = Process::Down { clean: None };
    }

    pub(crate) fn revive(&mut self, at: usize) {
        self.nodes[at] = self.start(at, None);
    }

    /// The node's process is told to leave its server to the next one, and has ended; what it has left.
    pub(crate) async fn hand_over(&mut self, at: usize) -> Option<Handed> {
        self.nodes[at].order(Order::HandOver);
        let thread = self.nodes[at].thread.take().expect("it lives");
        self.until("the process has ended", async |_| thread.is_finished()).await;
        thread.join().expect("no panic")
    }

    /// The next process of a node, with what the one before has left, by a link that may be cut.
    pub(crate) fn take_over(&mut self, at: usize, handed: Option<Handed>, fault: Fault) {
        self.nodes[at] = self.start(at, handed);
        self.nodes[at].link.set(fault);
    }

    /// The node is asked to leave, and has.
    pub(crate) async fn leave(&mut self, at: usize) {
        self.nodes[at].order(Order::Leave);
        let thread = self.nodes[at].thread.take().expect("it lives");
        self.until("the node has left", async |_| thread.is_finished()).await;
    }

    pub(crate) async fn plan(&self) -> Plan {
        let coordinator: &dyn Coordinator = &self.store;
        let entry = coordinator.get(&keys::plan(GROUP)).await.expect("it is there").expect("there is a plan");
        decode(&entry.value).expect("it can be read")
    }

    pub(crate) async fn planner(&self) -> Option<usize> {
        let coordinator: &dyn Coordinator = &self.store;
        let entry = coordinator.get(&mainstay_cluster::keys::role(planning::ROLE)).await.expect("it is there")?;
        Some(index(&Holder::from_bytes(&entry.value)?.node))
    }

    pub(crate) async fn ask(&self, request: &Request) {
        let coordinator: &dyn Coordinator = &self.store;
        coordinator.put(&keys::request(GROUP), encode(request), None).await.expect("it is there");
    }

    /// A client writes to whoever takes writes.
    pub(crate) fn write(&self) {
        let mut world = self.world();
        let primary = (0..NAMES.len()).find(|at| world.nodes[*at].process == Process::Primary);
        let next = world.written;
        if let Some(primary) = primary.filter(|_| next < 90) {
            world.nodes[primary].log.push(next);
            world.written += 1;
        }
    }

    /// Replication goes on, and what must never be is looked for.
    fn pump(&self, plan: &Plan, leased: &[String]) {
        let mut world = self.world();
        for (at, node) in NAMES.iter().enumerate() {
            let is_guarded = self.guarded && !leased.iter().any(|name| name == node);
            if is_guarded && world.nodes[at].process == Process::Primary {
                world.nodes[at].process = Process::Down { clean: None };
            }
        }
        for at in 0..NAMES.len() {
            if let Process::Replica { of: Some(of) } = world.nodes[at].process
                && world.nodes[of].process == Process::Primary
            {
                world.stream(at, of);
            }
        }
        world.acknowledge();
        let able: Vec<&str> = (0..NAMES.len()).filter(|at| world.can_acknowledge(*at)).map(|at| NAMES[at]).collect();
        assert!(able.len() <= 1, "{able:?} can acknowledge: {:#?}", world.nodes);
        assert!(!world.mixed, "a replica streams what does not continue its own log: {:#?}", world.nodes);
        if let Some(primary) = plan.serving().map(index) {
            let node = &world.nodes[primary];
            let leads = node.process == Process::Primary && node.led == Some(plan.term);
            let has = world.acknowledged.iter().all(|record| node.log.contains(record));
            assert!(!leads || has || plan.risk.is_some(), "{plan:?} has lost something: {:#?}", world.nodes);
        }
    }

    fn servers(&self) -> Vec<String> {
        let world = self.world();
        let nodes = world.nodes.iter();
        nodes.map(|node| format!("{:?} {:?} {:?} {:?}", node.process, node.led, node.sync, node.log)).collect()
    }

    /// Goes on until it is so.
    pub(crate) async fn until(&self, what: &str, is_so: impl AsyncFn(&Self) -> bool) {
        let begun = Instant::now();
        let coordinator: &dyn Coordinator = &self.store;
        loop {
            let plan = self.plan().await;
            let mut leased = Vec::new();
            for name in NAMES {
                let there = coordinator.get(&keys::report(GROUP, name)).await.expect("it is there").is_some();
                leased.extend(there.then(|| name.to_owned()));
            }
            self.pump(&plan, &leased);
            if is_so(self).await {
                return;
            }
            let views: Vec<_> =
                self.nodes.iter().map(|node| node.board.view(GROUP).map(|view| (view.own, view.obstacle))).collect();
            assert!(begun.elapsed() < WITHIN, "{what}: {plan:?}, {leased:?}, {views:?}, {:?}", self.servers());
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    }

    /// One serves, with so many replicas that it waits for, and all say so.
    pub(crate) async fn is_whole(&self, replicas: usize) -> bool {
        let plan = self.plan().await;
        let Some(primary) = plan.serving().map(index) else { return false };
        let coordinator: &dyn Coordinator = &self.store;
        let mut said = 0;
        for name in NAMES {
            let entry = coordinator.get(&keys::report(GROUP, name)).await.expect("it is there");
            let report = entry.and_then(|entry| decode::<Report>(&entry.value));
            let upstream = Server::Replica { upstream: Some(NAMES[primary].to_owned()) };
            said += usize::from(report.is_some_and(|report| report.server == upstream && report.term == plan.term));
        }
        let world = self.world();
        let follow = world.nodes.iter().filter(|node| node.process == Process::Replica { of: Some(primary) }).count();
        let is_settled = plan.regimes.len() == 1 && world.nodes[primary].sync == Some(plan.sync_since);
        world.nodes[primary].process == Process::Primary
            && follow == replicas
            && said == replicas
            && is_settled
            && (self.policy.durability == Durability::Async || plan.sync.names.len() == replicas)
    }

    pub(crate) async fn serves(&self) -> Option<usize> {
        match self.plan().await.phase {
            Phase::Serving { primary } => Some(index(&primary)),
            _ => None,
        }
    }

    pub(crate) fn cut(&self, at: usize) {
        self.nodes[at].link.set(Fault::RequestsLost);
    }

    pub(crate) fn mend(&self, at: usize) {
        self.nodes[at].link.set(Fault::None);
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            node.order(Order::Die);
            let _ended = node.thread.take().map(JoinHandle::join);
        }
    }
}

//! Three servers of PostgreSQL with their agents, and the planner, in one process. Leases are what the test says.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mainstay_core::database::agent::{Action, Stop, conforms, step};
use mainstay_core::database::{
    Candidate, Durability, Engine, Member, Observation, Phase, Plan, Policy, Report, Request, Server, obstacle, plan,
};
use mainstay_core::time::Moment;
use mainstay_failover::postgres::{Instance, Options, Settings};
use mainstay_failover::{Executor, Peer};
use mainstay_runtime::user;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

pub(crate) const NAMES: [&str; 3] = ["a", "b", "c"];
/// Nothing here takes as long on a machine that does anything at all.
const WITHIN: Duration = Duration::from_secs(120);

pub(crate) struct Node {
    pub(crate) settings: Settings,
    /// `None`: the agent is dead.
    pub(crate) instance: Option<Instance>,
    said: u64,
    report: Option<Report>,
    gone_since: Option<Instant>,
    /// What it did.
    pub(crate) did: Vec<Action>,
}

pub(crate) struct Group {
    pub(crate) nodes: Vec<Node>,
    pub(crate) plan: Plan,
    pub(crate) policy: Policy,
    phase_since: Instant,
    unwell_since: Option<Instant>,
    end: Option<u64>,
    pub(crate) request: Option<Request>,
    begun: Instant,
    _folder: TempDir,
}

/// Where the programs of PostgreSQL are.
fn programs() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let dirs = versions.map(|version| version.path().join("bin"));
    let path = std::env::var("PATH").unwrap_or_default();
    let dirs = dirs.chain(std::env::split_paths(&path).collect::<Vec<_>>());
    dirs.into_iter().find(|dir| dir.join("initdb").is_file()).expect("initdb is missing: `apt-get install postgresql`")
}

pub(crate) fn settings(folder: &Path) -> Vec<Settings> {
    let sockets: Vec<TcpListener> =
        NAMES.iter().map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port")).collect();
    let addresses: Vec<SocketAddr> = sockets.iter().map(|socket| socket.local_addr().expect("bound")).collect();
    let peer = |index: usize| Peer { node: NAMES[index].to_owned(), address: addresses[index] };
    let owner = user::is_root().then(|| user::find("postgres").expect("a list of users").expect("user postgres"));
    if let Some(owner) = owner {
        chown(folder, Some(owner.uid), Some(owner.gid)).expect("root may");
    }
    let one = |index: usize| Settings {
        node: NAMES[index].to_owned(),
        bin_dir: programs(),
        data_dir: folder.join(NAMES[index]).join("data"),
        state_dir: folder.join(NAMES[index]),
        user: owner,
        listen: addresses[index],
        password: "it's a secret".to_owned(),
        peers: (0..NAMES.len()).filter(|other| *other != index).map(peer).collect(),
        extra: "shared_buffers = 16MB\nfsync = off".to_owned(),
        options: Options::default(),
    };
    (0..NAMES.len()).map(one).collect()
}

pub(crate) fn policy(durability: Durability) -> Policy {
    let member = |name: &&str| Candidate { node: (*name).to_owned(), priority: 1, zone: None, no_sync: false };
    Policy {
        engine: Engine::Postgres,
        durability,
        acks: 1,
        lag_max: 1 << 20,
        members: NAMES.iter().map(member).collect(),
        restart_within: Duration::from_secs(20),
        gather: Duration::from_secs(2),
        guard: Duration::from_millis(100),
        cooldown: Duration::ZERO,
        yield_within: Duration::from_secs(30),
        failsafe: false,
    }
}

impl Node {
    pub(crate) fn server(&self) -> Option<&Server> {
        self.report.as_ref().map(|report| &report.server)
    }

    pub(crate) fn report_is_replica_of(&self, name: &str) -> bool {
        self.server() == Some(&Server::Replica { upstream: Some(name.to_owned()) })
    }

    /// Stops the server's process where it is.
    pub(crate) fn freeze(&self) {
        let pid = server_pid(&self.settings).expect("it runs");
        kill_process(pid, Signal::STOP).expect("it runs");
    }
}

impl Group {
    pub(crate) fn new(durability: Durability) -> Self {
        Self::prepared(durability, |_settings| {})
    }

    /// After something was done with what the first member will find.
    pub(crate) fn prepared(durability: Durability, prepare: impl FnOnce(&Settings)) -> Self {
        let folder = tempfile::tempdir().expect("a directory");
        let all = settings(folder.path());
        prepare(&all[0]);
        let node = |settings: Settings| {
            let instance = Instance::open(settings.clone()).expect("files can be made");
            Node { settings, instance: Some(instance), said: 0, report: None, gone_since: None, did: Vec::new() }
        };
        let policy = policy(durability);
        Self {
            nodes: all.into_iter().map(node).collect(),
            plan: Plan::default(),
            policy,
            phase_since: Instant::now(),
            unwell_since: None,
            end: None,
            request: None,
            begun: Instant::now(),
            _folder: folder,
        }
    }

    pub(crate) fn index(&self, name: &str) -> usize {
        NAMES.iter().position(|of| *of == name).expect("a member")
    }

    /// One turn of everybody.
    pub(crate) async fn turn(&mut self) {
        let reports: BTreeMap<&str, Option<Report>> =
            NAMES.into_iter().zip(self.nodes.iter().map(|node| node.report.clone())).collect();
        for (name, node) in NAMES.iter().zip(&mut self.nodes) {
            let Some(instance) = &mut node.instance else { continue };
            let Ok(local) = instance.observe(node.said).await else { continue };
            let source = self.plan.source().and_then(|source| reports.get(source)?.as_ref());
            let action = step(name, &local, &self.plan, source, Some(Moment::NEVER), Moment::ZERO);
            if let Err(error) = instance.carry_out(&action).await {
                eprintln!("{name}: {action:?}: {error}");
            }
            if action != Action::Wait && node.did.last() != Some(&action) {
                eprintln!("{:.1} s: {name}: {action:?}", self.begun.elapsed().as_secs_f32());
                node.did.push(action);
            }
            let Ok(mut local) = instance.observe(node.said).await else { continue };
            node.said = conforms(name, &local, &self.plan);
            local.report.term = node.said;
            node.report = Some(local.report);
        }
        self.think();
    }

    fn observation(&mut self) -> Observation {
        let members = NAMES.iter().zip(&self.nodes).map(|(name, node)| Member {
            node: (*name).to_owned(),
            alive: node.instance.is_some(),
            gone_for: node.gone_since.map(|since| since.elapsed()).unwrap_or_default(),
            report: node.report.clone(),
        });
        let members: Vec<Member> = members.collect();
        let leader = self.plan.leader().and_then(|leader| members.iter().find(|member| member.node == leader));
        let report = leader.filter(|leader| leader.alive).and_then(|leader| leader.report.as_ref());
        match report {
            Some(report) if report.server != Server::Primary => {
                self.unwell_since.get_or_insert_with(Instant::now);
            }
            Some(report) => {
                self.unwell_since = None;
                self.end = self.end.max(Some(report.position));
            }
            None => self.unwell_since = None,
        }
        Observation {
            members,
            phase_for: self.phase_since.elapsed(),
            unwell_for: self.unwell_since.map(|since| since.elapsed()).unwrap_or_default(),
            end: self.end,
            request: self.request.clone(),
            ..Observation::default()
        }
    }

    fn think(&mut self) {
        let observation = self.observation();
        self.request = None;
        let next = plan(&self.policy, &observation, &self.plan);
        if std::mem::discriminant(&next.phase) != std::mem::discriminant(&self.plan.phase) {
            eprintln!("{:.1} s: {:?}", self.begun.elapsed().as_secs_f32(), next.phase);
            (self.phase_since, self.unwell_since) = (Instant::now(), None);
        }
        self.plan = next;
    }

    /// Turns until it is so.
    pub(crate) async fn until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let begun = Instant::now();
        while !is_so(self) {
            let observation = self.observation();
            let obstacle = obstacle(&self.policy, &observation, &self.plan);
            let said: Vec<_> = self.nodes.iter().map(|node| (&node.report, &node.did)).collect();
            assert!(begun.elapsed() < WITHIN, "{what}: {:?}, {obstacle:?}, {said:#?}", self.plan);
            self.turn().await;
        }
    }

    /// One serves, with so many replicas that stream from it, and its commits are known to wait for them.
    pub(crate) fn is_whole(&self, replicas: usize) -> bool {
        let Some(primary) = self.plan.serving() else { return false };
        let streams = |node: &&Node| {
            let upstream = node.report.as_ref().map(|report| &report.server);
            node.instance.is_some() && upstream == Some(&Server::Replica { upstream: Some(primary.to_owned()) })
        };
        let sync = self.nodes[self.index(primary)].report.as_ref().and_then(|report| report.sync);
        self.nodes.iter().filter(streams).count() == replicas
            && sync == Some(self.plan.sync_since)
            && (self.policy.durability == Durability::Async || self.plan.sync.names.len() == replicas)
            && self.plan.regimes.len() == 1
    }

    pub(crate) fn serves(&self, name: &str) -> bool {
        self.plan.phase == Phase::Serving { primary: name.to_owned() }
    }

    /// The agent is gone and its lease with it; its server is killed.
    pub(crate) fn power_off(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        node.instance = None;
        (node.report, node.gone_since) = (None, Some(Instant::now()));
        kill_server(&node.settings);
    }

    pub(crate) fn power_on(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        node.instance = Some(Instance::open(node.settings.clone()).expect("files can be made"));
        (node.gone_since, node.did) = (None, Vec::new());
    }

    pub(crate) async fn stop(&mut self) {
        for node in &mut self.nodes {
            if let Some(instance) = &mut node.instance {
                instance.stop(Stop::Immediate).await;
            }
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.nodes.iter().for_each(|node| kill_server(&node.settings));
    }
}

pub(crate) fn server_pid(settings: &Settings) -> Option<Pid> {
    let text = std::fs::read_to_string(settings.data_dir.join("postmaster.pid")).ok()?;
    let pid = Pid::from_raw(text.lines().next()?.trim().parse().ok()?)?;
    // Another process may have the number by now.
    let cwd = std::fs::read_link(format!("/proc/{}/cwd", pid.as_raw_nonzero())).ok()?;
    (cwd == settings.data_dir).then_some(pid)
}

/// Kills the server on this data directory, if there is one.
pub(crate) fn kill_server(settings: &Settings) {
    if let Some(pid) = server_pid(settings) {
        let _ended = kill_process(pid, Signal::KILL);
    }
}

//! Three servers of Redis with their agents, and the planner, in one process. Leases are what the test says.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mainstay_core::database::agent::{Action, Stop, conforms, step};
use mainstay_core::database::{
    Candidate, Durability, Engine, Member, Observation, Phase, Plan, Policy, Report, Request, Server, obstacle, plan,
};
use mainstay_core::time::Moment;
use mainstay_failover::redis::{Instance, Options, Settings};
use mainstay_failover::{Discarded, Executor, Peer};
use redis::{Connection, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisResult};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

pub(crate) const NAMES: [&str; 3] = ["a", "b", "c"];
pub(crate) const PASSWORD: &str = "it's a \"secret\"";
/// Nothing here takes as long on a machine that does anything at all.
const WITHIN: Duration = Duration::from_secs(120);

pub(crate) struct Node {
    pub(crate) settings: Settings,
    /// `None`: the agent is dead.
    pub(crate) instance: Option<Instance>,
    said: u64,
    pub(crate) report: Option<Report>,
    gone_since: Option<Instant>,
    /// What it did.
    pub(crate) did: Vec<Action>,
    pub(crate) discarded: Vec<Discarded>,
}

pub(crate) struct Group {
    pub(crate) nodes: Vec<Node>,
    pub(crate) plan: Plan,
    policy: Policy,
    phase_since: Instant,
    unwell_since: Option<Instant>,
    end: Option<u64>,
    pub(crate) request: Option<Request>,
    begun: Instant,
    _folder: TempDir,
}

pub(crate) fn programs() -> PathBuf {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut dirs = std::env::split_paths(&path);
    dirs.find(|dir| dir.join("redis-server").is_file())
        .expect("redis-server is missing: `apt-get install redis-server`")
}

fn settings(folder: &Path, extra: &str) -> Vec<Settings> {
    let sockets: Vec<TcpListener> =
        NAMES.iter().map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port")).collect();
    let addresses: Vec<SocketAddr> = sockets.iter().map(|socket| socket.local_addr().expect("bound")).collect();
    let peer = |index: usize| Peer { node: NAMES[index].to_owned(), address: addresses[index] };
    let one = |index: usize| Settings {
        node: NAMES[index].to_owned(),
        bin_dir: programs(),
        data_dir: folder.join(NAMES[index]).join("data"),
        state_dir: folder.join(NAMES[index]),
        user: None,
        listen: addresses[index],
        password: PASSWORD.to_owned(),
        peers: (0..NAMES.len()).filter(|other| *other != index).map(peer).collect(),
        extra: extra.to_owned(),
        options: Options { min_replicas: 0, min_replicas_lag: Duration::from_secs(10), stale_reads: true },
    };
    (0..NAMES.len()).map(one).collect()
}

/// A client's connection.
pub(crate) fn connect(at: SocketAddr) -> RedisResult<Connection> {
    const ANSWER_WITHIN: Duration = Duration::from_secs(2);
    let address = ConnectionAddr::Tcp(at.ip().to_string(), at.port());
    let info: ConnectionInfo = address.into_connection_info()?;
    let login = redis::RedisConnectionInfo::default().set_password(PASSWORD);
    let client = redis::Client::open(info.set_redis_settings(login))?;
    let connection = client.get_connection_with_timeout(ANSWER_WITHIN)?;
    connection.set_read_timeout(Some(ANSWER_WITHIN))?;
    Ok(connection)
}

impl Node {
    pub(crate) fn server(&self) -> Option<&Server> {
        self.report.as_ref().map(|report| &report.server)
    }

    pub(crate) fn is_replica_of(&self, name: &str) -> bool {
        self.server() == Some(&Server::Replica { upstream: Some(name.to_owned()) })
    }

    pub(crate) fn connect(&self) -> RedisResult<Connection> {
        connect(self.settings.listen)
    }

    pub(crate) fn ask<T: redis::FromRedisValue>(&self, words: &[&str]) -> RedisResult<T> {
        let mut connection = self.connect()?;
        let mut command = redis::Cmd::new();
        for word in words {
            command.arg(*word);
        }
        command.query(&mut connection)
    }

    fn pid(&self) -> Option<Pid> {
        let text = std::fs::read_to_string(self.settings.state_dir.join("redis.pid")).ok()?;
        let pid = Pid::from_raw(text.trim().parse().ok()?)?;
        // Another process may have the number by now.
        let cwd = std::fs::read_link(format!("/proc/{}/cwd", pid.as_raw_nonzero())).ok()?;
        (cwd == self.settings.data_dir).then_some(pid)
    }

    /// Signals the server, if there is one.
    pub(crate) fn signal(&self, signal: Signal) {
        if let Some(pid) = self.pid() {
            let _ended = kill_process(pid, signal);
        }
    }

    pub(crate) fn did(&self, is_it: impl Fn(&Action) -> bool) -> bool {
        self.did.iter().any(is_it)
    }
}

impl Group {
    /// Founded, with two replicas.
    pub(crate) async fn new(extra: &str) -> Self {
        let mut group = Self::prepared(extra, |_settings| {});
        group.until("three members", |group| group.is_whole(2)).await;
        assert!(group.serves("a"), "{:?}", group.plan);
        group
    }

    /// Agents that have not done anything yet. `prepare` sees to the first one's server before.
    pub(crate) fn prepared(extra: &str, prepare: impl FnOnce(&Settings)) -> Self {
        let folder = tempfile::tempdir().expect("a directory");
        let settings = settings(folder.path(), extra);
        prepare(&settings[0]);
        let node = |settings: Settings| {
            let instance = Instance::open(settings.clone()).expect("files can be made");
            Node {
                settings,
                instance: Some(instance),
                said: 0,
                report: None,
                gone_since: None,
                did: Vec::new(),
                discarded: Vec::new(),
            }
        };
        let member = |name: &&str| Candidate { node: (*name).to_owned(), priority: 1, zone: None, no_sync: false };
        let policy = Policy {
            engine: Engine::Redis,
            durability: Durability::Async,
            acks: 1,
            lag_max: 1 << 20,
            members: NAMES.iter().map(member).collect(),
            restart_within: Duration::from_secs(20),
            gather: Duration::from_millis(500),
            guard: Duration::from_millis(100),
            cooldown: Duration::ZERO,
            yield_within: Duration::from_secs(30),
            failsafe: false,
        };
        Self {
            nodes: settings.into_iter().map(node).collect(),
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

    pub(crate) fn primary(&self) -> &Node {
        &self.nodes[self.index(self.plan.serving().expect("somebody serves"))]
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
            node.discarded.extend(instance.discarded());
            if action != Action::Wait && node.did.last() != Some(&action) {
                eprintln!("{:.1} s: {name}: {action:?}", self.begun.elapsed().as_secs_f32());
                node.did.push(action);
            }
            let Ok(mut local) = instance.observe(node.said).await else { continue };
            node.said = conforms(name, &local, &self.plan);
            local.report.term = node.said;
            node.report = Some(local.report);
        }
        self.think_now();
        let primaries = self.nodes.iter().filter(|node| node.instance.is_some());
        let primaries = primaries.filter(|node| node.server() == Some(&Server::Primary)).count();
        assert!(primaries <= 1, "two primaries: {:?}", self.plan);
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

    pub(crate) fn think_now(&mut self) {
        let observation = self.observation();
        self.request = None;
        let next = plan(&self.policy, &observation, &self.plan);
        if std::mem::discriminant(&next.phase) != std::mem::discriminant(&self.plan.phase) {
            eprintln!("{:.1} s: {:?}", self.begun.elapsed().as_secs_f32(), next.phase);
            (self.phase_since, self.unwell_since) = (Instant::now(), None);
        }
        if matches!(next.phase, Phase::Promoting { .. }) {
            self.end = None;
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

    /// One serves, and so many follow it and have its history.
    pub(crate) fn is_whole(&self, replicas: usize) -> bool {
        let Some(primary) = self.plan.serving() else { return false };
        let follows = |node: &&Node| {
            let is_same = node.report.as_ref().is_some_and(|report| report.system == self.plan.system);
            node.instance.is_some() && node.is_replica_of(primary) && is_same
        };
        self.primary().server() == Some(&Server::Primary) && self.nodes.iter().filter(follows).count() == replicas
    }

    pub(crate) fn serves(&self, name: &str) -> bool {
        self.plan.phase == Phase::Serving { primary: name.to_owned() }
    }

    /// The agent is gone and its lease with it.
    pub(crate) fn lose_agent(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        node.instance = None;
        (node.report, node.gone_since) = (None, Some(Instant::now()));
    }

    /// Its server is killed, too.
    pub(crate) fn power_off(&mut self, index: usize) {
        self.lose_agent(index);
        self.nodes[index].signal(Signal::KILL);
    }

    pub(crate) fn power_on(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        node.instance = Some(Instance::open(node.settings.clone()).expect("files can be made"));
        (node.gone_since, node.did) = (None, Vec::new());
    }

    /// Writes keys to the primary, so that the replicas have them too.
    pub(crate) fn write(&self, keys: std::ops::Range<u32>) {
        let mut connection = self.primary().connect().expect("it serves");
        for key in keys {
            redis::cmd("SET").arg(format!("key{key}")).arg(key).exec(&mut connection).expect("it takes writes");
        }
        let serving = self.plan.serving().expect("one");
        let following = self.nodes.iter().filter(|node| node.is_replica_of(serving)).count();
        let begun = Instant::now();
        loop {
            let mut wait = redis::cmd("WAIT");
            let replicas: usize = wait.arg(following).arg(500).query(&mut connection).expect("an answer");
            if replicas >= following {
                return;
            }
            assert!(begun.elapsed() < WITHIN, "only {replicas} of {following} replicas have it");
        }
    }

    /// How many of the keys a node has.
    pub(crate) fn has(&self, index: usize, keys: std::ops::Range<u32>) -> usize {
        let keys: Vec<String> = keys.map(|key| format!("key{key}")).collect();
        let words: Vec<&str> = std::iter::once("EXISTS").chain(keys.iter().map(String::as_str)).collect();
        self.nodes[index].ask(&words).expect("it answers")
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
        self.nodes.iter().for_each(|node| node.signal(Signal::KILL));
    }
}

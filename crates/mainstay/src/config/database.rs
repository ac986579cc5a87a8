//! `[[database]]`: groups of database servers with one primary, which nodes of the cluster run and lead clients to.

mod door;
mod durability;
mod member;
mod programs;
mod redis;
mod relate;
mod server;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mainstay_cluster::timings::Timings;
use mainstay_core::database::{Candidate, Durability, Engine, Policy};
use mainstay_gateway::spec::{ListenerTls, UpstreamTls};
use mainstay_observe::secret::Secret;

use super::cluster::Cluster;
use super::keys;
use super::node::Settings;
use super::reader::{Field, Place, Section};
use super::units;
pub use programs::installed;
pub use redis::Redis;

pub(super) use door::listeners;
pub(super) use programs::check_machine;
pub(super) use relate::relate;

/// Groups of a node, at most.
pub const DATABASES_MAX: usize = 16;
/// Members of a group, at most.
pub const MEMBERS_MAX: usize = 9;
/// The least priority of a member that may become primary is 1; this is the greatest.
const PRIORITY_MAX: u64 = 1000;
/// A member's priority, unless the configuration says otherwise.
const PRIORITY: u64 = 100;

const MILLI: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3600);
const MIB: u64 = 1_048_576;
const TIB: u64 = 1_048_576 * MIB;

/// A group of database servers. All but [`Self::doors`], [`Self::server`] and [`Self::fencing`] is the same on all nodes.
#[derive(Clone, Debug, PartialEq)]
pub struct Database {
    /// Its name, by which the store and metrics know it.
    pub name: String,
    /// What kind of servers it has.
    pub engine: Engine,
    /// What a commit waits for.
    pub durability: Durability,
    /// How many replicas have to have a write before it is acknowledged; 0 with [`Durability::Async`].
    pub acks: usize,
    /// How many bytes a replica may be behind and still become primary.
    pub lag_max: u64,
    /// Who belongs to it.
    pub members: Vec<Member>,
    /// How long what is waited for.
    pub times: Times,
    /// Whether a primary goes on without the store as long as every member confirms it.
    pub failsafe: bool,
    /// Whether a row is written each second through the primary, so that a failover tells how many of them are gone.
    pub probe_rows: bool,
    /// Where clients come in at this node.
    pub doors: Doors,
    /// The server that this node runs; `None` if it is no member.
    pub server: Option<Server>,
    /// How an old primary is kept from acknowledging writes, beside what needs no arrangement.
    pub fencing: Fencing,
}

/// A server of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The node that runs it.
    pub node: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// Among members that have the same data, the greater one becomes primary; 0 never does.
    pub priority: u32,
    /// Where it is: among equals, one in the old primary's zone is preferred.
    pub zone: Option<String>,
    /// Readers are not led to it.
    pub no_reads: bool,
    /// No commit waits for it.
    pub no_sync: bool,
}

/// How long what is waited for; [`Policy`] says what each of them is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// How long a primary whose node lives may be away before another one takes over.
    pub restart_within: Duration,
    /// How long an election waits for members that it does not need.
    pub gather: Duration,
    /// How long after a failover a primary whose node lives is not replaced again.
    pub cooldown: Duration,
    /// How long a planned switchover may take before it becomes an election.
    pub yield_within: Duration,
}

/// Where clients come in at a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doors {
    /// Where connections are led to the primary.
    pub write: Option<SocketAddr>,
    /// Where they are led to replicas.
    pub read: Option<SocketAddr>,
    /// How many bytes a replica may be behind that reads are led to.
    pub read_lag_max: u64,
    /// What becomes of reads while no replica is good enough.
    pub read_fallback: ReadFallback,
    /// How long a new connection waits for a primary; zero: it is refused at once.
    pub hold: Duration,
    /// How many connections wait at the same time, at most.
    pub hold_max: usize,
    /// How long a server may take to accept a connection before it is given up.
    pub connect_timeout: Duration,
    /// A connection on which nothing moves for so long is closed.
    pub idle_timeout: Duration,
    /// Connections that are open at once at each of the two, at most; further ones wait in the kernel's queue.
    pub max_connections: usize,
    /// TLS towards clients; `None`: it passes through, where clients and servers agree on it.
    pub tls: Option<ListenerTls>,
    /// TLS towards servers, where it does not pass through.
    pub server_tls: Option<UpstreamTls>,
    /// Where other programs ask what role this node's server has, in the words of Patroni.
    pub rest: Option<SocketAddr>,
}

/// What becomes of reads while no replica is good enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadFallback {
    /// They go to the primary.
    Primary,
    /// They are refused.
    Refuse,
}

/// The server that this node runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Where its programs are; `None`: looked for when the node starts.
    pub bin_dir: Option<PathBuf>,
    /// Its data.
    pub data_dir: PathBuf,
    /// Mainstay's files about it.
    pub state_dir: PathBuf,
    /// The system's user that it runs as; `None`: the one that this process runs as.
    pub user: Option<String>,
    /// What replicas show when they stream, the same on all members; clients of Redis show it, too.
    pub password: Option<Secret>,
    /// What only Redis has.
    pub redis: Redis,
    /// Further lines of its configuration.
    pub extra: String,
}

/// How an old primary is kept from acknowledging writes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fencing {
    /// Whether the kernel closes the server's port when the node's lease ends.
    pub port_lease: PortLease,
    /// The device of a watchdog, which restarts the machine if the node does not stop a server in time.
    pub watchdog: Option<PathBuf>,
    /// What ends a machine from the outside.
    pub stonith: Option<Stonith>,
}

/// Whether the kernel closes the server's port when the node's lease ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PortLease {
    /// Where it can.
    #[default]
    Auto,
    /// Never.
    Off,
    /// A member that cannot have it does not become primary.
    Required,
}

/// A command that ends a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stonith {
    /// Program and arguments; `{node}` in them is the old primary's node.
    pub command: Vec<String>,
    /// How long it may take.
    pub timeout: Duration,
}

impl Database {
    /// What the planner keeps the group by. `guard` is how long after the end of a lease nobody is promoted.
    pub fn policy(&self, guard: Duration) -> Policy {
        let Times { restart_within, gather, cooldown, yield_within } = self.times;
        let candidate = |member: &Member| Candidate {
            node: member.node.clone(),
            priority: member.priority,
            zone: member.zone.clone(),
            no_sync: member.no_sync,
        };
        Policy {
            engine: self.engine,
            durability: self.durability,
            acks: self.acks.max(1),
            lag_max: self.lag_max,
            members: self.members.iter().map(candidate).collect(),
            restart_within,
            gather,
            guard,
            cooldown,
            yield_within,
            failsafe: self.failsafe,
        }
    }

    /// What has to be the same on all nodes, by the names of the keys.
    pub fn agreed(&self) -> BTreeMap<String, String> {
        let Times { restart_within, gather, cooldown, yield_within } = self.times;
        let member = |member: &Member| {
            let zone = member.zone.as_deref().map(|zone| format!(" in {zone}")).unwrap_or_default();
            let no_reads = if member.no_reads { ", no reads" } else { "" };
            let no_sync = if member.no_sync { ", not synchronous" } else { "" };
            let Member { node, address, priority, .. } = member;
            format!("{node} at {address} with priority {priority}{zone}{no_reads}{no_sync}")
        };
        let mut members: Vec<String> = self.members.iter().map(member).collect();
        members.sort();
        let pairs = [
            ("engine", engine_word(self.engine).to_owned()),
            ("durability", durability_word(self.durability).to_owned()),
            ("acks", self.acks.to_string()),
            ("lag_max", units::show_size(self.lag_max)),
            ("member", members.join(", ")),
            ("restart_within", units::show_duration(restart_within)),
            ("gather", units::show_duration(gather)),
            ("cooldown", units::show_duration(cooldown)),
            ("yield_within", units::show_duration(yield_within)),
            ("failsafe", self.failsafe.to_string()),
            ("probe_rows", self.probe_rows.to_string()),
        ];
        pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
    }

    /// The member that this node is.
    pub fn member(&self, node: &str) -> Option<&Member> {
        self.members.iter().find(|member| member.node == node)
    }

    /// All other members.
    pub fn others(&self, node: &str) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(move |member| member.node != node)
    }
}

/// An engine as the configuration has it.
pub fn engine_word(engine: Engine) -> &'static str {
    match engine {
        Engine::Postgres => "postgres",
        Engine::Redis => "redis",
    }
}

/// A durability as the configuration has it.
pub fn durability_word(durability: Durability) -> &'static str {
    match durability {
        Durability::Async => "async",
        Durability::SyncPreferred => "sync-preferred",
        Durability::SyncStrict => "sync-strict",
    }
}

impl Times {
    /// What goes with the timings of a cluster: with the default ones writes go on within ten seconds of any failure, with the
    /// fast ones within five.
    pub fn of(timings: &Timings) -> Self {
        let times = |restart_within, gather, cooldown, yield_within| Self {
            restart_within: Duration::from_millis(restart_within),
            gather: Duration::from_millis(gather),
            cooldown: Duration::from_secs(cooldown),
            yield_within: Duration::from_secs(yield_within),
        };
        if timings.ttl <= Timings::FAST.ttl {
            times(1500, 150, 10, 5)
        } else if timings.ttl >= Timings::CONSERVATIVE.ttl {
            times(10_000, 1000, 60, 30)
        } else {
            times(3000, 300, 30, 10)
        }
    }
}

/// A group, and where what others collide with stands.
pub(super) struct Read {
    pub(super) database: Database,
    place: Place,
    name: Field<String>,
    members: Vec<member::Read>,
    doors: Vec<door::Read>,
}

impl Read {
    /// The same for the checks of another text.
    pub(super) fn elsewhere(mut self, nowhere: &Place) -> Self {
        self.place = nowhere.clone();
        self.name.place = nowhere.clone();
        self.members.iter_mut().for_each(|read| read.place = nowhere.clone());
        self.doors.iter_mut().for_each(|read| read.place = nowhere.clone());
        self
    }
}

pub(super) fn read(section: &Section<'_>, settings: &Settings, cluster: Option<&Cluster>) -> Read {
    let name = super::read_name(section);
    section.required("engine", "write engine = \"postgres\" or \"redis\"");
    let engines = [("postgres", Engine::Postgres), ("redis", Engine::Redis)];
    let engine = section.field("engine", Engine::Postgres, |item| item.one_of(&engines));
    let members = member::read_all(section);
    let eligible = members.iter().filter(|read| !read.member.no_sync).count();
    let (durability, acks) =
        durability::read(section, engine.is_good.then_some(engine.value), (members.len(), eligible));
    let failsafe = durability::read_failsafe(section, cluster);
    let probe_rows = durability::read_probe_rows(section, engine.value);
    let (doors, bound) = door::read(section);
    let place = section.place.clone();
    let is_member = members.iter().any(|read| read.member.node == settings.node.name);
    let of = server::Of { engine: engine.value, group: &name.value, members: members.len(), is_member };
    let server = server::read(section, &of, settings.node.data_dir.as_deref());
    let database = Database {
        name: name.value.clone(),
        engine: engine.value,
        durability,
        acks,
        lag_max: read_size(section, "lag_max", MIB),
        members: members.iter().map(|read| read.member.clone()).collect(),
        times: read_times(section, cluster.map_or(Timings::DEFAULT, |cluster| cluster.timings)),
        failsafe,
        probe_rows,
        doors,
        server,
        fencing: server::read_fencing(section),
    };
    Read { database, place, name, members, doors: bound }
}

fn read_size(section: &Section<'_>, key: &str, default: u64) -> u64 {
    section.field(key, default, |item| item.size(&(0..=TIB))).value
}

fn read_times(section: &Section<'_>, timings: Timings) -> Times {
    let standard = Times::of(&timings);
    let time = |key: &str, default: Duration, least: Duration| section.duration(key, default, least..=HOUR).value;
    Times {
        restart_within: time("restart_within", standard.restart_within, 100 * MILLI),
        gather: time("gather", standard.gather, Duration::ZERO),
        cooldown: time("cooldown", standard.cooldown, Duration::ZERO),
        yield_within: time("yield_within", standard.yield_within, Duration::from_secs(1)),
    }
}

/// Where the files of a group are, unless the configuration says otherwise.
fn folder(data_dir: &Path, group: &str) -> PathBuf {
    data_dir.join("databases").join(group)
}

/// The keys of one group.
pub(super) const KEYS: &keys::Keys = &keys::DATABASE;

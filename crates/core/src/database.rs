//! Groups of database servers: one primary that takes all writes, and replicas that follow it. Who is primary, when another
//! one takes over, and what each member does about it.
//!
//! The planner ([`plan`]) runs on one node at a time and writes a numbered [`Plan`] into the store. Each member's agent
//! ([`agent::step`]) compares the plan with its local server and does one thing at a time. What a member says of itself is
//! its [`Report`]. A **term** belongs to one primary; the next one has a greater term, which is the fencing token.
//!
//! What keeps two members from acknowledging writes at the same time:
//!
//! 1. A primary runs only while its node's lease does. Its agent stops it before the deadline, and a process beside the agent
//!    does if the agent cannot. Nobody is promoted before the old primary has said that it stopped, or its lease has ended
//!    and the guard time has passed.
//! 2. Before a promotion, the replicas are detached from the old primary. A primary that needs acknowledgements of replicas
//!    then gets none, even if it still runs.
//!
//! What keeps acknowledged writes: a plan says by its **regimes** where they may be. A regime is `ANY k (names)`: a write that
//! was acknowledged under it is on at least `k` of the names, so that among any `names - k + 1` of them one has it. An
//! election needs to hear that many of each regime, detached, and takes the one that has the most. A regime is published
//! before the primary puts it in force, and an older one is forgotten only after the primary has said that everything
//! acknowledged before is on enough members of the new one.

pub mod agent;
mod election;
mod engine;
pub mod failsafe;
mod licence;
pub mod lineage;
mod planner;
mod report;

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use election::Obstacle;
pub use engine::Engine;
pub use licence::{Licence, Pause};
pub use lineage::{Before, Branch};
pub use planner::{Refusal, admit, obstacle, plan};
pub use report::{Report, Server};

/// A position in the write-ahead log, in bytes.
pub type Lsn = u64;

/// Changes of who has to acknowledge that may be under way at the same time, at most.
pub const REGIMES_MAX: usize = 4;
/// Failovers one soon after the other, before the next one waits for [`Policy::cooldown`].
pub const FAILOVERS_IN_A_ROW: u32 = 3;
/// Earlier histories that a plan remembers, at most.
pub const HISTORIES_MAX: usize = 8;

/// What a client's commit waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Durability {
    /// The primary's disk alone. A failover may lose what had not reached the replica that takes over.
    #[default]
    Async,
    /// As many replicas as the policy says, as long as there are any.
    SyncPreferred,
    /// As many replicas as the policy says; without them no commit returns.
    SyncStrict,
}

/// A member as the configuration has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The node's name.
    pub node: String,
    /// Among members that have the same data, the greater one becomes primary; 0 never does.
    pub priority: u32,
    /// Where the node is.
    pub zone: Option<String>,
    /// No commit waits for it.
    pub no_sync: bool,
}

/// How a group is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// What kind of servers it has.
    pub engine: Engine,
    /// What a commit waits for.
    pub durability: Durability,
    /// How many replicas have to have a write before it is acknowledged, in the two synchronous modes; at least 1.
    pub acks: usize,
    /// How many bytes a replica may be behind and still become primary, where that may lose them.
    pub lag_max: u64,
    /// The members, each once.
    pub members: Vec<Candidate>,
    /// How long a primary whose agent lives may be away before another one takes over.
    pub restart_within: Duration,
    /// How long an election waits for members that it does not need.
    pub gather: Duration,
    /// How long after the end of the old primary's lease nobody is promoted.
    pub guard: Duration,
    /// How long after [`FAILOVERS_IN_A_ROW`] failovers, each within so long after the one before, a primary whose agent lives is
    /// not replaced again.
    pub cooldown: Duration,
    /// How long a planned switchover may take before it becomes an election; and how long an old primary whose agent lives may
    /// take to stop before one that cannot acknowledge anything without its replicas is left alone, and how long a promotion
    /// may take.
    pub yield_within: Duration,
    /// Whether a primary goes on without a lease as long as every member confirms it.
    pub failsafe: bool,
}

impl Policy {
    /// The member of that name.
    pub fn member(&self, node: &str) -> Option<&Candidate> {
        self.members.iter().find(|member| member.node == node)
    }

    /// How many acknowledgements a write needs; at most as many as there can be replicas.
    pub fn acks(&self) -> usize {
        match self.durability {
            Durability::Async => 0,
            Durability::SyncPreferred | Durability::SyncStrict => {
                let eligible = self.members.iter().filter(|member| !member.no_sync).count();
                self.acks.clamp(1, eligible.saturating_sub(1).max(1))
            }
        }
    }
}

/// `ANY acks (names)`: a write is acknowledged once so many of the names have it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Regime {
    /// The replicas that count.
    pub names: BTreeSet<String>,
    /// How many of them; 0: none has to.
    pub acks: usize,
}

impl Regime {
    /// How many of the names have to be heard, so that every acknowledged write is among what they have.
    pub fn needed(&self) -> usize {
        if self.acks == 0 { 0 } else { (self.names.len() + 1).saturating_sub(self.acks) }
    }
}

/// Where a group stands.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Nobody has been primary yet.
    Founding {
        /// Who makes the first data directory.
        by: Option<String>,
    },
    /// It takes writes.
    Serving {
        /// The primary.
        primary: String,
    },
    /// A planned switchover: one stops cleanly, so that the other has everything.
    Yielding {
        /// The primary, which stops.
        from: String,
        /// Its term.
        led: u64,
        /// The replica that takes over.
        to: String,
    },
    /// The replicas detach themselves from the old primary and say what they have.
    Electing {
        /// The old primary.
        from: String,
        /// Whom an operator wants, whatever is lost by that.
        forced: Option<String>,
    },
    /// It is chosen, and has not said yet that it takes writes.
    Promoting {
        /// The new primary.
        primary: String,
    },
}

/// What the group is to be. It stands in the store; the greater number is the later one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Plan {
    /// Goes up with each change.
    pub number: u64,
    /// Goes up with each election: whoever acts with a smaller one must stop.
    pub term: u64,
    /// Which database this is: PostgreSQL's system identifier, or the beginning of Redis' replication id, which is another
    /// one after each promotion.
    pub system: Option<u64>,
    /// What it was before that and up to where, the latest first, where promotions change it.
    #[serde(default)]
    pub before: Vec<Before>,
    /// Where it stands.
    pub phase: Phase,
    /// What the primary shall wait for.
    pub sync: Regime,
    /// The number of the plan that said so first.
    pub sync_since: u64,
    /// Under which of these acknowledged writes may have been written; not empty once there is a primary.
    pub regimes: Vec<Regime>,
    /// What the last election may have lost.
    pub risk: Option<Risk>,
    /// What the chosen one had when it was chosen. With less it is not promoted: it has crashed since. `None` where crashes
    /// cost nothing.
    #[serde(default)]
    pub chosen_at: Option<Lsn>,
    /// When the primary may act without a lease.
    #[serde(default)]
    pub licence: Licence,
}

/// What an election may have lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Risk {
    /// What was written after the last replica had acknowledged: so many bytes as far as they were seen, and what was
    /// written since.
    Behind(Option<u64>),
    /// An operator chose, without hearing from those that may have more.
    Forced,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            number: 0,
            term: 0,
            system: None,
            before: Vec::new(),
            phase: Phase::Founding { by: None },
            sync: Regime::default(),
            sync_since: 0,
            regimes: Vec::new(),
            risk: None,
            chosen_at: None,
            licence: Licence::default(),
        }
    }
}

impl Plan {
    /// The member that may take writes with the plan's term, or prepare for it.
    pub fn leader(&self) -> Option<&str> {
        match &self.phase {
            Phase::Founding { by } => by.as_deref(),
            Phase::Serving { primary } | Phase::Promoting { primary } => Some(primary),
            Phase::Yielding { .. } | Phase::Electing { .. } => None,
        }
    }

    /// The member that replicas may stream from.
    pub fn source(&self) -> Option<&str> {
        match &self.phase {
            Phase::Serving { primary } => Some(primary),
            Phase::Yielding { from, .. } => Some(from),
            Phase::Founding { .. } | Phase::Electing { .. } | Phase::Promoting { .. } => None,
        }
    }

    /// Where writes go.
    pub fn serving(&self) -> Option<&str> {
        match &self.phase {
            Phase::Serving { primary } => Some(primary),
            Phase::Founding { .. } | Phase::Yielding { .. } | Phase::Electing { .. } | Phase::Promoting { .. } => None,
        }
    }
}

/// A member as the planner sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The node's name.
    pub node: String,
    /// Its lease runs.
    pub alive: bool,
    /// How long ago the planner saw that its lease had ended; zero while it runs.
    pub gone_for: Duration,
    /// What it said last on the lease that runs.
    pub report: Option<Report>,
}

/// What is known now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observation {
    /// The members that were seen, each once.
    pub members: Vec<Member>,
    /// How long the plan's phase has lasted.
    pub phase_for: Duration,
    /// How long the primary, whose agent lives, has not been one; zero while it is.
    pub unwell_for: Duration,
    /// How long ago the last failover ended that nobody asked for, if there was one.
    pub since_failover: Option<Duration>,
    /// How many of them there were up to then, each within the cooldown after the one before.
    pub failovers_in_a_row: u32,
    /// The greatest position that the primary was seen at.
    pub end: Option<Lsn>,
    /// A member that was certainly ended from outside since the phase began: its machine is off.
    pub fenced: Option<String>,
    /// An operator wants nothing to be changed over by itself.
    pub paused: bool,
    /// What an operator asks for.
    pub request: Option<Request>,
}

impl Observation {
    /// The member of that name.
    pub fn member(&self, node: &str) -> Option<&Member> {
        self.members.iter().find(|member| member.node == node)
    }

    /// What a member said that is alive.
    pub fn report(&self, node: &str) -> Option<&Report> {
        self.member(node).filter(|member| member.alive)?.report.as_ref()
    }
}

/// What an operator asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// A planned switchover, which loses nothing.
    Switchover {
        /// The replica that takes over; `None`: the best one.
        to: Option<String>,
    },
    /// A failover now. With a name, that one, whatever it lacks.
    Failover {
        /// Who takes over, even if acknowledged writes are lost by that.
        to: Option<String>,
    },
}

//! What is said of groups of database servers.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A group of database servers, as the node that answers sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DatabaseStatus {
    /// Its name.
    pub name: String,
    /// `postgres` or `redis`.
    pub engine: String,
    /// `async`, `sync-preferred` or `sync-strict`.
    pub durability: String,
    /// `good`, `warning` or `bad`.
    pub state: String,
    /// One line for people.
    pub verdict: String,
    /// What to do about it, if anything.
    pub next: Option<String>,
    /// `unknown`, `founding`, `serving`, `yielding`, `electing` or `promoting`.
    pub phase: String,
    /// Who takes writes, or is to.
    pub primary: Option<String>,
    /// Goes up with each change of the primary; the fencing token.
    pub term: u64,
    /// The number of the plan that this is.
    pub plan: u64,
    /// Which database it is: PostgreSQL's system identifier.
    pub system: Option<String>,
    /// Whether this is what holds now; else it is what the node saw last.
    pub is_current: bool,
    /// An operator has paused it: nothing is changed over by itself.
    pub paused: bool,
    /// `off`; `asked`: the primary has not been heard to know of it; `on`: the primary runs without a lease; `ending`: it has not
    /// been heard to know that it is over.
    #[serde(default)]
    pub pause: String,
    /// Why nobody is promoted, while nobody is primary.
    pub obstacle: Option<ObstacleStatus>,
    /// How many of these have to have a write before it is acknowledged.
    pub acks: u64,
    /// The replicas that count for that.
    pub acks_of: Vec<String>,
    /// The members, in the order of the configuration.
    pub members: Vec<GroupMember>,
    /// What holds of writes, and of two primaries, as things are.
    pub promises: Vec<String>,
    /// What the last failover may have lost.
    pub risk: Option<String>,
    /// What other nodes' configuration says otherwise.
    pub differs: Vec<String>,
    /// Where this node leads clients to the primary.
    pub write: Option<String>,
    /// Where it leads them to replicas.
    pub read: Option<String>,
    /// The last changes of the primary, the newest first.
    #[serde(default)]
    pub failovers: Vec<FailoverStatus>,
}

/// Why nobody is promoted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ObstacleStatus {
    /// Its name in the runbook.
    pub code: String,
    /// What is missing.
    pub text: String,
    /// What to do about it.
    pub next: String,
}

/// A member of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GroupMember {
    /// The node that runs it.
    pub node: String,
    /// Where its server listens.
    pub address: String,
    /// Whether this is the node that answers.
    pub here: bool,
    /// `primary`, `replica` or `none`.
    pub role: String,
    /// `running`, `streaming`, `stalled` (it is told to stream and receives nothing), `detached`, `starting`, `stopped`, `empty`, `outdated` (it takes writes with an old term),
    /// `unknown`, `silent` (its node lives and has said nothing) or `away` (its node has no lease).
    pub state: String,
    /// Whom it streams from.
    pub upstream: Option<String>,
    /// The timeline of its last record.
    pub timeline: Option<u32>,
    /// The end of what it has, in bytes.
    pub position: Option<u64>,
    /// The same as the server writes it.
    pub position_text: Option<String>,
    /// How many bytes it lacks of what the primary was seen at.
    pub lag_bytes: Option<u64>,
    /// Whether writes wait for it, or for enough others beside it.
    pub acknowledges: bool,
    /// Its priority; 0: it never becomes primary.
    pub priority: u32,
    /// Its zone.
    pub zone: Option<String>,
    /// What is being done to it.
    pub action: Option<String>,
    /// What went wrong last, until something goes right.
    pub error: Option<String>,
    /// How its node keeps it from acknowledging writes when it must not; empty if that is not known.
    pub rungs: Vec<RungStatus>,
}

/// A rung of the fencing ladder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RungStatus {
    /// `agent`, `guard`, `port-lease`, `watchdog` or `stonith`.
    pub name: String,
    /// Why it is not there.
    pub missing: Option<String>,
}

/// A change of the primary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FailoverStatus {
    /// When the new primary took writes.
    pub at: String,
    /// The old primary.
    pub from: String,
    /// The new one.
    pub to: String,
    /// Its term.
    pub term: u64,
    /// Whether an operator asked for it.
    pub planned: bool,
    /// Why it happened.
    pub cause: String,
    /// From the first sign of trouble until clients could write, in milliseconds, as far as all parts but `route` are known.
    pub rto_ms: Option<u64>,
    /// Its parts, in their order: `lease`, `detect`, `fence`, `elect`, `promote`, `route`.
    pub parts: Vec<PartStatus>,
    /// The node whose listener led the first client to the new primary; absent: none yet.
    #[serde(default)]
    pub routed_by: Option<String>,
    /// What it may have lost; absent: nothing that was acknowledged.
    pub risk: Option<String>,
    /// What is known of what it has lost.
    #[serde(default)]
    pub loss: LossStatus,
}

/// What the old primary had that the new one has not. What is absent is not known, and is not nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = FailoverLoss)]
pub struct LossStatus {
    /// Whether the old primary has come back, so that it could be measured.
    pub measured: bool,
    /// In one line, for people.
    pub text: String,
    /// Bytes of its log.
    pub bytes: Option<u64>,
    /// The most it can be, as long as it was not measured.
    pub at_most_bytes: Option<u64>,
    /// Transactions committed in them, acknowledged or not.
    pub commits: Option<u64>,
    /// From the first of these to the last.
    pub span_ms: Option<u64>,
    /// Keys, of Redis.
    pub keys: Option<u64>,
    /// Rows that were written each second, acknowledged, and are gone; absent without `probe_rows`.
    pub probe_rows: Option<u64>,
    /// Where it is kept on the old primary's machine.
    pub kept: Option<String>,
}

/// A part of a failover.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = FailoverPart)]
pub struct PartStatus {
    /// Its name.
    pub name: String,
    /// How long it took.
    pub ms: Option<u64>,
}

/// What a change of a group's primary takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = DatabaseChangeRequest)]
#[serde(deny_unknown_fields)]
pub struct ChangeRequest {
    /// The member that becomes primary, or, to make its data anew, that one. Without it the best one becomes primary.
    #[serde(default)]
    pub node: Option<String>,
    /// Only say what would be done.
    #[serde(default)]
    pub dry_run: bool,
}

/// What comes of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = DatabaseChangeAnswer)]
pub struct ChangeAnswer {
    /// The group.
    pub database: String,
    /// What is done, or would be.
    pub text: String,
    /// What it risks; empty: nothing beyond a moment without writes.
    pub risks: Vec<String>,
    /// The member that becomes primary, if that is known.
    pub to: Option<String>,
    /// The term before it.
    pub term: u64,
    /// Whether it was asked for; else it was only said.
    pub done: bool,
}

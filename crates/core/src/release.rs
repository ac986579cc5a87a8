//! A staged release: one new version of something that all nodes have (a configuration, say) goes to one node first and
//! to the others only if it does no harm there.
//!
//! ```text
//!                 a node vetoes, or is silent                     it cannot be applied, or things worsen
//!   validating ------------------------------> vetoed    canary, baking, spreading ------> rolling back --> rolled back
//!       | all accept                                                                        (or aborted)
//!       v
//!     canary --it serves--> baking --as well as before--> spreading --all serve--> done
//!       '- - - - - - - without a bake - - - - - - - - - - - -^
//! ```
//!
//! [`plan`] is a planner: what it answers is written down where every node reads it, and from that alone a node knows which
//! version it has to serve ([`Release::target`]). Whoever plans may die at any moment: the next one goes on from what is
//! written down, with the present stage's time anew. That cannot go on for ever, since the takeovers are counted.
//!
//! With too little traffic to judge by, the bake is prolonged, and then [`Quiet`] decides.

pub mod judge;
mod stage;
mod words;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::judge::{Sample, Subject, Worse};
pub use self::stage::{Cause, Stage, Veto};
use crate::time::Moment;

/// A number that each new version raises; 0 stands for what nodes had before there was any.
pub type Version = u64;

/// What holds for all releases of a kind.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    /// All live nodes have to vote within this time.
    pub vote_within: Duration,
    /// A version has to be applied within this time by the nodes that are told to, and likewise the old one on the way back.
    pub apply_within: Duration,
    /// With too little traffic to judge by, a bake lasts so many times what was asked for; at least 1.
    pub patience: u32,
    /// Reports that are older say nothing.
    pub stale_after: Duration,
    /// How often another node may take over the planning before the release is given up.
    pub takeovers_max: u32,
    /// When things count as worse.
    pub judge: judge::Policy,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            vote_within: Duration::from_secs(10),
            apply_within: Duration::from_secs(15),
            patience: 3,
            stale_after: Duration::from_secs(5),
            takeovers_max: 5,
            judge: judge::Policy::default(),
        }
    }
}

/// What becomes of a release whose canary had too little traffic to be judged by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Quiet {
    /// It goes on, and is marked as unproven.
    #[default]
    Proceed,
    /// It is rolled back.
    RollBack,
}

/// What was asked for with one release.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// How long one node has the version alone; `None`: all get it at once, as soon as they have accepted it.
    pub bake: Option<Duration>,
    /// Which node; `None` lets the planner choose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<String>,
    /// What too little traffic means.
    #[serde(default)]
    pub quiet: Quiet,
}

/// A release as it is written down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// What is released.
    pub version: Version,
    /// What the nodes serve otherwise, and go back to.
    pub from: Version,
    /// What was asked for.
    pub terms: Terms,
    /// Raised by each change of the release. Whoever has seen a number obeys no lower one.
    pub number: u64,
    /// How far it is.
    pub stage: Stage,
    /// How often another node has taken over the planning.
    pub takeovers: u32,
}

impl Release {
    /// A release of `version` that nobody has looked at yet. `after` is the number of the release before it.
    pub fn new(version: Version, from: Version, terms: Terms, after: u64) -> Self {
        Self { version, from, terms, number: after.saturating_add(1), stage: Stage::Validating, takeovers: 0 }
    }

    /// The version that `node` has to serve. It depends on nothing but what is written down.
    pub fn target(&self, node: &str) -> Version {
        match &self.stage {
            Stage::Validating | Stage::Vetoed { .. } | Stage::RollingBack { .. } | Stage::RolledBack { .. } => {
                self.from
            }
            Stage::Canary { node: canary } | Stage::Baking { node: canary } if canary == node => self.version,
            Stage::Canary { .. } | Stage::Baking { .. } => self.from,
            Stage::Spreading { .. } | Stage::Done { .. } => self.version,
        }
    }

    /// The same release in other hands: whoever starts to plan writes this down before anything else.
    #[must_use]
    pub fn taken_over(&self) -> Self {
        if self.stage.is_over() {
            return self.clone();
        }
        Self { number: self.number.saturating_add(1), takeovers: self.takeovers.saturating_add(1), ..self.clone() }
    }
}

/// What a node says of a version before it is released.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Vote {
    /// It could serve it.
    Accept,
    /// It could not, for these reasons.
    Veto(Vec<String>),
}

/// What is known of a node. Nodes that do not live are not listed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// What it says of the release's version.
    pub vote: Option<Vote>,
    /// What it serves, if it has said so.
    pub serves: Option<Version>,
    /// Why it cannot serve what the release's present number asks of it.
    pub failure: Option<String>,
    /// Requests a second that it serves.
    pub rate: f64,
    /// What its clients saw, for this release's version.
    pub traffic: Option<Traffic>,
}

/// What a node's clients saw.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Traffic {
    /// When the report came.
    pub received: Moment,
    /// Before the canary had the version.
    pub before: Vec<Subject>,
    /// Since then.
    pub since: Vec<Subject>,
}

/// What the planner goes by.
#[derive(Clone, Debug, PartialEq)]
pub struct Observation<'a> {
    /// The present moment, by the clock of who plans.
    pub now: Moment,
    /// The nodes that live.
    pub nodes: &'a [Node],
    /// Whether an operator wants it to end.
    pub abort: bool,
}

/// The plan that holds so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Previous {
    /// As it is written down.
    pub release: Release,
    /// When who plans saw this stage first.
    pub since: Moment,
}

/// What is to be written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The release; its number is greater than that of the previous plan exactly if something has changed.
    pub release: Release,
    /// When its stage began, by the clock of who plans.
    pub since: Moment,
    /// When to plan again even if nothing happens; `None` once the release is over.
    pub deadline: Option<Moment>,
}

/// The next plan of a release that is written down.
pub fn plan(policy: &Policy, observation: &Observation<'_>, previous: &Previous) -> Plan {
    let release = &previous.release;
    let Some(stage) = stage::next(policy, observation, previous) else {
        let deadline = stage::deadline(policy, release, previous.since, observation.now);
        return Plan { release: release.clone(), since: previous.since, deadline };
    };
    let release = Release { number: release.number.saturating_add(1), stage, ..release.clone() };
    let deadline = stage::deadline(policy, &release, observation.now, observation.now);
    Plan { release, since: observation.now, deadline }
}

/// The live node that shows harm with the least at stake: the one with the least traffic of those whose traffic suffices to
/// judge by, or else the one with the most.
fn choose_canary(policy: &Policy, nodes: &[Node], bake: Duration) -> Option<String> {
    let suffices = |node: &&Node| node.rate * bake.as_secs_f64() >= policy.judge.requests_min as f64;
    let order = |left: &&Node, right: &&Node| left.rate.total_cmp(&right.rate).then_with(|| left.name.cmp(&right.name));
    let reversed =
        |left: &&Node, right: &&Node| left.rate.total_cmp(&right.rate).then_with(|| right.name.cmp(&left.name));
    let chosen = nodes.iter().filter(suffices).min_by(order).or_else(|| nodes.iter().max_by(reversed));
    chosen.map(|node| node.name.clone())
}

#[cfg(test)]
mod tests;

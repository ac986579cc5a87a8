//! The stages of a release, and what leads from one to the next.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::judge::{self, Verdict};
use super::{Node, Observation, Policy, Previous, Quiet, Release, Traffic, Vote, Worse, choose_canary};
use crate::time::Moment;

/// How far a release is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "kebab-case")]
pub enum Stage {
    /// Every live node says whether it could serve the version; nobody does yet.
    Validating,
    /// One node is told to serve it.
    Canary {
        /// Which.
        node: String,
    },
    /// That node serves it, and is watched.
    Baking {
        /// Which.
        node: String,
    },
    /// All nodes are told to serve it.
    Spreading {
        /// Whether nobody knows if it does harm: the canary had too little traffic, or there was none.
        unproven: bool,
    },
    /// All nodes are told to serve what they served before.
    RollingBack {
        /// Why.
        cause: Cause,
    },
    /// All live nodes serve it.
    Done {
        /// As in [`Stage::Spreading`].
        unproven: bool,
    },
    /// A node could not serve it; none was told to.
    Vetoed {
        /// Who, and why.
        vetoes: Vec<Veto>,
    },
    /// The nodes serve what they served before.
    RolledBack {
        /// Why.
        cause: Cause,
        /// Live nodes that had not said so when the time was over.
        late: Vec<String>,
    },
}

impl Stage {
    /// Whether nothing comes after it.
    pub const fn is_over(&self) -> bool {
        match self {
            Self::Done { .. } | Self::Vetoed { .. } | Self::RolledBack { .. } => true,
            Self::Validating
            | Self::Canary { .. }
            | Self::Baking { .. }
            | Self::Spreading { .. }
            | Self::RollingBack { .. } => false,
        }
    }

    /// Its name in everything that a user sees.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Validating => "validating",
            Self::Canary { .. } => "canary",
            Self::Baking { .. } => "baking",
            Self::Spreading { .. } => "spreading",
            Self::RollingBack { .. } => "rolling-back",
            Self::Done { .. } => "done",
            Self::Vetoed { .. } => "vetoed",
            Self::RolledBack { cause: Cause::Aborted, .. } => "aborted",
            Self::RolledBack { .. } => "rolled-back",
        }
    }
}

/// What one node has against a version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Veto {
    /// The node.
    pub node: String,
    /// Its reasons.
    pub reasons: Vec<String>,
}

/// Why a release does not go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "why", rename_all = "kebab-case")]
pub enum Cause {
    /// A node could not serve what it had accepted.
    Failed {
        /// Which.
        node: String,
        /// What it said.
        reason: String,
    },
    /// Nodes did not serve it in time.
    Late {
        /// Which.
        nodes: Vec<String>,
    },
    /// The canary is gone.
    Lost {
        /// Which node it was.
        node: String,
    },
    /// Clients of the canary fare worse.
    Worse {
        /// How.
        worse: Worse,
    },
    /// There was too little traffic to judge by, and the terms ask for proof.
    Unproven,
    /// Planning has changed hands too often.
    TakenOver,
    /// An operator wants it so.
    Aborted,
}

/// The stage that follows now, if one does.
pub(super) fn next(policy: &Policy, seen: &Observation<'_>, previous: &Previous) -> Option<Stage> {
    let Previous { release, since } = previous;
    let waited = seen.now.since(*since);
    let weary = release.takeovers > policy.takeovers_max;
    match &release.stage {
        Stage::Done { .. } | Stage::Vetoed { .. } | Stage::RolledBack { .. } => None,
        Stage::RollingBack { cause } => {
            let late = not_serving(seen.nodes, release.from);
            let is_over = late.is_empty() || weary || waited >= policy.apply_within;
            is_over.then(|| Stage::RolledBack { cause: cause.clone(), late })
        }
        _forward if seen.abort => Some(Stage::RollingBack { cause: Cause::Aborted }),
        _forward if weary => Some(Stage::RollingBack { cause: Cause::TakenOver }),
        Stage::Validating => after_voting(policy, seen, release, waited),
        Stage::Canary { node } => after_canary(policy, seen, release, node, waited),
        Stage::Baking { node } => after_baking(policy, seen, release, node, waited),
        Stage::Spreading { unproven } => {
            if let Some(cause) = failed(seen.nodes) {
                return Some(Stage::RollingBack { cause });
            }
            let late = not_serving(seen.nodes, release.version);
            if late.is_empty() && !seen.nodes.is_empty() {
                return Some(Stage::Done { unproven: *unproven });
            }
            (waited >= policy.apply_within).then_some(Stage::RollingBack { cause: Cause::Late { nodes: late } })
        }
    }
}

/// When to plan again though nothing happens.
pub(super) fn deadline(policy: &Policy, release: &Release, since: Moment, now: Moment) -> Option<Moment> {
    let bake = release.terms.bake.unwrap_or_default();
    match &release.stage {
        Stage::Done { .. } | Stage::Vetoed { .. } | Stage::RolledBack { .. } => None,
        Stage::Validating => Some(since.after(policy.vote_within)),
        Stage::Canary { .. } | Stage::Spreading { .. } | Stage::RollingBack { .. } => {
            Some(since.after(policy.apply_within))
        }
        Stage::Baking { .. } => {
            // The verdict may change at the half, at the end, and at the end of all patience.
            let marks = [bake / 2, bake, longest_bake(policy, bake)].map(|mark| since.after(mark));
            Some(marks.into_iter().find(|mark| *mark > now).unwrap_or(marks[2]))
        }
    }
}

fn longest_bake(policy: &Policy, bake: Duration) -> Duration {
    bake.saturating_mul(policy.patience.max(1))
}

fn after_voting(policy: &Policy, seen: &Observation<'_>, release: &Release, waited: Duration) -> Option<Stage> {
    let veto = |node: &Node| match &node.vote {
        Some(Vote::Veto(reasons)) => Some(Veto { node: node.name.clone(), reasons: reasons.clone() }),
        Some(Vote::Accept) | None => None,
    };
    let vetoes: Vec<Veto> = seen.nodes.iter().filter_map(veto).collect();
    let silent: Vec<&Node> = seen.nodes.iter().filter(|node| node.vote.is_none()).collect();
    let is_late = waited >= policy.vote_within;
    // One veto decides, but the reasons of all nodes are worth a moment: they are told together.
    if !vetoes.is_empty() && (silent.is_empty() || is_late) {
        return Some(Stage::Vetoed { vetoes });
    }
    if silent.is_empty() && !seen.nodes.is_empty() {
        return Some(first_step(policy, seen, release));
    }
    if !is_late {
        return None;
    }
    let reason = format!("it has not answered within {} s", policy.vote_within.as_secs_f64());
    let of = |node: &&Node| Veto { node: node.name.clone(), reasons: vec![reason.clone()] };
    Some(Stage::Vetoed { vetoes: silent.iter().map(of).collect() })
}

/// The canary, or all nodes at once. Alone, a node can be its own canary: what it serves is still compared with before.
fn first_step(policy: &Policy, seen: &Observation<'_>, release: &Release) -> Stage {
    let Some(bake) = release.terms.bake else { return Stage::Spreading { unproven: true } };
    let wanted = release.terms.canary.clone().filter(|name| seen.nodes.iter().any(|node| node.name == *name));
    match wanted.or_else(|| choose_canary(policy, seen.nodes, bake)) {
        Some(node) => Stage::Canary { node },
        None => Stage::Spreading { unproven: true },
    }
}

fn after_canary(
    policy: &Policy,
    seen: &Observation<'_>,
    release: &Release,
    name: &str,
    waited: Duration,
) -> Option<Stage> {
    let back = |cause| Some(Stage::RollingBack { cause });
    let Some(node) = seen.nodes.iter().find(|node| node.name == name) else {
        return back(Cause::Lost { node: name.to_owned() });
    };
    if let Some(cause) = failed(std::slice::from_ref(node)) {
        return back(cause);
    }
    if node.serves == Some(release.version) {
        return Some(Stage::Baking { node: name.to_owned() });
    }
    if waited >= policy.apply_within { back(Cause::Late { nodes: vec![name.to_owned()] }) } else { None }
}

fn after_baking(
    policy: &Policy,
    seen: &Observation<'_>,
    release: &Release,
    name: &str,
    waited: Duration,
) -> Option<Stage> {
    let back = |cause| Some(Stage::RollingBack { cause });
    let bake = release.terms.bake.unwrap_or_default();
    let Some(node) = seen.nodes.iter().find(|node| node.name == name) else {
        return back(Cause::Lost { node: name.to_owned() });
    };
    if let Some(cause) = failed(std::slice::from_ref(node)) {
        return back(cause);
    }
    let fresh = |node: &'_ &Node| -> Option<Traffic> {
        node.traffic.clone().filter(|traffic| seen.now.since(traffic.received) <= policy.stale_after)
    };
    let canary = fresh(&node);
    let others: Vec<Traffic> =
        seen.nodes.iter().filter(|node| node.name != name).filter_map(|node| fresh(&node)).collect();
    // Connections and caches are cold right after a change: durations count from the second half on.
    let verdict = match &canary {
        Some(canary) => judge::judge(&policy.judge, canary, &others, waited >= bake / 2),
        None => Verdict::TooLittle,
    };
    match verdict {
        Verdict::Worse(worse) => back(Cause::Worse { worse }),
        Verdict::Well if waited >= bake => Some(Stage::Spreading { unproven: false }),
        Verdict::TooLittle if waited >= longest_bake(policy, bake) => match release.terms.quiet {
            Quiet::Proceed => Some(Stage::Spreading { unproven: true }),
            Quiet::RollBack => back(Cause::Unproven),
        },
        Verdict::Well | Verdict::TooLittle => None,
    }
}

fn failed(nodes: &[Node]) -> Option<Cause> {
    nodes.iter().find_map(|node| {
        let reason = node.failure.clone()?;
        Some(Cause::Failed { node: node.name.clone(), reason })
    })
}

fn not_serving(nodes: &[Node], version: super::Version) -> Vec<String> {
    nodes.iter().filter(|node| node.serves != Some(version)).map(|node| node.name.clone()).collect()
}

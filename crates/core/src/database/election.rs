//! Who becomes primary after one that is gone.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::{Durability, Lsn, Observation, Plan, Policy, Regime, Report, Risk, Server};

/// What an election is about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ballot<'a> {
    pub(super) policy: &'a Policy,
    pub(super) observation: &'a Observation,
    pub(super) plan: &'a Plan,
    /// The old primary.
    pub(super) from: &'a str,
    pub(super) forced: Option<&'a str>,
}

/// Why nobody is promoted yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// The old primary may still act: its lease has not ended, and it has not said that it stopped.
    NotFenced {
        /// The old primary.
        from: String,
    },
    /// Too few members that may have acknowledged writes have detached themselves and said what they have.
    Unheard {
        /// Of these,
        names: BTreeSet<String>,
        /// so many more are needed, or the old primary itself.
        missing: usize,
    },
    /// More members may answer soon.
    Gathering,
    /// Nobody that may become primary has said what it has.
    NoCandidate,
    /// The best one is so many bytes behind what the old primary was seen at, which is more than the policy allows.
    Behind {
        /// The best one.
        best: String,
        /// Bytes.
        bytes: u64,
    },
    /// The regimes cannot be told apart: the primary has not confirmed the last changes.
    Unconfirmed,
}

/// Who was chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chosen {
    pub(super) node: String,
    /// Everybody who has as much.
    pub(super) equals: BTreeSet<String>,
    /// Everybody who was heard.
    pub(super) heard: BTreeSet<String>,
    pub(super) risk: Option<Risk>,
    /// What it has, as it says itself.
    pub(super) position: Lsn,
}

#[derive(Clone, Copy)]
struct Heard<'a> {
    node: &'a str,
    extent: (u32, Lsn),
}

impl<'a> Ballot<'a> {
    pub(super) fn elect(&self) -> Result<Chosen, Obstacle> {
        if !self.is_fenced() {
            return Err(Obstacle::NotFenced { from: self.from.to_owned() });
        }
        let heard: Vec<Heard<'a>> = self.heard().collect();
        if let Some(forced) = self.forced {
            let chosen = heard.iter().find(|heard| heard.node == forced).ok_or(Obstacle::NoCandidate)?;
            return Ok(self.chosen(chosen, &heard, Some(Risk::Forced)));
        }
        // What the old primary has is all there is, unless a crash has cost it something.
        let is_whole = self.policy.engine.outlives_crashes() && heard.iter().any(|heard| heard.node == self.from);
        if !is_whole && let Some(obstacle) = self.unheard(&heard) {
            return Err(obstacle);
        }
        if let Some(obstacle) = self.crashed_alone(&heard) {
            return Err(obstacle);
        }
        if self.may_come(&heard) && self.observation.phase_for < self.policy.gather {
            return Err(Obstacle::Gathering);
        }
        let most = heard.iter().map(|heard| heard.extent).max().ok_or(Obstacle::NoCandidate)?;
        let lossless = is_whole || self.plan.regimes.iter().all(|regime| regime.acks > 0);
        let best = self.best(&heard, |heard| !lossless || heard.extent == most).ok_or(Obstacle::NoCandidate)?;
        if lossless {
            return Ok(self.chosen(&best, &heard, None));
        }
        let end = self.observation.end.unwrap_or(0).max(most.1);
        let behind = end.saturating_sub(best.extent.1);
        if behind > self.policy.lag_max || best.extent.0 != most.0 {
            return Err(Obstacle::Behind { best: best.node.to_owned(), bytes: behind });
        }
        Ok(self.chosen(&best, &heard, Some(Risk::Behind(self.observation.end.map(|_end| behind)))))
    }

    /// The old primary cannot acknowledge anything any more.
    fn is_fenced(&self) -> bool {
        if self.observation.fenced.as_deref() == Some(self.from) {
            return true;
        }
        let gone_for = match self.observation.member(self.from) {
            Some(member) if member.alive => return self.has_conformed() || self.is_powerless(),
            Some(member) => member.gone_for,
            // A planner that has just begun has not seen it go, and counts from its own beginning.
            None => self.observation.phase_for,
        };
        // A paused one may run without a lease: only an operator knows then that it does not.
        let is_known = !self.plan.licence.is_loose() || self.forced.is_some();
        (is_known && gone_for >= self.policy.guard) || self.is_powerless()
    }

    /// The old primary has said that it does not lead any more.
    pub(super) fn has_conformed(&self) -> bool {
        self.observation.report(self.from).is_some_and(|report| report.term == self.plan.term)
    }

    /// It lives and cannot be stopped, for as long as that may take, or nobody knows whether it does; but it waits for replicas that
    /// have left it, so that it acknowledges nothing all the same.
    fn is_powerless(&self) -> bool {
        let waits = !self.plan.regimes.is_empty() && self.plan.regimes.iter().all(|regime| regime.acks > 0);
        let heard: Vec<Heard<'_>> = self.heard().collect();
        waits && self.observation.phase_for >= self.policy.yield_within && self.unheard(&heard).is_none()
    }

    /// Members that stream from nobody, have said so in this term, and have data of this database.
    fn heard(&self) -> impl Iterator<Item = Heard<'a>> {
        let ballot = *self;
        let members = self.observation.members.iter().filter(|member| member.alive);
        let reports = members.filter_map(|member| Some((member.node.as_str(), member.report.as_ref()?)));
        let is_detached = move |report: &Report| {
            report.term == ballot.plan.term && report.server == Server::Replica { upstream: None }
        };
        let detached = reports.filter(move |(node, report)| {
            is_detached(report) && (ballot.plan.licence.may_stand(node) || *node == ballot.from)
        });
        detached.filter_map(move |(node, report)| Some(Heard { node, extent: ballot.extent(node, report)? }))
    }

    /// How far its data goes; `None`: that of another database, or with a history of its own.
    fn extent(&self, node: &str, report: &Report) -> Option<(u32, Lsn)> {
        if self.policy.engine.renames() {
            return self.named_extent(node, report);
        }
        let is_of_it = self.plan.system.is_none() || report.system == self.plan.system;
        // The old primary was chosen for what it had, whether or not it came to be promoted.
        let is_same = report.led.is_none() || node == self.from;
        (is_of_it && is_same).then_some((report.timeline, report.position))
    }

    /// Where promotions rename the history: the later its name, the more it has; of an earlier one counts what is common.
    fn named_extent(&self, node: &str, report: &Report) -> Option<(u32, Lsn)> {
        let plan = self.plan;
        let Some(system) = report.system else {
            return (self.forced == Some(node)).then_some((0, report.position));
        };
        if plan.system.is_none_or(|now| now == system) {
            return Some((rank(0), report.position));
        }
        let earlier = self.known_extent(system, report.position).or_else(|| {
            // It was promoted, and nobody planned upon that before the next election: what it had until then is the group's.
            let before = report.before?;
            let at = report.position.min(before.at);
            let is_now = plan.system == Some(before.system);
            if is_now { Some((rank(0), at)) } else { self.known_extent(before.system, at) }
        });
        // The old primary was promoted, perhaps more than once, and that it takes writes was not planned upon yet.
        let unplanned = (node == self.from && report.led.is_some()).then_some((rank(0) + 1, report.position));
        // An operator may want one whose history nobody knows.
        earlier.or(unplanned).or_else(|| (self.forced == Some(node)).then_some((0, report.position)))
    }

    /// Of an earlier name.
    fn known_extent(&self, system: u64, position: Lsn) -> Option<(u32, Lsn)> {
        let age = self.plan.before.iter().position(|before| before.system == system)?;
        Some((rank(age + 1), position.min(self.plan.before.get(age)?.at)))
    }

    fn unheard(&self, heard: &[Heard<'_>]) -> Option<Obstacle> {
        if self.plan.regimes.is_empty() {
            return Some(Obstacle::Unconfirmed);
        }
        let missing = |regime: &Regime| {
            let heard = heard.iter().filter(|heard| regime.names.contains(heard.node)).count();
            regime.needed().saturating_sub(heard)
        };
        let unmet = self.plan.regimes.iter().find(|regime| missing(regime) > 0)?;
        Some(Obstacle::Unheard { names: unmet.names.clone(), missing: missing(unmet) })
    }

    /// Whether nobody is heard but the old primary, which has less than it was seen at: what a crash has left of it, perhaps
    /// nothing, and the others would follow it there.
    fn crashed_alone(&self, heard: &[Heard<'_>]) -> Option<Obstacle> {
        let is_other = |node: &str| node != self.from;
        if self.policy.engine.outlives_crashes() || heard.iter().any(|heard| is_other(heard.node)) {
            return None;
        }
        let has_all = |heard: &Heard<'_>| self.observation.end.is_some_and(|end| heard.extent.1 >= end);
        let others = self.policy.members.iter().map(|member| member.node.clone());
        let names: BTreeSet<String> = others.filter(|node| is_other(node)).collect();
        let is_less = !names.is_empty() && !heard.iter().any(has_all);
        (is_less && !heard.is_empty()).then_some(Obstacle::Unheard { names, missing: 1 })
    }

    /// Whether somebody who is alive and has data has not been heard.
    fn may_come(&self, heard: &[Heard<'_>]) -> bool {
        let members = self.observation.members.iter().filter(|member| member.alive);
        let with_data =
            members.filter(|member| member.report.as_ref().is_none_or(|report| report.server != Server::Empty));
        with_data.into_iter().any(|member| heard.iter().all(|heard| heard.node != member.node))
    }

    /// Extent before priority, priority before place; the old primary only if there is no other.
    fn best(&self, heard: &[Heard<'a>], may: impl Fn(&Heard<'_>) -> bool) -> Option<Heard<'a>> {
        let zone = self.policy.member(self.from).and_then(|member| member.zone.as_ref());
        let rank = |heard: &Heard<'a>| {
            let member = self.policy.member(heard.node).filter(|member| member.priority > 0)?;
            let in_zone = zone.is_some() && member.zone.as_ref() == zone;
            Some((heard.extent, heard.node != self.from, member.priority, in_zone, Reverse(heard.node)))
        };
        let ranked = heard.iter().filter(|heard| may(heard)).filter_map(|heard| Some((rank(heard)?, *heard)));
        ranked.max_by_key(|(rank, _)| *rank).map(|(_, heard)| heard)
    }

    fn chosen(&self, chosen: &Heard<'_>, heard: &[Heard<'_>], risk: Option<Risk>) -> Chosen {
        let names = |may: &dyn Fn(&Heard<'_>) -> bool| {
            heard.iter().filter(|heard| may(heard)).map(|heard| heard.node.to_owned()).collect::<BTreeSet<_>>()
        };
        // The old primary's data counts as its own, since it may have more of it on its disk than it has said.
        let equals = names(&|other| other.extent == chosen.extent);
        let position = self.observation.report(chosen.node).map_or(0, |report| report.position);
        Chosen { node: chosen.node.to_owned(), equals, heard: names(&|_| true), risk, position }
    }
}

/// The later a history's name, the more it has.
fn rank(age: usize) -> u32 {
    u32::try_from(super::HISTORIES_MAX + 1 - age.min(super::HISTORIES_MAX)).unwrap_or(0)
}

/// What a primary shall wait for. `able`: replicas that stream, or will.
pub(super) fn regime(policy: &Policy, primary: &str, able: &BTreeSet<String>, before: &Regime) -> Regime {
    let acks = policy.acks();
    let counts = |name: &String| policy.member(name).is_none_or(|member| !member.no_sync);
    let mut names: BTreeSet<String> = able.iter().filter(|name| *name != primary && counts(name)).cloned().collect();
    match policy.durability {
        Durability::Async => Regime::default(),
        Durability::SyncPreferred => {
            let acks = acks.min(names.len());
            Regime { names, acks }
        }
        Durability::SyncStrict => {
            let others = policy.members.iter().map(|member| &member.node);
            for name in before.names.iter().chain(others).filter(|name| *name != primary && counts(name)) {
                if names.len() >= acks {
                    break;
                }
                names.insert(name.clone());
            }
            Regime { names, acks }
        }
    }
}

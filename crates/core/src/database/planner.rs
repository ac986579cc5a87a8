//! What the group is to be next.

mod replacement;

use std::collections::BTreeSet;

use super::election::{Ballot, Chosen, regime};
use super::{
    Before, HISTORIES_MAX, Licence, Lsn, Observation, Obstacle, Pause, Phase, Plan, Policy, REGIMES_MAX, Regime,
    Report, Request, Risk, Server,
};

/// Plans. The answer is the previous plan itself if nothing changes.
pub fn plan(policy: &Policy, observation: &Observation, previous: &Plan) -> Plan {
    let round = Round { policy, observation };
    let mut next = previous.clone();
    match &previous.phase {
        Phase::Founding { by } => round.found(&mut next, by.as_deref()),
        Phase::Serving { primary } => round.serve(&mut next, primary),
        Phase::Promoting { primary } => round.follow_promotion(&mut next, primary),
        Phase::Yielding { from, to, .. } => round.yielded(&mut next, from, to),
        Phase::Electing { .. } => round.elect(&mut next),
    }
    if next != *previous {
        next.number = previous.number + 1;
        if next.sync != previous.sync || next.term != previous.term {
            next.sync_since = next.number;
        }
        if next.licence != previous.licence {
            next.licence.since = next.number;
        }
    }
    next
}

/// Why nobody is promoted, while an election lasts.
pub fn obstacle(policy: &Policy, observation: &Observation, plan: &Plan) -> Option<Obstacle> {
    ballot(policy, observation, plan)?.elect().err()
}

/// Why what an operator asks for cannot be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is no primary at the moment, and a change is under way.
    Busy,
    /// That is not a member, or it is the primary already.
    NotAReplica,
    /// Its priority is 0.
    NeverPrimary,
    /// It does not stream from the primary now.
    NotStreaming,
    /// It is further behind than the policy allows.
    Behind,
    /// No replica can take over.
    Nobody,
}

/// Which request would be carried out, with the name of who takes over in a switchover.
///
/// # Errors
/// Why it would not.
pub fn admit(
    policy: &Policy,
    observation: &Observation,
    plan: &Plan,
    request: &Request,
) -> Result<Option<String>, Refusal> {
    let round = Round { policy, observation };
    let serving = match &plan.phase {
        Phase::Serving { primary } => Some(primary.as_str()),
        Phase::Founding { .. } | Phase::Yielding { .. } | Phase::Electing { .. } | Phase::Promoting { .. } => None,
    };
    match request {
        Request::Switchover { to } => {
            let primary = serving.ok_or(Refusal::Busy)?;
            round.successor(primary, to.as_deref()).map(|node| Some(node.to_owned()))
        }
        Request::Failover { to: Some(to) } => {
            let from = plan.leader().or(match &plan.phase {
                Phase::Electing { from, .. } | Phase::Yielding { from, .. } => Some(from.as_str()),
                Phase::Founding { .. } | Phase::Serving { .. } | Phase::Promoting { .. } => None,
            });
            let is_known = policy.member(to).is_some() && from.is_some_and(|from| from != to);
            if is_known { Ok(Some(to.clone())) } else { Err(Refusal::NotAReplica) }
        }
        Request::Failover { to: None } => serving.map(|_primary| None).ok_or(Refusal::Busy),
    }
}

fn ballot<'a>(policy: &'a Policy, observation: &'a Observation, plan: &'a Plan) -> Option<Ballot<'a>> {
    match &plan.phase {
        Phase::Electing { from, forced } => Some(Ballot { policy, observation, plan, from, forced: forced.as_deref() }),
        Phase::Founding { .. } | Phase::Serving { .. } | Phase::Yielding { .. } | Phase::Promoting { .. } => None,
    }
}

struct Round<'a> {
    policy: &'a Policy,
    observation: &'a Observation,
}

impl Round<'_> {
    fn is_alive(&self, node: &str) -> bool {
        self.observation.member(node).is_some_and(|member| member.alive)
    }

    /// The first primary: whoever runs as one already, or has data; else the first member makes some. Until then all members
    /// have to be heard, since one that is not may be the one that has data.
    fn found(&self, next: &mut Plan, by: Option<&str>) {
        if let Some(by) = by {
            let report = self.observation.report(by);
            if let Some(report) =
                report.filter(|report| report.server == Server::Primary && report.led == Some(next.term))
            {
                next.system = report.system;
                next.phase = Phase::Serving { primary: by.to_owned() };
                return;
            }
            if !self.has_died_before_founding(next, by) {
                return;
            }
        }
        let is_lost = |node: &str| by == Some(node);
        let reports: Option<Vec<(&str, &Report)>> = self
            .policy
            .members
            .iter()
            .filter(|member| !is_lost(&member.node))
            .map(|member| Some((member.node.as_str(), self.observation.report(&member.node)?)))
            .collect();
        let Some(reports) = reports else { return };
        let systems: BTreeSet<Option<u64>> = reports
            .iter()
            .filter(|(_, report)| report.server != Server::Empty)
            .map(|(_, report)| report.system)
            .collect();
        // Two databases are never made one: an operator has to say which of them it is, by emptying the other.
        if systems.len() > 1 || reports.iter().any(|(_, report)| report.server == Server::Starting) {
            return;
        }
        let primaries = reports.iter().filter(|(_, report)| report.server == Server::Primary).count();
        if primaries > 1 {
            return;
        }
        let priority = |node: &str| self.policy.member(node).map_or(0, |member| member.priority);
        let first = reports.iter().max_by_key(|(node, report)| {
            let extent = (report.server != Server::Empty).then_some((report.timeline, report.position));
            (report.server == Server::Primary, extent, priority(node), std::cmp::Reverse(*node))
        });
        if let Some((node, _)) = first {
            next.term += 1;
            next.phase = Phase::Founding { by: Some((*node).to_owned()) };
            next.system = systems.first().copied().flatten();
            // Of what was written before, nobody knows where it is.
            next.regimes = systems.iter().take(1).map(|_system| Regime::default()).collect();
            self.begin(next, node, &BTreeSet::new());
        }
    }

    /// What a new primary begins with.
    fn begin(&self, next: &mut Plan, primary: &str, able: &BTreeSet<String>) {
        next.sync = regime(self.policy, primary, able, &next.sync);
        next.regimes.push(next.sync.clone());
    }

    fn serve(&self, next: &mut Plan, primary: &str) {
        if let Some(request) = &self.observation.request
            && let Ok(to) = admit(self.policy, self.observation, next, request)
        {
            match (request, to) {
                (Request::Switchover { .. }, Some(to)) => {
                    let led = next.term;
                    next.phase = Phase::Yielding { from: primary.to_owned(), led, to };
                    next.term += 1;
                }
                (Request::Switchover { .. }, None) => {}
                (Request::Failover { .. }, forced) => next_election(next, primary, forced),
            }
            return;
        }
        self.license(next, primary);
        if !next.licence.is_held() && self.is_to_be_replaced(next, primary) {
            next_election(next, primary, None);
            return;
        }
        self.rename(next, primary);
        self.adjust(next, primary);
    }

    /// The primary's history goes by another name, where promotions change it.
    fn rename(&self, next: &mut Plan, primary: &str) {
        let Some(report) = self.observation.report(primary).filter(|report| report.server == Server::Primary) else {
            return;
        };
        if !self.policy.engine.renames() || report.led != Some(next.term) || report.system.is_none() {
            return;
        }
        if let Some(old) = next.system.filter(|old| Some(*old) != report.system) {
            // A name that it has forgotten is one that nobody else can have more of than it had then.
            let known = report.before.filter(|before| before.system == old);
            next.before.insert(0, known.unwrap_or(Before { system: old, at: report.position }));
            next.before.truncate(HISTORIES_MAX);
        }
        next.system = report.system;
    }

    /// Who has to acknowledge, by who streams.
    fn adjust(&self, next: &mut Plan, primary: &str) {
        let Some(report) = self.observation.report(primary) else { return };
        if report.server != Server::Primary || report.term != next.term {
            return;
        }
        if report.sync == Some(next.sync_since) {
            next.regimes = vec![next.sync.clone()];
        }
        let streams = |report: &Report| {
            report.term == next.term
                && !report.stalled
                && matches!(&report.server, Server::Replica { upstream: Some(from) } if from == primary)
        };
        let able = self.observation.members.iter().filter(|member| member.alive && member.node != primary);
        let able = able.filter(|member| member.report.as_ref().is_some_and(streams)).map(|member| member.node.clone());
        let wanted = regime(self.policy, primary, &able.collect(), &next.sync);
        if wanted != next.sync && next.regimes.len() < REGIMES_MAX {
            if !next.regimes.contains(&wanted) {
                next.regimes.push(wanted.clone());
            }
            next.sync = wanted;
        }
    }

    fn follow_promotion(&self, next: &mut Plan, primary: &str) {
        if !self.is_alive(primary) {
            return next_election(next, primary, None);
        }
        let report = self.observation.report(primary);
        if report.is_some_and(|report| {
            report.server == Server::Primary && report.term == next.term && report.led == Some(next.term)
        }) {
            next.phase = Phase::Serving { primary: primary.to_owned() };
            next.system = next.system.or(report.and_then(|report| report.system));
            self.rename(next, primary);
            return;
        }
        // What it has received has to be replayed first, which no other member would be faster at.
        let patience = self.policy.restart_within.max(self.policy.yield_within);
        if self.has_lost(next, primary) || self.observation.unwell_for >= patience {
            next_election(next, primary, None);
        }
    }

    fn yielded(&self, next: &mut Plan, from: &str, to: &str) {
        let report = self.observation.report(from).filter(|report| report.term == next.term);
        let has = |node: &str, end| self.observation.report(node).is_some_and(|report| report.position >= end);
        if let Some(end) = report.and_then(|report| self.end(report)).filter(|end| has(to, *end)) {
            let others = self.observation.members.iter().map(|member| member.node.clone());
            let equals: BTreeSet<String> =
                others.filter(|node| node != from && (node == to || has(node, end))).collect();
            let chosen = Chosen { node: to.to_owned(), heard: equals.clone(), equals, risk: None, position: end };
            return self.promote(next, &chosen);
        }
        // One that has not stopped in order never says where its end is.
        let is_broken = |report: &Report| matches!(report.server, Server::Stopped { clean: None } | Server::Empty);
        let is_lost = !self.is_alive(from) || !self.is_alive(to) || report.is_some_and(is_broken);
        if is_lost || self.observation.phase_for >= self.policy.yield_within {
            next_election(next, from, None);
        }
    }

    /// What has to be reached to have everything, of one that has stopped taking writes in order.
    fn end(&self, report: &Report) -> Option<Lsn> {
        match report.server {
            Server::Stopped { clean: Some(last) } => Some(last.saturating_add(1)),
            Server::Replica { upstream: None } if self.policy.engine.steps_down() => Some(report.position),
            Server::Stopped { clean: None }
            | Server::Replica { .. }
            | Server::Empty
            | Server::Starting
            | Server::Unknown
            | Server::Primary => None,
        }
    }

    /// Whether the chosen one has crashed since it was chosen, and lost something by that.
    fn has_lost(&self, plan: &Plan, primary: &str) -> bool {
        let Some(report) = self.observation.report(primary).filter(|report| report.term == plan.term) else {
            return false;
        };
        let has_less = plan.chosen_at.is_some_and(|chosen_at| report.position < chosen_at);
        let has_crashed = match report.server {
            Server::Starting | Server::Unknown | Server::Primary => false,
            Server::Empty | Server::Stopped { .. } => true,
            Server::Replica { .. } => has_less || report.led == Some(plan.term),
        };
        !self.policy.engine.outlives_crashes() && has_crashed
    }

    /// Whether every member has been heard, and none has anything: then there is nothing to be elected for, and the group is
    /// founded anew.
    fn is_all_gone(&self, plan: &Plan) -> bool {
        let is_empty = |report: &Report| report.server == Server::Empty && report.term == plan.term;
        let mut members = self.policy.members.iter();
        let is_everybody = members.all(|member| self.observation.report(&member.node).is_some_and(is_empty));
        !self.policy.engine.outlives_crashes() && is_everybody && !self.policy.members.is_empty()
    }

    fn elect(&self, next: &mut Plan) {
        // The old primary has said that it does not lead any more: from now on the end of its lease says as much as ever.
        let from = ballot(self.policy, self.observation, next).is_some_and(|ballot| ballot.has_conformed());
        if from && next.licence.is_loose() {
            next.licence.pause = Pause::Off;
        }
        if self.is_all_gone(next) {
            next.phase = Phase::Founding { by: None };
            next.risk = Some(Risk::Behind(self.observation.end));
            (next.system, next.before, next.chosen_at) = (None, Vec::new(), None);
            return;
        }
        if let Some(Request::Failover { to: Some(to) }) = &self.observation.request
            && self.policy.member(to).is_some()
            && let Phase::Electing { forced, .. } = &mut next.phase
        {
            *forced = Some(to.clone());
            return;
        }
        let chosen = ballot(self.policy, self.observation, next).and_then(|ballot| ballot.elect().ok());
        if let Some(chosen) = chosen {
            self.promote(next, &chosen);
        }
    }

    /// Everything that was acknowledged is on each of the equals.
    fn promote(&self, next: &mut Plan, chosen: &Chosen) {
        next.regimes = vec![Regime { names: chosen.equals.clone(), acks: chosen.equals.len() }];
        next.phase = Phase::Promoting { primary: chosen.node.clone() };
        next.risk = chosen.risk;
        // Nobody has relied on anything that this one's plan has not said yet.
        next.licence = Licence::default();
        next.chosen_at = (!self.policy.engine.outlives_crashes()).then_some(chosen.position);
        let mut able = chosen.heard.clone();
        able.remove(&chosen.node);
        self.begin(next, &chosen.node, &able);
    }

    fn successor<'b>(&'b self, primary: &str, to: Option<&'b str>) -> Result<&'b str, Refusal> {
        match to {
            Some(to) => self.can_succeed(primary, to).map(|_extent| to),
            None => {
                let members = self.policy.members.iter().filter(|member| member.node != primary);
                let able = members.filter_map(|member| {
                    let extent = self.can_succeed(primary, &member.node).ok()?;
                    Some(((member.priority, extent, std::cmp::Reverse(&member.node)), member.node.as_str()))
                });
                able.max_by_key(|(rank, _)| *rank).map(|(_, node)| node).ok_or(Refusal::Nobody)
            }
        }
    }

    fn can_succeed(&self, primary: &str, to: &str) -> Result<u64, Refusal> {
        let member = self.policy.member(to).filter(|_member| to != primary).ok_or(Refusal::NotAReplica)?;
        if member.priority == 0 {
            return Err(Refusal::NeverPrimary);
        }
        let report = self.observation.report(to).ok_or(Refusal::NotStreaming)?;
        if report.stalled || !matches!(&report.server, Server::Replica { upstream: Some(from) } if from == primary) {
            return Err(Refusal::NotStreaming);
        }
        let end = self.observation.end.unwrap_or(0);
        if end.saturating_sub(report.position) > self.policy.lag_max {
            return Err(Refusal::Behind);
        }
        Ok(report.position)
    }
}

/// The replicas are to detach themselves from the old primary, which is to stop.
fn next_election(next: &mut Plan, from: &str, forced: Option<String>) {
    next.phase = Phase::Electing { from: from.to_owned(), forced };
    next.term += 1;
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::database::{Candidate, Durability, Engine, Member};

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_switchover_whose_primary_did_not_stop_in_order_is_an_election_at_once() {
        let names = ["a", "b"];
        let candidate = |node: &&str| Candidate { node: (*node).to_owned(), priority: 1, zone: None, no_sync: false };
        let policy = Policy {
            engine: Engine::Postgres,
            durability: Durability::Async,
            acks: 1,
            lag_max: 0,
            members: names.iter().map(candidate).collect(),
            restart_within: SECOND,
            gather: SECOND,
            guard: SECOND,
            cooldown: SECOND,
            yield_within: SECOND,
            failsafe: false,
        };
        let phase = Phase::Yielding { from: "a".to_owned(), led: 1, to: "b".to_owned() };
        let yielding = Plan { number: 5, term: 2, phase, ..Plan::default() };
        let next = |server: Server| {
            let report = |server, position| Report { term: 2, position, ..Report::new(server) };
            let member = |node: &str, report| Member {
                node: node.to_owned(),
                alive: true,
                gone_for: Duration::ZERO,
                report: Some(report),
            };
            let follows = Server::Replica { upstream: Some("a".to_owned()) };
            let members = vec![member("a", report(server, 90)), member("b", report(follows, 101))];
            plan(&policy, &Observation { members, ..Observation::default() }, &yielding).phase
        };
        assert_eq!(next(Server::Unknown), yielding.phase, "it is stopping");
        assert_eq!(next(Server::Stopped { clean: Some(100) }), Phase::Promoting { primary: "b".to_owned() });
        assert_eq!(next(Server::Stopped { clean: Some(101) }), yielding.phase, "the last record is on its way");
        let electing = Phase::Electing { from: "a".to_owned(), forced: None };
        assert_eq!(next(Server::Stopped { clean: None }), electing);
    }
}

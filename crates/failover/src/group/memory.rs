//! What was seen when: the planner's arguments that do not stand in the store. A memory that has just begun counts from its own
//! beginning, which makes nobody act too early.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mainstay_core::database::{Lsn, Member, Observation, Phase, Plan, Policy, Request, Risk, Server};
use mainstay_core::time::Moment;

use super::board::Failover;
use super::signs::Signs;
use super::stored::Stored;
use super::words::{describe_request, describe_server};

/// What was seen of one group.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Members that are not there, and since when that is known.
    gone_since: BTreeMap<String, Moment>,
    /// Members that were there at some time.
    met: BTreeSet<String>,
    /// The plan that was seen last, and since when its phase is known.
    seen: Option<(Plan, Moment)>,
    /// Since when the primary, whose agent lives, is not one.
    unwell_since: Option<Moment>,
    /// When the primary was seen well last.
    well_at: Option<Moment>,
    /// When the last failover ended that nobody asked for.
    failed_over_at: Option<Moment>,
    /// Failovers that nobody asked for, each soon after the one before.
    in_a_row: u32,
    /// The greatest position that this primary was seen at in this term. Positions of different terms need not compare.
    end: Option<(String, u64, Lsn)>,
    signs: Signs,
    change: Option<Change>,
}

/// A change of primary that is under way.
#[derive(Debug)]
struct Change {
    from: String,
    planned: bool,
    cause: String,
    well_at: Option<Moment>,
    /// When its lease was seen to have ended, and when something new was last heard of it before.
    gone: Option<(Moment, Option<Moment>)>,
    begun_at: Moment,
    fenced_at: Option<Moment>,
    chosen_at: Option<Moment>,
    /// What the old primary can have written unheard before it was fenced.
    unheard: Option<u64>,
}

impl Memory {
    /// Something may have happened that was not told of: who is gone has been gone since now.
    pub(super) fn forget(&mut self) {
        self.gone_since.clear();
    }

    /// Takes note of what there is. To be called after each change, so that a member that went and came back was there again.
    pub(super) fn note(&mut self, policy: &Policy, stored: &Stored, now: Moment) {
        let is_there = |name: &String| stored.reports.contains_key(name);
        self.gone_since.retain(|name, _| !is_there(name));
        let known = policy.members.iter().map(|member| &member.node);
        self.met.extend(known.filter(|name| is_there(name)).cloned());
        for member in policy.members.iter().filter(|member| !is_there(&member.node)) {
            self.gone_since.entry(member.node.clone()).or_insert(now);
        }
        let Some(plan) = &stored.plan else { return };
        self.note_phase(policy, plan, stored, now);
        let Some(leader) = plan.leader().or_else(|| plan.source()) else { return };
        let report = stored.report(leader);
        let is_well = report.is_some_and(|report| report.server == Server::Primary && report.led == Some(plan.term));
        // What a pause was for counts from its end.
        if is_well || !is_there(&leader.to_owned()) || plan.licence.is_held() {
            self.unwell_since = None;
        } else {
            self.unwell_since.get_or_insert(now);
        }
        self.well_at = if is_well { Some(now) } else { self.well_at };
        if let Some(report) = report {
            self.signs.note(leader, report, now);
        }
        if let Some(report) = report.filter(|report| report.server == Server::Primary) {
            let led = report.led.unwrap_or(0);
            let is_same = |(name, term, _): &(String, u64, Lsn)| name == leader && *term == led;
            let before = self.end.take().filter(is_same).map_or(0, |(_, _, end)| end);
            self.end = Some((leader.to_owned(), led, before.max(report.position)));
        }
    }

    fn note_phase(&mut self, policy: &Policy, plan: &Plan, stored: &Stored, now: Moment) {
        let before = self.seen.take();
        let is_same = before.as_ref().is_some_and(|(before, _)| {
            before.term == plan.term && std::mem::discriminant(&before.phase) == std::mem::discriminant(&plan.phase)
        });
        let since = before.as_ref().filter(|_| is_same).map_or(now, |(_, since)| *since);
        if !is_same {
            self.unwell_since = None;
            let was = before.as_ref().map(|(before, _)| &before.phase);
            if matches!((was, &plan.phase), (Some(Phase::Promoting { .. }), Phase::Serving { .. })) {
                self.note_failover(policy.cooldown, now);
            }
            let was = before.as_ref().map(|(before, _)| &before.phase);
            self.note_change(was, plan, stored, now);
        }
        self.seen = Some((plan.clone(), since));
    }

    /// Another one serves. What an operator asked for counts for nothing, and renews no cooldown.
    fn note_failover(&mut self, cooldown: Duration, now: Moment) {
        if self.change.as_ref().is_some_and(|change| change.planned) {
            return;
        }
        let is_soon = self.failed_over_at.is_some_and(|at| now.since(at) < cooldown);
        self.in_a_row = if is_soon { self.in_a_row.saturating_add(1) } else { 1 };
        self.failed_over_at = Some(now);
    }

    fn note_change(&mut self, before: Option<&Phase>, plan: &Plan, stored: &Stored, now: Moment) {
        let primary = match before {
            Some(Phase::Serving { primary }) => Some(primary.clone()),
            Some(
                Phase::Founding { .. } | Phase::Yielding { .. } | Phase::Electing { .. } | Phase::Promoting { .. },
            )
            | None => None,
        };
        match &plan.phase {
            Phase::Electing { from, .. } | Phase::Yielding { from, .. } => {
                let request = stored.request.as_ref().and_then(|(_, request)| request.as_ref());
                let change = Change {
                    from: from.clone(),
                    planned: request.is_some() || matches!(plan.phase, Phase::Yielding { .. }),
                    cause: self.why(from, stored, request, now),
                    well_at: primary.and(self.well_at),
                    gone: self.gone_since.get(from).map(|gone| (*gone, self.signs.heard_at(from))),
                    begun_at: now,
                    fenced_at: None,
                    chosen_at: None,
                    unheard: None,
                };
                // An election after a switchover, or after a promotion that failed, belongs to the same change.
                self.change.get_or_insert(change);
            }
            Phase::Promoting { .. } => {
                if let Some(change) = &mut self.change {
                    change.chosen_at = Some(now);
                }
            }
            Phase::Serving { .. } | Phase::Founding { .. } => self.change = None,
        }
    }

    /// The old primary cannot acknowledge anything any more.
    pub(super) fn note_fenced(&mut self, now: Moment) {
        if let Some(change) = &mut self.change
            && change.fenced_at.is_none()
        {
            change.fenced_at = Some(now);
            change.unheard = self.signs.unheard(&change.from, now);
        }
    }

    /// Why a primary would be replaced now, for people.
    pub(super) fn why(&self, from: &str, stored: &Stored, request: Option<&Request>, now: Moment) -> String {
        cause(from, stored, request, self.unwell_since.map(|since| now.since(since)))
    }

    /// Whether it was there at some time since this began.
    pub(super) fn has_met(&self, member: &str) -> bool {
        self.met.contains(member)
    }

    /// What is known now, for the planner.
    pub(super) fn observe(
        &self,
        policy: &Policy,
        stored: &Stored,
        request: Option<Request>,
        now: Moment,
    ) -> Observation {
        let member = |name: &String| Member {
            node: name.clone(),
            alive: stored.reports.contains_key(name),
            gone_for: self.gone_since.get(name).map(|since| now.since(*since)).unwrap_or_default(),
            report: stored.report(name).cloned(),
        };
        let passed = |since: Option<Moment>| since.map(|since| now.since(since));
        let primary = self.seen.as_ref().and_then(|(plan, _)| match &plan.phase {
            Phase::Serving { primary } => Some(primary),
            Phase::Yielding { from, .. } | Phase::Electing { from, .. } => Some(from),
            Phase::Founding { .. } | Phase::Promoting { .. } => None,
        });
        let end = self.end.as_ref().filter(|(name, _, _)| Some(name) == primary).map(|(_, _, end)| *end);
        Observation {
            members: policy.members.iter().map(|candidate| member(&candidate.node)).collect(),
            phase_for: passed(self.seen.as_ref().map(|(_, since)| *since)).unwrap_or_default(),
            unwell_for: passed(self.unwell_since).unwrap_or_default(),
            since_failover: passed(self.failed_over_at),
            failovers_in_a_row: self.in_a_row,
            end,
            fenced: None,
            paused: stored.paused,
            request,
        }
    }

    /// The change of primary that ends with this plan. `ttl` is how long a lease lasts that is not renewed: whoever had one
    /// was heard of when it was renewed last.
    pub(super) fn failover(&self, plan: &Plan, ttl: Duration, now: Moment, at_unix_ms: u64) -> Option<Failover> {
        let to = plan.serving()?;
        let (change, (before, _)) = (self.change.as_ref()?, self.seen.as_ref()?);
        if !matches!(before.phase, Phase::Promoting { .. }) {
            return None;
        }
        let between = |from: Option<Moment>, to: Option<Moment>| {
            Some(u64::try_from(to?.since(from?).as_millis()).unwrap_or(u64::MAX))
        };
        let seen_by = change.gone.map_or(change.well_at, |(gone, _)| Some(gone));
        let lease_ms = match change.gone {
            Some((gone, heard)) => {
                let renewed = Moment::ZERO.after(gone.since(Moment::ZERO.after(ttl)));
                between(Some(heard.map_or(renewed, |heard| heard.max(renewed))), Some(gone))
            }
            None => Some(0),
        };
        let at_most = match plan.risk {
            // What nobody has seen to be written is no bound of what was.
            Some(Risk::Behind(Some(bytes))) => change.unheard.map(|unheard| bytes + unheard).filter(|most| *most > 0),
            Some(Risk::Behind(None) | Risk::Forced) | None => None,
        };
        Some(Failover {
            from: change.from.clone(),
            to: to.to_owned(),
            term: plan.term,
            at_unix_ms,
            planned: change.planned,
            cause: change.cause.clone(),
            lease_ms,
            detect_ms: between(seen_by, Some(change.begun_at)),
            fence_ms: between(Some(change.begun_at), change.fenced_at),
            elect_ms: between(change.fenced_at, change.chosen_at),
            promote_ms: between(change.chosen_at, Some(now)),
            risk: plan.risk,
            at_most,
            routed: None,
            loss: None,
        })
    }
}

fn cause(from: &str, stored: &Stored, request: Option<&Request>, unwell_for: Option<Duration>) -> String {
    if let Some(request) = request {
        return describe_request(request);
    }
    match (stored.reports.get(from), unwell_for) {
        (None, _) => format!("the lease of {from} has ended"),
        (Some(None), _) => format!("{from} says something that this version cannot read"),
        (Some(Some(report)), Some(time)) => {
            format!("the server of {from} was {} for {:.1} s", describe_server(&report.server), time.as_secs_f32())
        }
        (Some(Some(report)), None) => format!("the server of {from} is {}", describe_server(&report.server)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COOLDOWN: Duration = Duration::from_secs(30);

    fn change(planned: bool) -> Change {
        let (from, cause, begun_at) = (String::from("a"), String::new(), Moment::ZERO);
        let (well_at, gone, fenced_at, chosen_at, unheard) = (None, None, None, None, None);
        Change { from, planned, cause, well_at, gone, begun_at, fenced_at, chosen_at, unheard }
    }

    #[test]
    fn failovers_in_a_row_are_those_that_nobody_asked_for() {
        let at = |seconds| Moment::ZERO.after(Duration::from_secs(seconds));
        let mut memory = Memory::default();
        let mut after = |seconds, planned| {
            memory.change = Some(change(planned));
            memory.note_failover(COOLDOWN, at(seconds));
            (memory.in_a_row, memory.failed_over_at)
        };
        assert_eq!(after(100, true), (0, None));
        assert_eq!(after(110, false), (1, Some(at(110))));
        assert_eq!(after(130, false), (2, Some(at(130))));
        assert_eq!(after(159, true), (2, Some(at(130))), "a switchover makes the cooldown no longer");
        assert_eq!(after(161, false), (1, Some(at(161))), "it is over");
    }
}

//! When a primary is to be replaced, and when it may act without a lease.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Round;
use crate::database::{FAILOVERS_IN_A_ROW, Member, Plan, Server};

impl Round<'_> {
    /// When it may act without a lease from now on.
    pub(super) fn license(&self, next: &mut Plan, primary: &str) {
        let report = self.observation.report(primary).filter(|report| report.term == next.term);
        let heeded = report.is_some_and(|report| report.licence == next.licence.since);
        let members = self.policy.members.iter().map(|member| member.node.clone());
        let confirmers: BTreeSet<String> = members.filter(|_| self.policy.failsafe).collect();
        next.licence = next.licence.next(self.observation.paused, confirmers, heeded);
    }

    pub(super) fn is_to_be_replaced(&self, plan: &Plan, primary: &str) -> bool {
        // A primary that is down is replaced at once, but not for ever: what fells one after the other is no failover's to mend.
        let calm = self.observation.since_failover.is_none_or(|since| since >= self.policy.cooldown);
        let cooled = calm || self.observation.failovers_in_a_row < FAILOVERS_IN_A_ROW;
        let is_unwell = cooled && self.observation.unwell_for >= self.policy.restart_within;
        !self.is_alive(primary) || is_unwell || self.has_fallen(plan, primary)
    }

    /// It has crashed, and what it lost by that its replicas may have: there is nothing to wait for.
    fn has_fallen(&self, plan: &Plan, primary: &str) -> bool {
        let is_down = |server: &Server| match server {
            Server::Empty | Server::Stopped { .. } | Server::Replica { .. } => true,
            Server::Starting | Server::Primary | Server::Unknown => false,
        };
        let report = self.observation.report(primary).filter(|report| report.term == plan.term);
        !self.policy.engine.outlives_crashes() && report.is_some_and(|report| is_down(&report.server))
    }

    /// Whether the one that was to make the first data is gone, and had none before: nobody has written anything then, and another
    /// member makes it. One that comes back with some follows, or is copied.
    pub(super) fn has_died_before_founding(&self, plan: &Plan, by: &str) -> bool {
        let gone_for = |member: &Member| if member.alive { Duration::ZERO } else { member.gone_for };
        let gone_for = self.observation.member(by).map_or(self.observation.phase_for, gone_for);
        plan.system.is_none() && gone_for >= self.policy.guard.max(self.policy.yield_within)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::agent::{Action, Local, Stop, step};
    use crate::database::{
        Candidate, Durability, Engine, Licence, Observation, Pause, Phase, Policy, Regime, Report, plan,
    };
    use crate::time::Moment;

    fn policy(durability: Durability) -> Policy {
        let member = |node: &str| Candidate { node: node.to_owned(), priority: 1, zone: None, no_sync: node == "c" };
        Policy {
            engine: Engine::Postgres,
            durability,
            acks: 1,
            lag_max: 0,
            members: ["a", "b", "c"].map(member).to_vec(),
            restart_within: Duration::from_secs(3),
            gather: Duration::ZERO,
            guard: Duration::from_secs(1),
            cooldown: Duration::from_secs(60),
            yield_within: Duration::from_secs(10),
            failsafe: false,
        }
    }

    fn report(server: Server) -> Report {
        let led = (server == Server::Primary).then_some(1);
        let system = Some(7).filter(|_| server != Server::Empty);
        Report { term: 1, system, timeline: 1, position: 5, led, ..Report::new(server) }
    }

    fn replica(report: Report) -> Local {
        let (engine, leads, hung, upstream) = (Engine::Postgres, false, false, None);
        Local { engine, report, leads, hung, rewinds: 0, clones: 0, upstream, stuck_at: None }
    }

    fn member(node: &str, server: Option<Server>) -> Member {
        let gone_for = if server.is_none() { Duration::from_secs(30) } else { Duration::ZERO };
        Member { node: node.to_owned(), alive: server.is_some(), gone_for, report: server.map(report) }
    }

    fn serving(pause: Pause) -> Plan {
        let licence = Licence { pause, ..Licence::default() };
        Plan { number: 3, term: 1, phase: Phase::Serving { primary: "a".to_owned() }, licence, ..Plan::default() }
    }

    #[test]
    fn a_founder_that_died_before_it_made_data_is_replaced_and_one_that_had_some_is_not() {
        let founding =
            |system| Plan { term: 1, phase: Phase::Founding { by: Some("a".to_owned()) }, system, ..Plan::default() };
        let seen = |c: Option<Server>| Observation {
            members: vec![member("a", None), member("b", Some(Server::Empty)), member("c", c)],
            ..Observation::default()
        };
        let policy = policy(Durability::Async);
        let next = plan(&policy, &seen(Some(Server::Empty)), &founding(None));
        assert_eq!((next.term, next.phase), (2, Phase::Founding { by: Some("b".to_owned()) }));
        assert_eq!(plan(&policy, &seen(None), &founding(None)).term, 1, "one that is not heard may have data");
        assert_eq!(plan(&policy, &seen(Some(Server::Empty)), &founding(Some(7))).term, 1, "its data is the group's");
    }

    #[test]
    fn a_primary_that_is_down_is_replaced_at_once_until_failovers_follow_each_other() {
        let down = |in_a_row, since| Observation {
            members: vec![member("a", Some(Server::Stopped { clean: None }))],
            unwell_for: Duration::from_secs(5),
            since_failover: Some(Duration::from_secs(since)),
            failovers_in_a_row: in_a_row,
            ..Observation::default()
        };
        let is_replaced = |seen: &Observation| plan(&policy(Durability::Async), seen, &serving(Pause::Off)).term == 2;
        assert!(is_replaced(&down(FAILOVERS_IN_A_ROW - 1, 1)));
        assert!(!is_replaced(&down(FAILOVERS_IN_A_ROW, 1)));
        assert!(is_replaced(&down(FAILOVERS_IN_A_ROW, 60)));
    }

    #[test]
    fn nobody_takes_over_by_himself_in_a_pause() {
        let seen = |paused| Observation { members: vec![member("a", None)], paused, ..Observation::default() };
        let next = |paused, pause| plan(&policy(Durability::Async), &seen(paused), &serving(pause));
        assert_eq!((next(true, Pause::Off).term, next(true, Pause::Off).licence.pause), (1, Pause::Asked));
        assert_eq!(next(true, Pause::On), serving(Pause::On));
        assert_eq!((next(false, Pause::On).term, next(false, Pause::On).licence.pause), (2, Pause::Ending));
        assert_eq!(next(false, Pause::Off).term, 2);
    }

    #[test]
    fn no_commit_waits_for_a_member_that_has_no_sync() {
        let follows = || Some(Server::Replica { upstream: Some("a".to_owned()) });
        let members = vec![member("a", Some(Server::Primary)), member("b", follows()), member("c", follows())];
        let seen = Observation { members, ..Observation::default() };
        let next = plan(&policy(Durability::SyncPreferred), &seen, &serving(Pause::Off));
        assert_eq!(next.sync, Regime { names: ["b".to_owned()].into(), acks: 1 });
    }

    #[test]
    fn a_replica_that_can_get_nothing_more_is_stopped_and_copied() {
        let follows = report(Server::Replica { upstream: Some("a".to_owned()) });
        let upstream = Some("a".to_owned());
        let local = Local { upstream, stuck_at: Some(5), ..replica(follows) };
        let next = |local: &Local, kept_from| {
            let source = Report { kept_from, ..report(Server::Primary) };
            step("b", local, &serving(Pause::Off), Some(&source), None, Moment::ZERO)
        };
        assert_eq!(next(&local, Some(5)), Action::Wait, "the primary has what it lacks");
        assert_eq!(next(&local, None), Action::Wait);
        assert_eq!(next(&local, Some(6)), Action::Stop(Stop::Fast));
        let stopped = Local { report: report(Server::Stopped { clean: None }), ..local.clone() };
        assert_eq!(next(&stopped, Some(6)), Action::Clone { of: "a".to_owned() });
        assert_eq!(next(&Local { clones: 3, ..stopped }, Some(6)), Action::GiveUp);
        assert_eq!(
            next(&Local { stuck_at: None, ..local.clone() }, Some(6)),
            Action::Wait,
            "it may get it from an archive"
        );
        // Nor does one ever let anybody in that lacks something from before its data are consistent.
        let starting = Local { report: report(Server::Starting), ..local };
        assert_eq!(next(&starting, Some(5)), Action::Wait);
        assert_eq!(next(&starting, Some(6)), Action::Stop(Stop::Fast));
    }

    #[test]
    fn a_replica_that_starts_and_waits_for_somebody_elses_log_is_stopped_and_led_to_the_primary() {
        let local = |stalled, upstream: Option<&str>| Local {
            upstream: upstream.map(str::to_owned),
            ..replica(Report { stalled, ..report(Server::Starting) })
        };
        let next =
            |local: &Local| step("b", local, &serving(Pause::Off), Some(&report(Server::Primary)), None, Moment::ZERO);
        assert_eq!(next(&local(false, Some("c"))), Action::Wait, "it comes further");
        assert_eq!(next(&local(true, Some("a"))), Action::Wait);
        assert_eq!(next(&local(true, Some("c"))), Action::Stop(Stop::Fast));
        assert_eq!(next(&local(true, None)), Action::Stop(Stop::Fast));
        let stopped = Local { report: report(Server::Stopped { clean: None }), ..local(true, None) };
        assert_eq!(next(&stopped), Action::StartReplica { of: Some("a".to_owned()) });
    }
    #[test]
    fn a_replica_that_hangs_is_ended_unless_what_it_has_may_be_wanted_and_would_be_gone() {
        let hangs = Local { hung: true, ..replica(report(Server::Unknown)) };
        let electing = Phase::Electing { from: "a".to_owned(), forced: None };
        let electing = Plan { phase: electing, ..serving(Pause::Off) };
        let source = report(Server::Primary);
        let next =
            |local: &Local, plan: &Plan, source: Option<&Report>| step("b", local, plan, source, None, Moment::ZERO);
        let (ended, redis) = (Action::Stop(Stop::Immediate), Local { engine: Engine::Redis, ..hangs.clone() });
        for local in [&hangs, &redis] {
            assert_eq!(next(local, &serving(Pause::Off), Some(&source)), ended);
            assert_eq!(next(local, &serving(Pause::Off), None), Action::Wait, "nobody is known to have what it has");
            assert_eq!(next(local, &serving(Pause::On), Some(&source)), Action::Wait, "it is the operator's");
        }
        assert_eq!(next(&hangs, &electing, None), ended, "what it has is on its disk");
        assert_eq!(next(&redis, &electing, None), Action::Wait);
        let slow = Local { hung: false, ..hangs };
        assert_eq!(next(&slow, &serving(Pause::Off), Some(&source)), Action::Wait);
    }
}

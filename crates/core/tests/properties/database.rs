use std::collections::BTreeSet;
use std::time::Duration;

use mainstay_core::database::agent::{Action, Local, Stop, conforms, step};
use mainstay_core::database::lineage::{Lineage, compare};
use mainstay_core::database::{
    Before, Branch, Candidate, Durability, Engine, Licence, Member, Observation, Pause, Phase, Plan, Policy,
    REGIMES_MAX, Regime, Report, Request, Risk, Server, plan,
};
use mainstay_core::time::Moment;
use proptest::prelude::*;

const NODES: usize = 4;

fn name(node: usize) -> String {
    format!("db{node}")
}

fn names() -> impl Strategy<Value = String> {
    (0..NODES).prop_map(name)
}

fn engines() -> impl Strategy<Value = Engine> {
    prop_oneof![Just(Engine::Postgres), Just(Engine::Redis)]
}

fn policies() -> impl Strategy<Value = Policy> {
    let durability =
        prop_oneof![Just(Durability::Async), Just(Durability::SyncPreferred), Just(Durability::SyncStrict)];
    // Redis acknowledges what it alone has.
    let kinds = (engines(), durability).prop_map(|(engine, durability)| match engine {
        Engine::Postgres => (engine, durability),
        Engine::Redis => (engine, Durability::Async),
    });
    (kinds, 0usize..4, 0u64..8, prop::collection::vec(0u32..3, 1..NODES)).prop_map(
        |((engine, durability), acks, lag_max, priorities)| Policy {
            engine,
            durability,
            acks,
            lag_max,
            members: priorities
                .into_iter()
                .enumerate()
                .map(|(index, priority)| Candidate {
                    node: name(index),
                    priority,
                    zone: (index > 1).then(|| "far".to_owned()),
                    no_sync: false,
                })
                .collect(),
            restart_within: Duration::from_secs(3),
            gather: Duration::from_secs(1),
            guard: Duration::from_secs(1),
            cooldown: Duration::from_secs(60),
            yield_within: Duration::from_secs(20),
            failsafe: lag_max % 2 == 1,
        },
    )
}

fn servers() -> impl Strategy<Value = Server> {
    prop_oneof![
        Just(Server::Empty),
        prop::option::of(0u64..8).prop_map(|clean| Server::Stopped { clean }),
        Just(Server::Starting),
        prop::option::of(names()).prop_map(|upstream| Server::Replica { upstream }),
        Just(Server::Primary),
        Just(Server::Unknown),
    ]
}

fn befores() -> impl Strategy<Value = Before> {
    (0u64..2, 0u64..8).prop_map(|(system, at)| Before { system, at })
}

fn reports() -> impl Strategy<Value = Report> {
    let branches = prop::collection::vec((2u32..4, 0u64..8), 0..2);
    let history = (branches, prop::option::of(befores()));
    let known = (0u64..5, servers(), prop::option::weighted(0.9, 0u64..2), 1u32..4, 0u64..8);
    (known, prop::option::of(0u64..5), history, any::<bool>(), prop::option::of(0u64..6)).prop_map(
        |((term, server, system, timeline, position), led, (branches, before), checkpointed, sync)| Report {
            term,
            system,
            timeline,
            position,
            led,
            branches: branches.into_iter().map(|(timeline, at)| Branch { timeline, at }).collect(),
            before,
            checkpointed,
            sync,
            stalled: !checkpointed && sync.is_none(),
            ..Report::new(server)
        },
    )
}

fn phases() -> impl Strategy<Value = Phase> {
    prop_oneof![
        prop::option::of(names()).prop_map(|by| Phase::Founding { by }),
        names().prop_map(|primary| Phase::Serving { primary }),
        (names(), 0u64..4, names()).prop_map(|(from, led, to)| Phase::Yielding { from, led, to }),
        (names(), prop::option::of(names())).prop_map(|(from, forced)| Phase::Electing { from, forced }),
        names().prop_map(|primary| Phase::Promoting { primary }),
    ]
}

fn regimes() -> impl Strategy<Value = Regime> {
    (prop::collection::btree_set(names(), 0..3), 0usize..3).prop_map(|(names, acks)| {
        let acks = acks.min(names.len());
        Regime { names, acks }
    })
}

fn licences() -> impl Strategy<Value = Licence> {
    let pause = prop_oneof![Just(Pause::Off), Just(Pause::Asked), Just(Pause::On), Just(Pause::Ending)];
    let sets = prop::collection::vec(prop::collection::btree_set(names(), 0..NODES), 0..3);
    (pause, sets, 0u64..6).prop_map(|(pause, confirmers, since)| Licence { pause, confirmers, since })
}

fn plans() -> impl Strategy<Value = Plan> {
    let history = (prop::collection::vec(befores(), 0..3), prop::option::of(0u64..8), licences());
    (0u64..6, 0u64..5, phases(), regimes(), prop::collection::vec(regimes(), 0..=REGIMES_MAX), history).prop_map(
        |(number, term, phase, sync, regimes, (before, chosen_at, licence))| Plan {
            number,
            term,
            system: Some(1),
            before,
            phase,
            sync,
            sync_since: number,
            regimes,
            risk: None,
            chosen_at,
            licence,
        },
    )
}

fn seconds() -> impl Strategy<Value = Duration> {
    (0u64..30).prop_map(Duration::from_secs)
}

fn observations() -> impl Strategy<Value = Observation> {
    let member = (any::<bool>(), any::<bool>(), seconds(), prop::option::weighted(0.9, reports()));
    let request = prop_oneof![
        prop::option::of(names()).prop_map(|to| Request::Switchover { to }),
        prop::option::of(names()).prop_map(|to| Request::Failover { to }),
    ];
    let times = (seconds(), seconds(), prop::option::of(seconds()));
    let known = (prop::option::of(0u64..8), prop::option::weighted(0.1, names()), prop::option::weighted(0.3, request));
    (prop::collection::vec(member, NODES), times, known).prop_map(
        |(members, (phase_for, unwell_for, since_failover), (end, fenced, request))| Observation {
            members: members
                .into_iter()
                .enumerate()
                .filter(|(_, (known, ..))| *known)
                .map(|(index, (_, alive, gone_for, report))| Member { node: name(index), alive, gone_for, report })
                .collect(),
            phase_for,
            unwell_for,
            since_failover,
            failovers_in_a_row: 9,
            end,
            fenced,
            paused: false,
            request,
        },
    )
}

/// Whether every choice of so many names of the one has one in common with every choice of what the other needs.
fn is_found(regime: &Regime, heard: &BTreeSet<String>) -> bool {
    // The worst case: all acknowledgements came from names that were not heard.
    regime.acks == 0 || regime.names.difference(heard).count() < regime.acks
}

proptest! {
    #![proptest_config(crate::config())]

    #[test]
    fn plans_are_numbered_and_terms_tell_primaries_apart(
        policy in policies(), before in plans(), seen in prop::collection::vec(observations(), 1..6)
    ) {
        let mut before = before;
        for observation in seen {
            let next = plan(&policy, &observation, &before);
            prop_assert_eq!(next.number, before.number + u64::from(next != before));
            prop_assert!(next.term >= before.term && next.term <= before.term + 1);
            let leaders = (before.leader(), next.leader());
            let is_first = matches!(before.phase, Phase::Founding { .. });
            if let (Some(old), Some(new)) = leaders && !is_first {
                prop_assert_eq!(old, new, "a primary gives way by an election or a switchover");
            }
            if next.leader().is_some() && before.leader().is_some() && !is_first {
                prop_assert_eq!(next.term, before.term);
            }
            if !matches!(next.phase, Phase::Founding { .. }) && !before.regimes.is_empty() {
                prop_assert!(!next.regimes.is_empty());
            }
            prop_assert!(next.regimes.len() <= REGIMES_MAX.max(before.regimes.len()).max(2));
            before = next;
        }
    }

    #[test]
    fn nobody_is_promoted_before_the_old_primary_is_fenced_and_enough_are_heard(
        policy in policies(), before in plans(), seen in observations()
    ) {
        let (Phase::Electing { from, .. }, next) = (&before.phase, plan(&policy, &seen, &before)) else {
            return Ok(());
        };
        let Phase::Promoting { primary } = &next.phase else { return Ok(()) };
        let is_off = seen.fenced.as_ref() == Some(from);
        // It can acknowledge nothing without those that have left it.
        let left = |name: &String| seen.report(name).is_some_and(|report| {
            report.term == before.term && report.server == Server::Replica { upstream: None }
        });
        let is_powerless = !before.regimes.is_empty() && before.regimes.iter().all(|regime| {
            regime.acks > 0 && regime.names.iter().filter(|name| !left(name)).count() < regime.acks
        }) && seen.phase_for >= policy.yield_within;
        match seen.member(from) {
            Some(_) | None if is_off => {}
            Some(old) if old.alive => {
                let conforms = old.report.as_ref().is_some_and(|report| report.term == before.term);
                prop_assert!(conforms || is_powerless);
            }
            old => {
                // Or an operator knows that it does not run.
                let says = !before.licence.is_loose() || next.risk == Some(Risk::Forced);
                let gone_for = old.map_or(seen.phase_for, |old| old.gone_for);
                prop_assert!((says && gone_for >= policy.guard) || is_powerless);
            }
        }
        prop_assert!(before.licence.may_stand(primary) || primary == from, "it has not been asked to keep still");
        prop_assert_eq!(next.licence.pause, Pause::Off, "nobody has read this plan yet");
        let detached = |node: &String| seen.report(node).is_some_and(|report| {
            report.term == before.term && report.server == Server::Replica { upstream: None }
        });
        prop_assert!(detached(primary));
        let heard: BTreeSet<String> = (0..NODES).map(name).filter(detached).collect();
        if policy.engine == Engine::Redis && next.risk != Some(Risk::Forced) {
            let report = seen.report(primary).expect("it was heard");
            let is_known = |system| before.system == Some(system) || before.before.iter().any(|it| it.system == system);
            let continues = primary == from && report.led.is_some();
            // It was promoted before, and what it had until then is known.
            let did_continue = report.before.is_some_and(|it| is_known(it.system));
            prop_assert!(report.system.is_some_and(is_known) || continues || did_continue, "data that nobody knows replaces the group's");
            if primary == from && policy.members.len() > 1 && heard.len() == 1 {
                let has = seen.report(from).map_or(0, |report| report.position);
                prop_assert!(seen.end.is_some_and(|end| has >= end), "what a crash has left replaces what others may have");
            }
            prop_assert!(next.risk.is_some(), "what a crash costs is never said to be nothing");
        }
        if next.risk != Some(Risk::Forced) && !heard.contains(from) {
            prop_assert!(before.regimes.iter().all(|regime| is_found(regime, &heard)));
        }
        if policy.durability == Durability::SyncStrict && policy.members.len() > 1 {
            prop_assert!(next.sync.acks >= 1 && next.sync.names.len() >= next.sync.acks);
        }
    }

    #[test]
    fn an_agent_leads_only_within_its_session_and_stops_when_it_must_not(
        report in reports(), (leads, hung) in any::<(bool, bool)>(), before in plans(), source in prop::option::of(reports()),
        engine in engines(), (rewinds, clones, stuck_at, upstream) in (0u32..4, 0u32..5, prop::option::of(0u64..100), prop::option::of(names())), until in prop::option::of(0u64..10), me in names()
    ) {
        let now = Moment::from_millis(5);
        let local = Local { engine, report, leads, hung, rewinds, clones, upstream, stuck_at };
        let deadline = until.map(Moment::from_millis);
        let may_act = deadline.is_some_and(|deadline| now < deadline);
        let action = step(&me, &local, &before, source.as_ref(), deadline, now);
        if let Action::StartPrimary { term, .. } | Action::Promote { term, .. } | Action::Found { term, .. }
            | Action::Adopt { term } = &action
        {
            prop_assert!(*term == before.term);
            prop_assert!(before.leader() == Some(me.as_str()));
            prop_assert!(may_act || matches!(action, Action::Adopt { .. }), "{:?}", action);
        }
        if let Action::StartPrimary { .. } = &action {
            let is_promoting = matches!(before.phase, Phase::Promoting { .. });
            prop_assert!(!is_promoting, "it may have no timeline of its own yet");
        }
        let is_stopped = matches!(local.report.server, Server::Stopped { .. });
        if engine == Engine::Postgres && is_stopped && local.report.system.is_none() {
            let replaces = matches!(action, Action::Rewind { .. } | Action::Clone { .. });
            prop_assert!(!replaces, "nobody knows what it has");
        }
        let runs = !matches!(local.report.server, Server::Empty | Server::Stopped { .. });
        let is_mine = before.leader() == Some(me.as_str()) && local.report.led == Some(before.term) && may_act;
        let is_founding = matches!(before.phase, Phase::Founding { .. });
        if leads && runs && !is_mine && !is_founding {
            let is_yielding = matches!(&before.phase, Phase::Yielding { from, .. } if *from == me) && may_act;
            let may_step_down = engine == Engine::Redis && is_yielding && local.report.server == Server::Primary;
            let ends = matches!(action, Action::Stop(_)) || (may_step_down && action == Action::Demote);
            prop_assert!(ends, "{:?}", action);
        }
        if engine == Engine::Redis {
            prop_assert!(!matches!(action, Action::StartPrimary { .. } | Action::Rewind { .. }), "{:?}", action);
            if let Action::Promote { term, .. } = action && !is_founding {
                prop_assert!(local.report.led != Some(term), "it was promoted before, and has crashed");
                prop_assert!(before.chosen_at.is_none_or(|chosen_at| local.report.position >= chosen_at));
            }
        }
        if let Action::StartReplica { of: Some(of) } = &action {
            let is_led = |source: &Report| source.server == Server::Primary && *of != me
                && compare(&local.report, source) == Lineage::Beginning;
            prop_assert!(source.as_ref().is_some_and(is_led), "nothing is followed that its data is no beginning of");
        }
        if !leads && local.report.server == Server::Unknown && action != Action::Wait {
            prop_assert!(hung && !before.licence.is_held() && action == Action::Stop(Stop::Immediate), "{:?}", action);
            prop_assert!(engine == Engine::Postgres || before.serving().is_some_and(|primary| primary != me));
        }
        if action == Action::Resign {
            let is_certain = matches!(local.report.server, Server::Stopped { clean: Some(_) });
            prop_assert!(is_certain && local.report.led.is_some(), "it may have more than its successor");
        }
        if let Action::Rewind { of } | Action::Clone { of } = &action {
            prop_assert!(*of != me && before.serving() == Some(of.as_str()));
            let is_led = |source: &Report| source.server == Server::Primary && source.led == Some(before.term);
            prop_assert!(source.as_ref().is_some_and(is_led), "nothing is thrown away for one that does not lead");
        }
        prop_assert!(conforms(&me, &local, &before) <= before.term);
    }
}

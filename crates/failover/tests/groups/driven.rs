//! The drivers with everything that may happen to them: the same properties as of the model, in real time.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use mainstay_cluster::coordinator::Coordinator;
use mainstay_cluster::timings::Timings;
use mainstay_core::database::{Durability, Engine, Pause, Phase, Policy, Regime, Request};
use mainstay_failover::group::board::Member;
use mainstay_failover::group::keys;
use mainstay_runtime::thread::run_here;

use crate::site::{GROUP, Site, policy};
use crate::world::{NAMES, Process, World};

/// A lease that no slow machine ends, and one that a test need not wait for long.
pub(crate) const STEADY: Timings = Timings::CONSERVATIVE;
pub(crate) const BRIEF: Timings = Timings::DEFAULT;

fn world(durability: Durability) -> World {
    let regime = match durability {
        Durability::Async => Regime::default(),
        Durability::SyncPreferred | Durability::SyncStrict => {
            Regime { names: ["b", "c"].map(str::to_owned).into(), acks: 1 }
        }
    };
    World::new(Engine::Postgres, regime, 0)
}

pub(crate) async fn site(durability: Durability, timings: Timings, guarded: bool) -> Site {
    site_with(policy(durability), timings, guarded).await
}

pub(crate) async fn site_with(policy: Policy, timings: Timings, guarded: bool) -> Site {
    let site = Site::new(world(policy.durability), policy, timings, guarded).await;
    site.until("three members", async |site| site.is_whole(2).await).await;
    site
}

pub(crate) fn run<T>(test: impl Future<Output = T>) -> T {
    run_here(test).expect("a runtime")
}

/// Somebody else is primary, with so many replicas.
pub(crate) async fn succeeds(site: &Site, old: usize, replicas: usize) -> usize {
    site.until("a successor", async |site| {
        site.write();
        site.serves().await.is_some_and(|primary| primary != old) && site.is_whole(replicas).await
    })
    .await;
    site.serves().await.expect("it serves")
}

#[test]
fn a_node_without_power_is_replaced_and_follows_when_it_is_back() {
    run(async {
        let mut site = site(Durability::SyncStrict, BRIEF, false).await;
        let old = site.serves().await.expect("it serves");
        site.write();
        site.kill(old);
        let new = succeeds(&site, old, 1).await;
        site.revive(old);
        site.until("the old primary follows", async |site| site.is_whole(2).await).await;
        assert_eq!(site.serves().await, Some(new));
        // What was measured is told everywhere.
        site.until("the history", async |site| !site.nodes[new].view().failovers.is_empty()).await;
        let last = site.nodes[new].view().failovers.remove(0);
        assert_eq!((last.from.as_str(), last.to.as_str()), (NAMES[old], NAMES[new]));
        assert!(!last.planned && last.risk.is_none() && last.cause.contains("lease"), "{last:?}");
        assert!(last.fence_ms.is_some() && last.elect_ms.is_some() && last.promote_ms.is_some(), "{last:?}");
        assert!(last.lease_ms > Some(0) && last.detect_ms.is_some(), "its lease was waited for: {last:?}");
        // What it had that nobody else has is told by it, to all.
        site.until("the loss", async |site| {
            site.nodes.iter().all(|node| node.view().failovers.first().is_some_and(|last| last.loss.is_some()))
        })
        .await;
        let loss = site.nodes[new].view().failovers.remove(0).loss.expect("just seen");
        assert_eq!((loss.bytes, loss.commits, loss.kept.as_deref()), (Some(96), Some(2), Some("/kept")));
    });
}

#[test]
fn a_primary_that_cannot_reach_the_store_stops_before_another_one_is_promoted() {
    run(async {
        // Nothing but the driver stops it, and its commits wait for nobody.
        let site = site(Durability::Async, BRIEF, false).await;
        let old = site.serves().await.expect("it serves");
        site.cut(old);
        succeeds(&site, old, 1).await;
        site.mend(old);
        site.until("it follows", async |site| site.is_whole(2).await).await;
    });
}

#[test]
fn whoever_ends_a_primary_at_its_leases_end_is_let_go_once_it_has_stopped() {
    run(async {
        let site = site(Durability::Async, BRIEF, false).await;
        let old = site.serves().await.expect("it serves");
        let is_protected = |site: &Site| site.nodes[old].mood.protected.load(Ordering::Relaxed);
        assert!(is_protected(&site), "it leads");
        // Nobody can plan anything else.
        (0..NAMES.len()).for_each(|at| site.cut(at));
        site.until("it is let go", async |site| !is_protected(site)).await;
        assert_ne!(site.world().nodes[old].process, Process::Primary);
        assert_eq!(site.serves().await, Some(old));
        (0..NAMES.len()).for_each(|at| site.mend(at));
        site.until("somebody leads", async |site| site.is_whole(2).await).await;
        let primary = site.serves().await.expect("it is whole");
        assert!(site.nodes[primary].mood.protected.load(Ordering::Relaxed));
    });
}

#[test]
fn a_frozen_drivers_primary_cannot_acknowledge_once_its_replicas_are_detached() {
    run(async {
        let site = site(Durability::SyncStrict, BRIEF, false).await;
        let old = site.serves().await.expect("it serves");
        site.freeze(old);
        site.until("a successor", async |site| {
            site.write();
            site.serves().await.is_some_and(|primary| primary != old) && site.is_whole(1).await
        })
        .await;
        assert_eq!(site.world().nodes[old].process, Process::Primary, "nobody stopped it, which is what this is about");
        site.thaw(old);
        site.until("it follows", async |site| site.is_whole(2).await).await;
    });
}

#[test]
fn without_anybodys_acknowledgement_a_guard_makes_up_for_a_frozen_driver() {
    run(async {
        let site = site(Durability::Async, BRIEF, true).await;
        let old = site.serves().await.expect("it serves");
        site.freeze(old);
        succeeds(&site, old, 1).await;
        site.thaw(old);
        site.until("it follows", async |site| site.is_whole(2).await).await;
    });
}

#[test]
fn a_failover_survives_its_planner_and_its_new_primary() {
    run(async {
        let mut site = site(Durability::SyncStrict, BRIEF, false).await;
        let old = site.serves().await.expect("it serves");
        // Whoever is chosen hangs in its promotion, and then the planner's node dies, and with it the one that hangs if need be.
        site.nodes.iter().for_each(|node| node.mood.hangs.store(true, Ordering::Relaxed));
        site.ask(&Request::Failover { to: None }).await;
        site.until("an election", async |site| matches!(site.plan().await.phase, Phase::Electing { .. })).await;
        let planner = site.planner().await.expect("somebody plans");
        site.kill(planner);
        site.nodes.iter().for_each(|node| node.mood.hangs.store(false, Ordering::Relaxed));
        site.until("another planner", async |site| site.planner().await.is_some_and(|now| now != planner)).await;
        site.until("a primary", async |site| site.is_whole(1).await).await;
        site.revive(planner);
        site.until("three members", async |site| site.is_whole(2).await).await;
        let _old = old;
    });
}

#[test]
fn a_promotion_that_hangs_is_given_up_for_another_member() {
    run(async {
        let site = site(Durability::SyncStrict, STEADY, false).await;
        let old = site.serves().await.expect("it serves");
        let first = if old == 1 { 2 } else { 1 };
        site.world().nodes[old].process = Process::Down { clean: None };
        site.nodes[old].mood.fails.store(true, Ordering::Relaxed);
        site.until("a promotion", async |site| matches!(site.plan().await.phase, Phase::Electing { .. })).await;
        site.until("it is heard", async |site| {
            let world = site.world();
            let detached = world.nodes.iter().filter(|node| node.process == Process::Replica { of: None });
            detached.count() == 2
        })
        .await;
        site.nodes[first].mood.hangs.store(true, Ordering::Relaxed);
        site.until("another one", async |site| site.serves().await.is_some_and(|now| now != old)).await;
        site.nodes.iter().for_each(|node| {
            node.mood.hangs.store(false, Ordering::Relaxed);
            node.mood.fails.store(false, Ordering::Relaxed);
        });
        site.until("three members", async |site| site.is_whole(2).await).await;
    });
}

#[test]
fn a_primary_that_cannot_be_stopped_is_left_alone_once_it_can_acknowledge_nothing() {
    run(async {
        let policy = Policy { yield_within: Duration::from_secs(2), ..policy(Durability::SyncStrict) };
        let site = site_with(policy, STEADY, false).await;
        let old = site.serves().await.expect("it serves");
        site.nodes[old].mood.immortal.store(true, Ordering::Relaxed);
        site.ask(&Request::Failover { to: None }).await;
        site.until("a successor", async |site| site.serves().await.is_some_and(|now| now != old)).await;
        assert_eq!(site.world().nodes[old].process, Process::Primary, "which is what this is about");
        site.nodes[old].mood.immortal.store(false, Ordering::Relaxed);
        site.until("it follows", async |site| site.is_whole(2).await).await;
    });
}

#[test]
fn a_switchover_loses_nothing_and_a_node_that_leaves_hands_over() {
    run(async {
        let mut site = site(Durability::SyncPreferred, STEADY, false).await;
        let old = site.serves().await.expect("it serves");
        site.write();
        let to = (old + 1) % NAMES.len();
        site.ask(&Request::Switchover { to: Some(NAMES[to].to_owned()) }).await;
        site.until("a switchover", async |site| {
            site.write();
            site.serves().await == Some(to) && site.is_whole(2).await
        })
        .await;
        site.until("the history", async |site| site.nodes[to].view().failovers.len() == 1).await;
        assert!(site.nodes[to].view().failovers[0].planned);
        site.until("the old primary's word", async |site| site.nodes[to].view().failovers[0].loss.is_some()).await;
        // The second time by leaving.
        let term = site.plan().await.term;
        site.leave(to).await;
        let new = succeeds(&site, to, 1).await;
        assert_ne!(new, to);
        assert_eq!(site.plan().await.term, term + 1, "one change was enough");
    });
}

#[test]
fn a_switchover_that_begins_in_the_middle_of_an_action_is_one_to_its_end() {
    const ATTEMPTS: usize = 5;
    // A machine that is too busy to renew the lease in time has another one elected before the switchover is asked for.
    let is_undisturbed = (0..ATTEMPTS).any(|_| run(switched_in_the_middle()).is_some());
    assert!(is_undisturbed, "the primary has lost its lease each time");
}

async fn switched_in_the_middle() -> Option<()> {
    let site = site(Durability::SyncPreferred, STEADY, false).await;
    let old = site.serves().await.expect("it serves");
    let (to, other) = ((old + 1) % NAMES.len(), (old + 2) % NAMES.len());
    let term = site.plan().await.term;
    // A replica that is gone changes whom commits wait for, which the primary does not come to the end of.
    site.nodes[old].mood.hangs.store(true, Ordering::Relaxed);
    site.nodes[other].mood.fails.store(true, Ordering::Relaxed);
    site.world().nodes[other].process = Process::Down { clean: None };
    site.until("it is in the middle of it", async |site| {
        let action = site.nodes[old].view().own.and_then(|own| own.action);
        action.is_some_and(|action| action.starts_with("lets commits wait")) || site.plan().await.term != term
    })
    .await;
    if site.plan().await.term != term {
        return None;
    }
    site.ask(&Request::Switchover { to: Some(NAMES[to].to_owned()) }).await;
    let is_down = |site: &Site| matches!(site.world().nodes[old].process, Process::Down { .. });
    site.until("it is stopped", async |site| is_down(site)).await;
    site.nodes[old].mood.hangs.store(false, Ordering::Relaxed);
    site.nodes[other].mood.fails.store(false, Ordering::Relaxed);
    site.until("three members", async |site| site.is_whole(2).await).await;
    // One whose primary was stopped at once would have become an election, with a term of its own.
    assert_eq!((site.serves().await, site.plan().await.term), (Some(to), term + 1));
    Some(())
}

#[test]
fn while_it_is_paused_nobody_takes_over() {
    run(async {
        let policy = Policy { yield_within: Duration::from_secs(2), ..policy(Durability::SyncStrict) };
        let mut site = site_with(policy, BRIEF, false).await;
        let old = site.serves().await.expect("it serves");
        let term = site.plan().await.term;
        let store = site.store.clone();
        let coordinator: &dyn Coordinator = &store;
        coordinator.put(&keys::paused(GROUP), bytes::Bytes::from_static(b"{}"), None).await.expect("it is there");
        let sees = (old + 1) % NAMES.len();
        site.until("it is known", async |site| site.nodes[sees].view().paused).await;
        site.kill(old);
        site.until("it is known to be gone", async |site| {
            site.nodes[sees].view().members.iter().any(|member| member.node == NAMES[old] && !member.alive)
        })
        .await;
        // Long enough for the planner to have looked many times; that it would have acted is shown below.
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(site.plan().await.term, term);
        let gone = mainstay_cluster::coordinator::Operation::delete(keys::paused(GROUP));
        let resume = mainstay_cluster::coordinator::Transaction::always([gone]);
        coordinator.transact(resume).await.expect("it is there");
        succeeds(&site, old, 1).await;
    });
}

#[test]
fn a_paused_primary_runs_on_without_the_store_until_the_pause_is_over() {
    run(async {
        // Nothing but the driver stops it, and its commits wait for nobody.
        let site = site(Durability::Async, BRIEF, false).await;
        let old = site.serves().await.expect("it serves");
        let store = site.store.clone();
        let coordinator: &dyn Coordinator = &store;
        coordinator.put(&keys::paused(GROUP), bytes::Bytes::from_static(b"{}"), None).await.expect("it is there");
        // And the primary knows: it is cut off right after.
        site.until("it is in force", async |site| {
            let licence = site.plan().await.licence;
            let heeds = |member: &Member| member.report.as_ref().is_some_and(|report| report.licence == licence.since);
            let is_known = site.nodes[old].view().members.iter().any(|it| it.node == NAMES[old] && heeds(it));
            licence.pause == Pause::On && is_known
        })
        .await;
        let term = site.plan().await.term;
        (0..NAMES.len()).for_each(|at| site.cut(at));
        runs_without_leases(&site, old, BRIEF.ttl).await;
        (0..NAMES.len()).for_each(|at| site.mend(at));
        site.until("leases", async |site| site.is_whole(2).await && site.nodes[old].view().is_current).await;
        assert_eq!((site.serves().await, site.plan().await.term), (Some(old), term));
        // A server that an operator stops stays stopped, and nobody takes over.
        site.world().nodes[old].process = Process::Down { clean: Some(1) };
        site.until("it is told", async |site| {
            site.nodes[old].view().own.is_some_and(|own| own.action.is_some_and(|it| it.contains("left stopped")))
        })
        .await;
        assert_eq!((site.serves().await, site.plan().await.term), (Some(old), term));
        let gone = mainstay_cluster::coordinator::Operation::delete(keys::paused(GROUP));
        let resume = mainstay_cluster::coordinator::Transaction::always([gone]);
        coordinator.transact(resume).await.expect("it is there");
        site.until("it is over", async |site| site.is_whole(2).await).await;
        let leader = site.serves().await.expect("it serves");
        site.until("it was taken back", async |site| site.plan().await.licence.pause == Pause::Off).await;
        site.cut(leader);
        succeeds(&site, leader, 1).await;
    });
}

#[test]
fn a_primary_goes_on_without_the_store_as_long_as_every_member_confirms_it() {
    run(async {
        let policy = Policy { failsafe: true, ..policy(Durability::Async) };
        let mut site = site_with(policy, STEADY, false).await;
        let old = site.serves().await.expect("it serves");
        site.until("it knows whom to ask", async |site| site.plan().await.licence.asked().is_some()).await;
        (0..NAMES.len()).for_each(|at| site.cut(at));
        runs_without_leases(&site, old, STEADY.ttl).await;
        // One that does not answer is enough.
        let silent = (old + 1) % NAMES.len();
        site.kill(silent);
        site.until("it stops", async |site| site.world().nodes[old].process != Process::Primary).await;
        site.revive(silent);
        (0..NAMES.len()).for_each(|at| site.mend(at));
        site.until("three members", async |site| site.is_whole(2).await).await;
        // A primary that alone is cut off is replaced all the same, once those that it asks go by another plan.
        let old = site.serves().await.expect("it serves");
        site.cut(old);
        succeeds(&site, old, 1).await;
    });
}

/// No node has a lease for a while, and yet the primary takes writes.
async fn runs_without_leases(site: &Site, primary: usize, ttl: Duration) {
    let expect = |what: &str| assert_eq!(site.world().nodes[primary].process, Process::Primary, "{what}");
    let began = Instant::now();
    site.until("no leases", async |site| {
        expect("before its lease was over");
        (0..NAMES.len()).all(|at| !site.nodes[at].view().is_current)
    })
    .await;
    site.until("three leases more", async |_site| {
        expect("without a lease");
        began.elapsed() > ttl * 4
    })
    .await;
    let told = site.nodes[primary].view().own.and_then(|own| own.action);
    assert!(told.is_some_and(|told| told.contains("without a lease")));
}

#[test]
fn what_fails_is_tried_less_and_less_often_and_told() {
    run(async {
        let site = site(Durability::SyncStrict, STEADY, false).await;
        let old = site.serves().await.expect("it serves");
        let (replica, mood) = ((old + 1) % NAMES.len(), &site.nodes[(old + 1) % NAMES.len()].mood);
        mood.fails.store(true, Ordering::Relaxed);
        let before = mood.told.load(Ordering::Relaxed);
        site.world().nodes[replica].process = Process::Down { clean: None };
        site.until("it is told", async |site| {
            site.nodes[replica]
                .view()
                .own
                .is_some_and(|own| own.error.is_some_and(|error| error.contains("for the test")))
        })
        .await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        let tried = mood.told.load(Ordering::Relaxed) - before;
        assert!((1..30).contains(&tried), "it was tried {tried} times");
        mood.fails.store(false, Ordering::Relaxed);
        site.until("three members", async |site| site.is_whole(2).await).await;
        site.until("nothing is wrong", async |site| {
            site.nodes[replica].view().own.is_some_and(|own| own.error.is_none())
        })
        .await;
    });
}

//! One process of a node takes over from another, and its server runs on: with everything that may go wrong in between.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use mainstay_cluster::coordinator::Coordinator;
use mainstay_cluster::memory::Fault;
use mainstay_core::database::{Durability, Pause, Phase, Policy, Request};
use mainstay_failover::group::handover::Handed;
use mainstay_failover::group::keys;

use crate::driven::{BRIEF, STEADY, run, site, site_with, succeeds};
use crate::site::{GROUP, Site, policy};
use crate::world::{NAMES, Process};

/// The node's process leaves its server, which nobody has stopped since.
async fn hand_over(site: &mut Site, at: usize) -> Option<Handed> {
    // A process that begins without anything from one before starts its server anew.
    site.nodes[at].mood.stopped.store(0, Ordering::Relaxed);
    site.hand_over(at).await
}

/// What runs at a node was stopped by nobody.
#[track_caller]
fn runs_on(site: &Site, at: usize, process: &Process) {
    assert_eq!(site.world().nodes[at].process, *process, "its server runs on");
    assert_eq!(site.nodes[at].mood.stopped.load(Ordering::Relaxed), 0, "nobody stops it");
}

fn is_current(site: &Site, at: usize) -> bool {
    site.nodes[at].board.view(GROUP).is_some_and(|view| view.is_current)
}

#[test]
fn the_servers_of_nodes_that_are_upgraded_in_turn_run_on_in_their_roles() {
    run(async {
        let mut site = site(Durability::SyncPreferred, STEADY, false).await;
        let primary = site.serves().await.expect("it serves");
        let term = site.plan().await.term;
        for at in 0..NAMES.len() {
            site.write();
            let process = site.world().nodes[at].process.clone();
            let handed = hand_over(&mut site, at).await;
            runs_on(&site, at, &process);
            assert!(handed.is_some(), "nothing is in the way of it");
            site.take_over(at, handed, Fault::None);
            site.until("it goes on with a lease of its own", async |site| {
                runs_on(site, at, &process);
                is_current(site, at) && site.is_whole(2).await
            })
            .await;
        }
        // What the processes before held ends, and nothing hangs on it.
        let began = Instant::now();
        site.until("the old leases are over", async |site| {
            runs_on(site, primary, &Process::Primary);
            began.elapsed() > STEADY.ttl + Duration::from_secs(1)
        })
        .await;
        assert!(site.is_whole(2).await);
        assert_eq!((site.serves().await, site.plan().await.term), (Some(primary), term));
        assert!(site.nodes[primary].view().failovers.is_empty(), "nobody took over");
    });
}

#[test]
fn a_process_that_comes_after_the_leases_end_finds_another_primary_and_follows() {
    run(async {
        // Commits wait for nobody: what ends the server at the lease's end is the guard alone, as it was told.
        let mut site = site(Durability::Async, BRIEF, true).await;
        let old = site.serves().await.expect("it serves");
        let handed = site.hand_over(old).await;
        assert!(handed.is_some());
        let new = succeeds(&site, old, 1).await;
        site.take_over(old, handed, Fault::None);
        site.until("it follows", async |site| site.is_whole(2).await).await;
        assert_eq!(site.serves().await, Some(new));
    });
}

#[test]
fn a_process_that_cannot_reach_the_store_stops_the_server_when_the_one_before_would_have() {
    run(async {
        // Nothing but the driver stops it, and its commits wait for nobody.
        let mut site = site(Durability::Async, BRIEF, false).await;
        let old = site.serves().await.expect("it serves");
        let handed = site.hand_over(old).await;
        assert!(handed.is_some());
        site.take_over(old, handed, Fault::RequestsLost);
        // That never two can acknowledge is looked at all the time.
        succeeds(&site, old, 1).await;
        assert!(site.nodes[old].mood.stopped.load(Ordering::Relaxed) > 0);
        site.mend(old);
        site.until("it follows", async |site| site.is_whole(2).await).await;
    });
}

#[test]
fn without_what_was_left_the_server_is_stopped_and_started_anew() {
    run(async {
        let mut site = site(Durability::SyncStrict, STEADY, false).await;
        let old = site.serves().await.expect("it serves");
        site.hand_over(old).await.expect("nothing is in the way of it");
        site.take_over(old, None, Fault::None);
        site.until("it is stopped", async |site| site.nodes[old].mood.stopped.load(Ordering::Relaxed) > 0).await;
        site.until("three members", async |site| site.is_whole(2).await).await;
    });
}

#[test]
fn what_is_in_the_middle_of_a_promotion_is_not_handed_over() {
    run(async {
        let mut site = site(Durability::SyncStrict, STEADY, false).await;
        let old = site.serves().await.expect("it serves");
        site.nodes.iter().for_each(|node| node.mood.hangs.store(true, Ordering::Relaxed));
        site.ask(&Request::Failover { to: Some(NAMES[(old + 1) % NAMES.len()].to_owned()) }).await;
        // The old primary stops, and nobody does what it is told to.
        site.until("an election", async |site| matches!(site.plan().await.phase, Phase::Electing { .. })).await;
        let at = (old + 1) % NAMES.len();
        assert_eq!(site.hand_over(at).await, None, "somebody else would have to know what it was at");
        assert!(matches!(site.world().nodes[at].process, Process::Down { .. }));
        site.nodes.iter().for_each(|node| node.mood.hangs.store(false, Ordering::Relaxed));
        site.take_over(at, None, Fault::None);
        site.until("three members", async |site| site.is_whole(2).await).await;
    });
}

#[test]
fn a_primary_that_cannot_be_left_alone_hands_its_role_over() {
    run(async {
        let mut site = site(Durability::SyncStrict, STEADY, false).await;
        let old = site.serves().await.expect("it serves");
        let term = site.plan().await.term;
        let mood = std::sync::Arc::clone(&site.nodes[old].mood);
        mood.impatient.store(true, Ordering::Relaxed);
        assert_eq!(hand_over(&mut site, old).await, None);
        assert!(!mood.protected.load(Ordering::Relaxed), "nothing leads there any more");
        assert_eq!(site.plan().await.term, term + 1, "it was planned: no election came after it");
        let new = site.serves().await.expect("somebody else does");
        assert_ne!(new, old);
        site.take_over(old, None, Fault::None);
        site.until("three members", async |site| site.is_whole(2).await).await;
        // A replica is left alone wherever it is.
        site.nodes[old].mood.impatient.store(true, Ordering::Relaxed);
        assert!(hand_over(&mut site, old).await.is_some());
    });
}

#[test]
fn a_primary_that_runs_without_a_lease_is_handed_over_as_such() {
    run(async {
        for failsafe in [false, true] {
            // Nothing but the driver stops it, and its commits wait for nobody.
            let policy = Policy { failsafe, ..policy(Durability::Async) };
            let mut site = site_with(policy, BRIEF, false).await;
            let primary = site.serves().await.expect("it serves");
            let store = site.store.clone();
            let coordinator: &dyn Coordinator = &store;
            if !failsafe {
                coordinator.put(&keys::paused(GROUP), Bytes::from_static(b"{}"), None).await.expect("it is there");
            }
            site.until("it may go on without a lease", async |site| {
                let licence = site.nodes[primary].view().plan.licence;
                licence.pause == Pause::On || (failsafe && licence.asked().is_some())
            })
            .await;
            let term = site.plan().await.term;
            (0..NAMES.len()).for_each(|at| site.cut(at));
            site.until("no leases", async |site| (0..NAMES.len()).all(|at| !is_current(site, at))).await;
            let handed = hand_over(&mut site, primary).await;
            runs_on(&site, primary, &Process::Primary);
            assert!(handed.is_some(), "{failsafe}");
            site.take_over(primary, handed, Fault::RequestsLost);
            let began = Instant::now();
            site.until("three leases more", async |site| {
                runs_on(site, primary, &Process::Primary);
                began.elapsed() > BRIEF.ttl * 3
            })
            .await;
            (0..NAMES.len()).for_each(|at| site.mend(at));
            site.until("leases", async |site| {
                site.is_whole(2).await && (0..NAMES.len()).all(|at| is_current(site, at))
            })
            .await;
            if !failsafe {
                runs_on(&site, primary, &Process::Primary);
                assert_eq!((site.serves().await, site.plan().await.term), (Some(primary), term));
            }
        }
    });
}

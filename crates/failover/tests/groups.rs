//! The planner of database groups and the members' agents, model-checked together: all orders of what they do, with frozen
//! and killed agents, crashed servers and a store that cannot be reached. Variants that leave a safeguard out are found out.

#[path = "groups/driven.rs"]
mod driven;
#[path = "groups/fake.rs"]
mod fake;
#[path = "groups/handed.rs"]
mod handed;
#[path = "groups/licensed.rs"]
mod licensed;
#[path = "groups/model.rs"]
mod model;
#[path = "groups/process.rs"]
mod process;
#[path = "groups/site.rs"]
mod site;
#[path = "groups/switchboard.rs"]
mod switchboard;
#[path = "groups/world.rs"]
mod world;

use mainstay_core::database::{Durability, Engine};
use mainstay_core::random::Rng;
use model::{Groups, KEPT, MIXED, MOVED, ONE, Step};
use stateright::{Checker, HasDiscoveries, Model};

/// What is built, under one fault.
const BUILT: Groups = Groups {
    engine: Engine::Postgres,
    durability: Durability::SyncStrict,
    writes: 1,
    faults: 1,
    terms: 2,
    switchover: false,
    guarded: true,
    detaches: true,
    publishes_first: true,
    quorum: true,
    prompt: true,
    reads_first: true,
    pauses: false,
    recalls: true,
    failsafe: false,
    asks_all: true,
    remembers: true,
    outlasts: true,
};

/// More of everything, for walks that need not see all of it.
const MORE: Groups = Groups { writes: 4, faults: 4, terms: 8, switchover: true, prompt: false, ..BUILT };

/// How many steps are looked at where time is short.
const CI_DEPTH: usize = 20;
/// The same where each step has more that may follow.
const CI_DEPTH_OF_MORE: usize = 17;

/// All states within so many steps.
fn holds(model: Groups, depth: Option<usize>) {
    let mut checker = model.checker().threads(2).finish_when(HasDiscoveries::AnyFailures);
    if let Some(depth) = depth {
        checker = checker.target_max_depth(depth);
    }
    let checker = checker.spawn_bfs().join();
    for property in [ONE, KEPT, MIXED] {
        let broken = checker.discovery(property).map(stateright::Path::into_actions);
        assert!(broken.is_none(), "{property}: broken by {broken:?}");
    }
    assert!(checker.discovery(MOVED).is_some(), "nothing was shown: no other member ever became primary");
}

/// What a walk came to.
struct Walk {
    steps: Vec<Step>,
    broken: Option<&'static str>,
    healed: Result<(), String>,
    moved: bool,
}

/// One order of things, by a seed.
fn walk(model: &Groups, seed: u64) -> Walk {
    const STEPS: usize = 150;
    let (mut world, mut rng) = (model.begin(), Rng::seeded(seed));
    let mut walk = Walk { steps: Vec::new(), broken: None, healed: Ok(()), moved: false };
    for _ in 0..STEPS {
        let mut steps = Vec::new();
        model.actions(&world, &mut steps);
        // Misfortune comes now and then, so that there is something to be lost by it.
        let is_fault = |step: &Step| matches!(step, Step::Freeze(_) | Step::Kill(_) | Step::Crash(_) | Step::Cut(_));
        if rng.below(8) > 0 {
            steps.retain(|step| !is_fault(step));
        }
        let step = steps[rng.below(steps.len())];
        let Some(next) = model.next_state(&world, step) else { continue };
        world = next;
        walk.steps.push(step);
        for property in model.properties() {
            let is_so = (property.condition)(model, &world);
            match property.name {
                MOVED => walk.moved |= is_so,
                name if !is_so => {
                    walk.broken = Some(name);
                    return walk;
                }
                _ => {}
            }
        }
    }
    walk.healed = model.heal(&world);
    walk
}

fn walks_hold(model: Groups, walks: u64) {
    let mut moved = 0;
    for seed in 0..walks {
        let walk = walk(&model, seed);
        assert!(walk.broken.is_none(), "seed {seed}: {:?} is broken by {:?}", walk.broken, walk.steps);
        assert_eq!(walk.healed, Ok(()), "seed {seed}: {:?}", walk.steps);
        moved += u64::from(walk.moved);
    }
    assert!(moved > walks / 4, "nothing was shown: only {moved} of {walks} walks saw another primary");
}

fn walks_break(model: Groups, property: &str) {
    const WALKS: u64 = 5000;
    assert!((0..WALKS).any(|seed| walk(&model, seed).broken == Some(property)), "it was not found out");
}

/// Redis: each crash costs the half of what was written, histories are renamed, primaries step down.
const REDIS: Groups = Groups { engine: Engine::Redis, durability: Durability::Async, ..MORE };

fn is_soak() -> bool {
    std::env::var_os("MAINSTAY_SOAK").is_some()
}

#[test]
fn one_fault_leaves_one_primary_that_has_everything() {
    // A failover and the return of the old primary take some twenty steps; the rest is for longer runs.
    holds(BUILT, (!is_soak()).then_some(CI_DEPTH));
}

#[test]
fn every_order_up_to_a_depth_of_two_faults_and_late_members() {
    holds(Groups { prompt: false, ..BUILT }, (!is_soak()).then_some(CI_DEPTH_OF_MORE));
    holds(Groups { faults: 2, terms: 3, ..BUILT }, Some(if is_soak() { 22 } else { CI_DEPTH_OF_MORE }));
}

#[test]
fn after_any_faults_healing_brings_a_primary_that_all_follow() {
    let walks = if is_soak() { 100_000 } else { 300 };
    for durability in [Durability::SyncStrict, Durability::SyncPreferred] {
        walks_hold(Groups { durability, ..MORE }, walks);
    }
}

#[test]
fn redis_has_one_primary_at_a_time_and_heals_unless_an_operator_has_to_choose() {
    let walks = if is_soak() { 100_000 } else { 1000 };
    let mut healed = 0;
    for seed in 0..walks {
        let walk = walk(&REDIS, seed);
        // What a crash costs is nobody's to keep; the walk ends there.
        let is_well = walk.broken.is_none_or(|property| property == KEPT);
        assert!(is_well, "seed {seed}: {:?} is broken by {:?}", walk.broken, walk.steps);
        healed += u64::from(walk.healed.is_ok());
    }
    // After several promotions that nobody planned upon, one after the other, histories may be left that nobody can compare.
    assert!(healed * 1000 >= walks * 999, "only {healed} of {walks} walks healed by themselves");
}

#[test]
fn redis_without_a_guard_has_two_primaries() {
    walks_break(Groups { guarded: false, ..REDIS }, ONE);
}

#[test]
fn without_a_guard_the_detached_replicas_keep_a_frozen_agents_primary_from_acknowledging() {
    walks_hold(Groups { guarded: false, ..MORE }, 300);
}

#[test]
fn without_a_guard_and_without_detaching_writes_are_lost_or_two_acknowledge() {
    walks_break(Groups { guarded: false, detaches: false, ..MORE }, KEPT);
    let asynchronous = Groups { durability: Durability::Async, ..MORE };
    walks_break(Groups { guarded: false, ..asynchronous }, ONE);
}

#[test]
fn without_the_quorum_rule_acknowledged_writes_are_lost() {
    walks_break(Groups { quorum: false, ..MORE }, KEPT);
}

#[test]
fn a_regime_that_is_published_after_it_is_in_force_loses_writes() {
    use Step::{Deadline, Expire, Kill, Mend, Plan, Read, Stream, Turn, Write};
    let steps = [
        // The third member goes, and the primary waits for the second one alone.
        [Kill(2), Deadline(2), Expire(2), Plan, Read(0), Turn(0), Plan].as_slice(),
        // It comes back, the primary waits for either of them, and it is the third one that acknowledges.
        &[Mend(2), Turn(2), Turn(2), Plan, Read(0), Turn(0), Write(0), Stream(2, 0)],
        // The primary goes, and the second one alone is heard.
        &[Kill(0), Deadline(0), Expire(0), Plan, Read(1), Turn(1), Plan, Read(1), Turn(1)],
    ];
    let broken = |model: &Groups| {
        let mut world = model.begin();
        for step in steps.iter().copied().flatten() {
            world = model.next_state(&world, *step).unwrap_or(world);
        }
        assert_eq!(world.acknowledged, [0], "what the script is about");
        model.properties().iter().any(|property| property.name == KEPT && !(property.condition)(model, &world))
    };
    assert!(broken(&Groups { publishes_first: false, ..MORE }));
    assert!(!broken(&MORE), "as it is built, the third member has to be heard");
}

#[test]
fn a_plan_from_before_the_session_makes_two_primaries() {
    let asynchronous = Groups { durability: Durability::Async, ..MORE };
    walks_break(Groups { reads_first: false, ..asynchronous }, ONE);
}

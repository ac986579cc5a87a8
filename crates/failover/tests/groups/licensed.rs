//! What a primary does without a lease, model-checked: in a pause, and while every member confirms it.

use mainstay_core::database::Durability;
use stateright::Model;

use crate::model::{Groups, KEPT, ONE, Step};
use crate::world::{Agent, NAMES, Process, World};
use crate::{BUILT, MORE, holds, is_soak, walks_hold};

impl Groups {
    /// A primary asks the others whether it may go on, whether or not it has a lease.
    pub(crate) fn confirmations(&self, world: &World, at: usize, steps: &mut Vec<Step>) {
        let node = &world.nodes[at];
        let is_silent = |of: usize| world.nodes[of].agent != Agent::Runs;
        if node.process == Process::Primary && !is_silent(at) && node.seen.licence.asked().is_some() {
            let others = (0..NAMES.len()).filter(|of| *of != at && !is_silent(*of) && !node.heard.contains(of));
            let agree = others.filter(|of| {
                let other = &world.nodes[*of];
                other.seen.term == node.seen.term && other.seen.serving() == Some(NAMES[at])
            });
            steps.extend(agree.map(|of| Step::Confirm(at, of)));
        }
        steps.extend(node.confirmed.then_some(Step::Unconfirmed(at)));
        if let Some((of, _)) = node.promised {
            // A promise is over after what was done on it, which has been stopped by then.
            let primary = &world.nodes[of];
            let acts = primary.confirmed || (primary.process == Process::Primary && primary.lost);
            steps.extend((!self.outlasts || !acts).then_some(Step::Released(at)));
        }
    }

    pub(crate) fn confirm(&self, world: &mut World, at: usize, of: usize) {
        let term = world.nodes[at].seen.term;
        world.nodes[of].promised = Some((at, term));
        let node = &mut world.nodes[at];
        node.heard.push(of);
        node.heard.sort_unstable();
        if node.heard.len() + 1 >= if self.asks_all { NAMES.len() } else { NAMES.len() / 2 + 1 } {
            node.heard.clear();
            node.confirmed = true;
        }
    }

    /// A promise is over. What was answered in a round that is not complete by then is no answer any more.
    pub(crate) fn release(&self, world: &mut World, at: usize) {
        if let Some((of, _)) = world.nodes[at].promised.take() {
            world.nodes[of].heard.retain(|heard| *heard != at);
        }
    }

    /// What stops a primary from outside at the end of what it may act on. In a pause there is no end.
    pub(crate) fn guard(&self, world: &mut World, at: usize) {
        let node = &world.nodes[at];
        let may_act = !node.lost || node.is_licensed(NAMES[at]);
        if self.guarded && node.agent != Agent::Runs && node.process == Process::Primary && !may_act {
            world.crash(at);
        }
    }
}

/// Nothing but what stops a primary keeps it from acknowledging.
const ALONE: Groups = Groups { durability: Durability::Async, ..MORE };
const PAUSED: Groups = Groups { pauses: true, ..ALONE };
const FAILSAFE: Groups = Groups { failsafe: true, ..ALONE };

fn walks() -> u64 {
    if is_soak() { 100_000 } else { 300 }
}

#[test]
fn a_pause_leaves_one_primary_and_ends() {
    walks_hold(PAUSED, walks());
    walks_hold(Groups { durability: Durability::SyncStrict, ..PAUSED }, walks());
}

#[test]
fn a_primary_that_every_member_confirms_is_the_only_one() {
    walks_hold(FAILSAFE, walks());
    walks_hold(Groups { durability: Durability::SyncStrict, ..FAILSAFE }, walks());
    walks_hold(Groups { pauses: true, ..FAILSAFE }, walks());
}

/// All orders, with commits that wait for nobody: what stops a primary is all that there is between it and a second one.
const EVERY: Groups = Groups { durability: Durability::Async, ..BUILT };

#[test]
fn every_order_with_a_pause_up_to_a_depth() {
    holds(Groups { pauses: true, ..EVERY }, Some(if is_soak() { 20 } else { 15 }));
}

#[test]
fn every_order_with_confirmations_up_to_a_depth() {
    holds(Groups { failsafe: true, ..EVERY }, Some(if is_soak() { 22 } else { 17 }));
}

#[test]
fn every_order_with_both_up_to_a_depth() {
    holds(Groups { failsafe: true, pauses: true, ..EVERY }, Some(if is_soak() { 16 } else { 11 }));
}

/// Whether two can acknowledge after these steps. What cannot happen at its time does not.
fn is_broken(model: Groups, steps: &[Step]) -> bool {
    let mut world = model.begin();
    for step in steps {
        let mut possible = Vec::new();
        model.actions(&world, &mut possible);
        if possible.contains(step) {
            world = model.next_state(&world, *step).unwrap_or(world);
        }
    }
    let one = model.properties().into_iter().find(|property| property.name == ONE).expect("it is checked");
    !(one.condition)(&model, &world)
}

#[test]
fn a_pause_that_is_over_before_the_primary_was_heard_makes_two_primaries() {
    use Step::{Cut, Deadline, Expire, Pause, Plan, Turn};
    // It is in force, the primary loses its lease and runs on, and does not hear that it is resumed.
    let steps = [Pause, Plan, Turn(0), Plan, Turn(0), Cut(0), Deadline(0), Turn(0), Expire(0), Pause, Plan, Plan];
    let steps = [steps.as_slice(), &[Turn(1), Turn(2), Plan, Turn(1), Turn(2)]].concat();
    let model = Groups { prompt: true, ..PAUSED };
    assert!(is_broken(Groups { recalls: false, ..model }, &steps));
    assert!(!is_broken(model, &steps));
}

/// The primary is cut off from the store, its lease ends, and an election begins.
const CUT_OFF: [Step; 6] = [Step::Cut(0), Step::Deadline(0), Step::Turn(0), Step::Expire(0), Step::Plan, Step::Turn(0)];
/// The others go by it, and one of them is promoted.
const ELECTED: [Step; 6] = [Step::Turn(1), Step::Turn(2), Step::Plan, Step::Turn(1), Step::Turn(2), Step::Plan];

#[test]
fn a_majority_that_confirms_a_primary_is_not_enough() {
    let steps = [[Step::Confirm(0, 1)].as_slice(), &CUT_OFF, &ELECTED].concat();
    let model = Groups { prompt: true, ..FAILSAFE };
    assert!(is_broken(Groups { asks_all: false, ..model }, &steps));
    assert!(!is_broken(model, &steps));
}

#[test]
fn a_member_that_forgets_its_promise_makes_two_primaries() {
    let restarted = [Step::Kill(2), Step::Mend(2)];
    let confirmed = [Step::Confirm(0, 1), Step::Confirm(0, 2)];
    let steps = [confirmed.as_slice(), &CUT_OFF, &restarted, &ELECTED].concat();
    let model = Groups { prompt: true, ..FAILSAFE };
    assert!(is_broken(Groups { remembers: false, ..model }, &steps));
    assert!(!is_broken(model, &steps));
}

#[test]
fn a_promise_that_is_over_before_its_primary_has_stopped_makes_two_primaries() {
    let confirmed = [Step::Confirm(0, 1), Step::Confirm(0, 2)];
    let steps = [confirmed.as_slice(), &CUT_OFF, &[Step::Released(2)], &ELECTED].concat();
    let model = Groups { prompt: true, ..FAILSAFE };
    assert!(is_broken(Groups { outlasts: false, ..model }, &steps));
    assert!(!is_broken(model, &steps));
}

/// A primary goes on past its lease: what the walks above are about does happen in them.
#[test]
fn a_confirmed_primary_goes_on_after_its_lease_has_ended() {
    use Step::{Confirm, Cut, Deadline, Expire, Plan, Turn, Write};
    let model = Groups { prompt: true, ..FAILSAFE };
    let mut world = model.begin();
    let steps = [
        [Turn(0), Turn(1), Turn(2), Cut(0), Confirm(0, 1), Confirm(0, 2)].as_slice(),
        &[Deadline(0), Expire(0), Turn(0), Write(0), Plan, Turn(1), Turn(2), Plan, Turn(1), Turn(2)],
    ];
    for step in steps.concat() {
        world = model.next_state(&world, step).unwrap_or(world);
    }
    assert!(world.nodes[0].process == Process::Primary && world.acknowledged == [0], "{world:#?}");
    assert_eq!(world.plan.term, 2, "an election waits for those that have promised");
    assert!(world.plan.serving().is_none());
    assert!(
        model.properties().iter().filter(|it| [ONE, KEPT].contains(&it.name)).all(|it| (it.condition)(&model, &world))
    );
}

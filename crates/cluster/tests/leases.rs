//! The protocol of leases and addresses, model-checked: all orders of messages, lateness, loss, frozen and killed processes
//! within a few ticks of time. The nodes are the machines of `core::lease` themselves; what is around them is modelled.
//!
//! Variants that leave something out are found out; with everything in place, none of the states has two nodes acting.

#[path = "leases/model.rs"]
mod model;
#[path = "leases/world.rs"]
mod world;

use std::collections::BTreeSet;

use model::{Leases, ONE_ACTS, PASSED_ON, STALE};
use stateright::{Checker, HasDiscoveries, Model};

/// What is built: counted from the sending, stopped a tick early, enforced from outside (a tick late), waited out by the
/// next holder.
const BUILT: Leases = Leases {
    nodes: 2,
    ticks: 5,
    in_flight: 2,
    from_receipt: false,
    stop_budget: 1,
    guard: 1,
    freezes: 0,
    deaths: 0,
    enforced: true,
    enforced_late: 1,
    revokes_first: false,
    writes: 0,
    fenced: true,
};

/// Whether a state is found that breaks the property.
fn breaks(model: Leases, property: &'static str) -> bool {
    let found = HasDiscoveries::AnyOf(BTreeSet::from([property]));
    let checker = model.checker().threads(2).finish_when(found).spawn_bfs().join();
    checker.discovery(property).is_some()
}

/// That no state breaks anything, and that roles do change hands in them.
fn holds(model: Leases) {
    let checker = model.checker().threads(2).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    for property in [ONE_ACTS, STALE] {
        let broken = checker.discovery(property).map(stateright::Path::into_actions);
        assert!(broken.is_none(), "{property}: broken by {broken:?}");
    }
    assert!(checker.discovery(PASSED_ON).is_some(), "nothing was shown: no role was ever passed on");
}

#[test]
fn counted_from_the_answer_two_act() {
    let enough_otherwise = Leases { stop_budget: 0, enforced: false, ..BUILT };
    holds(enough_otherwise);
    assert!(breaks(Leases { from_receipt: true, ..enough_otherwise }, ONE_ACTS));
}

#[test]
fn without_stopping_early_two_act() {
    assert!(breaks(Leases { stop_budget: 0, guard: 0, enforced: false, ..BUILT }, ONE_ACTS));
}

#[test]
fn stopping_early_is_enough_while_processes_run() {
    holds(Leases { guard: 0, enforced: false, ..BUILT });
}

#[test]
fn a_frozen_process_acts_on_unless_it_is_stopped_from_outside() {
    assert!(breaks(Leases { freezes: 1, enforced: false, ..BUILT }, ONE_ACTS));
}

#[test]
fn a_token_stops_writers_where_it_is_checked() {
    let frozen = Leases { ticks: 4, freezes: 1, enforced: false, writes: 1, ..BUILT };
    assert!(breaks(frozen, ONE_ACTS), "both believe");
    assert!(breaks(Leases { fenced: false, ..frozen }, STALE));
    assert!(!breaks(frozen, STALE), "but one of them is not listened to");
}

#[test]
fn enforced_late_and_not_waited_for_two_act() {
    assert!(breaks(Leases { freezes: 1, guard: 0, ..BUILT }, ONE_ACTS));
}

#[test]
fn a_lease_that_is_ended_before_the_address_is_removed_gives_two() {
    assert!(breaks(Leases { deaths: 1, revokes_first: true, ..BUILT }, ONE_ACTS));
}

#[test]
fn what_is_built_holds() {
    holds(Leases { freezes: 1, ..BUILT });
    holds(Leases { deaths: 1, ticks: 4, ..BUILT });
}

#[test]
fn what_is_built_holds_for_three_nodes() {
    holds(Leases { nodes: 3, ticks: 4, in_flight: 1, freezes: 1, ..BUILT });
}

//! When a primary may act without its node's lease: while an operator has paused the group, and while every member confirms it
//! to it directly ([`super::failsafe`]).
//!
//! Both change what the end of a lease says. Without them it says that the old primary has stopped. So the plan tells the
//! primary what it may go by, the primary tells in its report which plan it goes by, and only what it has told to go by no
//! more is taken to be over.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// Sets of members that a primary may still go by, at most.
const CONFIRMERS_MAX: usize = 4;

/// What a plan says of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Licence {
    /// Whether an operator has paused the group.
    #[serde(default)]
    pub pause: Pause,
    /// Who has to confirm a primary without a lease: it asks all of the last set, which never does anything about it if it is
    /// empty. It may still go by an earlier one until it has reported this plan.
    #[serde(default)]
    pub confirmers: Vec<BTreeSet<String>>,
    /// The number of the plan that changed any of this last.
    #[serde(default)]
    pub since: u64,
}

/// How far a pause is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pause {
    /// The group is not paused.
    #[default]
    Off,
    /// It shall be; the primary has not been heard to know of it. Nobody takes over by himself already.
    Asked,
    /// It is: the primary may run without a lease.
    On,
    /// It shall not be any more; the primary may run without a lease until it has been heard to know of this.
    Ending,
}

impl Licence {
    /// Nothing is changed over without an operator's asking for it.
    pub fn is_held(&self) -> bool {
        matches!(self.pause, Pause::Asked | Pause::On)
    }

    /// The end of the primary's lease says nothing of its server: that may run on all the same.
    pub fn is_loose(&self) -> bool {
        matches!(self.pause, Pause::On | Pause::Ending)
    }

    /// Whether a member may be elected: each primary that was confirmed has asked it, and it keeps still while its answer holds.
    pub fn may_stand(&self, node: &str) -> bool {
        self.confirmers.iter().all(|set| set.is_empty() || set.contains(node))
    }

    /// Whom a primary without a lease has to ask; empty: it stops.
    pub fn asked(&self) -> Option<&BTreeSet<String>> {
        self.confirmers.last().filter(|set| !set.is_empty())
    }

    /// What the next plan says. `heeded`: the primary has said that it goes by this.
    pub(super) fn next(&self, paused: bool, confirmers: BTreeSet<String>, heeded: bool) -> Self {
        let mut next = self.clone();
        next.pause = match (self.pause, paused) {
            (Pause::Off, true) => Pause::Asked,
            (Pause::Asked, true) if heeded => Pause::On,
            // Nobody has relied on it yet.
            (Pause::Asked, false) => Pause::Off,
            (Pause::On, false) => Pause::Ending,
            (Pause::Ending, true) => Pause::On,
            (Pause::Ending, false) if heeded => Pause::Off,
            (as_it_is, _) => as_it_is,
        };
        if heeded {
            next.confirmers.drain(..next.confirmers.len().saturating_sub(1));
            next.confirmers.retain(|set| !set.is_empty());
        }
        if next.confirmers.last().cloned().unwrap_or_default() != confirmers && next.confirmers.len() < CONFIRMERS_MAX {
            next.confirmers.push(confirmers);
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_pause_is_in_force_and_over_once_the_primary_was_heard_to_know() {
        let next = |pause, paused, heeded| {
            let licence = Licence { pause, ..Licence::default() };
            licence.next(paused, set(&[]), heeded).pause
        };
        assert_eq!(next(Pause::Off, true, true), Pause::Asked, "what it knows of is the plan before");
        assert_eq!(next(Pause::Asked, true, false), Pause::Asked);
        assert_eq!(next(Pause::Asked, true, true), Pause::On);
        assert_eq!(next(Pause::Asked, false, false), Pause::Off);
        assert_eq!(next(Pause::On, false, true), Pause::Ending, "it was heard to be paused");
        assert_eq!(next(Pause::Ending, false, false), Pause::Ending);
        assert_eq!(next(Pause::Ending, false, true), Pause::Off);
        assert_eq!(next(Pause::Ending, true, false), Pause::On);
    }

    #[test]
    fn whoever_may_have_been_asked_is_remembered_until_the_primary_goes_by_another_set() {
        let (three, two) = (set(&["a", "b", "c"]), set(&["a", "b"]));
        let first = Licence::default().next(false, three.clone(), false);
        assert_eq!(first.asked(), Some(&three));
        assert!(first.may_stand("c") && !first.may_stand("d"));
        let second = first.next(false, two.clone(), false);
        assert_eq!(second.confirmers, [three, two.clone()]);
        assert!(second.may_stand("b") && !second.may_stand("c"), "the primary may not ask it any more");
        let third = second.next(false, two.clone(), true);
        assert_eq!(third.confirmers, std::slice::from_ref(&two));
        let fourth = third.next(false, set(&[]), false);
        assert_eq!((fourth.asked(), fourth.may_stand("c")), (None, false), "it may still go by the set before");
        assert_eq!(fourth.next(false, set(&[]), true), Licence::default());
    }
}

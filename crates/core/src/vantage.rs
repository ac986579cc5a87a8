//! What several vantage points make together of one thing that each of them tries over a path of its own.
//!
//! A path can fail as well as what lies at its end. So the verdict is that of more than half of those whose view is fresh: one
//! of three that fails alone tells of its own path. While too few have a fresh view nothing is known, which is a third state:
//! it counts neither as up-time nor as an outage.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::time::Moment;
use crate::transition::Word;

/// What one vantage point saw last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// Whether its last try passed.
    pub passed: bool,
    /// When the one who judges heard of that try, by its own clock.
    pub heard: Moment,
}

/// What it takes to judge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// A view that is older says nothing.
    pub fresh: Duration,
    /// How many vantage points are there to look; more than half of them must have a fresh view.
    pub expected: usize,
}

/// What they say together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verdict {
    /// Too few have a fresh view.
    #[default]
    Unknown,
    /// All pass.
    Up,
    /// Some fail, and no more than half.
    Degraded,
    /// More than half fail.
    Down,
}

impl Verdict {
    /// The word of transitions.
    pub const fn word(self) -> Word {
        match self {
            Self::Unknown => Word::Unknown,
            Self::Up => Word::Up,
            Self::Degraded => Word::Degraded,
            Self::Down => Word::Down,
        }
    }

    /// Whether a try that ended as `passed` is a good event for an objective, or a bad one. `None`: it is none. A failure
    /// that others do not see is that of a path, which says nothing of what users meet; a try that passes while most fail is
    /// the exception.
    pub const fn event(self, passed: bool) -> Option<bool> {
        match (self, passed) {
            (Self::Up | Self::Degraded, true) => Some(true),
            (Self::Down, _) => Some(false),
            (Self::Up | Self::Degraded, false) | (Self::Unknown, _) => None,
        }
    }
}

/// A verdict, and who made it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Finding<K> {
    /// What they say together.
    pub verdict: Verdict,
    /// Those whose fresh view is a failure.
    pub failing: Vec<K>,
    /// How many fresh views there are.
    pub fresh: usize,
}

/// Judges what is known at `now`.
pub fn judge<K: Clone + Ord>(policy: &Policy, now: Moment, views: &BTreeMap<K, View>) -> Finding<K> {
    let fresh = || views.iter().filter(|(_who, view)| now.since(view.heard) <= policy.fresh);
    let count = fresh().count();
    let failing: Vec<K> = fresh().filter(|(_who, view)| !view.passed).map(|(who, _view)| who.clone()).collect();
    let verdict = if count == 0 || count * 2 <= policy.expected {
        Verdict::Unknown
    } else if failing.is_empty() {
        Verdict::Up
    } else if failing.len() * 2 > count {
        Verdict::Down
    } else {
        Verdict::Degraded
    };
    Finding { verdict, failing, fresh: count }
}

/// How long the vantage point number `index` of `count` waits for its next try, so that tries of all of them are spread over
/// the interval. `since_epoch` is the wall clock, on which they need agree only roughly; `phase` is a number of what is tried,
/// so that not everything is tried at once. At least a twentieth of the interval, so that a try that has just ended, early by
/// a clock that was put back, is not repeated at once.
pub fn wait(since_epoch: Duration, interval: Duration, phase: u64, index: usize, count: usize) -> Duration {
    let interval = interval.as_nanos().max(1);
    let (index, count) = (index as u128, (count.max(1)) as u128);
    let slot = (u128::from(phase) % interval + interval * (index % count) / count) % interval;
    let now = since_epoch.as_nanos() % interval;
    let wait = (slot + interval - now) % interval;
    let wait = if wait < interval / 20 { wait + interval } else { wait };
    Duration::from_nanos(u64::try_from(wait).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: Policy = Policy { fresh: Duration::from_secs(60), expected: 3 };

    fn judged(expected: usize, views: &[(bool, u64)]) -> Verdict {
        let views = views.iter().enumerate().map(|(who, (passed, seconds))| {
            (who, View { passed: *passed, heard: Moment::ZERO.after(Duration::from_secs(*seconds)) })
        });
        judge(&Policy { expected, ..POLICY }, Moment::ZERO.after(Duration::from_secs(100)), &views.collect()).verdict
    }

    #[test]
    fn one_of_three_is_a_path_and_two_are_an_outage() {
        assert_eq!(judged(3, &[(true, 90), (true, 95), (true, 99)]), Verdict::Up);
        assert_eq!(judged(3, &[(false, 90), (true, 95), (true, 99)]), Verdict::Degraded);
        assert_eq!(judged(3, &[(false, 90), (false, 95), (true, 99)]), Verdict::Down);
        assert_eq!(judged(1, &[(false, 99)]), Verdict::Down, "alone, it is all that is known");
        assert_eq!(judged(2, &[(false, 99), (true, 99)]), Verdict::Degraded);
    }

    #[test]
    fn views_that_are_old_or_missing_leave_it_unknown() {
        assert_eq!(judged(3, &[]), Verdict::Unknown);
        assert_eq!(judged(3, &[(false, 99)]), Verdict::Unknown);
        assert_eq!(judged(3, &[(false, 99), (false, 30), (true, 30)]), Verdict::Unknown);
        assert_eq!(judged(3, &[(false, 99), (false, 95), (true, 30)]), Verdict::Down);
    }

    #[test]
    fn a_failure_that_others_do_not_see_is_no_event() {
        assert_eq!(Verdict::Degraded.event(false), None);
        assert_eq!(Verdict::Degraded.event(true), Some(true));
        assert_eq!(Verdict::Down.event(true), Some(false));
        assert_eq!(Verdict::Unknown.event(true), None);
    }
}

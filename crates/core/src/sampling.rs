//! Which requests are told of whole: every one that is of interest, and a fixed part of the rest, drawn by the trace's id so
//! that every service that a trace goes through draws alike.

use std::time::Duration;

/// Bits of a trace's id that the draw goes by: its last 56, which are the random ones (W3C Trace Context Level 2, section
/// 3.2.2.3.2), so that other software that samples by them keeps the same traces.
const BITS: u32 = 56;

/// One in so many requests; 0 for none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate(pub u32);

impl Rate {
    /// Every request.
    pub const ALL: Self = Self(1);
    /// None but those that are always kept.
    pub const NONE: Self = Self(0);

    /// The rate that keeps `share` (0 to 1) of all requests. `None` if one in a whole number does not come within 2 % of it.
    pub fn of_share(share: f64) -> Option<Self> {
        if share == 0.0 {
            return Some(Self::NONE);
        }
        let one_in = (1.0 / share).round();
        let is_near = (share * one_in - 1.0).abs() <= 0.02 && (1.0..=1e9).contains(&one_in);
        is_near.then_some(Self(one_in as u32))
    }

    /// Whether the trace with this id is among those that are kept.
    pub const fn keeps(self, trace: u128) -> bool {
        let draw = (trace as u64) & ((1 << BITS) - 1);
        match self.0 {
            0 => false,
            // The upper ones are kept, as other samplers do that go by a threshold.
            one_in => draw >= (1 << BITS) - (1 << BITS) / one_in as u64,
        }
    }
}

/// What is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Of requests that nothing speaks for.
    pub rate: Rate,
    /// A request that took at least this long is kept.
    pub slow: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self { rate: Rate::ALL, slow: Duration::from_secs(1) }
    }
}

/// What is known of a request that has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// It was answered with an error of a server's, not at all, or the answer broke off.
    pub failed: bool,
    /// It needed more than one attempt.
    pub retried: bool,
    /// Something stepped in: a fallback, a quarantine, an injected fault.
    pub faulted: bool,
    /// Somebody who is believed has said that the trace is recorded.
    pub wanted: bool,
    /// From its first byte to its end.
    pub duration: Duration,
}

/// Decides about a request of the trace with id `trace`: `None` if it is not kept, else how many requests it stands for,
/// itself included.
pub const fn decide(policy: &Policy, trace: u128, seen: &Seen) -> Option<u32> {
    let is_slow = seen.duration.as_nanos() >= policy.slow.as_nanos();
    if seen.failed || seen.retried || seen.faulted || seen.wanted || is_slow {
        return Some(1);
    }
    if policy.rate.keeps(trace) { Some(policy.rate.0) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Rng;

    const ONE_PERCENT: Policy = Policy { rate: Rate(100), slow: Duration::from_secs(1) };

    #[test]
    fn what_is_of_interest_is_always_kept_and_stands_for_itself() {
        let dull = Seen { duration: Duration::from_millis(999), ..Seen::default() };
        let nobody_draws = Policy { rate: Rate::NONE, ..ONE_PERCENT };
        assert_eq!(decide(&nobody_draws, u128::MAX, &dull), None);
        for seen in [
            Seen { failed: true, ..dull },
            Seen { retried: true, ..dull },
            Seen { faulted: true, ..dull },
            Seen { wanted: true, ..dull },
            Seen { duration: Duration::from_secs(1), ..dull },
        ] {
            // The id is one that the draw leaves out.
            for policy in [nobody_draws, ONE_PERCENT] {
                assert_eq!(decide(&policy, 0, &seen), Some(1), "{seen:?}");
            }
        }
    }

    #[test]
    fn the_rest_is_drawn_at_the_rate_and_alike_everywhere() {
        let mut rng = Rng::seeded(7);
        let mut kept = 0;
        for _request in 0..200_000 {
            let low = rng.next_u64();
            let (trace, same_draw) = ((u128::from(rng.next_u64()) << 64) | u128::from(low), u128::from(low));
            let decision = decide(&ONE_PERCENT, trace, &Seen::default());
            assert_eq!(decision, decide(&ONE_PERCENT, same_draw, &Seen::default()));
            kept += u32::from(decision == Some(100));
        }
        assert!((1_800..=2_200).contains(&kept), "{kept} of 200,000");
    }

    #[test]
    fn who_keeps_fewer_keeps_some_of_those_that_others_keep() {
        let mut rng = Rng::seeded(8);
        for _trace in 0..10_000 {
            let trace = u128::from(rng.next_u64());
            assert!(Rate::ALL.keeps(trace) && !Rate::NONE.keeps(trace));
            assert!(!Rate(100).keeps(trace) || Rate(10).keeps(trace));
        }
    }

    #[test]
    fn shares_become_one_in_a_whole_number() {
        for (share, expected) in [
            (1.0, Some(1)),
            (0.5, Some(2)),
            (0.33, Some(3)),
            (0.01, Some(100)),
            (0.001, Some(1000)),
            (0.0, Some(0)),
            (0.7, None),
            (0.4, None),
            (1e-10, None),
        ] {
            assert_eq!(Rate::of_share(share), expected.map(Rate), "{share}");
        }
    }
}

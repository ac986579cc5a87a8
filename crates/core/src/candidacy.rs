//! When a node that hears no leader wants to be one: how long it waits for the leader, how long it waits for the others'
//! answers, and how long after an election that brought no leader it keeps still.
//!
//! An election is won when the others' votes come before anybody asks for others, in a newer term. So the answers are waited
//! for as long as they take on the link at hand, and who has lost waits at random, up to twice as long each time
//! ([`crate::backoff`]): then sooner or later one node is alone for as long as its election takes, however slow the link and
//! however busy the machines.

use std::time::Duration;

use crate::backoff;
use crate::random::Rng;

/// An answer may need a connection first, which takes two round trips over TCP and TLS 1.3.
const ROUND_TRIPS: u32 = 3;
/// The most that a link may stretch an election to: so many times the longest patience.
const STRETCH_MAX: u32 = 4;

/// The times of elections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Policy {
    /// How often a leader is heard.
    pub heartbeat: Duration,
    /// How long a node is without a leader before it wants to be one, at least.
    pub min: Duration,
    /// The same, at most.
    pub max: Duration,
    /// How long an answer is waited for while nothing is known of the link.
    pub unknown: Duration,
}

impl Policy {
    /// How long to be without a leader this time.
    pub fn patience(&self, rng: &mut Rng) -> Duration {
        self.min + self.max.saturating_sub(self.min).mul_f64(rng.unit())
    }

    /// How long to wait for an answer about an election, on a link whose round trips take so long
    /// ([`crate::round_trip::RoundTrip::bound`]): at least two heartbeats, as the other side has to write its vote down.
    pub fn answer(&self, round_trip: Option<Duration>) -> Duration {
        let wanted = round_trip.map_or(self.unknown, |bound| bound.saturating_mul(ROUND_TRIPS));
        let least = self.heartbeat.saturating_mul(2);
        wanted.clamp(least, least.max(self.max.saturating_mul(STRETCH_MAX)))
    }

    /// How long to keep still after `lost` elections in a row (the one before included) that brought no leader, each of which
    /// took about `took`.
    pub fn pause(&self, lost: u32, took: Duration, rng: &mut Rng) -> Duration {
        let base = took.clamp(self.heartbeat, self.max.saturating_mul(STRETCH_MAX)).saturating_mul(2);
        let pauses = backoff::Policy { base, cap: base.saturating_mul(STRETCH_MAX) };
        // Never none at all: the leader that another one has just become is to be heard first.
        backoff::delay(&pauses, lost.saturating_sub(1), rng).max(self.heartbeat)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    const POLICY: Policy = Policy { heartbeat: ms(150), min: ms(600), max: ms(900), unknown: ms(700) };

    #[test]
    fn answers_are_waited_for_as_long_as_the_link_takes() {
        for (round_trip, waited) in [
            (None, ms(700)),
            (Some(ms(1)), ms(300)),
            (Some(ms(210)), ms(630)),
            (Some(ms(900)), ms(2700)),
            (Some(Duration::from_secs(60)), ms(3600)),
            (Some(Duration::MAX), ms(3600)),
        ] {
            assert_eq!(POLICY.answer(round_trip), waited, "{round_trip:?}");
        }
    }

    #[test]
    fn pauses_grow_with_each_election_that_brings_no_leader_up_to_a_bound() {
        let longest = |lost: u32, took: Duration| {
            let mut rng = Rng::seeded(3);
            (0..2000).map(|_draw| POLICY.pause(lost, took, &mut rng)).max().unwrap()
        };
        for (lost, bound) in [(1, ms(800)), (2, ms(1600)), (3, ms(3200)), (9, ms(3200)), (u32::MAX, ms(3200))] {
            let longest = longest(lost, ms(400));
            assert!(longest <= bound && longest > bound.mul_f64(0.95), "{lost}: {longest:?}");
        }
        assert!(longest(40, Duration::MAX) <= ms(3600 * 8));
    }

    #[test]
    fn patience_is_drawn_between_its_bounds() {
        let mut rng = Rng::seeded(1);
        let drawn: Vec<Duration> = (0..2000).map(|_draw| POLICY.patience(&mut rng)).collect();
        assert!(drawn.iter().all(|patience| (POLICY.min..=POLICY.max).contains(patience)));
        assert!(drawn.iter().max().unwrap().saturating_sub(*drawn.iter().min().unwrap()) > ms(280));
    }
}

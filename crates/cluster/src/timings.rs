//! How long nodes wait for each other: one table, so that what depends on each other changes together.

use std::time::Duration;

use mainstay_core::candidacy;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The times of the consensus and of the leases on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timings {
    /// How often the leader of the log tells the others that it is there.
    pub heartbeat: Duration,
    /// How long a follower waits for that before it wants to be leader, at least.
    pub election_min: Duration,
    /// The same, at most; the difference is drawn at random so that two rarely want it at once.
    pub election_max: Duration,
    /// How long a node's session lives after its last renewal was sent.
    pub ttl: Duration,
    /// How often a session is renewed.
    pub renew: Duration,
    /// How long one message is waited for.
    pub rpc: Duration,
    /// How long giving up a role may take; a holder starts with it that much before its lease may end.
    pub stop_budget: Duration,
    /// How much longer than its predecessor's lease a new holder of an address waits.
    pub guard: Duration,
}

/// Why timings are of no use.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Unsuitable {
    /// A session would be lost to fewer than three renewals that fail.
    #[error(
        "three renewals {renew:?} apart and one message of {rpc:?} take longer than the session lives ({ttl:?}): \
         renew more often, or let it live longer"
    )]
    Renewal {
        /// How often it would be renewed.
        renew: Duration,
        /// How long one message would be waited for.
        rpc: Duration,
        /// How long it would live.
        ttl: Duration,
    },
    /// Followers would want to lead while their leader is well.
    #[error(
        "elections begin after {election_min:?} to {election_max:?} without a heartbeat, which comes every \
         {heartbeat:?}: let them wait for three heartbeats at least, and for different times"
    )]
    Election {
        /// How often the leader is heard.
        heartbeat: Duration,
        /// The shortest wait.
        election_min: Duration,
        /// The longest wait.
        election_max: Duration,
    },
    /// A holder would have to give up its role as soon as it has it.
    #[error(
        "a session of {ttl:?} has no time left between renewals ({renew:?}) and giving up ({stop_budget:?}): \
         let it live longer"
    )]
    Budget {
        /// How long it would live.
        ttl: Duration,
        /// How often it would be renewed.
        renew: Duration,
        /// How long giving up would take.
        stop_budget: Duration,
    },
}

impl Timings {
    /// For networks of one site: a dead node's addresses are elsewhere within three seconds.
    pub const DEFAULT: Self = Self {
        heartbeat: Duration::from_millis(150),
        election_min: Duration::from_millis(600),
        election_max: Duration::from_millis(900),
        ttl: Duration::from_millis(2600),
        renew: Duration::from_millis(500),
        rpc: Duration::from_millis(700),
        stop_budget: Duration::from_millis(300),
        guard: Duration::from_millis(200),
    };

    /// For quiet machines on one switch: 1.5 seconds. A pause of half a second there is a failover.
    pub const FAST: Self = Self {
        heartbeat: Duration::from_millis(60),
        election_min: Duration::from_millis(250),
        election_max: Duration::from_millis(400),
        ttl: Duration::from_millis(1600),
        renew: Duration::from_millis(300),
        rpc: Duration::from_millis(400),
        stop_budget: Duration::from_millis(200),
        guard: Duration::from_millis(100),
    };

    /// For slow links and busy machines: a failover takes up to ten seconds, and is seldom a false one.
    pub const CONSERVATIVE: Self = Self {
        heartbeat: Duration::from_millis(300),
        election_min: Duration::from_millis(1500),
        election_max: Duration::from_millis(3000),
        ttl: Duration::from_millis(6000),
        renew: Duration::from_millis(1500),
        rpc: Duration::from_millis(1000),
        stop_budget: Duration::from_millis(1000),
        guard: Duration::from_millis(500),
    };

    /// The names of the presets.
    pub const NAMES: [&'static str; 3] = ["default", "fast", "conservative"];

    /// The preset of that name.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "default" => Some(Self::DEFAULT),
            "fast" => Some(Self::FAST),
            "conservative" => Some(Self::CONSERVATIVE),
            _ => None,
        }
    }

    /// The times of elections.
    pub const fn candidacy(&self) -> candidacy::Policy {
        let Self { heartbeat, election_min: min, election_max: max, rpc: unknown, .. } = *self;
        candidacy::Policy { heartbeat, min, max, unknown }
    }

    /// Whether they fit together.
    ///
    /// # Errors
    /// What does not.
    pub fn check(&self) -> Result<(), Unsuitable> {
        let Self { heartbeat, election_min, election_max, ttl, renew, rpc, stop_budget, .. } = *self;
        if renew.is_zero() || rpc.is_zero() || renew.saturating_mul(3).saturating_add(rpc) > ttl {
            return Err(Unsuitable::Renewal { renew, rpc, ttl });
        }
        if heartbeat.is_zero() || heartbeat.saturating_mul(3) > election_min || election_min >= election_max {
            return Err(Unsuitable::Election { heartbeat, election_min, election_max });
        }
        if stop_budget.saturating_add(renew.saturating_mul(2)) > ttl {
            return Err(Unsuitable::Budget { ttl, renew, stop_budget });
        }
        Ok(())
    }
}

impl Default for Timings {
    fn default() -> Self {
        Self::DEFAULT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_presets_fit_together() {
        for name in Timings::NAMES {
            assert_eq!(Timings::named(name).unwrap().check(), Ok(()), "{name}");
        }
        assert_eq!(Timings::named("reckless"), None);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let ms = Duration::from_millis;
        let with = |change: fn(&mut Timings)| {
            let mut timings = Timings::DEFAULT;
            change(&mut timings);
            timings.check()
        };
        assert_eq!(with(|timings| timings.ttl = Duration::from_millis(2200)), Ok(()));
        assert_eq!(
            with(|timings| timings.ttl = Duration::from_millis(2199)),
            Err(Unsuitable::Renewal { renew: ms(500), rpc: ms(700), ttl: ms(2199) })
        );
        assert!(matches!(with(|timings| timings.renew = Duration::ZERO), Err(Unsuitable::Renewal { .. })));
        assert!(matches!(
            with(|timings| timings.heartbeat = Duration::from_millis(201)),
            Err(Unsuitable::Election { .. })
        ));
        assert!(matches!(
            with(|timings| timings.election_max = timings.election_min),
            Err(Unsuitable::Election { .. })
        ));
        assert!(matches!(
            with(|timings| timings.stop_budget = Duration::from_millis(1601)),
            Err(Unsuitable::Budget { .. })
        ));
    }
}

//! The cascade guard: when a large part of a service's endpoints fail their checks at about the same time, what they share is
//! broken (a database, a network), and taking them out would take the service down with it.
//!
//! Only failures of one window count, and only against endpoints that were well when it began. Endpoints that have long been
//! down, that are new, or that come and go are neither here nor there, so that a roll-out does not look like a cascade.

use std::time::Duration;

use crate::time::Moment;

/// When failures count as a cascade.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    /// More than this share of the endpoints that were well, 0 to 1,
    pub share: f64,
    /// within this time.
    pub window: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self { share: 0.5, window: Duration::from_secs(10) }
    }
}

/// What the checks of one endpoint say. Those that get no traffic by wish are not listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// It never passed since it is there.
    Unproven,
    /// It passes.
    Passing,
    /// It passed, and fails since then.
    Failing {
        /// When it went down.
        since: Moment,
    },
}

/// Whether the service is guarded now, and since when; `guarded_since` is the answer before. The guard goes once no more than
/// half of the policy's share still fails of what the cascade took.
pub fn judge(policy: &Policy, guarded_since: Option<Moment>, endpoints: &[Seen], now: Moment) -> Option<Moment> {
    // While it stands, the guard looks at what has failed from the window on in which it rose.
    let horizon = guarded_since.unwrap_or(now);
    let failed = |seen: &&Seen| matches!(seen, Seen::Failing { since } if horizon.since(*since) <= policy.window);
    let failing = endpoints.iter().filter(failed).count();
    let passing = endpoints.iter().filter(|seen| **seen == Seen::Passing).count();
    let concerned = (failing + passing) as f64;
    let share = if guarded_since.is_some() { policy.share / 2.0 } else { policy.share };
    // The small addition keeps 3 of 10 from being more than 30 %, which it is in binary.
    if failing as f64 > share * concerned + 1e-9 { Some(guarded_since.unwrap_or(now)) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: Policy = Policy { share: 0.5, window: Duration::from_secs(10) };

    fn at(seconds: u64) -> Moment {
        Moment::from_millis(seconds * 1000)
    }

    fn failing(seconds: u64) -> Seen {
        Seen::Failing { since: at(seconds) }
    }

    #[test]
    fn more_than_half_at_about_the_same_time_raise_it() {
        let passing = Seen::Passing;
        for (endpoints, guarded) in [
            (vec![passing, passing], false),
            (vec![failing(99), passing], false),
            (vec![failing(99), failing(95), passing], true),
            (vec![failing(100)], true),
            (vec![], false),
            // Too long ago.
            (vec![failing(10), failing(99), passing], false),
            (vec![failing(10), failing(20), failing(99), failing(98), passing], true),
            // New ones say nothing.
            (vec![Seen::Unproven, Seen::Unproven, Seen::Unproven, passing], false),
            (vec![Seen::Unproven, Seen::Unproven, failing(99), failing(98), passing], true),
        ] {
            assert_eq!(judge(&POLICY, None, &endpoints, at(100)).is_some(), guarded, "{endpoints:?}");
        }
    }

    #[test]
    fn it_stays_until_most_are_back() {
        let since = Some(at(100));
        let all = [failing(95), failing(98), failing(99), failing(100)];
        assert_eq!(judge(&POLICY, since, &all, at(1000)), since, "however long it takes");
        let passing = Seen::Passing;
        assert_eq!(judge(&POLICY, since, &[failing(95), failing(98), passing, passing], at(120)), since);
        assert_eq!(judge(&POLICY, since, &[failing(95), passing, passing, passing], at(120)), None);
        // One that failed long before does not hold it.
        assert_eq!(judge(&POLICY, since, &[failing(5), failing(6), passing, passing], at(120)), None);
    }
}

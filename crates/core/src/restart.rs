//! The way back after an outage: a service that nobody could be asked of gets its traffic in a growing share, so that those who
//! have waited do not drown it the moment it is back.

use std::time::Duration;

use crate::ramp::Ramp;
use crate::random::Rng;
use crate::time::Moment;

/// When a ramp begins, and how it runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    /// An outage that was shorter is followed by no ramp.
    pub after: Duration,
    /// How long the share grows.
    pub ramp: Duration,
    /// The share that it begins with, 0 to 1.
    pub from: f64,
}

impl Default for Policy {
    fn default() -> Self {
        Self { after: Duration::from_secs(1), ramp: Duration::from_secs(10), from: 0.1 }
    }
}

/// What is known of a service's outages.
#[derive(Clone, Copy, Debug)]
pub struct Restart {
    policy: Policy,
    state: State,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Everything is let through.
    Serving,
    /// Nobody can be asked, since then.
    Out(Moment),
    /// It is back.
    Back(Ramp),
}

impl Restart {
    /// Of a service that serves.
    pub const fn new(policy: Policy) -> Self {
        Self { policy, state: State::Serving }
    }

    /// Whether [`Self::let_through`] has anything to say: not while everything is as usual.
    pub const fn is_at_work(&self) -> bool {
        !matches!(self.state, State::Serving)
    }

    /// The share of requests that is let through, if it is not all of them.
    pub fn share(&self, now: Moment) -> Option<f64> {
        match self.state {
            State::Serving => None,
            State::Out(_) => Some(0.0),
            State::Back(ramp) => (!ramp.is_over(now)).then(|| ramp.share(now)),
        }
    }

    /// Nobody could be asked for a request. An outage in the middle of a ramp goes on where the first one began, so that it
    /// is followed by a ramp however short it is.
    pub fn empty(&mut self, now: Moment) {
        self.state = match self.state {
            State::Serving => State::Out(now),
            State::Out(since) => State::Out(since),
            State::Back(ramp) if ramp.is_over(now) => State::Out(now),
            State::Back(_) => State::Out(Moment::ZERO),
        };
    }

    /// Somebody can be asked for a request: whether it is let through. If not, it makes sense to try again after the time
    /// that comes with the answer.
    pub fn let_through(&mut self, now: Moment, rng: &mut Rng) -> Result<(), Duration> {
        if let State::Out(since) = self.state {
            let is_long = now.since(since) >= self.policy.after && !self.policy.ramp.is_zero();
            self.state =
                if is_long { State::Back(Ramp::new(now, self.policy.ramp, self.policy.from)) } else { State::Serving };
        }
        let State::Back(ramp) = self.state else { return Ok(()) };
        if ramp.is_over(now) {
            self.state = State::Serving;
            return Ok(());
        }
        if rng.unit() < ramp.share(now) {
            return Ok(());
        }
        // Spread over what is left of the ramp, so that those who are sent away do not come back together.
        Err(ramp.end().since(now).mul_f64(rng.unit()).max(Duration::from_secs(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: Policy = Policy { after: Duration::from_secs(1), ramp: Duration::from_secs(10), from: 0.2 };

    fn passed(restart: &mut Restart, at_ms: u64) -> usize {
        let mut rng = Rng::seeded(at_ms);
        (0..1000).filter(|_request| restart.let_through(Moment::from_millis(at_ms), &mut rng).is_ok()).count()
    }

    #[test]
    fn after_an_outage_traffic_comes_back_in_a_growing_share() {
        let mut restart = Restart::new(POLICY);
        assert_eq!(passed(&mut restart, 1_000), 1000);
        assert!(!restart.is_at_work());
        restart.empty(Moment::from_millis(2_000));
        restart.empty(Moment::from_millis(4_000));
        assert!((150..250).contains(&passed(&mut restart, 5_000)), "a fifth at first");
        assert!((550..650).contains(&passed(&mut restart, 10_000)), "three fifths in the middle");
        assert_eq!(passed(&mut restart, 15_000), 1000);
        assert!(!restart.is_at_work());
    }

    #[test]
    fn a_short_outage_is_none_unless_a_ramp_is_under_way() {
        let mut restart = Restart::new(POLICY);
        restart.empty(Moment::from_millis(2_000));
        assert_eq!(passed(&mut restart, 2_999), 1000);
        restart.empty(Moment::from_millis(3_000));
        assert!(passed(&mut restart, 4_000) < 300);
        restart.empty(Moment::from_millis(9_000));
        assert!(passed(&mut restart, 9_100) < 300, "it begins anew");
    }

    #[test]
    fn who_is_sent_away_is_told_a_time_within_the_ramp() {
        let mut restart = Restart::new(POLICY);
        restart.empty(Moment::ZERO);
        let mut rng = Rng::seeded(1);
        let now = Moment::from_millis(20_000);
        let waits: Vec<Duration> = (0..500).filter_map(|_request| restart.let_through(now, &mut rng).err()).collect();
        assert!(waits.iter().all(|wait| *wait >= Duration::from_secs(1) && *wait <= Duration::from_secs(10)));
        assert!(waits.iter().any(|wait| *wait > Duration::from_secs(9)), "spread over all of it");
    }
}

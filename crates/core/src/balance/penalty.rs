//! What failures add to an endpoint's load for a while.

use std::time::Duration;

use super::lost::Lost;
use crate::time::Moment;

/// Recent failures of an endpoint, as requests that it would still be busy with. Without them an endpoint that fails at once has
/// the least in flight, and draws the traffic that it fails. So would one that is slow, when its attempts are cancelled
/// for another endpoint's sake.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Penalty {
    amount: f32,
    at: Moment,
    lost: Lost,
}

impl Penalty {
    /// Time in which a penalty loses half of its weight.
    pub const HALF_LIFE: Duration = Duration::from_secs(1);
    /// However much fails, the endpoint stays comparable.
    const MOST: f32 = 10_000.0;
    /// Less than this is nothing.
    const LEAST: f32 = 0.05;

    /// An attempt failed.
    pub fn add(&mut self, now: Moment) {
        self.more(now, 1.0);
    }

    /// An attempt was cancelled since another endpoint has answered first, though it was asked later. That happens to everybody
    /// now and then, and counts little; if it happens to all attempts, each counts like a failure.
    pub fn lose(&mut self, now: Moment) {
        let part = self.lost.lose();
        self.more(now, part);
    }

    /// An attempt was answered.
    pub fn answered(&mut self) {
        self.lost.answered();
    }

    fn more(&mut self, now: Moment, by: f32) {
        self.amount = (self.now(now) + by).min(Self::MOST);
        self.at = now;
    }

    /// Whether there is nothing to add, without a look at the clock.
    pub fn is_zero(&self) -> bool {
        self.amount == 0.0
    }

    /// Requests that the failures count as now. Forgets them once they hardly count.
    pub fn load(&mut self, now: Moment) -> u32 {
        let amount = self.now(now);
        if amount < Self::LEAST {
            *self = Self { lost: self.lost, ..Self::default() };
            return 0;
        }
        // Positive and bounded; any rest of one counts as one.
        amount.ceil() as u32
    }

    fn now(&self, now: Moment) -> f32 {
        let halves = now.since(self.at).as_secs_f32() / Self::HALF_LIFE.as_secs_f32();
        self.amount * (-halves).exp2()
    }
}

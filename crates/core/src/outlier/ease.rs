//! How far one endpoint is eased out.

use std::time::Duration;

use super::Policy;
use crate::balance::Share;
use crate::time::Moment;

/// The steps by which an endpoint is eased out. At the last one it gets just enough to be measured.
pub const STEPS: [Share; 4] = [Share::FULL, Share::permille(500), Share::permille(100), Share::permille(20)];

/// Where an endpoint begins again after an ejection.
const AFTER_EJECTION: usize = 2;
/// Verdicts that it fails, at the last step, which eject an endpoint.
const FAILING_EJECTS: u32 = 3;
/// Good verdicts in a row that a step up needs at most, however often the endpoint was eased out before.
const GOOD_MOST: u32 = 5;

/// The easing of one endpoint.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ease {
    /// The place in [`STEPS`].
    step: usize,
    /// Good verdicts in a row at this step.
    good: u32,
    /// Verdicts in a row that it fails, at the last step.
    failing: u32,
    /// How often it was eased out lately: each time makes the way back slower.
    strikes: u32,
    /// When it came to this step, or was judged last.
    since: Moment,
}

impl Ease {
    pub(super) fn share(&self) -> Share {
        STEPS.get(self.step).copied().unwrap_or(Share::FULL)
    }

    pub(super) const fn is_eased(&self) -> bool {
        self.step > 0
    }

    /// One step out. Answers whether the last step was reached before.
    pub(super) fn down(&mut self, now: Moment, policy: &Policy) -> bool {
        if self.step == 0 {
            self.strikes = self.strikes_left(now, policy).saturating_add(1);
        }
        self.good = 0;
        self.since = now;
        let was_last = self.step + 1 >= STEPS.len();
        self.step = (self.step + 1).min(STEPS.len() - 1);
        was_last
    }

    /// The endpoint fails at the last step. Answers whether that is enough for an ejection.
    pub(super) fn fails(&mut self) -> bool {
        self.failing = self.failing.saturating_add(1);
        self.failing >= FAILING_EJECTS
    }

    /// The endpoint is as well as its siblings. Answers whether it is a step further in.
    pub(super) fn well(&mut self, now: Moment) -> bool {
        self.failing = 0;
        if self.step == 0 {
            return false;
        }
        self.since = now;
        self.good += 1;
        if self.good < self.strikes.clamp(1, GOOD_MOST) {
            return false;
        }
        self.up(now);
        true
    }

    /// Nobody has judged it for long, perhaps for want of traffic: one step in, if that is due. Answers whether it was.
    pub(super) fn up_if_due(&mut self, now: Moment, policy: &Policy) -> bool {
        let due = self.deadline(policy).is_some_and(|deadline| deadline <= now);
        if due {
            self.up(now);
        }
        due
    }

    pub(super) fn deadline(&self, policy: &Policy) -> Option<Moment> {
        self.is_eased().then(|| self.since.after(hold(policy, self.strikes)))
    }

    /// The endpoint comes back from an ejection.
    pub(super) fn after_ejection(&mut self, now: Moment) {
        *self = Self { step: AFTER_EJECTION, good: 0, failing: 0, strikes: self.strikes.max(1), since: now };
    }

    fn up(&mut self, now: Moment) {
        self.step = self.step.saturating_sub(1);
        self.good = 0;
        self.failing = 0;
        self.since = now;
    }

    /// Each hold-down that is served in full forgives one strike.
    fn strikes_left(&self, now: Moment, policy: &Policy) -> u32 {
        decayed(self.strikes, now.since(self.since), hold(policy, self.strikes))
    }
}

/// How long something that happened `times` times in a row holds.
pub(super) fn hold(policy: &Policy, times: u32) -> Duration {
    policy.base.saturating_mul(times.max(1)).min(policy.cap).min(super::LONGEST)
}

/// What is left of `times` after a time of good service, each `per` of which forgives one.
pub(super) fn decayed(times: u32, served: Duration, per: Duration) -> u32 {
    let forgiven = served.as_nanos() / per.as_nanos().max(1);
    times.saturating_sub(u32::try_from(forgiven).unwrap_or(u32::MAX))
}

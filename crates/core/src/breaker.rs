//! The circuit breaker: calls that keep failing are stopped before they are made, and a few are let through from time to
//! time to see whether they would succeed again.
//!
//! Closed lets everything through and judges recent calls. Open lets nothing through for a time. HalfOpen lets a bounded
//! number of real calls through; if they all succeed, a ramp lets a growing share through until it is Closed again, and
//! if one fails, it is Open for longer. Only real calls count: no health check closes a breaker.

mod change;
mod policy;
mod window;

use std::collections::VecDeque;
use std::time::Duration;

pub use change::{Change, Phase, Why};
pub use policy::{PROBES_MAX, Policy, Slow};
pub use window::{CALLS_MAX, Span, Tally};

use crate::ramp::Ramp;
use crate::random::Rng;
use crate::time::Moment;
use window::Window;

/// The share of calls with which the ramp begins.
const RAMP_FROM: f64 = 0.1;
/// What a caller is told to wait when a probe decides, which takes no time that could be known.
const SOON: Duration = Duration::from_secs(1);
/// No policy keeps a breaker open for longer than this.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// Leave to make a call. How the call ended is told with it; a call that was let through must always be told of, if only as
/// [`Outcome::Abandoned`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a probe whose end nobody tells holds its slot until its time is over"]
pub struct Ticket {
    /// How often the breaker had opened: calls from before the last opening say nothing about now.
    era: u32,
    /// The slot of a probe.
    slot: Option<u8>,
}

impl Ticket {
    /// For a call that a closed breaker in this era let through.
    pub const fn closed(era: u32) -> Self {
        Self { era, slot: None }
    }

    /// The era in which the call was let through.
    pub const fn era(self) -> u32 {
        self.era
    }

    /// Whether the call decides on its own whether the breaker closes.
    pub const fn is_probe(self) -> bool {
        self.slot.is_some()
    }
}

/// Whether a call is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It is.
    Pass(Ticket),
    /// It is not; another try makes sense after this long.
    Refuse(Duration),
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It succeeded and took this long.
    Success(Duration),
    /// It failed and took this long.
    Failure(Duration),
    /// Nothing can be said: it was cancelled, or rejected by a limit before it was made.
    Abandoned,
}

/// One circuit breaker.
#[derive(Clone, Debug)]
pub struct Breaker {
    policy: Policy,
    state: State,
    /// Times it has opened.
    era: u32,
    window: Window,
    /// Failures in a row.
    row: u32,
    /// When each probe under way began.
    slots: Vec<Option<Moment>>,
    /// Times in a row that it opened.
    reopened: u32,
    /// How long it was open the last time.
    lasted: Duration,
    changes: VecDeque<Change>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// If it opens before `forgotten`, that counts as the next time in a row.
    Closed {
        forgotten: Moment,
    },
    Open {
        until: Moment,
    },
    HalfOpen {
        passed: u32,
    },
    Ramping(Ramp),
}

impl Breaker {
    /// A closed breaker without history.
    pub fn new(policy: Policy) -> Self {
        let policy = Policy { probes: policy.probes.clamp(1, PROBES_MAX), ..policy };
        Self {
            policy,
            state: State::Closed { forgotten: Moment::ZERO },
            era: 0,
            window: Window::new(policy.window),
            row: 0,
            slots: vec![None; policy.probes as usize],
            reopened: 0,
            lasted: Duration::ZERO,
            changes: VecDeque::new(),
        }
    }

    /// By which it goes.
    pub const fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Where it stands, as of the last call of any other method.
    pub const fn phase(&self) -> Phase {
        match self.state {
            State::Closed { .. } => Phase::Closed,
            State::Open { .. } => Phase::Open,
            State::HalfOpen { .. } => Phase::HalfOpen,
            State::Ramping(_) => Phase::Ramping,
        }
    }

    /// The present era: what [`Ticket::closed`] wants.
    pub const fn era(&self) -> u32 {
        self.era
    }

    /// The recent calls at `now`.
    pub fn tally(&mut self, now: Moment) -> Tally {
        self.window.tally(now)
    }

    /// The share of calls that is let through at `now`; probes of HalfOpen are not counted.
    pub fn share(&self, now: Moment) -> f64 {
        match self.state {
            State::Closed { .. } => 1.0,
            State::Open { .. } | State::HalfOpen { .. } => 0.0,
            State::Ramping(ramp) => ramp.share(now),
        }
    }

    /// Does what is due by `now`. Everything else does so too, so that a driver need not keep to [`Self::deadline`].
    pub fn step(&mut self, now: Moment, rng: &mut Rng) {
        match self.state {
            State::Open { until } if until <= now => {
                self.slots.fill(None);
                self.enter(State::HalfOpen { passed: 0 }, Why::Waited);
            }
            State::HalfOpen { .. } if self.probes_end().is_some_and(|end| end <= now) => {
                self.open(now, Why::ProbeTimeout, rng);
            }
            State::Ramping(ramp) if ramp.is_over(now) => self.close(now, Why::RampOver),
            State::Closed { .. } | State::Open { .. } | State::HalfOpen { .. } | State::Ramping(_) => {}
        }
    }

    /// When [`Self::step`] has something to do.
    pub fn deadline(&self) -> Option<Moment> {
        match self.state {
            State::Closed { .. } => None,
            State::Open { until } => Some(until),
            State::HalfOpen { .. } => self.probes_end(),
            State::Ramping(ramp) => Some(ramp.end()),
        }
    }

    /// The next change, in order.
    pub fn poll_output(&mut self) -> Option<Change> {
        self.changes.pop_front()
    }

    /// Whether a call may be made now.
    pub fn admit(&mut self, now: Moment, rng: &mut Rng) -> Admission {
        self.step(now, rng);
        let ordinary = Ticket::closed(self.era);
        match self.state {
            State::Closed { .. } => Admission::Pass(ordinary),
            State::Open { until } => Admission::Refuse(until.since(now)),
            State::HalfOpen { passed } => {
                let under_way = self.slots.iter().flatten().count();
                let free = self.slots.iter().position(Option::is_none);
                match free.filter(|_slot| under_way + (passed as usize) < self.slots.len()) {
                    Some(slot) => {
                        self.slots[slot] = Some(now);
                        Admission::Pass(Ticket { era: self.era, slot: u8::try_from(slot).ok() })
                    }
                    None => Admission::Refuse(SOON),
                }
            }
            State::Ramping(ramp) if rng.unit() < ramp.share(now) => Admission::Pass(ordinary),
            State::Ramping(_) => Admission::Refuse(SOON),
        }
    }

    /// Tells how a call ended that was let through.
    pub fn record(&mut self, now: Moment, ticket: Ticket, outcome: Outcome, rng: &mut Rng) {
        self.step(now, rng);
        // What was let through before the breaker opened says nothing about now.
        if ticket.era != self.era {
            return;
        }
        let (failed, took) = match outcome {
            Outcome::Success(took) => (false, took),
            Outcome::Failure(took) => (true, took),
            Outcome::Abandoned => return self.release(ticket),
        };
        let slow = self.policy.is_slow(took);
        match (self.state, ticket.slot) {
            (State::HalfOpen { passed }, Some(_)) => {
                self.release(ticket);
                self.probed(now, passed, failed || slow, rng);
            }
            // Every call that is under way in HalfOpen has a slot.
            (State::HalfOpen { .. } | State::Open { .. }, _) => {}
            (State::Closed { .. } | State::Ramping(_), _) => {
                self.window.count(now, failed, slow);
                self.row = if failed { self.row.saturating_add(1) } else { 0 };
                self.judge(now, rng);
            }
        }
    }

    /// Counts `number` calls that were let through in `era`, succeeded, and were not slow.
    pub fn record_well(&mut self, now: Moment, era: u32, number: u32, rng: &mut Rng) {
        self.step(now, rng);
        if number == 0 || era != self.era || !matches!(self.state, State::Closed { .. } | State::Ramping(_)) {
            return;
        }
        self.row = 0;
        self.window.count_well(now, number);
        self.judge(now, rng);
    }

    /// A call that had counted as a success has failed after all: its answer broke off, or its trailers say so.
    pub fn belie(&mut self, now: Moment, rng: &mut Rng) {
        self.step(now, rng);
        match self.state {
            State::Closed { .. } | State::Ramping(_) => {
                self.window.count(now, true, false);
                self.row = self.row.saturating_add(1);
                self.judge(now, rng);
            }
            State::HalfOpen { .. } => self.open(now, Why::ProbeFailed, rng),
            State::Open { .. } => {}
        }
    }

    fn release(&mut self, ticket: Ticket) {
        if let Some(place) = ticket.slot.and_then(|slot| self.slots.get_mut(usize::from(slot))) {
            *place = None;
        }
    }

    fn probed(&mut self, now: Moment, passed: u32, failed: bool, rng: &mut Rng) {
        if failed {
            return self.open(now, Why::ProbeFailed, rng);
        }
        let passed = passed + 1;
        if passed < self.policy.probes {
            self.state = State::HalfOpen { passed };
            return;
        }
        self.window.clear();
        self.row = 0;
        if self.policy.ramp.is_zero() {
            return self.close(now, Why::ProbesPassed);
        }
        let ramp = Ramp::new(now, self.policy.ramp.min(LONGEST), RAMP_FROM);
        self.enter(State::Ramping(ramp), Why::ProbesPassed);
    }

    /// Opens if the recent calls were bad enough.
    fn judge(&mut self, now: Moment, rng: &mut Rng) {
        let tally = self.window.tally(now);
        let is_enough = tally.calls >= u64::from(self.policy.min_calls.max(1));
        // The small subtraction lets 29 of 100 be 29 %, which it is not in binary.
        let reaches = |part: u64, rate: f64| is_enough && part > 0 && part as f64 >= rate * tally.calls as f64 - 1e-9;
        let why = if self.policy.consecutive.is_some_and(|most| self.row > 0 && self.row >= most) {
            Some(Why::Consecutive(self.row))
        } else if self.policy.failure_rate.is_some_and(|rate| reaches(tally.failed, rate)) {
            Some(Why::FailureRate(tally))
        } else if self.policy.slow.is_some_and(|slow| reaches(tally.slow, slow.rate)) {
            Some(Why::SlowRate(tally))
        } else {
            None
        };
        if let Some(why) = why {
            self.open(now, why, rng);
        }
    }

    fn open(&mut self, now: Moment, why: Why, rng: &mut Rng) {
        let is_in_a_row = match self.state {
            State::Closed { forgotten } => now < forgotten,
            State::Open { .. } | State::HalfOpen { .. } | State::Ramping(_) => true,
        };
        self.reopened = if is_in_a_row { self.reopened.saturating_add(1) } else { 0 };
        let factor = 1u32.checked_shl(self.reopened.min(31)).unwrap_or(u32::MAX);
        let lasts = self.policy.open_for.saturating_mul(factor).min(self.policy.open_max).min(LONGEST);
        let jitter = if self.policy.jitter.is_nan() { 0.0 } else { self.policy.jitter.clamp(0.0, 1.0) };
        self.lasted = lasts.mul_f64(1.0 + jitter * rng.unit());
        self.era = self.era.wrapping_add(1);
        self.window.clear();
        self.row = 0;
        self.enter(State::Open { until: now.after(self.lasted) }, why);
    }

    /// Closes it, and forgets all that it has seen: an operator says that what it guards is well.
    pub fn reset(&mut self) {
        self.window.clear();
        self.row = 0;
        self.reopened = 0;
        self.slots.fill(None);
        if self.phase() != Phase::Closed {
            self.enter(State::Closed { forgotten: Moment::ZERO }, Why::Reset);
        }
    }

    fn close(&mut self, now: Moment, why: Why) {
        self.enter(State::Closed { forgotten: now.after(self.lasted) }, why);
    }

    fn enter(&mut self, state: State, why: Why) {
        let from = self.phase();
        self.state = state;
        let until = if let State::Open { until } = state { Some(until) } else { None };
        self.changes.push_back(Change { from, to: self.phase(), why, until });
    }

    fn probes_end(&self) -> Option<Moment> {
        let first = self.slots.iter().flatten().min()?;
        Some(first.after(self.policy.probe_timeout))
    }
}

#[cfg(test)]
mod tests;

//! Passive ejection of endpoints that fail real traffic, one machine a service.
//!
//! An ejection is refused if it would leave no eligible endpoint, or more than the policy's share ejected. The share is of
//! all endpoints, this one counted: at 50 %, a service of two or three may lose one, of four two; at 10 %, a service of
//! fewer than ten loses none.
//!
//! The n-th ejection in a row lasts n times as long as the first. Service decays that: each stretch as long as the last
//! ejection forgives one.
//!
//! With a [`gray::Policy`] an endpoint that is far slower than its siblings or fails far more is eased out in steps
//! ([`STEPS`]). At the last step it gets a trickle, by which it can be measured; if it fails even that, it is ejected. One that is
//! merely slow keeps the trickle: a slow answer is an answer. The way back goes by the same steps, as does that from an
//! ejection. Whoever is eased out counts as ejected for the policy's share.

mod ease;
pub mod gray;
pub mod meter;

use std::collections::VecDeque;
use std::time::Duration;

use crate::balance::Share;
use crate::time::Moment;

pub use ease::STEPS;

/// When real failures take an endpoint out, and for how long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    /// Consecutive failures (connect failures, resets, time-outs, 5xx) that eject; at least 1.
    pub consecutive: u32,
    /// The first ejection lasts this long; the n-th in a row n times as long.
    pub base: Duration,
    /// No ejection lasts longer.
    pub cap: Duration,
    /// Share of a service's endpoints that may be ejected at once, 0 to 1. The last one is never ejected.
    pub max_ejected: f64,
    /// Comparison with the other endpoints; `None` turns it off.
    pub gray: Option<gray::Policy>,
}

impl Default for Policy {
    fn default() -> Self {
        let (base, cap) = (Duration::from_secs(10), Duration::from_secs(300));
        Self { consecutive: 5, base, cap, max_ejected: 0.5, gray: None }
    }
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// The endpoint has failed `consecutive` times in a row.
    Tripped {
        /// Which one.
        endpoint: usize,
        /// How many endpoints of the service would still be eligible without it.
        others: usize,
    },
    /// The endpoint was compared with the others.
    Judged {
        /// Which one.
        endpoint: usize,
        /// What the comparison says.
        verdict: gray::Verdict,
        /// How many endpoints of the service would still be eligible without it.
        others: usize,
    },
    /// An operator wants it out for a while. No bound of the policy keeps that from happening.
    Ordered {
        /// Which one.
        endpoint: usize,
        /// For how long, up to a day.
        lasts: Duration,
    },
    /// An operator wants what is held against it forgotten.
    Pardoned {
        /// Which one.
        endpoint: usize,
    },
    /// The deadline came.
    Timeout,
}

/// What to do, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send it nothing.
    Eject {
        /// Which one.
        endpoint: usize,
        /// Until when.
        until: Moment,
    },
    /// Send it traffic again.
    Restore {
        /// Which one.
        endpoint: usize,
    },
    /// Send it this share of its weight while it is not ejected.
    Ease {
        /// Which one.
        endpoint: usize,
        /// How much.
        share: Share,
    },
}

/// No policy makes an ejection last longer than this, so that each one has an end.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// The machine of one service.
#[derive(Clone, Debug)]
pub struct Machine {
    policy: Policy,
    endpoints: Vec<Endpoint>,
    outputs: VecDeque<Output>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Endpoint {
    standing: Standing,
    ease: ease::Ease,
}

#[derive(Clone, Copy, Debug, Default)]
enum Standing {
    /// It has never been ejected.
    #[default]
    Serving,
    Ejected {
        until: Moment,
        lasts: Duration,
        in_a_row: u32,
    },
    /// Back in service.
    Restored {
        since: Moment,
        lasts: Duration,
        in_a_row: u32,
    },
}

impl Machine {
    /// A machine over `endpoints` endpoints, none ejected.
    pub fn new(policy: Policy, endpoints: usize) -> Self {
        Self { policy, endpoints: vec![Endpoint::default(); endpoints], outputs: VecDeque::new() }
    }

    /// Takes in what happened.
    pub fn step(&mut self, now: Moment, input: Input) {
        self.come_back(now);
        match input {
            Input::Tripped { endpoint, others } => self.eject(now, endpoint, others),
            Input::Judged { endpoint, verdict, others } => self.judge(now, endpoint, verdict, others),
            Input::Ordered { endpoint, lasts } => self.order(now, endpoint, lasts.min(LONGEST)),
            Input::Pardoned { endpoint } => self.pardon(endpoint),
            Input::Timeout => {}
        }
    }

    /// Goes on with an ejection that another machine decided and that its owner heeds already. It counts as the first in a
    /// row, and against the policy's share like any other.
    pub fn resume(&mut self, now: Moment, endpoint: usize, until: Moment) {
        let lasts = until.since(now).min(LONGEST);
        if let Some(entry) = self.endpoints.get_mut(endpoint) {
            entry.standing = Standing::Ejected { until: now.after(lasts), lasts, in_a_row: 1 };
        }
    }

    /// Goes on with how far `other` has eased out its endpoint `index`, which is `endpoint` here.
    pub fn resume_easing(&mut self, endpoint: usize, other: &Self, index: usize) {
        if let (Some(entry), Some(known)) = (self.endpoints.get_mut(endpoint), other.endpoints.get(index))
            && self.policy == other.policy
        {
            entry.ease = known.ease;
        }
    }

    /// The next effect, in order.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to feed [`Input::Timeout`]; `None` while nothing is ejected or eased out.
    pub fn deadline(&self) -> Option<Moment> {
        self.endpoints.iter().filter_map(|entry| entry.deadline(&self.policy)).min()
    }

    /// How much of its weight the endpoint gets while it is not ejected.
    pub fn share(&self, endpoint: usize) -> Share {
        self.endpoints.get(endpoint).map_or(Share::FULL, |entry| entry.ease.share())
    }

    /// Ends ejections that are over, and takes those a step in of which nobody has said anything for long.
    fn come_back(&mut self, now: Moment) {
        for (endpoint, entry) in self.endpoints.iter_mut().enumerate() {
            if let Standing::Ejected { until, lasts, in_a_row } = entry.standing {
                if until > now {
                    continue;
                }
                entry.standing = Standing::Restored { since: until, lasts, in_a_row };
                if self.policy.gray.is_some() {
                    entry.ease.after_ejection(now);
                    self.outputs.push_back(Output::Ease { endpoint, share: entry.ease.share() });
                }
                self.outputs.push_back(Output::Restore { endpoint });
            } else if entry.ease.up_if_due(now, &self.policy) {
                self.outputs.push_back(Output::Ease { endpoint, share: entry.ease.share() });
            }
        }
    }

    fn judge(&mut self, now: Moment, endpoint: usize, verdict: gray::Verdict, others: usize) {
        let may = self.may_leave(endpoint, others);
        let Some(entry) = self.endpoints.get_mut(endpoint) else { return };
        if entry.ejected_until().is_some() {
            return;
        }
        let is_moved = match verdict {
            gray::Verdict::Well => entry.ease.well(now),
            gray::Verdict::Unclear => false,
            gray::Verdict::Slow | gray::Verdict::Failing if !may => false,
            gray::Verdict::Slow | gray::Verdict::Failing => {
                let was_last = entry.ease.down(now, &self.policy);
                if was_last && verdict == gray::Verdict::Failing && entry.ease.fails() {
                    return self.eject(now, endpoint, others);
                }
                !was_last
            }
        };
        if is_moved {
            self.outputs.push_back(Output::Ease { endpoint, share: entry.ease.share() });
        }
    }

    /// Whether one more endpoint may be out. `others` also knows of endpoints that are down or draining; the count of our own
    /// holds if it is out of date.
    fn may_leave(&self, endpoint: usize, others: usize) -> bool {
        let total = self.endpoints.len();
        let is_out = |entry: &Endpoint| entry.ejected_until().is_some() || entry.ease.is_eased();
        let rest = self.endpoints.iter().enumerate().filter(|(index, _entry)| *index != endpoint);
        let out_then = 1 + rest.filter(|(_index, entry)| is_out(entry)).count();
        // The small addition lets 29 % of 100 be 29, which it is not in binary.
        let within_cap = out_then as f64 <= self.policy.max_ejected * total as f64 + 1e-9;
        others > 0 && out_then < total && within_cap
    }

    fn eject(&mut self, now: Moment, endpoint: usize, others: usize) {
        let may = self.may_leave(endpoint, others);
        let Some(entry) = self.endpoints.get_mut(endpoint) else { return };
        let in_a_row = match entry.standing {
            Standing::Serving => 1,
            Standing::Ejected { .. } => return,
            Standing::Restored { since, lasts, in_a_row } => {
                ease::decayed(in_a_row, now.since(since), lasts).saturating_add(1)
            }
        };
        if !may {
            return;
        }
        let lasts = ease::hold(&self.policy, in_a_row);
        let until = now.after(lasts);
        entry.standing = Standing::Ejected { until, lasts, in_a_row };
        self.outputs.push_back(Output::Eject { endpoint, until });
    }
}

impl Machine {
    /// It counts as no ejection in a row: the endpoint has done nothing.
    fn order(&mut self, now: Moment, endpoint: usize, lasts: Duration) {
        let Some(entry) = self.endpoints.get_mut(endpoint) else { return };
        let in_a_row = match entry.standing {
            Standing::Serving => 0,
            Standing::Ejected { in_a_row, .. } | Standing::Restored { in_a_row, .. } => in_a_row,
        };
        let until = now.after(lasts);
        entry.standing = Standing::Ejected { until, lasts, in_a_row };
        self.outputs.push_back(Output::Eject { endpoint, until });
    }

    fn pardon(&mut self, endpoint: usize) {
        let Some(entry) = self.endpoints.get_mut(endpoint) else { return };
        let before = std::mem::take(entry);
        if before.ease.is_eased() {
            self.outputs.push_back(Output::Ease { endpoint, share: Share::FULL });
        }
        if before.ejected_until().is_some() {
            self.outputs.push_back(Output::Restore { endpoint });
        }
    }
}

impl Endpoint {
    const fn ejected_until(&self) -> Option<Moment> {
        match self.standing {
            Standing::Ejected { until, .. } => Some(until),
            Standing::Serving | Standing::Restored { .. } => None,
        }
    }

    fn deadline(&self, policy: &Policy) -> Option<Moment> {
        self.ejected_until().or_else(|| self.ease.deadline(policy))
    }
}

#[cfg(test)]
mod tests;

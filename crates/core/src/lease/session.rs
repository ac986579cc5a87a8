//! A node's lease: granted, renewed, given up in time, granted anew.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Policy, Term};
use crate::random::Rng;
use crate::time::Moment;

/// Renewals whose answers are waited for at the same time, at most.
const IN_FLIGHT_MAX: usize = 4;

/// What happened. Answers name the attempt that they are to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// Time has passed.
    Timeout,
    /// A lease was granted.
    Granted {
        /// The attempt.
        attempt: u64,
        /// The lease's name.
        lease: i64,
        /// How long it lives.
        ttl: Duration,
    },
    /// The lease was renewed.
    Renewed {
        /// The attempt.
        attempt: u64,
        /// How long it lives from then on.
        ttl: Duration,
    },
    /// No answer, or a failure that may pass.
    Failed {
        /// The attempt.
        attempt: u64,
    },
    /// The coordinator does not know the lease.
    Gone {
        /// The lease.
        lease: i64,
    },
    /// Everything that acted on the lease has stopped.
    Stopped {
        /// The lease.
        lease: i64,
    },
    /// The node leaves.
    Close,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Output {
    /// Ask for a lease, and give up after the policy's limit.
    Grant {
        /// To be named in the answer.
        attempt: u64,
    },
    /// Renew the lease, and give up after the policy's limit.
    Renew {
        /// To be named in the answer.
        attempt: u64,
        /// The lease.
        lease: i64,
    },
    /// It may be acted on the lease until the deadline, which may be later than was said before.
    Held(Term),
    /// Everything that acts on the lease must stop, and say when it has.
    StepDown {
        /// The term that ends.
        term: Term,
        /// Why.
        reason: Reason,
    },
    /// End the lease. Whether it works is not important: it ends by itself.
    Revoke {
        /// The lease.
        lease: i64,
    },
}

/// Why a lease is no longer acted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// No renewal was confirmed in time.
    Expired,
    /// The coordinator has ended it.
    Gone,
    /// The clock went backwards, so that nothing that was counted with it holds.
    ClockWentBack,
    /// The node leaves.
    Closed,
}

/// A session.
///
/// It may be told of time late, and out of order with other inputs: whatever it hears first after a deadline, the first thing
/// that it says is that the deadline has passed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Session {
    policy: Policy,
    rng: Rng,
    state: State,
    attempts: u64,
    /// The latest moment that it was told.
    seen: Moment,
    outputs: VecDeque<Output>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Sent {
    attempt: u64,
    at: Moment,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum State {
    /// There is no lease, and at `next` one is asked for.
    Without { next: Moment, failures: u32 },
    /// One was asked for.
    Asked { sent: Sent, failures: u32 },
    /// It has one.
    Held {
        term: Term,
        /// When the request was sent that the term counts from.
        confirmed: Moment,
        sent: VecDeque<Sent>,
        next: Moment,
        failures: u32,
    },
    /// It had one, and waits until all have stopped or would have been stopped.
    Stopping { term: Term, closing: bool },
    /// The node has left.
    Closed,
}

impl Session {
    /// One without a lease that asks for one at the first step. `seed` spreads retries of several nodes.
    pub const fn new(policy: Policy, seed: u64) -> Self {
        Self {
            policy,
            rng: Rng::seeded(seed),
            state: State::Without { next: Moment::ZERO, failures: 0 },
            attempts: 0,
            seen: Moment::ZERO,
            outputs: VecDeque::new(),
        }
    }

    /// Tells it what happened.
    pub fn step(&mut self, now: Moment, input: Input) {
        if now < self.seen {
            self.clock_went_back(now);
        }
        self.seen = now;
        if let State::Held { term, .. } = self.state
            && now >= term.deadline
        {
            self.step_down(term, Reason::Expired);
        }
        match input {
            Input::Timeout => {}
            Input::Granted { attempt, lease, ttl } => self.granted(now, attempt, lease, ttl),
            Input::Renewed { attempt, ttl } => self.renewed(now, attempt, ttl),
            Input::Failed { attempt } => self.failed(now, attempt),
            Input::Gone { lease } => self.gone(now, lease),
            Input::Stopped { lease } => self.stopped(now, lease),
            Input::Close => self.close(),
        }
        self.turn(now);
    }

    /// The next thing to do, in order.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to step with [`Input::Timeout`].
    pub fn deadline(&self) -> Option<Moment> {
        let look = self.seen.after(self.policy.look());
        match &self.state {
            State::Without { next, .. } => Some(*next),
            State::Asked { sent, .. } => Some(sent.at.after(self.policy.rpc).min(look)),
            State::Held { term, next, .. } => Some((*next).min(term.deadline).min(look)),
            State::Stopping { term, .. } => Some(term.expiry),
            State::Closed => None,
        }
    }

    /// How long the lease may be acted on, if there is one.
    pub fn term(&self, now: Moment) -> Option<Term> {
        match self.state {
            State::Held { term, .. } if now >= self.seen && now < term.deadline => Some(term),
            _ => None,
        }
    }

    /// Whether it has come to its end.
    pub const fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// What is due by the clock.
    fn turn(&mut self, now: Moment) {
        match &mut self.state {
            State::Without { next, failures } if now >= *next => {
                self.attempts += 1;
                let sent = Sent { attempt: self.attempts, at: now };
                self.state = State::Asked { sent, failures: *failures };
                self.outputs.push_back(Output::Grant { attempt: sent.attempt });
            }
            State::Asked { sent, failures } if now >= sent.at.after(self.policy.rpc) => {
                let failures = *failures;
                self.ask_later(now, failures);
            }
            State::Held { term, confirmed, sent, next, .. } if now >= *next => {
                self.attempts += 1;
                if sent.len() >= IN_FLIGHT_MAX {
                    sent.pop_front();
                }
                sent.push_back(Sent { attempt: self.attempts, at: now });
                // One answer that is missing is soon made up for; after two the messages seem to be lost.
                let late = now.since(*confirmed) >= self.policy.renew * 2;
                *next = now.after(if late { self.policy.renew / 2 } else { self.policy.renew });
                self.outputs.push_back(Output::Renew { attempt: self.attempts, lease: term.lease });
            }
            State::Stopping { term, closing } if now >= term.expiry => {
                // Nobody acts on it any more, or is stopped from outside. It ends by itself.
                self.state = if *closing { State::Closed } else { State::Without { next: Moment::ZERO, failures: 0 } };
                self.turn(now);
            }
            State::Without { .. }
            | State::Asked { .. }
            | State::Held { .. }
            | State::Stopping { .. }
            | State::Closed => {}
        }
    }

    fn granted(&mut self, now: Moment, attempt: u64, lease: i64, ttl: Duration) {
        let State::Asked { sent, .. } = self.state else {
            return self.discard(lease);
        };
        if sent.attempt != attempt {
            return self.discard(lease);
        }
        let term = self.policy.term(lease, sent.at, ttl);
        if now >= term.deadline {
            self.discard(lease);
            return self.ask_later(now, 0);
        }
        // Renewals keep the pace of the sendings, not of the answers.
        let next = sent.at.after(self.policy.renew);
        self.state = State::Held { term, confirmed: sent.at, sent: VecDeque::new(), next, failures: 0 };
        self.outputs.push_back(Output::Held(term));
    }

    /// A lease that came too late to be of use. Nothing acts on it.
    fn discard(&mut self, lease: i64) {
        let own = matches!(&self.state, State::Held { term, .. } | State::Stopping { term, .. } if term.lease == lease);
        if !own {
            self.outputs.push_back(Output::Revoke { lease });
        }
    }

    fn renewed(&mut self, now: Moment, attempt: u64, ttl: Duration) {
        let State::Held { term, confirmed, sent, failures, .. } = &mut self.state else { return };
        let Some(found) = sent.iter().find(|sent| sent.attempt == attempt).copied() else { return };
        sent.retain(|sent| sent.attempt > attempt);
        *failures = 0;
        let renewed = self.policy.term(term.lease, found.at, ttl);
        if renewed.deadline > term.deadline && now < renewed.deadline {
            *term = renewed;
            *confirmed = found.at;
            self.outputs.push_back(Output::Held(renewed));
        }
    }

    fn failed(&mut self, now: Moment, attempt: u64) {
        match &mut self.state {
            State::Asked { sent, failures } if sent.attempt == attempt => {
                let failures = *failures;
                self.ask_later(now, failures);
            }
            State::Held { sent, next, failures, .. } => {
                let known = sent.iter().any(|sent| sent.attempt == attempt);
                // A newer one under way makes up for this one.
                let newest = sent.back().is_some_and(|sent| sent.attempt == attempt);
                sent.retain(|sent| sent.attempt != attempt);
                if known && newest {
                    *next = (*next).min(now.after(self.policy.pause(*failures, &mut self.rng)));
                    *failures = failures.saturating_add(1);
                }
            }
            State::Without { .. } | State::Asked { .. } | State::Stopping { .. } | State::Closed => {}
        }
    }

    fn gone(&mut self, now: Moment, lease: i64) {
        match self.state {
            State::Held { term, .. } if term.lease == lease => {
                self.outputs.push_back(Output::StepDown { term, reason: Reason::Gone });
                self.state = State::Without { next: now, failures: 0 };
            }
            State::Without { .. }
            | State::Asked { .. }
            | State::Held { .. }
            | State::Stopping { .. }
            | State::Closed => {}
        }
    }

    fn stopped(&mut self, now: Moment, lease: i64) {
        if let State::Stopping { term, closing } = self.state
            && term.lease == lease
        {
            // What held the keys has stopped, so that others need not wait for the end of the lease.
            self.outputs.push_back(Output::Revoke { lease });
            self.state = if closing { State::Closed } else { State::Without { next: now, failures: 0 } };
        }
    }

    fn close(&mut self) {
        match &mut self.state {
            State::Held { term, .. } => {
                let term = *term;
                self.step_down(term, Reason::Closed);
            }
            State::Stopping { closing, .. } => *closing = true,
            // An answer that is still to come is discarded.
            State::Without { .. } | State::Asked { .. } => self.state = State::Closed,
            State::Closed => {}
        }
    }

    fn clock_went_back(&mut self, now: Moment) {
        match &mut self.state {
            State::Without { next, .. } => *next = now,
            State::Asked { failures, .. } => {
                let failures = *failures;
                self.ask_later(now, failures);
            }
            State::Held { term, .. } => {
                let term = Term { expiry: now.after(self.policy.ttl), ..*term };
                self.step_down(term, Reason::ClockWentBack);
            }
            State::Stopping { term, .. } => term.expiry = now.after(self.policy.ttl),
            State::Closed => {}
        }
    }

    fn step_down(&mut self, term: Term, reason: Reason) {
        self.outputs.push_back(Output::StepDown { term, reason });
        self.state = State::Stopping { term, closing: reason == Reason::Closed };
    }

    fn ask_later(&mut self, now: Moment, failures: u32) {
        let next = now.after(self.policy.pause(failures, &mut self.rng));
        self.state = State::Without { next, failures: failures.saturating_add(1) };
    }
}

#[cfg(test)]
mod tests;

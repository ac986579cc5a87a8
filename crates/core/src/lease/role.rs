//! One role: campaigned for, held after the guard, given up in time.

use std::collections::VecDeque;

use super::{Policy, Term, Token};
use crate::random::Rng;
use crate::time::Moment;

/// What the coordinator has under the role's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Seen {
    /// The revision of this news.
    pub revision: u64,
    /// The holder's token and lease, if there is one.
    pub holder: Option<(Token, i64)>,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// Time has passed.
    Timeout,
    /// Whether the node wants the role.
    Want(bool),
    /// The session is held until the term's deadline.
    Session(Term),
    /// The session has ended.
    SessionLost,
    /// The answer to a campaign: what is under the key now.
    Answer {
        /// The attempt.
        attempt: u64,
        /// What is there. A holder with the own lease means that the campaign was won, by this attempt or an earlier one.
        seen: Seen,
    },
    /// A campaign or a resignation without an answer; it may have been performed.
    Failed {
        /// The attempt.
        attempt: u64,
    },
    /// The watch tells what is under the key.
    Seen(Seen),
    /// What acted for the role has stopped.
    Stopped {
        /// The token that it acted with.
        token: Token,
    },
    /// The key is deleted.
    Resigned {
        /// The attempt.
        attempt: u64,
    },
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Output {
    /// Put the key on the lease if it is not there, and answer what is there then.
    Campaign {
        /// To be named in the answer.
        attempt: u64,
        /// The own lease.
        lease: i64,
    },
    /// Act until the deadline, which may be later than was said before.
    Hold {
        /// Proves the right to act.
        token: Token,
        /// Until when.
        term: Term,
    },
    /// Stop acting, and say when it has stopped. If it is to be given up at wish there is time until the term's deadline.
    Stop {
        /// The token that ends.
        token: Token,
        /// Why.
        why: Why,
    },
    /// Delete the key if it is the own one.
    Resign {
        /// To be named in the answer.
        attempt: u64,
        /// Which one, if that is known; otherwise any on this lease.
        token: Option<Token>,
        /// The own lease.
        lease: i64,
    },
}

/// Why a role is no longer held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Why {
    /// The node no longer wants it: connections may be drained.
    Resigned,
    /// The session ended: at once.
    SessionLost,
    /// The key was deleted: at once.
    Taken,
}

/// A role of one node. As [`super::Session`], it looks at the clock before anything else.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Role {
    policy: Policy,
    rng: Rng,
    wanted: bool,
    session: Option<Term>,
    state: State,
    attempts: u64,
    /// The latest moment that it was told.
    seen: Moment,
    outputs: VecDeque<Output>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum State {
    /// It does not have the role; at `next` it tries, if it wants it.
    Outside { next: Moment, failures: u32 },
    /// It tries.
    Asked { attempt: u64, until: Moment, failures: u32 },
    /// It has the key and waits out the guard.
    Waiting { token: Token, until: Moment },
    /// It acts.
    Holding { token: Token },
    /// It was told to stop; `owned`: the key is still its own.
    Stopping { token: Token, owned: bool },
    /// It gives the key back.
    Resigning { attempt: u64, token: Option<Token>, until: Moment, failures: u32 },
}

impl Role {
    /// One that is neither wanted nor held.
    pub const fn new(policy: Policy, seed: u64) -> Self {
        Self {
            policy,
            rng: Rng::seeded(seed),
            wanted: false,
            session: None,
            state: State::Outside { next: Moment::ZERO, failures: 0 },
            attempts: 0,
            seen: Moment::ZERO,
            outputs: VecDeque::new(),
        }
    }

    /// Tells it what happened.
    pub fn step(&mut self, now: Moment, input: Input) {
        let went_back = now < self.seen;
        self.seen = now;
        if went_back || self.session.is_some_and(|term| now >= term.deadline) {
            self.session_lost(now);
        }
        match input {
            Input::Timeout => {}
            Input::Want(wanted) => self.want(wanted),
            Input::Session(term) => self.session(now, term),
            Input::SessionLost => self.session_lost(now),
            Input::Answer { attempt, seen } => self.answered(now, attempt, seen),
            Input::Failed { attempt } => self.failed(now, attempt),
            Input::Seen(seen) => self.watched(now, seen),
            Input::Stopped { token } => self.stopped(now, token),
            Input::Resigned { attempt } => self.resigned(now, attempt),
        }
        self.turn(now);
    }

    /// The next thing to do, in order.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to step with [`Input::Timeout`].
    pub fn deadline(&self) -> Option<Moment> {
        let lost = self.session.map(|term| term.deadline);
        let due = match self.state {
            State::Outside { next, .. } => (self.wanted && self.session.is_some()).then_some(next),
            State::Asked { until, .. } | State::Waiting { until, .. } | State::Resigning { until, .. } => Some(until),
            State::Holding { .. } | State::Stopping { .. } => None,
        };
        match (lost, due) {
            (Some(lost), Some(due)) => Some(lost.min(due)),
            (one, other) => one.or(other),
        }
    }

    /// The token, while it may be acted on.
    pub fn holds(&self, now: Moment) -> Option<Token> {
        match (self.state, self.session) {
            (State::Holding { token }, Some(term)) if now < term.deadline => Some(token),
            _ => None,
        }
    }

    /// The token that something may still act with that was told to stop.
    pub const fn stopping(&self) -> Option<Token> {
        match self.state {
            State::Stopping { token, .. } => Some(token),
            _ => None,
        }
    }

    /// Whether it was told to act, and not to stop since.
    pub const fn is_holding(&self) -> bool {
        matches!(self.state, State::Holding { .. })
    }

    /// Whether the node has nothing to do with the role: no key, nothing under way, nothing that acts.
    pub const fn is_idle(&self) -> bool {
        matches!(self.state, State::Outside { .. }) && !self.wanted
    }

    fn turn(&mut self, now: Moment) {
        let Some(term) = self.session else { return };
        match self.state {
            State::Outside { next, failures } if self.wanted && now >= next => {
                self.attempts += 1;
                let attempt = self.attempts;
                self.state = State::Asked { attempt, until: now.after(self.policy.rpc), failures };
                self.outputs.push_back(Output::Campaign { attempt, lease: term.lease });
            }
            State::Asked { until, failures, .. } if now >= until => self.unanswered(now, failures),
            State::Waiting { token, until } if now >= until => {
                self.state = State::Holding { token };
                self.outputs.push_back(Output::Hold { token, term });
            }
            State::Resigning { token, until, failures, .. } if now >= until => self.resign(now, token, failures),
            State::Outside { .. }
            | State::Asked { .. }
            | State::Waiting { .. }
            | State::Holding { .. }
            | State::Stopping { .. }
            | State::Resigning { .. } => {}
        }
    }

    fn want(&mut self, wanted: bool) {
        self.wanted = wanted;
        if let State::Holding { token } = self.state
            && !wanted
        {
            self.state = State::Stopping { token, owned: true };
            self.outputs.push_back(Output::Stop { token, why: Why::Resigned });
        }
        if let State::Waiting { token, .. } = self.state
            && !wanted
        {
            // Nothing acts yet.
            self.state = State::Resigning { attempt: 0, token: Some(token), until: Moment::ZERO, failures: 0 };
        }
    }

    fn session(&mut self, now: Moment, term: Term) {
        if self.session.is_some_and(|before| before.lease != term.lease) {
            self.session_lost(now);
        }
        if now >= term.deadline {
            return self.session_lost(now);
        }
        self.session = Some(term);
        if let State::Holding { token } = self.state {
            self.outputs.push_back(Output::Hold { token, term });
        }
    }

    fn session_lost(&mut self, now: Moment) {
        self.session = None;
        self.lose(now, Why::SessionLost);
    }

    /// The key is no longer its own, or will soon not be.
    fn lose(&mut self, now: Moment, why: Why) {
        self.state = match self.state {
            State::Holding { token } => {
                self.outputs.push_back(Output::Stop { token, why });
                State::Stopping { token, owned: false }
            }
            State::Stopping { token, owned: true } => {
                // It was told that there is time, and now there is none.
                self.outputs.push_back(Output::Stop { token, why });
                State::Stopping { token, owned: false }
            }
            State::Stopping { token, owned: false } => State::Stopping { token, owned: false },
            State::Outside { .. } | State::Asked { .. } | State::Waiting { .. } | State::Resigning { .. } => {
                State::Outside { next: now, failures: 0 }
            }
        };
    }

    fn answered(&mut self, now: Moment, attempt: u64, seen: Seen) {
        let State::Asked { attempt: asked, .. } = self.state else { return };
        if asked == attempt {
            self.look(now, seen);
        }
    }

    /// What is under the key decides what it is to this node, which does not act.
    fn look(&mut self, now: Moment, seen: Seen) {
        let Some(own) = self.session else { return };
        self.state = match seen.holder {
            Some((token, lease)) if lease == own.lease && self.wanted => {
                State::Waiting { token, until: now.after(self.policy.guard) }
            }
            Some((token, lease)) if lease == own.lease => {
                State::Resigning { attempt: 0, token: Some(token), until: now, failures: 0 }
            }
            // The watch tells when it is free. Should the watch be deaf, this is how it is found out.
            Some(_other) => State::Outside { next: now.after(self.policy.ttl), failures: 0 },
            None => State::Outside { next: now.after(self.policy.pause(0, &mut self.rng)), failures: 1 },
        };
    }

    fn failed(&mut self, now: Moment, attempt: u64) {
        match self.state {
            State::Asked { attempt: asked, failures, .. } if asked == attempt => self.unanswered(now, failures),
            State::Resigning { attempt: asked, token, failures, .. } if asked == attempt => {
                let until = now.after(self.policy.pause(failures, &mut self.rng));
                self.state = State::Resigning { attempt, token, until, failures: failures.saturating_add(1) };
            }
            State::Outside { .. }
            | State::Asked { .. }
            | State::Waiting { .. }
            | State::Holding { .. }
            | State::Stopping { .. }
            | State::Resigning { .. } => {}
        }
    }

    /// A campaign that may have been won without anybody knowing.
    fn unanswered(&mut self, now: Moment, failures: u32) {
        let next = now.after(self.policy.pause(failures, &mut self.rng));
        let failures = failures.saturating_add(1);
        self.state = if self.wanted {
            State::Outside { next, failures }
        } else {
            State::Resigning { attempt: 0, token: None, until: next, failures: 0 }
        };
    }

    fn watched(&mut self, now: Moment, seen: Seen) {
        match self.state {
            State::Outside { next, failures } => {
                let own = seen.holder.is_some_and(|(_, lease)| self.session.is_some_and(|term| term.lease == lease));
                // A campaign whose answer was lost may have been won. The watch may tell of it long after the key was given
                // back, so that it proves nothing: what is true is asked for.
                if own && !self.wanted {
                    self.state = State::Resigning { attempt: 0, token: None, until: now, failures: 0 };
                } else if failures == 0 && (own || seen.holder.is_none()) {
                    // After a failure the pause is kept, lest a watch that flaps makes it ask without end.
                    self.state = State::Outside { next: next.min(now), failures };
                }
            }
            State::Waiting { token, .. } | State::Holding { token } | State::Stopping { token, owned: true } => {
                // News from before the key was its own is no news.
                let other = seen.holder.is_none_or(|(holder, _)| holder != token);
                if other && seen.revision > token {
                    self.lose(now, Why::Taken);
                }
            }
            State::Asked { .. } | State::Stopping { owned: false, .. } | State::Resigning { .. } => {}
        }
    }

    fn stopped(&mut self, now: Moment, token: Token) {
        let State::Stopping { token: own, owned } = self.state else { return };
        if own != token {
            return;
        }
        match self.session {
            Some(term) if owned && self.wanted => {
                self.state = State::Holding { token };
                self.outputs.push_back(Output::Hold { token, term });
            }
            Some(_) if owned => self.resign(now, Some(token), 0),
            _ => self.state = State::Outside { next: now, failures: 0 },
        }
    }

    fn resign(&mut self, now: Moment, token: Option<Token>, failures: u32) {
        let Some(term) = self.session else { return };
        self.attempts += 1;
        let attempt = self.attempts;
        self.state = State::Resigning { attempt, token, until: now.after(self.policy.rpc), failures };
        self.outputs.push_back(Output::Resign { attempt, token, lease: term.lease });
    }

    fn resigned(&mut self, now: Moment, attempt: u64) {
        if matches!(self.state, State::Resigning { attempt: asked, .. } if asked == attempt) {
            self.state = State::Outside { next: now, failures: 0 };
        }
    }
}

#[cfg(test)]
mod tests;

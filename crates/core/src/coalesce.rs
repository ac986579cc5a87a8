//! Requests for the same thing that come at the same time: one of them goes, the others wait for what it brings.
//!
//! A [`Flight`] is one such group. It knows its members by the tickets that it gives them; whoever drives it keeps what is
//! needed to wake them. The failure of the one that went does not fail the others: the one that has waited longest goes
//! next, a bounded number of times.

use std::collections::VecDeque;

/// Bounds of a flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Members that wait at once; further ones go on by themselves.
    pub waiters: usize,
    /// Members that go one after another while each fails; at least 1.
    pub leaders: u32,
}

/// A member's number, never given twice by the same flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

/// What a request that comes along is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joined {
    /// Go, and say how it ended.
    Lead,
    /// Wait.
    Wait(Ticket),
    /// Go on by itself: enough wait already, or the flight is over.
    Alone,
}

/// How the journey of a leader ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// What it brought is there for everybody.
    Shared,
    /// What it brought is for itself alone.
    Unshared,
    /// It brought nothing.
    Failed,
}

/// What a waiting member is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// Look again: it is there.
    Look,
    /// Go on by yourself.
    Alone,
    /// Go, and say how it ended.
    Lead,
    /// All who went have failed.
    Failed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// A leader is under way, the first or a later one.
    Led {
        leaders: u32,
    },
    Over,
}

/// A group of requests for the same thing.
#[derive(Debug)]
pub struct Flight {
    limits: Limits,
    state: State,
    waiting: VecDeque<Ticket>,
    next: u64,
    output: VecDeque<(Ticket, Told)>,
}

impl Flight {
    /// A flight whose first leader is whoever makes it.
    pub fn new(limits: Limits) -> Self {
        Self { limits, state: State::Led { leaders: 1 }, waiting: VecDeque::new(), next: 0, output: VecDeque::new() }
    }

    /// Whether nobody goes or waits any more.
    pub fn is_over(&self) -> bool {
        self.state == State::Over
    }

    /// Members that wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Another request comes along.
    pub fn join(&mut self) -> Joined {
        if self.is_over() || self.waiting.len() >= self.limits.waiters {
            return Joined::Alone;
        }
        let ticket = Ticket(self.next);
        self.next += 1;
        self.waiting.push_back(ticket);
        Joined::Wait(ticket)
    }

    /// A member does not wait any more. If it had been told to lead and did not hear it, the next one is told.
    pub fn leave(&mut self, ticket: Ticket, told: Option<Told>) {
        self.waiting.retain(|waiting| *waiting != ticket);
        if told == Some(Told::Lead) {
            // Nothing was asked for, so nothing has failed.
            self.promote();
        }
    }

    /// The leader's journey has ended. What the others are told comes from [`Self::poll_output`].
    pub fn ended(&mut self, how: Ended) {
        let State::Led { leaders } = self.state else { return };
        match how {
            Ended::Shared => self.dismiss(Told::Look),
            Ended::Unshared => self.dismiss(Told::Alone),
            Ended::Failed if leaders >= self.limits.leaders => self.dismiss(Told::Failed),
            Ended::Failed => {
                self.state = State::Led { leaders: leaders + 1 };
                self.promote();
            }
        }
    }

    /// What to tell whom.
    pub fn poll_output(&mut self) -> Option<(Ticket, Told)> {
        self.output.pop_front()
    }

    fn promote(&mut self) {
        match self.waiting.pop_front() {
            Some(ticket) => self.output.push_back((ticket, Told::Lead)),
            None => self.state = State::Over,
        }
    }

    fn dismiss(&mut self, told: Told) {
        self.output.extend(self.waiting.drain(..).map(|ticket| (ticket, told)));
        self.state = State::Over;
    }
}

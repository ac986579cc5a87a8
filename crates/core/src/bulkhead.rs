//! A bulkhead: so many requests at once, so many more that wait for a place, and no more.
//!
//! Who waits is admitted by class, the most important first. Within a class the one that came first goes first, until the
//! queue has not been empty for a while: then the one that came last, since those who came first have waited for so long
//! that their callers are about to give up ("adaptive LIFO", Maurer, "Fail at Scale", ACM Queue 2015). A full queue takes a
//! more important request in place of the least important one that waits.
//!
//! How long someone waits at most is the driver's affair, who tells of it with [`Bulkhead::leave`].

mod queue;

use std::collections::VecDeque;
use std::time::Duration;

use queue::Queue;

use crate::criticality::Criticality;
use crate::time::Moment;

/// The size of a bulkhead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Requests at once; at least 1.
    pub concurrency: u32,
    /// Requests that wait; 0 for none, at most 65,536.
    pub queue: u32,
    /// After the queue has not been empty for this long, the newest goes first.
    pub overload_after: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self { concurrency: 100, queue: 0, overload_after: Duration::from_millis(100) }
    }
}

/// A place in the queue. Its number is below [`Policy::queue`] plus the number of tickets that were called and not yet
/// settled, so that it can be the index of what the driver keeps for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket {
    number: u32,
    /// Tells those apart that have the same number one after another.
    serial: u32,
}

impl Ticket {
    /// Its number; small, and used again.
    pub const fn number(self) -> usize {
        self.number as usize
    }
}

/// What became of a request that wants in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// It is in: [`Bulkhead::release`] when it is over.
    Admitted,
    /// It waits. Each ticket is settled by one call of [`Bulkhead::leave`].
    Waiting(Ticket),
    /// There is no room to wait.
    Full,
}

/// What a ticket was worth when its owner came back with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// It is in: [`Bulkhead::release`] when it is over.
    Admitted,
    /// A more important request took its place in the queue.
    Displaced,
    /// It still waited, and no longer does.
    Left,
    /// It had been settled before.
    Unknown,
}

/// The machine.
#[derive(Clone, Debug)]
pub struct Bulkhead {
    limit: u32,
    in_flight: u32,
    queue: Queue,
    overload_after: Duration,
    /// Since when someone waits without a break.
    crowded_since: Option<Moment>,
    called: VecDeque<Ticket>,
}

/// No bulkhead has a longer queue.
const LONGEST_QUEUE: u32 = 65_536;

impl Bulkhead {
    /// An empty bulkhead. Memory for the queue is taken now.
    pub fn new(policy: Policy) -> Self {
        let queue = policy.queue.min(LONGEST_QUEUE);
        Self {
            limit: policy.concurrency.max(1),
            in_flight: 0,
            queue: Queue::new(queue),
            overload_after: policy.overload_after,
            crowded_since: None,
            called: VecDeque::with_capacity(queue as usize),
        }
    }

    /// A request comes.
    pub fn enter(&mut self, now: Moment, class: Criticality) -> Entry {
        // Whoever waits came before; a place is free beside them only for the moment in which the limit was raised.
        if self.in_flight < self.limit && self.queue.is_empty() {
            self.in_flight += 1;
            return Entry::Admitted;
        }
        if self.queue.is_full() {
            let is_overloaded = self.is_overloaded(now);
            let Some(least) = self.queue.least_important().filter(|least| *least < class) else { return Entry::Full };
            // The one that would have been the last of its class to be called.
            if let Some(ticket) = self.queue.displace(least, is_overloaded) {
                self.called.push_back(ticket);
            }
        }
        match self.queue.push(class) {
            Some(ticket) => {
                self.crowded_since.get_or_insert(now);
                Entry::Waiting(ticket)
            }
            None => Entry::Full,
        }
    }

    /// A request that was admitted is over.
    pub fn release(&mut self, now: Moment) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.fill(now);
    }

    /// Changes how many are let in at once (at least 1). Those who are in stay.
    pub fn set_limit(&mut self, now: Moment, limit: u32) {
        self.limit = limit.max(1);
        self.fill(now);
    }

    /// The owner of a ticket comes back, because it was called or because it has waited for too long.
    pub fn leave(&mut self, now: Moment, ticket: Ticket) -> Settled {
        let settled = self.queue.settle(ticket);
        self.note_emptiness(now);
        settled
    }

    /// Whether a ticket has been called: its owner need not wait any longer.
    pub fn is_called(&self, ticket: Ticket) -> bool {
        self.queue.is_called(ticket)
    }

    /// Whom to wake next.
    pub fn poll_output(&mut self) -> Option<Ticket> {
        self.called.pop_front()
    }

    /// How many are let in at once.
    pub fn limit(&self) -> u32 {
        self.limit
    }

    /// How many are in, those called and not yet back included.
    pub fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// How many wait.
    pub fn waiting(&self) -> u32 {
        self.queue.len()
    }

    /// Whether the newest goes first.
    pub fn is_overloaded(&self, now: Moment) -> bool {
        self.crowded_since.is_some_and(|since| now.since(since) >= self.overload_after)
    }

    fn fill(&mut self, now: Moment) {
        let newest_first = self.is_overloaded(now);
        while self.in_flight < self.limit
            && let Some(ticket) = self.queue.call(newest_first)
        {
            self.in_flight += 1;
            self.called.push_back(ticket);
        }
        self.note_emptiness(now);
    }

    fn note_emptiness(&mut self, now: Moment) {
        if self.queue.is_empty() {
            self.crowded_since = None;
        } else {
            self.crowded_since.get_or_insert(now);
        }
    }
}

#[cfg(test)]
mod tests;

//! Who waits: a list for each class through places of one table, so that anyone can leave from anywhere at once.

use super::{Settled, Ticket};
use crate::criticality::{CLASSES, Criticality};

/// No place.
const NONE: u32 = u32::MAX;

#[derive(Clone, Debug)]
pub(super) struct Queue {
    places: Vec<Place>,
    /// The first free place; they hang together by `newer`.
    free: u32,
    lists: [List; CLASSES],
    /// How many wait.
    waiting: u32,
    capacity: u32,
}

#[derive(Clone, Copy, Debug)]
struct List {
    oldest: u32,
    newest: u32,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    serial: u32,
    state: State,
    older: u32,
    newer: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Free,
    Waiting(Criticality),
    /// Called in, its owner has not come back yet.
    Admitted,
    /// Sent away, its owner has not come back yet.
    Displaced,
}

impl Queue {
    pub(super) fn new(capacity: u32) -> Self {
        Self {
            places: Vec::with_capacity(capacity as usize),
            free: NONE,
            lists: [List { oldest: NONE, newest: NONE }; CLASSES],
            waiting: 0,
            capacity,
        }
    }

    pub(super) fn len(&self) -> u32 {
        self.waiting
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    pub(super) fn is_full(&self) -> bool {
        self.waiting >= self.capacity
    }

    /// Adds one. `None` if there is no room, which a queue of none never has.
    pub(super) fn push(&mut self, class: Criticality) -> Option<Ticket> {
        if self.is_full() {
            return None;
        }
        let number = self.take_place()?;
        let list = &mut self.lists[class.index()];
        let older = std::mem::replace(&mut list.newest, number);
        if list.oldest == NONE {
            list.oldest = number;
        }
        if let Some(before) = self.places.get_mut(older as usize) {
            before.newer = number;
        }
        let place = self.places.get_mut(number as usize)?;
        place.state = State::Waiting(class);
        place.older = older;
        place.newer = NONE;
        self.waiting += 1;
        Some(Ticket { number, serial: place.serial })
    }

    /// Calls in the next one: of the most important class that waits, the newest or the oldest.
    pub(super) fn call(&mut self, newest_first: bool) -> Option<Ticket> {
        let class = Criticality::ALL.into_iter().rev().find(|class| self.lists[class.index()].oldest != NONE)?;
        let list = self.lists[class.index()];
        self.remove(if newest_first { list.newest } else { list.oldest }, State::Admitted)
    }

    /// Sends away the one of `class` that would have been called last.
    pub(super) fn displace(&mut self, class: Criticality, newest_first: bool) -> Option<Ticket> {
        let list = self.lists[class.index()];
        self.remove(if newest_first { list.oldest } else { list.newest }, State::Displaced)
    }

    /// The least important class that waits.
    pub(super) fn least_important(&self) -> Option<Criticality> {
        Criticality::ALL.into_iter().find(|class| self.lists[class.index()].oldest != NONE)
    }

    pub(super) fn is_called(&self, ticket: Ticket) -> bool {
        self.of(ticket).is_none_or(|place| !matches!(place.state, State::Waiting(_)))
    }

    /// Gives the place of a ticket back, and says what it was worth.
    pub(super) fn settle(&mut self, ticket: Ticket) -> Settled {
        let Some(state) = self.of(ticket).map(|place| place.state) else { return Settled::Unknown };
        let settled = match state {
            State::Free => return Settled::Unknown,
            State::Waiting(_) => {
                self.remove(ticket.number, State::Displaced);
                Settled::Left
            }
            State::Admitted => Settled::Admitted,
            State::Displaced => Settled::Displaced,
        };
        let free = self.free;
        if let Some(place) = self.places.get_mut(ticket.number as usize) {
            place.state = State::Free;
            place.serial = place.serial.wrapping_add(1);
            place.newer = free;
            self.free = ticket.number;
        }
        settled
    }

    fn of(&self, ticket: Ticket) -> Option<&Place> {
        self.places.get(ticket.number as usize).filter(|place| place.serial == ticket.serial)
    }

    fn take_place(&mut self) -> Option<u32> {
        if let Some(place) = self.places.get(self.free as usize) {
            return Some(std::mem::replace(&mut self.free, place.newer));
        }
        let number = u32::try_from(self.places.len()).ok().filter(|number| *number < NONE)?;
        self.places.push(Place { serial: 0, state: State::Free, older: NONE, newer: NONE });
        Some(number)
    }

    /// Takes a waiting one out of its list.
    fn remove(&mut self, number: u32, into: State) -> Option<Ticket> {
        let place = self.places.get_mut(number as usize)?;
        let State::Waiting(class) = place.state else { return None };
        place.state = into;
        let (older, newer, serial) = (place.older, place.newer, place.serial);
        let list = &mut self.lists[class.index()];
        match self.places.get_mut(older as usize) {
            Some(before) => before.newer = newer,
            None => list.oldest = newer,
        }
        match self.places.get_mut(newer as usize) {
            Some(after) => after.older = older,
            None => list.newest = older,
        }
        self.waiting -= 1;
        Some(Ticket { number, serial })
    }
}

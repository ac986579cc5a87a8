//! Which cell serves an account. A cell is a copy of a whole set of services with a fixed capacity, so that it can be tested
//! at its limit once; what grows is the number of cells.
//!
//! An account stays where it was placed until somebody moves it. While it is moved, its new requests wait outside until those
//! that are under way in the old cell are through, or the time for that is over: both cells never work for it at once.

use std::collections::HashMap;
use std::time::Duration;

use crate::time::Moment;

/// The longest name of an account, in bytes.
pub const NAME_BYTES_MAX: usize = 128;

/// A cell as the table sees it. Its place in the list is its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    /// Its name.
    pub name: String,
    /// Accounts that it takes.
    pub capacity: usize,
    /// Accounts that belong here whatever the table says.
    pub pinned: Vec<String>,
    /// It takes no account that is not pinned.
    pub closed: bool,
}

/// Where a request of an account goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// To this cell. [`Table::leave`] is to be called when the request is over.
    In(usize),
    /// The account is being moved; it may be asked for again after this time at the latest.
    Moving(Duration),
    /// The account is new and every cell is full.
    Full,
    /// The account's name is empty or longer than [`NAME_BYTES_MAX`].
    BadName,
}

/// What stands in the way of a move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MoveError {
    /// There is no such cell.
    NoCell,
    /// The cell has as many accounts as it takes.
    Full,
    /// The account is pinned by the configuration.
    Pinned,
    /// The account is there already.
    There,
    /// The name is empty or longer than [`NAME_BYTES_MAX`].
    BadName,
}

/// Accounts and their cells. At most as many accounts as all cells take together.
#[derive(Clone, Debug, Default)]
pub struct Table {
    cells: Vec<Cell>,
    accounts: HashMap<Box<str>, Account>,
    /// By cell: accounts that are in it, or on their way to it.
    used: Vec<usize>,
    /// One more at each change that is worth keeping.
    version: u64,
}

#[derive(Clone, Copy, Debug)]
struct Account {
    cell: usize,
    /// Requests under way.
    in_flight: u32,
    moving: Option<Move>,
}

#[derive(Clone, Copy, Debug)]
struct Move {
    to: usize,
    deadline: Moment,
}

impl Table {
    /// A table for `cells` that knows the accounts in `placed`, by the names of their cells. Accounts of cells that there are
    /// not are left out; a cell that was made smaller keeps those that it has. Pinned accounts are placed at once.
    pub fn new<'a>(cells: Vec<Cell>, placed: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut table = Self { used: vec![0; cells.len()], cells, accounts: HashMap::new(), version: 0 };
        let pinned: Vec<(String, usize)> = table
            .cells
            .iter()
            .enumerate()
            .flat_map(|(number, cell)| cell.pinned.iter().map(move |name| (name.clone(), number)))
            .collect();
        for (name, number) in pinned {
            table.put(&name, number);
        }
        for (name, cell) in placed {
            let number = table.cells.iter().position(|known| known.name == cell);
            if let Some(number) = number.filter(|_number| is_name(name)) {
                table.put(name, number);
            }
        }
        table.version = 0;
        table
    }

    /// The same accounts over other cells, by the cells' names. Requests that are under way are still counted, and moves go
    /// on if both cells are still there.
    pub fn over(&self, cells: Vec<Cell>) -> Self {
        let name = |number: usize| self.cells.get(number).map_or("", |cell| cell.name.as_str());
        let mut next = Self::new(cells, self.accounts.iter().map(|(account, known)| (&**account, name(known.cell))));
        for (account, known) in &self.accounts {
            let Some(kept) = next.accounts.get_mut(account) else { continue };
            kept.in_flight = known.in_flight;
            let Some(under_way) = known.moving else { continue };
            let to = next.cells.iter().position(|cell| cell.name == name(under_way.to));
            let is_pinned = next.cells.iter().any(|cell| cell.pinned.iter().any(|pinned| **pinned == **account));
            if let Some(to) = to.filter(|to| *to != kept.cell && !is_pinned) {
                next.used[kept.cell] -= 1;
                next.used[to] += 1;
                kept.moving = Some(Move { to, ..under_way });
            }
        }
        next.version = self.version + 1;
        next
    }

    fn put(&mut self, name: &str, number: usize) {
        if self.accounts.contains_key(name) {
            return;
        }
        self.accounts.insert(name.into(), Account { cell: number, in_flight: 0, moving: None });
        self.used[number] += 1;
        self.version += 1;
    }

    /// Where a request of `account` goes: where it is, or, for a new account, the cell that is least full (relative to its
    /// capacity, the first one of equals) and open.
    pub fn enter(&mut self, now: Moment, account: &str) -> Place {
        self.settle(now, account);
        if let Some(known) = self.accounts.get_mut(account) {
            return match known.moving {
                Some(under_way) => Place::Moving(under_way.deadline.since(now)),
                None => {
                    known.in_flight += 1;
                    Place::In(known.cell)
                }
            };
        }
        if !is_name(account) {
            return Place::BadName;
        }
        let Some(cell) = self.least_full() else { return Place::Full };
        self.put(account, cell);
        if let Some(known) = self.accounts.get_mut(account) {
            known.in_flight = 1;
        }
        Place::In(cell)
    }

    fn least_full(&self) -> Option<usize> {
        let open = (0..self.cells.len()).filter(|number| {
            let cell = &self.cells[*number];
            !cell.closed && self.used[*number] < cell.capacity
        });
        // used / capacity, compared without dividing.
        open.min_by(|one, other| {
            let scaled = |a: usize, b: usize| self.used[a] as u128 * self.cells[b].capacity as u128;
            scaled(*one, *other).cmp(&scaled(*other, *one)).then(one.cmp(other))
        })
    }

    /// A request of `account` is over. Answers whether that ended a move.
    pub fn leave(&mut self, now: Moment, account: &str) -> bool {
        if let Some(known) = self.accounts.get_mut(account) {
            known.in_flight = known.in_flight.saturating_sub(1);
        }
        self.settle(now, account)
    }

    /// Begins to move `account` to the cell named `to`: at once if no request of it is under way, otherwise when they are over
    /// or after `limit`. An account that is not known yet is placed there. A closed cell takes whom it is told to.
    ///
    /// # Errors
    /// What stands in the way; nothing has changed then.
    pub fn transfer(&mut self, now: Moment, account: &str, to: &str, limit: Duration) -> Result<(), MoveError> {
        let number = self.cells.iter().position(|cell| cell.name == to).ok_or(MoveError::NoCell)?;
        if !is_name(account) {
            return Err(MoveError::BadName);
        }
        if self.cells.iter().any(|cell| cell.pinned.iter().any(|pinned| pinned == account)) {
            return Err(MoveError::Pinned);
        }
        self.settle(now, account);
        let bound_for = self.accounts.get(account).map(|known| known.moving.map_or(known.cell, |it| it.to));
        if bound_for == Some(number) {
            return Err(MoveError::There);
        }
        // On the way back from a move that is under way it still has its place in mind, but not in the numbers.
        if self.used[number] >= self.cells[number].capacity {
            return Err(MoveError::Full);
        }
        let Some(known) = self.accounts.get_mut(account) else {
            self.put(account, number);
            return Ok(());
        };
        self.used[bound_for.unwrap_or(number)] -= 1;
        self.used[number] += 1;
        known.moving = Some(Move { to: number, deadline: now.after(limit) });
        self.version += 1;
        self.settle(now, account);
        Ok(())
    }

    /// Forgets `account`, so that its next request is placed anew. Answers whether it was known.
    pub fn forget(&mut self, account: &str) -> bool {
        let is_pinned = self.cells.iter().any(|cell| cell.pinned.iter().any(|pinned| pinned == account));
        let Some(known) = self.accounts.get(account).copied().filter(|known| !is_pinned && known.in_flight == 0) else {
            return false;
        };
        self.used[known.moving.map_or(known.cell, |it| it.to)] -= 1;
        self.accounts.remove(account);
        self.version += 1;
        true
    }

    /// Ends the account's move if nothing of it is under way any more, or its time is over.
    fn settle(&mut self, now: Moment, account: &str) -> bool {
        let Some(known) = self.accounts.get_mut(account) else { return false };
        match known.moving {
            Some(under_way) if known.in_flight == 0 || now >= under_way.deadline => {
                known.cell = under_way.to;
                known.moving = None;
                self.version += 1;
                true
            }
            Some(_) | None => false,
        }
    }

    /// The cells.
    pub fn cells(&self) -> &[Cell] {
        &self.cells
    }

    /// Accounts in cell `number`, or on their way to it.
    pub fn used(&self, number: usize) -> usize {
        self.used.get(number).copied().unwrap_or(0)
    }

    /// Accounts that are being moved.
    pub fn moving(&self) -> usize {
        self.accounts.values().filter(|known| known.moving.is_some()).count()
    }

    /// The cell of an account and, if it is being moved, the cell that it goes to.
    pub fn find(&self, account: &str) -> Option<(usize, Option<usize>)> {
        self.accounts.get(account).map(|known| (known.cell, known.moving.map(|it| it.to)))
    }

    /// Every account with the number of the cell that it is in or goes to, in no order.
    pub fn accounts(&self) -> impl Iterator<Item = (&str, usize)> {
        self.accounts.iter().map(|(name, known)| (&**name, known.moving.map_or(known.cell, |it| it.to)))
    }

    /// One more at each change of a placement: what was kept at the same version is still right.
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// Panics if what must always hold does not. For tests.
    ///
    /// # Panics
    /// If the numbers of accounts are wrong.
    pub fn check_invariants(&self) {
        for number in 0..self.cells.len() {
            let counted = self.accounts().filter(|(_name, cell)| *cell == number).count();
            assert_eq!(counted, self.used[number], "accounts of cell {number}");
        }
    }
}

fn is_name(account: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&account.len()) && !account.chars().any(char::is_control)
}

#[cfg(test)]
mod tests;

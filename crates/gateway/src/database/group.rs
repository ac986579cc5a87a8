//! A database group as one worker sees it.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use mainstay_core::roles::Roles;

use crate::state::{Database, State};

/// A group, shared by this worker's connections to it.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) database: Arc<Database>,
    roles: RefCell<Arc<Roles>>,
    /// Goes up with each change, so that a connection need only compare a number.
    epoch: Cell<u64>,
    /// No listener leads here any more, so that nobody is told of changes.
    is_left: Cell<bool>,
}

impl Group {
    pub(crate) fn new(database: &Arc<Database>) -> Self {
        Self {
            database: Arc::clone(database),
            roles: RefCell::new(database.roles()),
            epoch: Cell::new(0),
            is_left: Cell::new(false),
        }
    }

    /// Takes over what is known now.
    pub(crate) fn catch_up(&self) {
        *self.roles.borrow_mut() = self.database.roles();
        self.epoch.set(self.epoch.get() + 1);
    }

    /// Ends all connections.
    pub(crate) fn leave(&self) {
        self.is_left.set(true);
        self.epoch.set(self.epoch.get() + 1);
    }

    pub(crate) fn roles(&self) -> Arc<Roles> {
        Arc::clone(&self.roles.borrow())
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.get()
    }

    pub(crate) fn is_left(&self) -> bool {
        self.is_left.get()
    }
}

/// The groups of `state`; those that are known are the same, so that their connections hear of what comes.
pub(crate) fn all(state: &State, known: &HashMap<String, Rc<Group>>) -> HashMap<String, Rc<Group>> {
    let each = state.databases.iter().map(|database| {
        let known = known.get(&database.group).filter(|known| Arc::ptr_eq(&known.database, database));
        let group = known.map_or_else(|| Rc::new(Group::new(database)), Rc::clone);
        (database.group.clone(), group)
    });
    each.collect()
}

/// Ends the connections to those of `before` that no listener leads to `now`. Whether there are any such groups.
pub(crate) fn leave(before: &HashMap<String, Rc<Group>>, now: &HashMap<String, Rc<Group>>) -> bool {
    let has_left = |group: &&Rc<Group>| now.values().all(|now| !Rc::ptr_eq(now, group));
    let left: Vec<_> = before.values().filter(has_left).collect();
    left.iter().for_each(|group| group.leave());
    !left.is_empty()
}

//! A database group as one worker sees it.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use mainstay_core::roles::Roles;

use crate::state::Database;

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

//! Who has which role in a database group.

use std::collections::BTreeMap;
use std::sync::Arc;

use mainstay_core::roles::{Outdated, Roles};

use super::Gateway;
use crate::state::Database;
use crate::worker::Command;

/// Why roles were not taken in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeadError {
    /// No listener leads to the group.
    #[error("no listener leads to the group `{0}`")]
    UnknownGroup(String),
    /// A later plan is known.
    #[error("plan {number} of term {term} is known already, which is a later one")]
    Outdated {
        /// The term that is known.
        term: u64,
        /// The plan's number.
        number: u64,
    },
}

impl Gateway {
    /// By which roles the clients of database groups are led now, by group.
    pub fn led(&self) -> BTreeMap<String, Roles> {
        let led = |it: &Arc<Database>| (it.group.clone(), Roles::clone(&it.roles()));
        self.state().databases.iter().map(led).collect()
    }

    /// Leads the clients of a database group by these roles from now on: new connections go where they say, and connections to
    /// an old primary are ended. Returns before workers have done so. Saying the same again costs next to nothing, which whoever
    /// tells does after a reload: a group that a listener has come to lead to starts without any.
    ///
    /// # Errors
    /// If no listener leads to the group, or if a later plan is known.
    pub fn lead(&self, group: &str, roles: Roles) -> Result<(), LeadError> {
        let state = self.state();
        let found = state.databases.iter().find(|it| it.group == group);
        let database = found.ok_or_else(|| LeadError::UnknownGroup(group.to_owned()))?;
        let before = database.roles();
        let (term, primary, is_current) = (roles.term, roles.primary, roles.is_current);
        let is_new = database.learn(roles).map_err(|Outdated { term, number }| LeadError::Outdated { term, number })?;
        if !is_new {
            return Ok(());
        }
        if (before.term, before.primary, before.is_current) != (term, primary, is_current) {
            tracing::info!(group, term, ?primary, is_current, "database: roles have changed");
        }
        for worker in &self.workers {
            let _stopped = worker.commands.send(Command::Lead { group: group.to_owned() });
        }
        Ok(())
    }
}

//! A member whose data is made anew, because an operator wants it so.

use mainstay_cluster::coordinator::{Operation, Transaction};
use mainstay_core::database::agent::{Action, Stop};
use mainstay_core::database::{Phase, Server};

use super::Member;
use crate::Executor;
use crate::group::follow::within;
use crate::group::keys;

impl<E: Executor> Member<E> {
    /// What is to be done instead, if an operator wants its data to be made anew: only while somebody leads whom it can be
    /// copied from.
    pub(super) fn or_copy(&mut self, action: Action) -> Action {
        if !self.mandate.stored().reinit.contains(&self.me) {
            self.is_copied = false;
            return action;
        }
        let (stored, plan) = (self.mandate.stored(), self.mandate.plan());
        let (Some(local), Phase::Serving { primary }) = (&self.local, &plan.phase) else { return action };
        let is_source = stored
            .report(primary)
            .is_some_and(|report| report.server == Server::Primary && report.led == Some(plan.term));
        if self.is_copied || *primary == self.me || local.leads || !is_source {
            return action;
        }
        match local.report.server {
            Server::Empty | Server::Stopped { .. } => Action::Clone { of: primary.clone() },
            Server::Replica { .. } | Server::Starting => Action::Stop(Stop::Fast),
            Server::Unknown | Server::Primary => action,
        }
    }

    /// Its data is a copy now: what an operator wanted is done.
    pub(super) async fn copied(&mut self) {
        if !self.mandate.stored().reinit.contains(&self.me) {
            return;
        }
        let done = Operation::delete(keys::reinit(&self.group, &self.me));
        let coordinator = self.mandate.coordinator();
        self.is_copied = true;
        if let Err(error) = within(coordinator.transact(Transaction::always([done]))).await {
            tracing::warn!(%error, group = self.group, "databases: that the data was copied cannot be noted");
        }
    }
}

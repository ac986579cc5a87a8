//! A member while its group is paused: what an operator stops is left stopped.

use mainstay_core::database::Server;
use mainstay_core::database::agent::Action;

use super::Member;
use crate::Executor;

/// What the server did since the group was paused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Paused {
    /// The group is not paused, or the server has not run since.
    #[default]
    NotSeen,
    /// It ran, or was stopped by its driver.
    Runs,
    /// Somebody else has stopped it.
    Left,
}

impl<E: Executor> Member<E> {
    /// Nothing, where what is to be done would start a server that somebody else has stopped while the group was paused. A primary
    /// that crashed was stopped by nobody.
    pub(super) fn or_leave(&mut self, action: Action) -> Action {
        let is_paused = self.mandate.plan().licence.is_held();
        let (Some(local), true) = (&self.local, is_paused) else {
            self.pause = Paused::NotSeen;
            return action;
        };
        let led = local.report.led.is_some();
        self.pause = match (&local.report.server, self.pause) {
            (Server::Primary | Server::Replica { .. }, _) => Paused::Runs,
            (Server::Stopped { clean: None }, Paused::Runs) if led => Paused::NotSeen,
            (Server::Stopped { .. }, Paused::Runs) => Paused::Left,
            (_, before) => before,
        };
        if self.pause == Paused::Left { Action::Wait } else { action }
    }

    /// It was stopped, or is to be, by its driver.
    pub(super) fn stops_itself(&mut self) {
        self.pause = Paused::NotSeen;
    }

    /// Tells of what is done all the time once it changes.
    pub(super) fn tell_of_it(&mut self) {
        let doing = self.doing();
        if doing != self.doing {
            let (group, now) = (&self.group, doing.as_deref().unwrap_or("is kept as usual again"));
            tracing::warn!(group, "databases: the server {now}");
            self.doing = doing;
            self.tell(None);
        }
    }

    /// What is done all the time, for people.
    pub(super) fn doing(&self) -> Option<String> {
        let left = (self.pause == Paused::Left).then_some("is left stopped, because the group is paused");
        self.mandate.without.or(left).map(str::to_owned)
    }
}

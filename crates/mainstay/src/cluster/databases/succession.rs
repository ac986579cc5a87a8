//! Servers that run on while one process of the node takes over from another.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::time::Duration;

use mainstay_failover::group::handover::{self, Handed};
use mainstay_failover::group::member::Departure;
use mainstay_runtime::task::{Ended, Task};

use crate::cluster::Context;
use crate::cluster::succession::Succession;
use crate::config::cluster::Engine;

/// Locked by the process that keeps the node's servers.
const LOCK: &str = "databases.lock";
/// How often it is looked whether the process before has let go.
const LOOK: Duration = Duration::from_millis(20);

/// That no other process of the node keeps its servers, for as long as this is there.
pub(super) struct Alone {
    _lock: Option<File>,
}

/// Waits until the process before has let go of the servers; `None`: this one leaves first.
pub(super) async fn alone(context: &Context) -> Option<Alone> {
    let Some(folder) = &context.data_dir else { return Some(Alone { _lock: None }) };
    let path = folder.join(LOCK);
    let lock = match File::options().create(true).truncate(false).write(true).open(&path) {
        Ok(lock) => lock,
        Err(error) => {
            tracing::warn!(%error, path = %path.display(), "databases: whether another process keeps the servers cannot be seen");
            return Some(Alone { _lock: None });
        }
    };
    loop {
        match lock.try_lock() {
            Ok(()) => return Some(Alone { _lock: Some(lock) }),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => {
                tracing::warn!(%error, path = %path.display(), "databases: whether another process keeps the servers cannot be seen");
                return Some(Alone { _lock: None });
            }
        }
        tokio::select! {
            biased;
            () = context.left() => return None,
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

/// What the process before has left, by group.
pub(super) fn take(context: &Context) -> BTreeMap<String, Handed> {
    let folder = context.data_dir.as_deref();
    folder.map(|folder| handover::take(folder, context.session.now())).unwrap_or_default()
}

/// Whether servers run on when this process ends: there is another one, which knows what was agreed before.
pub(super) fn hands_over(context: &Context) -> bool {
    let remembers = context.config.cluster.as_ref().is_some_and(|cluster| !matches!(cluster.engine, Engine::Memory));
    context.succession.to().is_some() && context.data_dir.is_some() && remembers
}

/// Waits until the node leaves, and everything else has where servers run on; how it is left then.
pub(super) async fn departure(context: &Context) -> Departure {
    context.left().await;
    if !hands_over(context) {
        return Departure::Leave;
    }
    context.succession.is_last().await;
    context.keeper.hand_over();
    Departure::HandOver
}

/// Waits until the members have left.
pub(super) async fn ended(succession: &Succession, members: Vec<Task>) {
    for member in members {
        if member.await == Ended::Panicked {
            // Its server may run: the lease must not be said to be over before the guard has ended it.
            tracing::error!("databases: a member ended by a defect; the node's lease ends by itself");
            succession.keep_lease();
        }
    }
}

/// Leaves the next process what it needs to know of servers that run on.
pub(super) fn leave(context: &Context, estate: BTreeMap<String, Handed>) {
    if estate.is_empty() {
        return;
    }
    // Whatever becomes of the note: the end of the lease would say that they have stopped.
    context.succession.keep_lease();
    let (Some(folder), Some(to)) = (&context.data_dir, context.succession.to()) else { return };
    if let Err(error) = handover::leave(folder, to, estate) {
        tracing::error!(
            error = super::folders::with_causes(&error),
            "databases: the next process will stop the servers and start them anew"
        );
    }
}

#[cfg(test)]
mod tests {
    use mainstay_runtime::task::{Kind, spawn_local};
    use mainstay_runtime::thread::run_here;

    use super::*;

    #[test]
    fn the_lease_is_not_ended_after_a_member_that_ended_by_a_defect() {
        run_here(async {
            for (member, keeps_lease) in [((|| {}) as fn(), false), (|| panic!("for the test"), true)] {
                let succession = Succession::default();
                ended(&succession, vec![spawn_local(Kind::Control, async move { member() })]).await;
                assert_eq!(succession.keeps_lease(), keeps_lease);
            }
        })
        .unwrap();
    }
}

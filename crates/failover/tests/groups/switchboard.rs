//! The way between members, past the store.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mainstay_core::database::failsafe::Question;
use mainstay_failover::group::failsafe::{Ask, Asked};
use mainstay_failover::group::promises::Vows;
use mainstay_runtime::clock::Boottime;

use crate::world::{NAMES, index};

/// What each node answers with; `None`: it does not answer. All copies are the same one.
#[derive(Clone, Default)]
pub(crate) struct Switchboard(Arc<Mutex<[Option<Arc<Vows>>; NAMES.len()]>>);

impl Switchboard {
    fn lock(&self) -> MutexGuard<'_, [Option<Arc<Vows>>; NAMES.len()]> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A node starts, with what it had written down.
    pub(crate) fn open(&self, at: usize, file: PathBuf, guard: Duration) -> Arc<Vows> {
        let vows = Arc::new(Vows::open(Some(file), guard, Boottime::system()));
        self.lock()[at] = Some(Arc::clone(&vows));
        vows
    }

    /// A node answers nobody any more.
    pub(crate) fn hang_up(&self, at: usize) {
        self.lock()[at] = None;
    }
}

impl Ask for Switchboard {
    fn ask(&self, node: &str, question: Question, _limit: Duration) -> Asked {
        let vows = self.lock()[index(node)].clone();
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(1)).await;
            vows.map(|vows| vows.answer(&question))
        })
    }
}

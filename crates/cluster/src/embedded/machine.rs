//! The state machine as openraft sees it: entries in, snapshots in and out.

use std::io::Cursor;
use std::sync::{Arc, Mutex, PoisonError};

use mainstay_runtime::thread::spawn_blocking_thread;
use openraft::storage::RaftStateMachine;
use openraft::{
    AnyError, EntryPayload, LogId, OptionalSend, RaftSnapshotBuilder, Snapshot, SnapshotMeta, StorageError,
    StorageIOError, StoredMembership,
};
use tokio::sync::oneshot;

use super::disk::{Name, StoredSnapshot, Write};
use super::log::encoded;
use super::raft::{Applied, Entry, Peer, Types};
use super::state::State;
use crate::store::{Damaged, Limits, Store};

type Result<T> = std::result::Result<T, StorageError<u64>>;

#[derive(Debug)]
pub(super) struct Machine {
    state: Arc<State>,
    applied: Option<LogId<u64>>,
    membership: StoredMembership<u64, Peer>,
    snapshot: Arc<Mutex<Option<StoredSnapshot>>>,
}

impl Machine {
    /// One that begins where `snapshot` ends; the store of `state` was made from it.
    pub(super) fn new(state: Arc<State>, snapshot: Option<StoredSnapshot>) -> Self {
        let (applied, membership) =
            snapshot.as_ref().map(|(meta, _body)| (meta.last_log_id, meta.last_membership.clone())).unwrap_or_default();
        state.applied.send_replace(applied.map_or(0, |last| last.index.saturating_add(1)));
        Self { state, applied, membership, snapshot: Arc::new(Mutex::new(snapshot)) }
    }
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId<u64>>, StoredMembership<u64, Peer>)> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Applied>>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut answers = Vec::new();
        for entry in entries {
            self.applied = Some(entry.log_id);
            answers.push(match entry.payload {
                EntryPayload::Blank => Applied(None),
                EntryPayload::Normal(command) => self.state.apply(&command, entry.log_id.leader_id.term),
                EntryPayload::Membership(membership) => {
                    self.membership = StoredMembership::new(Some(entry.log_id), membership);
                    Applied(None)
                }
            });
        }
        self.state.applied.send_replace(self.applied.map_or(0, |last| last.index.saturating_add(1)));
        Ok(answers)
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder {
            state: Arc::clone(&self.state),
            store: self.state.replica.read(Store::clone),
            applied: self.applied,
            membership: self.membership.clone(),
            snapshot: Arc::clone(&self.snapshot),
        }
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Cursor<Vec<u8>>>> {
        Ok(Box::default())
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta<u64, Peer>, snapshot: Box<Cursor<Vec<u8>>>) -> Result<()> {
        let body = Arc::new(snapshot.into_inner());
        let bytes = Arc::clone(&body);
        let store = elsewhere(move || Store::restore(&bytes, Limits::default())).await?;
        keep(&self.state, &self.snapshot, meta, body).await?;
        self.applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        self.state.replace(store, Some(self.applied.map_or(0, |last| last.index.saturating_add(1))));
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<Types>>> {
        let snapshot = self.snapshot.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(snapshot.as_ref().map(|(meta, body)| Snapshot {
            meta: meta.clone(),
            snapshot: Box::new(Cursor::new(body.as_ref().clone())),
        }))
    }
}

/// Makes a snapshot of the store as it was when this was made.
#[derive(Debug)]
pub(super) struct Builder {
    state: Arc<State>,
    store: Store,
    applied: Option<LogId<u64>>,
    membership: StoredMembership<u64, Peer>,
    snapshot: Arc<Mutex<Option<StoredSnapshot>>>,
}

impl RaftSnapshotBuilder<Types> for Builder {
    async fn build_snapshot(&mut self) -> Result<Snapshot<Types>> {
        let store = std::mem::take(&mut self.store);
        let body = Arc::new(elsewhere(move || store.snapshot()).await?);
        let place = self.applied.map_or_else(|| "empty".to_owned(), |last| last.to_string());
        let meta = SnapshotMeta {
            last_log_id: self.applied,
            last_membership: self.membership.clone(),
            snapshot_id: format!("{place}-by-{}", self.state.node),
        };
        keep(&self.state, &self.snapshot, &meta, Arc::clone(&body)).await?;
        Ok(Snapshot { meta, snapshot: Box::new(Cursor::new(body.as_ref().clone())) })
    }
}

/// Writes a snapshot to the disk, from when on it is the current one.
async fn keep(
    state: &State,
    current: &Mutex<Option<StoredSnapshot>>,
    meta: &SnapshotMeta<u64, Peer>,
    body: Arc<Vec<u8>>,
) -> Result<()> {
    let values = vec![(Name::SnapshotMeta, encoded(meta)?), (Name::Snapshot, body.as_ref().clone())];
    let written = state.disk.write_now(Write { values, ..Write::default() }).await;
    written.map_err(|error| StorageIOError::write_snapshot(Some(meta.signature()), AnyError::new(&error)))?;
    *current.lock().unwrap_or_else(PoisonError::into_inner) = Some((meta.clone(), body));
    Ok(())
}

/// Does on another thread what may take long for a large store.
async fn elsewhere<T: Send + 'static>(
    work: impl FnOnce() -> std::result::Result<T, Damaged> + Send + 'static,
) -> Result<T> {
    let (tell, told) = oneshot::channel();
    let started = spawn_blocking_thread("raft-snapshot", move || {
        // The one who waits may have been dropped.
        let _given_up = tell.send(work());
    });
    started.map_err(|error| StorageIOError::write(AnyError::new(&error)))?;
    match told.await {
        Ok(Ok(result)) => Ok(result),
        Ok(Err(damaged)) => Err(StorageIOError::read_state_machine(AnyError::new(&damaged)).into()),
        Err(gone) => Err(StorageIOError::write(AnyError::new(&gone)).into()),
    }
}

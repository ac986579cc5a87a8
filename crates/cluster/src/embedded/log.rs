//! The log: whole in memory since its last snapshot, and on the disk.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::ops::RangeBounds;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use openraft::storage::{LogFlushed, RaftLogStorage};
use openraft::{LogId, LogState, OptionalSend, RaftLogReader, StorageError, StorageIOError, Vote};

use super::disk::{Content, Disk, DiskError, Name, Write};
use super::raft::{Entry, Types};

/// Bytes of entries that go into one message, unless a single entry is larger.
const MESSAGE_BYTES: usize = 4 << 20;

type Result<T> = std::result::Result<T, StorageError<u64>>;

#[derive(Clone, Debug)]
pub(super) struct Log {
    disk: Disk,
    kept: Arc<Mutex<Kept>>,
}

#[derive(Debug)]
struct Kept {
    vote: Option<Vote<u64>>,
    purged: Option<LogId<u64>>,
    committed: Option<LogId<u64>>,
    /// Entries with their size on the disk.
    entries: BTreeMap<u64, (Entry, usize)>,
    bytes: usize,
}

impl Log {
    /// The log that was found; the snapshot of `content` is left to the state machine.
    ///
    /// A leader that comes back would lead on in its old term, and openraft (0.9.25) would take the first entry of that term
    /// for the one that a read has to wait for: reads could miss what was confirmed before. So `node` comes back as one that
    /// has voted for itself, which binds it all the same, and has to be elected anew.
    pub(super) fn new(disk: Disk, content: Content, node: u64) -> Self {
        let Content { vote, purged, committed, log: entries, .. } = content;
        let vote = vote.map(|vote| match vote.leader_id.voted_for() {
            Some(own) if own == node => Vote::new(vote.leader_id.term, node),
            _another_or_nobody => vote,
        });
        let bytes = entries.values().map(|(_entry, bytes)| bytes).sum();
        Self { disk, kept: Arc::new(Mutex::new(Kept { vote, purged, committed, entries, bytes })) }
    }

    /// The last entry, as far as this node has it.
    pub(super) fn last(&self) -> Option<LogId<u64>> {
        let kept = self.lock();
        kept.entries.values().next_back().map(|(entry, _bytes)| entry.log_id).or(kept.purged)
    }

    /// Bytes of the entries that are kept.
    pub(super) fn bytes(&self) -> usize {
        self.lock().bytes
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn drop_entries(&mut self, range: impl RangeBounds<u64>) {
        let gone: Vec<u64> = self.entries.range(range).map(|(index, _entry)| *index).collect();
        for index in gone {
            if let Some((_entry, bytes)) = self.entries.remove(&index) {
                self.bytes = self.bytes.saturating_sub(bytes);
            }
        }
    }
}

#[expect(clippy::result_large_err, reason = "the error is openraft's")]
pub(super) fn encoded<T: serde::Serialize>(value: &T) -> Result<Vec<u8>> {
    rmp_serde::to_vec_named(value).map_err(|error| StorageIOError::write(openraft::AnyError::new(&error)).into())
}

fn broken(error: &DiskError) -> StorageError<u64> {
    StorageIOError::write_logs(openraft::AnyError::new(error)).into()
}

impl RaftLogReader<Types> for Log {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>> {
        Ok(self.lock().entries.range(range).map(|(_index, (entry, _bytes))| entry.clone()).collect())
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>> {
        let kept = self.lock();
        let mut total = 0usize;
        let fits = |bytes: usize| {
            let first = total == 0;
            total = total.saturating_add(bytes.max(1));
            first || total <= MESSAGE_BYTES
        };
        let sizes = kept.entries.range(start..end.max(start)).map(|(_index, (_entry, bytes))| *bytes);
        let count = sizes.map(fits).take_while(|fits| *fits).count();
        Ok(kept.entries.range(start..).take(count).map(|(_index, (entry, _bytes))| entry.clone()).collect())
    }
}

impl RaftLogStorage<Types> for Log {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>> {
        let kept = self.lock();
        let last = kept.entries.values().next_back().map(|(entry, _bytes)| entry.log_id);
        Ok(LogState { last_purged_log_id: kept.purged, last_log_id: last.or(kept.purged) })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote<u64>) -> Result<()> {
        let values = vec![(Name::Vote, encoded(vote)?)];
        let written = self.disk.write_now(Write { values, ..Write::default() }).await;
        written.map_err(|error| StorageIOError::write_vote(openraft::AnyError::new(&error)))?;
        self.lock().vote = Some(*vote);
        Ok(())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote<u64>>> {
        Ok(self.lock().vote)
    }

    /// Kept for the next write: after a restart without a quorum the store is nearly what it was.
    async fn save_committed(&mut self, committed: Option<LogId<u64>>) -> Result<()> {
        self.lock().committed = committed;
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId<u64>>> {
        let kept = self.lock();
        // What was decided may have been in a write that was lost while this was not.
        let last = kept.entries.values().next_back().map(|(entry, _bytes)| entry.log_id).or(kept.purged);
        Ok(kept.committed.min(last))
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<Types>) -> Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut write = Write::default();
        {
            let mut kept = self.lock();
            for entry in entries {
                let (index, body) = (entry.log_id.index, encoded(&entry)?);
                kept.bytes = kept.bytes.saturating_add(body.len());
                if let Some((_entry, bytes)) = kept.entries.insert(index, (entry, body.len())) {
                    kept.bytes = kept.bytes.saturating_sub(bytes);
                }
                write.entries.push((index, body));
            }
            if let Some(committed) = &kept.committed {
                write.values.push((Name::Committed, encoded(committed)?));
            }
        }
        self.disk.write(
            write,
            Box::new(|result| {
                callback.log_io_completed(result.map_err(|error| std::io::Error::other(error.to_string())))
            }),
        );
        Ok(())
    }

    async fn truncate(&mut self, log_id: LogId<u64>) -> Result<()> {
        self.lock().drop_entries(log_id.index..);
        let write = Write { truncate: Some(log_id.index), ..Write::default() };
        self.disk.write_now(write).await.map_err(|error| broken(&error))
    }

    async fn purge(&mut self, log_id: LogId<u64>) -> Result<()> {
        {
            let mut kept = self.lock();
            kept.drop_entries(..=log_id.index);
            kept.purged = Some(log_id);
        }
        let values = vec![(Name::Purged, encoded(&log_id)?)];
        let write = Write { purge: Some(log_id.index), values, ..Write::default() };
        self.disk.write_now(write).await.map_err(|error| broken(&error))
    }
}

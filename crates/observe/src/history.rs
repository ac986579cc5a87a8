//! What routes, services, endpoints, listeners, probes and the node itself have counted, second by second, for five weeks,
//! with nothing else installed.
//!
//! Once a second the admin thread gives every series' counters as they stand ([`History::sample`]); what they grew by goes
//! into three rings of one, sixty and six hundred seconds a step. All that is kept is additive (counts, buckets, and gauges
//! as their integral over time), so that spans and nodes are added up and nothing is ever averaged.
//!
//! # Memory
//! A step is a mask of the fields that are not zero and a variable-length number for each of them; runs of idle seconds are
//! one number together. A series with traffic in five buckets takes 10 to 20 bytes a step:
//!
//! | | 1 s | 1 min | 10 min | busy | idle |
//! |---|---|---|---|---|---|
//! | route, service, listener, node, probe | 1 h (3,600) | 3 d (4,320) | 35 d (5,040) | about 190 KiB | 3 KiB |
//! | endpoint | 10 min (600) | 1 d (1,440) | 7 d (1,008) | about 45 KiB | 3 KiB |
//!
//! So 1,000 busy endpoints take about 45 MiB. There are at most [`WHOLE_MAX`] series of the first kind and
//! [`ENDPOINTS_MAX`] endpoints; further ones are counted and not kept. Above [`MEMORY_MAX`] bytes in all, the oldest steps
//! go, those of endpoints first.
//!
//! # Disk
//! With a folder, the rings of a minute and of ten minutes are written there, in batches of a minute, by a thread of their
//! own: a disk that hangs stops no sample. The seconds are not: after a restart spans of less than an hour are answered from
//! the minutes.

mod counts;
mod disk;
mod ring;
mod segment;
mod series;
mod store;

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mainstay_runtime::thread;

pub use counts::{BUCKET_COUNT, Counts, Reading};
pub use ring::Step;
pub use series::{Access, Kind, NotASeries, Series};
pub use store::{Added, ENDPOINTS_MAX, MEMORY_MAX, Point, Range, WHOLE_MAX};

use disk::Batch;
use store::Store;

/// Batches that wait for the disk, at most: a quarter of an hour's. Further ones are lost, and counted.
const BATCHES_MAX: usize = 32;
/// The end of a process waits no longer for the disk.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// The history of one node; clones are of the same one.
#[derive(Clone, Debug, Default)]
pub struct History {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    store: Mutex<Store>,
    writer: Mutex<Option<Writer>>,
    batches_lost: AtomicU64,
    disk: Arc<disk::Counts>,
}

#[derive(Debug)]
struct Writer {
    batches: SyncSender<Batch>,
    ended: std::sync::mpsc::Receiver<()>,
}

/// How the history itself is, and what it alone counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Series that are kept.
    pub series: u64,
    /// Series that were not taken because there are enough.
    pub series_dropped: u64,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Bytes on disk; 0 without a folder.
    pub disk_bytes: u64,
    /// Batches that the disk did not take in time.
    pub batches_lost: u64,
    /// Writes that failed.
    pub write_failures: u64,
    /// Files that were set aside because they were damaged.
    pub files_damaged: u64,
    /// Runs of probes since the start of the process, as nodes judge them together, by name.
    pub probes: Vec<(Arc<str>, Added)>,
    /// Seconds of groups of databases since then, those of reads as `GROUP/read`.
    pub databases: Vec<(Arc<str>, Added)>,
}

impl History {
    /// A history that nothing survives.
    pub fn in_memory() -> Self {
        Self::default()
    }

    /// A history that is kept in `folder`, which is made if need be. What is there is read in the background; until then
    /// answers reach back to the start of the process. While another process holds the folder (the old one of an upgrade),
    /// this one waits.
    ///
    /// # Errors
    /// If the system refuses the thread.
    pub fn kept(folder: &Path) -> std::io::Result<Self> {
        let history = Self::default();
        let (batches, taken) = sync_channel(BATCHES_MAX);
        let (end, ended) = sync_channel(1);
        let (shared, folder) = (history.shared.clone(), folder.to_owned());
        let merged = move |found: Store| lock(&shared.store).merge(found);
        let counts = history.shared.disk.clone();
        thread::spawn_blocking_thread("history", move || {
            disk::keep(&folder, &taken, &counts, merged);
            // Nobody may wait any more.
            let _waited_for = end.send(());
        })?;
        *lock(&history.shared.writer) = Some(Writer { batches, ended });
        Ok(history)
    }

    /// Takes what every series has counted until `now` (seconds since 1970). Counters that went back were replaced, and
    /// count from zero.
    pub fn sample<'n>(&self, now: u64, readings: impl IntoIterator<Item = (Kind, &'n str, Reading)>) {
        let closed = {
            let mut store = lock(&self.shared.store);
            store.begin(now);
            for (kind, name, reading) in readings {
                store.record(kind, name, &reading);
            }
            store.end()
        };
        self.write(closed);
    }

    /// Adds events of a series that has no counters, such as a probe's; they are taken with the next sample.
    pub fn add(&self, series: &Series, counts: &Counts) {
        lock(&self.shared.store).add(series, counts);
    }

    /// What happened in the `span` before `now`, from the finest steps that reach back so far. Steps count whole.
    pub fn window(&self, series: &Series, span: Duration, now: u64) -> Counts {
        lock(&self.shared.store).window(series, span.as_secs(), now)
    }

    /// What happened from `from` until `to`, in steps of `step` seconds (0: as many as a screen shows), oldest first;
    /// nothing if the series is not known. Steps of which nothing is known are left out.
    pub fn range(&self, series: &Series, from: u64, to: u64, step: u64) -> Option<Range> {
        lock(&self.shared.store).range(series, from, to, step)
    }

    /// The series that are kept.
    pub fn series(&self) -> Vec<Series> {
        lock(&self.shared.store).names()
    }

    /// How the history itself is.
    pub fn facts(&self) -> Facts {
        let ((series, series_dropped, memory_bytes), probes, databases) = {
            let store = lock(&self.shared.store);
            (store.facts(), store.added(Kind::Probe), store.added(Kind::Database))
        };
        Facts {
            probes,
            databases,
            series,
            series_dropped,
            memory_bytes,
            disk_bytes: self.shared.disk.bytes.load(Ordering::Relaxed),
            batches_lost: self.shared.batches_lost.load(Ordering::Relaxed),
            write_failures: self.shared.disk.write_failures.load(Ordering::Relaxed),
            files_damaged: self.shared.disk.files_damaged.load(Ordering::Relaxed),
        }
    }

    /// Writes what is not written yet, the steps that have begun included, and lets go of the folder. Samples after this
    /// are only kept in memory.
    pub fn close(&self) {
        let Some(writer) = lock(&self.shared.writer).take() else { return };
        let begun = lock(&self.shared.store).begun();
        if !begun.is_empty() && writer.batches.try_send(begun).is_err() {
            self.shared.batches_lost.fetch_add(1, Ordering::Relaxed);
        }
        drop(writer.batches);
        if writer.ended.recv_timeout(CLOSE_TIMEOUT).is_err() {
            tracing::warn!("the history's last minute could not be written in time");
        }
    }

    fn write(&self, batch: Batch) {
        if batch.is_empty() {
            return;
        }
        let writer = lock(&self.shared.writer);
        let Some(writer) = &*writer else { return };
        match writer.batches.try_send(batch) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.shared.batches_lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

// A poisoned lock holds counts all the same.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;

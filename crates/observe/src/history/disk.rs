//! The history's folder: files of minutes and of ten minutes, appended to by one thread of one process.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Counts as Counted;
use super::ring::Step;
use super::segment::{self, End, Names};
use super::series::Kind;
use super::store::Store;

/// Bytes of all files, at most; above that the oldest go. 35 days of 1,000 busy endpoints take about 200 MiB.
const BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Bytes of one file, at most.
const FILE_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// A larger file is none of ours.
const READ_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Files, at most.
const FILES_MAX: usize = 1_024;
/// Between two tries to get a folder that another process holds.
const LOCK_INTERVAL: Duration = Duration::from_millis(500);

/// A step of a series that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Closed {
    pub(super) kind: Kind,
    pub(super) name: Arc<str>,
    pub(super) step: Step,
    pub(super) at: u64,
    pub(super) counts: Counted,
}

/// What is over since the last sample.
pub(super) type Batch = Vec<Closed>;

/// What became of the files.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) bytes: AtomicU64,
    pub(super) write_failures: AtomicU64,
    pub(super) files_damaged: AtomicU64,
}

/// How long the files of a step reach back, and how much time one of them holds, in seconds.
const fn spans(step: Step) -> (u64, u64) {
    const DAY: u64 = 86_400;
    match step {
        Step::Second | Step::Minute => (3 * DAY, DAY / 2),
        Step::TenMinutes => (35 * DAY, 5 * DAY),
    }
}

/// Reads what the folder holds, gives it to `loaded`, and appends batches until nobody sends any more.
pub(super) fn keep(folder: &Path, batches: &Receiver<Batch>, counts: &Counts, loaded: impl FnOnce(Store)) {
    let Some(_lock) = lock(folder, batches, counts) else { return };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut found = Store::default();
    let mut files = [Step::Minute, Step::TenMinutes].map(|step| Files::load(folder, step, now, counts, &mut found));
    loaded(found);
    let mut was_well = true;
    while let Ok(batch) = batches.recv() {
        let written = files.iter_mut().try_for_each(|files| files.append(&batch));
        let bytes = limit(folder, &files);
        counts.bytes.store(bytes, Ordering::Relaxed);
        match written {
            Ok(()) => was_well = true,
            Err(error) => {
                counts.write_failures.fetch_add(1, Ordering::Relaxed);
                if std::mem::take(&mut was_well) {
                    tracing::warn!(folder = %folder.display(), %error, "the history cannot be written; it goes on in memory");
                }
            }
        }
    }
}

/// Waits until the folder is there and no other process holds it; `None` if this one ends before that.
fn lock(folder: &Path, batches: &Receiver<Batch>, counts: &Counts) -> Option<File> {
    let path = folder.join("lock");
    let open = || {
        fs::create_dir_all(folder)?;
        OpenOptions::new().create(true).truncate(false).write(true).open(&path)
    };
    let mut was_told = false;
    loop {
        let failure = match open().map(|file| (file.try_lock(), file)) {
            Ok((Ok(()), file)) => return Some(file),
            Ok((Err(TryLockError::WouldBlock), _file)) => None,
            Ok((Err(TryLockError::Error(error)), _)) | Err(error) => Some(error),
        };
        if let (Some(error), false) = (&failure, was_told) {
            counts.write_failures.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(folder = %folder.display(), %error, "the history cannot be kept there; it goes on in memory");
            was_told = true;
        }
        // What comes meanwhile is in the other process's files or lost; memory has it.
        match batches.recv_timeout(LOCK_INTERVAL) {
            Ok(_batch) => std::thread::sleep(LOCK_INTERVAL),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return None,
        }
    }
}

/// The files of one step, of which the last one is appended to.
struct Files {
    folder: PathBuf,
    step: Step,
    /// The beginning of the last one's time, and what it names.
    last: Option<(u64, PathBuf, Names)>,
}

impl Files {
    fn load(folder: &Path, step: Step, now: u64, counts: &Counts, store: &mut Store) -> Self {
        let mut files = Self { folder: folder.to_owned(), step, last: None };
        for (begin, path) in files.list() {
            files.last = None;
            if begin + spans(step).0 + spans(step).1 < now {
                remove(&path);
                continue;
            }
            let mut names = Names::new();
            let future = now / step.seconds();
            let end = read_file(&path).map(|bytes| {
                segment::read(&bytes, step, &mut names, |closed| {
                    if closed.at <= future {
                        store.load(closed);
                    }
                })
            });
            match end {
                Ok(End::Whole) => files.last = Some((begin, path, names)),
                Ok(End::Torn(good)) => {
                    tracing::info!(file = %path.display(), "the last record of the history is incomplete and left out");
                    // A new file is begun after it.
                    let _stays_torn = OpenOptions::new().write(true).open(&path).and_then(|it| it.set_len(good as u64));
                }
                Ok(End::Damaged(why)) => set_aside(&path, why, counts),
                Err(error) => tracing::warn!(file = %path.display(), %error, "a file of the history cannot be read"),
            }
        }
        files
    }

    /// The files, the oldest first.
    fn list(&self) -> Vec<(u64, PathBuf)> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let mut files: Vec<(u64, PathBuf)> =
            entries.filter_map(|entry| Some((parse(entry.file_name().to_str()?, self.step)?, entry.path()))).collect();
        files.sort();
        files
    }

    fn append(&mut self, batch: &Batch) -> io::Result<()> {
        let mut rest: Vec<&Closed> = batch.iter().filter(|closed| closed.step == self.step).collect();
        rest.sort_by_key(|closed| closed.at);
        while let Some(first) = rest.first() {
            let at = first.at;
            let same: Vec<&Closed> = rest.iter().take_while(|closed| closed.at == at).copied().collect();
            rest.drain(..same.len());
            self.append_step(at, &same)?;
        }
        Ok(())
    }

    fn append_step(&mut self, at: u64, closed: &[&Closed]) -> io::Result<()> {
        let begin = at * self.step.seconds();
        let is_full = |(from, path, _): &(u64, PathBuf, Names)| {
            begin >= from + spans(self.step).1 || fs::metadata(path).map_or(true, |it| it.len() >= FILE_BYTES_MAX)
        };
        let mut bytes = Vec::new();
        // Taken out, so that a file whose last write failed is not appended to.
        let (from, path, mut names) = match self.last.take().filter(|last| !is_full(last)) {
            Some(last) => last,
            None => {
                bytes = segment::header();
                (begin, self.free_name(begin), Names::new())
            }
        };
        segment::append(&mut bytes, &mut names, self.step, at, closed);
        OpenOptions::new().create(true).append(true).open(&path)?.write_all(&bytes)?;
        self.last = Some((from, path, names));
        Ok(())
    }

    /// A second file that begins at the same time (after a crash or a failed write) is a little later by name.
    fn free_name(&self, begin: u64) -> PathBuf {
        let name = |at: u64| self.folder.join(format!("{}-{at:012}.hist", word(self.step)));
        (begin..begin + FILES_MAX as u64).map(name).find(|path| !path.exists()).unwrap_or_else(|| name(begin))
    }
}

/// Removes files until they are few, young and small enough; the bytes that are left.
fn limit(folder: &Path, files: &[Files; 2]) -> u64 {
    let mut all: Vec<(u64, PathBuf, u64)> = Vec::new();
    for of in files {
        let newest = of.last.as_ref().map_or(0, |(from, _path, _names)| *from);
        for (begin, path) in of.list() {
            if begin + spans(of.step).0 + spans(of.step).1 < newest {
                remove(&path);
            } else {
                let bytes = fs::metadata(&path).map_or(0, |it| it.len());
                all.push((begin, path, bytes));
            }
        }
    }
    all.sort();
    let mut bytes: u64 = all.iter().map(|(_, _, bytes)| bytes).sum();
    let mut left = all.len();
    for (_begin, path, size) in all {
        if bytes <= BYTES_MAX && left <= FILES_MAX {
            break;
        }
        tracing::info!(file = %path.display(), folder = %folder.display(), "the history is full; its oldest file goes");
        remove(&path);
        bytes -= size;
        left -= 1;
    }
    bytes
}

fn word(step: Step) -> &'static str {
    match step {
        Step::Second => "second",
        Step::Minute => "minute",
        Step::TenMinutes => "ten-minutes",
    }
}

fn parse(name: &str, step: Step) -> Option<u64> {
    name.strip_prefix(word(step))?.strip_prefix('-')?.strip_suffix(".hist")?.parse().ok()
}

fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    if fs::metadata(path)?.len() > READ_BYTES_MAX {
        return Err(io::Error::other("it is larger than any file of a history"));
    }
    fs::read(path)
}

fn set_aside(path: &Path, why: &'static str, counts: &Counts) {
    counts.files_damaged.fetch_add(1, Ordering::Relaxed);
    let aside = path.with_extension("damaged");
    let moved = fs::rename(path, &aside);
    tracing::warn!(
        file = %path.display(), aside = %aside.display(), moved = moved.is_ok(), why,
        "a file of the history is damaged; it is set aside, and what came before the damage is used"
    );
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        tracing::warn!(file = %path.display(), %error, "a file of the history cannot be removed");
    }
}

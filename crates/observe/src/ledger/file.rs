//! Writing: one line after the other, synced in batches, in files of a bounded size and number.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use mainstay_core::ledger::{Day, days};
use mainstay_core::transition::Subject;

use super::chain::{self, Line, Links, Stamp, Stood};
use super::scan::Scan;

/// Days whose sums are kept after their detail was forgotten.
const DAYS_MAX: u64 = 400;

/// How large the ledger may grow, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// One file; then another is begun.
    pub file: u64,
    /// All files together; then the oldest makes room, once the sums of its days are written down.
    pub total: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { file: 4 << 20, total: 64 << 20 }
    }
}

/// The files of a ledger, open to be written by this process alone.
#[derive(Debug)]
pub(super) struct Store {
    folder: PathBuf,
    limits: Limits,
    _lock: File,
    file: File,
    number: u64,
    /// Of the present file.
    bytes: u64,
    /// Of the files before it.
    older: u64,
    head: String,
    dirty: bool,
}

impl Store {
    /// Opens or makes a ledger, and answers how many bytes of a line without its end were cut off; `None` if another process has
    /// it.
    ///
    /// # Errors
    /// If the folder cannot be used.
    pub(super) fn open(folder: &Path, limits: Limits) -> io::Result<Option<(Self, u64)>> {
        fs::create_dir_all(folder)?;
        let lock = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(folder.join("lock"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let files = chain::files(folder)?;
        let number = files.last().and_then(|path| number_of(path)).unwrap_or(1);
        let path = path_of(folder, number);
        let (mut head, mut good, mut seen) = (None, 0, 0);
        if let Some(last) = files.last() {
            chain::lines(last, |_number, line, is_ended| {
                seen += line.len() as u64 + u64::from(is_ended);
                if is_ended {
                    good = seen;
                    head = Links::read(line).map(|links| links.hash.to_owned()).or(head.take());
                }
            })?;
        }
        // A file that was begun and has no line yet hangs on the one before.
        if let (None, Some(before)) = (&head, files.iter().rev().nth(1)) {
            chain::lines(before, |_number, line, _ended| {
                head = Links::read(line).map(|links| links.hash.to_owned()).or(head.take());
            })?;
        }
        let file = append_to(&path)?;
        file.set_len(good)?;
        let sizes = files.iter().filter(|it| **it != path).filter_map(|path| fs::metadata(path).ok());
        let older = sizes.map(|metadata| metadata.len()).sum();
        let head = head.unwrap_or_else(|| chain::ORIGIN.to_owned());
        let folder = folder.to_owned();
        let store = Self { folder, limits, _lock: lock, file, number, bytes: good, older, head, dirty: false };
        Ok(Some((store, seen - good)))
    }

    /// Bytes of all files.
    pub(super) fn size(&self) -> u64 {
        self.bytes + self.older
    }

    /// Whether the present file is full: [`Self::rotate`] it before the next line.
    pub(super) fn is_full(&self) -> bool {
        self.bytes >= self.limits.file
    }

    /// Writes a line. It is safe after the next [`Self::sync`].
    ///
    /// # Errors
    /// If it could not be written; nothing of it is left then.
    pub(super) fn append(&mut self, line: &Line) -> io::Result<()> {
        let (text, hash) = chain::write(&self.head, line)?;
        if let Err(error) = self.file.write_all(text.as_bytes()) {
            // The disk may be full: a part of a line must not stand before the next.
            self.file.set_len(self.bytes)?;
            return Err(error);
        }
        self.bytes += text.len() as u64;
        self.head = hash;
        self.dirty = true;
        Ok(())
    }

    /// Has what was written survive the machine.
    ///
    /// # Errors
    /// If the disk says so.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.dirty) { self.file.sync_data() } else { Ok(()) }
    }

    /// Goes on in another file, which begins with how everything stood, and forgets the oldest ones if there is too much.
    ///
    /// # Errors
    /// As [`Self::append`]. Nothing is forgotten before its sums are safe.
    pub(super) fn rotate(&mut self, stamp: Stamp, stood: Vec<Stood>) -> io::Result<()> {
        // Up to here everything stood as it did: no time is lost between two files.
        self.append(&Line::Beat { stamp: stamp.clone() })?;
        self.sync()?;
        self.file = append_to(&path_of(&self.folder, self.number + 1))?;
        self.number += 1;
        self.older += self.bytes;
        self.bytes = 0;
        self.append(&Line::Anchor { stamp, stood })?;
        while self.size() > self.limits.total && self.older > 0 {
            let Some(oldest) = chain::files(&self.folder)?.into_iter().next() else { break };
            self.forget(&oldest)?;
        }
        self.sync()
    }

    fn forget(&mut self, oldest: &Path) -> io::Result<()> {
        let size = fs::metadata(oldest)?.len();
        let (mut scan, mut last, mut kept) = (Scan::new(0), String::new(), BTreeMap::<(Subject, u64), Day>::new());
        chain::lines(oldest, |_number, bytes, _ended| {
            let Some(links) = Links::read(bytes) else { return };
            links.hash.clone_into(&mut last);
            match links.line() {
                Some(Line::Day { subject, day }) => add(&mut kept, subject, &day),
                Some(line) => scan.take(line),
                None => {}
            }
        })?;
        for (subject, intervals) in scan.intervals() {
            for day in days(&intervals) {
                add(&mut kept, subject.clone(), &day);
            }
        }
        let newest = kept.keys().map(|(_subject, day)| *day).max().unwrap_or(0);
        for ((subject, _number), day) in kept.into_iter().filter(|((_, day), _)| day + DAYS_MAX > newest) {
            self.append(&Line::Day { subject, day })?;
        }
        let file = oldest.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        self.append(&Line::Forgotten { file, last })?;
        self.sync()?;
        fs::remove_file(oldest)?;
        self.older = self.older.saturating_sub(size);
        Ok(())
    }
}

fn add(kept: &mut BTreeMap<(Subject, u64), Day>, subject: Subject, day: &Day) {
    let known = kept.entry((subject, day.day)).or_insert(Day { day: day.day, ..Day::default() });
    known.up_seconds += day.up_seconds;
    known.partial_seconds += day.partial_seconds;
    known.down_seconds += day.down_seconds;
    known.planned_seconds += day.planned_seconds;
    known.failures += day.failures;
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

fn path_of(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("ledger-{number:08}.jsonl"))
}

fn number_of(path: &Path) -> Option<u64> {
    path.file_stem()?.to_str()?.strip_prefix("ledger-")?.parse().ok()
}

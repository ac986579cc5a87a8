//! The availability ledger: what the journal told, kept on disk as a chain in which a changed byte is found, and what was
//! made of it: figures ([`report`]) and incidents.
//!
//! One thread writes ([`driver`]); whoever asks reads the files. Each node keeps its own, of what it saw itself.

mod chain;
mod driver;
mod file;
pub mod report;
mod scan;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mainstay_core::incident::{Book, Incident};

pub use chain::{Line, Verdict, verify};
pub use driver::start;
pub use file::Limits;

/// The ledger of the process. All copies are the same.
#[derive(Clone, Debug)]
pub struct Ledger(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    folder: Option<PathBuf>,
    book: Mutex<Book>,
    status: Mutex<Status>,
}

/// How the ledger itself fares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Lines that this process has written.
    pub lines: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// Lines that could not be written, and records that came too fast.
    pub lost: u64,
    /// Why nothing can be written now.
    pub failure: Option<String>,
}

impl Ledger {
    /// Where its files are; `None` if it is kept in memory only, for want of a `data_dir`.
    pub fn folder(&self) -> Option<&Path> {
        self.0.folder.as_deref()
    }

    /// How it fares.
    pub fn status(&self) -> Status {
        lock(&self.0.status).clone()
    }

    /// Lets `read` look at the incidents.
    pub fn incidents<T>(&self, read: impl FnOnce(&[&Incident]) -> T) -> T {
        read(&lock(&self.0.book).incidents())
    }

    /// The incident with this id.
    pub fn incident(&self, id: &str) -> Option<Incident> {
        lock(&self.0.book).find(id).cloned()
    }
}

// What is inside is whole after each step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;

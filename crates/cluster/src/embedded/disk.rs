//! What the node must not forget, in a redb file: its vote, its log and the last snapshot of the store.
//!
//! A thread of its own writes it, so that a slow disk holds up nothing else. What was written together is one transaction
//! of redb, synced before it is confirmed. After the first failure nothing is written any more: the node cannot tell what
//! of it would be there after a restart.

mod backend;
mod content;
mod mark;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

use mainstay_runtime::thread::spawn_blocking_thread;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use thiserror::Error;
use tokio::sync::oneshot;

pub(super) use content::{Content, Name, StoredSnapshot};
use mark::Mark;

/// The file's name.
pub(super) const FILE: &str = "raft.redb";
/// Entries of the log by index.
const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");
/// Everything else by name.
const VALUES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("values");
/// Writes that wait for the one before them and become one transaction, at most.
const TOGETHER_MAX: usize = 64;
/// Pages that redb keeps in memory. Nothing is read after the start, so that little is of use.
const CACHE_BYTES: usize = 4 << 20;

/// Why the disk is of no use.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DiskError {
    /// The system refuses.
    #[error("{path}: {reason}; free space or repair the disk, then start the node again", path = path.display())]
    Failed {
        /// The file.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// Another process works with it.
    #[error("{path}: another process uses it; end that one first", path = path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// What is there is not what was written.
    #[error(
        "{path}: {reason}; this node has forgotten what it promised to the others and must not vote: remove it from the \
         cluster, delete the folder, and let it join anew",
        path = path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        reason: String,
    },
}

/// What is written in one go.
#[derive(Debug, Default)]
pub(super) struct Write {
    /// Entries from this index on are deleted first.
    pub(super) truncate: Option<u64>,
    /// Entries up to this index, included, are deleted.
    pub(super) purge: Option<u64>,
    /// Entries by index.
    pub(super) entries: Vec<(u64, Vec<u8>)>,
    /// Other things by name.
    pub(super) values: Vec<(Name, Vec<u8>)>,
}

/// What is told of a write when it is on the disk, or never will be.
pub(super) type Done = Box<dyn FnOnce(Result<(), DiskError>) + Send>;

/// The handle. The thread ends when the last copy is gone.
#[derive(Clone, Debug)]
pub(super) struct Disk {
    jobs: Sender<Job>,
    failed: Arc<Mutex<Option<DiskError>>>,
    path: PathBuf,
}

enum Job {
    Write(Write, Done),
    /// Lets go of the file, and tells when that is so.
    Close(oneshot::Sender<()>),
}

impl Disk {
    /// Opens the files in `folder`, checks all that is in them, and starts the thread.
    ///
    /// # Errors
    /// If they cannot be opened, or are damaged.
    pub(super) async fn open(folder: &Path, node: u64, bytes_max: u64) -> Result<(Self, Content), DiskError> {
        let path = folder.join(FILE);
        let failed = Arc::new(Mutex::new(None));
        let (jobs, queue) = channel();
        let (tell, told) = oneshot::channel();
        let disk = Self { jobs, failed: Arc::clone(&failed), path: path.clone() };
        let (folder, thread_path) = (folder.to_owned(), path.clone());
        let started = spawn_blocking_thread("raft-disk", move || {
            let opened = guarded(&thread_path, || File::open(&folder, &thread_path, node, bytes_max));
            match opened {
                Ok((file, content)) => {
                    // Whoever opens it may have given up; then nothing will be written.
                    let _given_up = tell.send(Ok(content));
                    serve(file, &queue, &failed);
                }
                Err(error) => {
                    let _given_up = tell.send(Err(error));
                }
            }
        });
        started.map_err(|error| DiskError::Failed { path: path.clone(), reason: error.to_string() })?;
        let content = told
            .await
            .map_err(|_gone| DiskError::Failed { path, reason: "the disk's thread ended unexpectedly".to_owned() })??;
        Ok((disk, content))
    }

    /// Writes, and tells `done` from the disk's thread.
    pub(super) fn write(&self, write: Write, done: Done) {
        if let Err(unsent) = self.jobs.send(Job::Write(write, done))
            && let Job::Write(_lost, done) = unsent.0
        {
            done(Err(self.failure().unwrap_or_else(|| self.gone())));
        }
    }

    /// Writes, and waits until it is on the disk.
    ///
    /// # Errors
    /// If it is not, and never will be.
    pub(super) async fn write_now(&self, write: Write) -> Result<(), DiskError> {
        let (tell, told) = oneshot::channel();
        self.write(
            write,
            Box::new(move |result| {
                // The one who waits may have been dropped.
                let _given_up = tell.send(result);
            }),
        );
        told.await.unwrap_or_else(|_gone| Err(self.gone()))
    }

    /// Ends the thread once all that was given to it is written, and the file is free for others.
    pub(super) async fn close(&self) {
        let (tell, told) = oneshot::channel();
        if self.jobs.send(Job::Close(tell)).is_ok() {
            // If the thread ended by itself, that will do as well.
            let _ended = told.await;
        }
    }

    /// Why nothing is written any more.
    pub(super) fn failure(&self) -> Option<DiskError> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn gone(&self) -> DiskError {
        DiskError::Failed { path: self.path.clone(), reason: "the disk's thread has ended".to_owned() }
    }
}

fn serve(mut file: File, queue: &Receiver<Job>, failed: &Mutex<Option<DiskError>>) {
    let mut close = None;
    while close.is_none()
        && let Ok(first) = queue.recv()
    {
        let (mut writes, mut told) = (Vec::new(), Vec::new());
        let mut next = Some(first);
        while let Some(job) = next.take() {
            match job {
                Job::Write(write, done) => {
                    writes.push(write);
                    told.push(done);
                    if writes.len() < TOGETHER_MAX {
                        next = queue.try_recv().ok();
                    }
                }
                Job::Close(tell) => close = Some(tell),
            }
        }
        if writes.is_empty() {
            continue;
        }
        let known = failed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let result = match known {
            Some(error) => Err(error),
            None => {
                let path = file.path.clone();
                guarded(&path, || file.commit(&writes))
            }
        };
        if let Err(error) = &result {
            let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
            if failed.is_none() {
                tracing::error!(error = %error, "the cluster's storage has failed; this node takes no part in votes");
                *failed = Some(error.clone());
            }
        }
        told.into_iter().for_each(|done| done(result.clone()));
    }
    drop(file);
    if let Some(tell) = close {
        // Whoever wanted it closed may not wait for it.
        let _given_up = tell.send(());
    }
}

/// A damaged file may lead redb anywhere; here that ends as an error.
fn guarded<T>(path: &Path, work: impl FnOnce() -> Result<T, DiskError>) -> Result<T, DiskError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_panic| {
        Err(DiskError::Damaged { path: path.to_owned(), reason: "its pages contradict each other".to_owned() })
    })
}

struct File {
    path: PathBuf,
    database: Database,
    mark: Mark,
    /// How many transactions there were.
    count: u64,
}

impl File {
    fn open(folder: &Path, path: &Path, node: u64, bytes_max: u64) -> Result<(Self, Content), DiskError> {
        let failed = |reason: String| DiskError::Failed { path: path.to_owned(), reason };
        std::fs::create_dir_all(folder).map_err(|error| failed(error.to_string()))?;
        let (mark, confirmed) = Mark::open(folder)?;
        let backend = backend::open(path, bytes_max).map_err(|error| failed(error.to_string()))?;
        let mut builder = Database::builder();
        builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
        let database = builder.create_with_backend(backend).map_err(|error| classify(path, error))?;
        let content = read(&database, path)?;
        let damaged = |reason: String| Err(DiskError::Damaged { path: path.to_owned(), reason });
        if content.count < confirmed {
            return damaged(format!(
                "it holds {} transactions, but {confirmed} were confirmed: what came last is lost",
                content.count
            ));
        }
        if content.node.is_some_and(|owner| owner != node) {
            return damaged(format!("it belongs to node {}, not to node {node}", content.node.unwrap_or_default()));
        }
        let mut file = Self { path: path.to_owned(), database, mark, count: content.count };
        if content.node.is_none() {
            let values = vec![(Name::Node, node.to_le_bytes().to_vec())];
            file.commit(&[Write { values, ..Write::default() }])?;
        }
        Ok((file, content))
    }

    fn commit(&mut self, writes: &[Write]) -> Result<(), DiskError> {
        let count = self.count.saturating_add(1);
        self.transaction(writes, count).map_err(|error| classify(&self.path, error))?;
        self.count = count;
        self.mark.set(count)
    }

    fn transaction(&self, writes: &[Write], count: u64) -> Result<(), redb::Error> {
        let transaction = self.database.begin_write()?;
        {
            let mut log = transaction.open_table(LOG)?;
            let mut values = transaction.open_table(VALUES)?;
            for write in writes {
                if let Some(from) = write.truncate {
                    log.retain_in(from.., |_index, _entry| false)?;
                }
                if let Some(upto) = write.purge {
                    log.retain_in(..=upto, |_index, _entry| false)?;
                }
                for (index, body) in &write.entries {
                    log.insert(index, content::seal(&index.to_le_bytes(), body).as_slice())?;
                }
                for (name, body) in &write.values {
                    values.insert(name.text(), content::seal(name.text().as_bytes(), body).as_slice())?;
                }
            }
            let name = Name::Count.text();
            values.insert(name, content::seal(name.as_bytes(), &count.to_le_bytes()).as_slice())?;
        }
        transaction.commit()?;
        Ok(())
    }
}

fn read(database: &Database, path: &Path) -> Result<Content, DiskError> {
    let mut raw = content::Raw::default();
    let mut take = || -> Result<(), redb::Error> {
        let transaction = database.begin_read()?;
        match transaction.open_table(VALUES) {
            Ok(table) => {
                for pair in table.iter()? {
                    let (name, value) = pair?;
                    raw.values.insert(name.value().to_owned(), value.value().to_vec());
                }
            }
            // A file that was made just now has no tables.
            Err(redb::TableError::TableDoesNotExist(_)) => {}
            Err(error) => return Err(error.into()),
        }
        match transaction.open_table(LOG) {
            Ok(table) => {
                for pair in table.iter()? {
                    let (index, value) = pair?;
                    raw.log.insert(index.value(), value.value().to_vec());
                }
            }
            Err(redb::TableError::TableDoesNotExist(_)) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    };
    take().map_err(|error| classify(path, error))?;
    raw.check().map_err(|reason| DiskError::Damaged { path: path.to_owned(), reason })
}

fn classify(path: &Path, error: impl Into<redb::Error>) -> DiskError {
    let error = error.into();
    let (path, reason) = (path.to_owned(), error.to_string());
    match error {
        redb::Error::DatabaseAlreadyOpen => DiskError::InUse { path },
        redb::Error::Io(io)
            if !matches!(io.kind(), std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof) =>
        {
            DiskError::Failed { path, reason }
        }
        redb::Error::Io(_)
        | redb::Error::Corrupted(_)
        | redb::Error::UpgradeRequired(_)
        | redb::Error::TableTypeMismatch { .. }
        | redb::Error::TypeDefinitionChanged { .. }
        | redb::Error::TableIsMultimap(_) => DiskError::Damaged { path, reason },
        _other => DiskError::Failed { path, reason },
    }
}

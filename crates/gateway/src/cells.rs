//! Which cell an account is in, shared by the workers and kept in a file.
//!
//! Requests ask the table under a lock that nobody holds while waiting; a thread of its own writes the file, a moment after the
//! last change, so that no request waits for a disk.

mod file;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use mainstay_core::cell::{Cell, MoveError, Place, Table};
use mainstay_core::time::Moment;
use mainstay_runtime::thread;

use crate::gateway::StartError;
use crate::spec;

/// Changes are gathered for this long before they are written.
const GATHER: Duration = Duration::from_millis(200);
/// How often the thread looks whether anybody still needs it.
const LOOK: Duration = Duration::from_secs(1);

/// The cells of a node.
#[derive(Debug)]
pub struct Cells {
    table: Mutex<Table>,
    changed: Arc<Signal>,
    file: Option<PathBuf>,
}

/// Says to the thread that writes that there is something to write.
#[derive(Debug, Default)]
struct Signal {
    is_due: Mutex<bool>,
    told: Condvar,
}

/// A cell, for those who ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CellCount {
    /// Its name.
    pub name: String,
    /// Accounts in it, or on their way to it.
    pub accounts: usize,
    /// How many it takes.
    pub capacity: usize,
    /// It takes no new ones.
    pub closed: bool,
}

impl Cells {
    /// The cells of `spec`, or `None` if it has none. What `previous` knows stays; at the start it comes from the file.
    ///
    /// # Errors
    /// If the file cannot be read or is none of ours, or the thread that writes it cannot be started.
    pub(crate) fn new(spec: &spec::Spec, previous: Option<&Arc<Self>>) -> Result<Option<Arc<Self>>, StartError> {
        if spec.cells.is_empty() {
            return Ok(None);
        }
        let cells = spec.cells.iter().map(cell).collect::<Vec<_>>();
        let file = spec.node.data_dir.as_deref().map(file::path);
        if let Some(known) = previous.filter(|known| known.file == file) {
            let mut table = known.table();
            if table.cells() != cells {
                *table = table.over(cells);
                drop(table);
                known.tell();
            }
            return Ok(Some(Arc::clone(known)));
        }
        let placed = match (&file, previous) {
            // The folder is another one: what is known goes on there.
            (_, Some(known)) => known.placed(),
            (Some(file), None) => file::read(file).map_err(StartError::Spec)?,
            (None, None) => Vec::new(),
        };
        let placed = placed.iter().map(|(account, cell)| (account.as_str(), cell.as_str()));
        let (table, changed) = (Mutex::new(Table::new(cells, placed)), Arc::default());
        let made = Arc::new(Self { table, changed, file });
        if let Some(file) = made.file.clone() {
            let (cells, signal) = (Arc::downgrade(&made), Arc::clone(&made.changed));
            let _ends_with_the_cells = thread::spawn_blocking_thread("cells", move || keep(&cells, &signal, &file))
                .map_err(StartError::Worker)?;
            made.tell();
        }
        Ok(Some(made))
    }

    /// Where a request of `account` goes. [`Self::leave`] is to be called when it is over, if it goes anywhere.
    pub(crate) fn enter<T>(&self, now: Moment, account: &str, named: impl FnOnce(Place, &[Cell]) -> T) -> T {
        let mut table = self.table();
        let before = table.version();
        let place = table.enter(now, account);
        let is_changed = table.version() != before;
        let answer = named(place, table.cells());
        drop(table);
        if is_changed {
            self.tell();
        }
        answer
    }

    /// A request of `account` is over.
    pub(crate) fn leave(&self, now: Moment, account: &str) {
        if self.table().leave(now, account) {
            self.tell();
            tracing::info!(account, "account moved");
        }
    }

    /// Begins to move an account; see [`Table::transfer`].
    ///
    /// # Errors
    /// What stands in the way.
    pub(crate) fn transfer(&self, now: Moment, account: &str, to: &str, limit: Duration) -> Result<bool, MoveError> {
        let mut table = self.table();
        table.transfer(now, account, to, limit)?;
        let is_there = table.find(account).is_some_and(|(_cell, moving)| moving.is_none());
        drop(table);
        self.tell();
        tracing::info!(account, cell = to, "account moves");
        Ok(is_there)
    }

    /// How full the cells are, in the order of the configuration.
    pub fn counts(&self) -> Vec<CellCount> {
        let table = self.table();
        let count = |(number, cell): (usize, &Cell)| CellCount {
            name: cell.name.clone(),
            accounts: table.used(number),
            capacity: cell.capacity,
            closed: cell.closed,
        };
        table.cells().iter().enumerate().map(count).collect()
    }

    /// The names of the cell that an account is in, and of the one that it is being moved to.
    pub fn find(&self, account: &str) -> Option<(String, Option<String>)> {
        let table = self.table();
        let name = |number: usize| table.cells().get(number).map_or_else(String::new, |cell| cell.name.clone());
        table.find(account).map(|(cell, moving)| (name(cell), moving.map(name)))
    }

    /// Accounts that are being moved.
    pub fn moving(&self) -> usize {
        self.table().moving()
    }

    fn placed(&self) -> Vec<(String, String)> {
        let table = self.table();
        let name = |number: usize| table.cells().get(number).map_or_else(String::new, |cell| cell.name.clone());
        let mut placed: Vec<(String, String)> =
            table.accounts().map(|(account, cell)| (account.to_owned(), name(cell))).collect();
        drop(table);
        placed.sort_unstable();
        placed
    }

    /// Has the file written.
    fn tell(&self) {
        *lock(&self.changed.is_due) = true;
        self.changed.told.notify_one();
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        lock(&self.table)
    }
}

impl Drop for Cells {
    fn drop(&mut self) {
        self.changed.told.notify_one();
    }
}

/// The account of a request in progress. Dropping it says that the request is over.
#[derive(Debug)]
pub(crate) struct Stay {
    pub(crate) cells: Arc<Cells>,
    pub(crate) account: Box<str>,
    pub(crate) clock: mainstay_runtime::clock::Clock,
}

impl Drop for Stay {
    fn drop(&mut self) {
        self.cells.leave(self.clock.now(), &self.account);
    }
}

fn cell(spec: &spec::Cell) -> Cell {
    Cell { name: spec.name.clone(), capacity: spec.capacity, pinned: spec.pinned.clone(), closed: spec.closed }
}

/// Writes the file whenever it is due, for as long as there are cells.
fn keep(cells: &Weak<Cells>, signal: &Signal, file: &Path) {
    loop {
        let is_due = lock(&signal.is_due);
        let (mut is_due, _timeout) =
            signal.told.wait_timeout_while(is_due, LOOK, |due| !*due).unwrap_or_else(PoisonError::into_inner);
        let was_due = std::mem::take(&mut *is_due);
        drop(is_due);
        let Some(known) = cells.upgrade() else { return };
        if !was_due {
            continue;
        }
        std::thread::sleep(GATHER);
        *lock(&signal.is_due) = false;
        if let Err(why) = file::write(file, &known.placed()) {
            tracing::error!(%why, "accounts cannot be written: they would be placed anew after a restart");
            // Tried again, since the next change may be far away.
            *lock(&signal.is_due) = true;
            std::thread::sleep(LOOK);
        }
    }
}

// Whoever panicked under a lock of these left a whole value behind.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(data_dir: Option<&Path>, names: &[&str]) -> spec::Spec {
        let cell = |name: &&str| spec::Cell {
            name: (*name).to_owned(),
            capacity: 10,
            services: std::collections::BTreeMap::new(),
            pinned: Vec::new(),
            closed: false,
        };
        spec::Spec {
            telemetry: spec::Telemetry::default(),
            acme: Vec::new(),
            node: spec::Node {
                name: "test".to_owned(),
                workers: 1,
                access_log: spec::AccessLog::Off,
                explain: 0,
                shutdown: spec::Shutdown { lead: Duration::ZERO, deadline: Duration::ZERO },
                resolver: spec::Resolver::default(),
                zone: None,
                cache_memory: 0,
                data_dir: data_dir.map(Path::to_path_buf),
            },
            listeners: Vec::new(),
            routes: Vec::new(),
            services: Vec::new(),
            cells: names.iter().map(cell).collect(),
        }
    }

    #[test]
    fn accounts_outlive_cells_by_their_file_and_reloads_by_the_table() {
        let folder = tempfile::tempdir().expect("a folder");
        let cells = Cells::new(&spec(Some(folder.path()), &["a", "b"]), None).expect("made").expect("some");
        cells.enter(Moment::ZERO, "acme", |place, _cells| assert_eq!(place, Place::In(0)));
        cells.enter(Moment::ZERO, "umbrella", |place, _cells| assert_eq!(place, Place::In(1)));
        cells.leave(Moment::ZERO, "acme");
        let again =
            Cells::new(&spec(Some(folder.path()), &["b", "a", "c"]), Some(&cells)).expect("made").expect("some");
        assert!(Arc::ptr_eq(&cells, &again));
        assert_eq!(again.find("acme"), Some(("a".to_owned(), None)));
        assert_eq!(again.transfer(Moment::ZERO, "umbrella", "c", Duration::from_secs(9)), Ok(false));
        let file = file::path(folder.path());
        let written = || std::fs::read_to_string(&file).unwrap_or_default();
        for _wait in 0..100 {
            if written().contains("c\tumbrella") {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        assert_eq!(written().lines().skip(1).collect::<Vec<_>>(), ["a\tacme", "c\tumbrella"]);
        drop((cells, again));
        let later = Cells::new(&spec(Some(folder.path()), &["a", "c"]), None).expect("made").expect("some");
        assert_eq!(later.find("umbrella"), Some(("c".to_owned(), None)));
        assert_eq!(later.counts().iter().map(|cell| cell.accounts).collect::<Vec<_>>(), [1, 1]);
        assert!(Cells::new(&spec(None, &[]), None).expect("none").is_none());
    }
}

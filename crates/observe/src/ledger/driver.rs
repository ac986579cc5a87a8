//! The thread that follows the journal and writes it down.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mainstay_core::incident::{Book, Policy};
use mainstay_core::ledger::State;
use mainstay_core::transition::{Aspect, Record, Subject, Word};
use mainstay_runtime::clock::Boottime;
use mainstay_runtime::journal::{Heard, Journal, Subscription};
use mainstay_runtime::thread;
use tokio::time::MissedTickBehavior;

use super::chain::{Line, Stamp, Stood};
use super::file::{Limits, Store};
use super::scan::{self, Scan};
use super::{Ledger, Shared, Status, lock};

/// Lines are safe on disk after this time; and so often it is tried to open files that another process has.
const TICK: Duration = Duration::from_secs(1);
/// So long without a line, and one says that somebody looks: what is lost of a time in which the process is killed.
const BEAT: Duration = Duration::from_secs(10);
/// Records that wait for files that another process has.
const PENDING_MAX: usize = 4_096;
/// Records of endpoints and routes in a minute; those of services and nodes have no limit of their own.
const DETAIL_MAX: u32 = 600;
/// Records that are written before anything else is looked at.
const BATCH: usize = 256;

/// Starts the ledger of a process, in `folder` or, without one, in memory, where it knows of incidents only. It ends when the node
/// leaves. What is wrong is in [`Ledger::status`]: a node serves without a ledger, too.
pub fn start(journal: &Journal, folder: Option<PathBuf>, limits: Limits, version: &str) -> Ledger {
    let ledger = Ledger(Arc::new(Shared {
        folder: folder.clone(),
        book: Mutex::new(Book::new(Policy::default())),
        status: Mutex::default(),
    }));
    let clock = Boottime::system();
    // From the first record on, whenever the thread gets to it.
    let subscription = journal.subscribe_after(0);
    let boot = boot_id();
    let opened = Line::Opened {
        stamp: stamp(&boot, &clock),
        node: journal.node().to_owned(),
        version: version.to_owned(),
        torn_bytes: 0,
    };
    let driver = Driver {
        ledger: ledger.clone(),
        folder,
        limits,
        clock,
        boot,
        store: None,
        pending: VecDeque::from([opened]),
        stood: BTreeMap::new(),
        detail: Detail::default(),
        written: Duration::ZERO,
    };
    if let Err(error) = thread::spawn_local_runtime("ledger", move || driver.run(subscription)) {
        tracing::error!(%error, "ledger: its thread cannot be started; nothing is written down");
        lock(&ledger.0.status).failure = Some(error.to_string());
    }
    ledger
}

struct Driver {
    ledger: Ledger,
    folder: Option<PathBuf>,
    limits: Limits,
    clock: Boottime,
    boot: String,
    store: Option<Store>,
    /// What is written once the files are this process's.
    pending: VecDeque<Line>,
    /// How everything stands, for the beginning of the next file.
    stood: BTreeMap<Subject, Stood>,
    detail: Detail,
    /// When the last line was written.
    written: Duration,
}

/// How many records of endpoints and routes there were in this minute.
#[derive(Default)]
struct Detail {
    minute: u64,
    count: u32,
    left_out: u64,
}

impl Driver {
    async fn run(mut self, mut journal: Subscription) {
        self.replay();
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                _tick = ticks.tick() => self.tick(),
                heard = journal.next() => {
                    let mut next = Some(heard);
                    for _record in 0..BATCH {
                        let Some(heard) = next.take() else { break };
                        if self.hear(heard) {
                            return self.close();
                        }
                        next = journal.try_next();
                    }
                    if let Some(heard) = next
                        && self.hear(heard)
                    {
                        return self.close();
                    }
                }
            }
        }
    }

    /// Incidents of before this process, from the files.
    fn replay(&mut self) {
        let Some(folder) = self.folder.as_ref().filter(|folder| folder.exists()) else { return };
        let read = Scan::of(folder, u64::MAX, |line| {
            let mut book = lock(&self.ledger.0.book);
            match line {
                Line::Opened { .. } => book.restart(),
                Line::Saw { record, .. } => book.take(record),
                _says_nothing_of_incidents => {}
            }
        });
        lock(&self.ledger.0.book).restart();
        if let Err(error) = read {
            tracing::warn!(%error, "ledger: incidents of before this start are not known");
        }
    }

    /// Whether the node leaves, so that this was the last record.
    fn hear(&mut self, heard: Heard) -> bool {
        let record = match heard {
            Heard::Record(record) => record,
            Heard::Missed(count) => {
                lock(&self.ledger.0.status).lost += count;
                self.write(Line::LeftOut { count });
                return false;
            }
        };
        lock(&self.ledger.0.book).take(&record);
        self.note_standing(&record);
        if self.detail.admits(&record) {
            self.write(Line::Saw { boot: self.boot.clone(), record: Record::clone(&record) });
        }
        let change = record.transition.change;
        change.aspect == Aspect::Life && matches!(change.to, Word::Leaving | Word::HandedOver)
    }

    fn note_standing(&mut self, record: &Record) {
        let Some(state) = scan::state(record) else { return };
        let transition = &record.transition;
        let subject = transition.subject.clone();
        if state == State::NotObserved {
            self.stood.remove(&subject);
            return;
        }
        let (planned, cause) = (transition.planned, transition.cause.to_string());
        self.stood.insert(subject.clone(), Stood { subject, state, planned, cause });
    }

    fn tick(&mut self) {
        let now = Duration::from_nanos(self.clock.now().as_nanos());
        lock(&self.ledger.0.book).advance(self.clock.now().as_nanos());
        if self.store.is_none() {
            self.open();
        }
        let left_out = self.detail.turn(now.as_secs() / 60);
        if left_out > 0 {
            self.write(Line::LeftOut { count: left_out });
        }
        if now.saturating_sub(self.written) >= BEAT {
            let stamp = self.stamp();
            self.write(Line::Beat { stamp });
        }
        if let Some(Err(error)) = self.store.as_mut().map(Store::sync) {
            self.fail(&error);
        }
    }

    /// Takes the files over, unless another process has them: the one that this one is about to succeed.
    fn open(&mut self) {
        let Some(folder) = &self.folder else { return };
        match Store::open(folder, self.limits) {
            Ok(Some((store, torn))) => {
                self.store = Some(store);
                if torn > 0 {
                    tracing::warn!(bytes = torn, "ledger: the last line was not written to its end and was cut off");
                }
                for mut line in std::mem::take(&mut self.pending) {
                    if let Line::Opened { torn_bytes, .. } = &mut line {
                        *torn_bytes = torn;
                    }
                    self.write(line);
                }
            }
            Ok(None) => {}
            Err(error) => self.fail(&error),
        }
    }

    fn write(&mut self, line: Line) {
        if self.folder.is_none() {
            return;
        }
        if self.store.is_none() {
            if self.pending.len() < PENDING_MAX {
                self.pending.push_back(line);
            } else {
                lock(&self.ledger.0.status).lost += 1;
            }
            return;
        }
        let (stamp, stood) = (self.stamp(), || self.stood.values().cloned().collect());
        let Some(store) = &mut self.store else { return };
        let mut done = Ok(());
        if store.is_full() {
            done = store.rotate(stamp, stood());
        }
        let done = done.and_then(|()| store.append(&line));
        let bytes = store.size();
        self.written = Duration::from_nanos(self.clock.now().as_nanos());
        match done {
            Ok(()) => {
                let mut status = lock(&self.ledger.0.status);
                let lines = status.lines + 1;
                *status = Status { lines, bytes, lost: status.lost, failure: None };
            }
            Err(error) => {
                lock(&self.ledger.0.status).lost += 1;
                self.fail(&error);
            }
        }
    }

    /// Says once what is wrong, until something was written again.
    fn fail(&self, error: &io::Error) {
        let mut status = lock(&self.ledger.0.status);
        if status.failure.is_none() {
            tracing::error!(%error, "ledger: cannot be written; what is not written down counts as not observed");
        }
        status.failure = Some(error.to_string());
    }

    /// The last line: from here on nobody looks, or another process does.
    fn close(mut self) {
        let stamp = self.stamp();
        self.write(Line::Closed { stamp });
        if let Some(Err(error)) = self.store.as_mut().map(Store::sync) {
            self.fail(&error);
        }
    }

    fn stamp(&self) -> Stamp {
        stamp(&self.boot, &self.clock)
    }
}

impl Detail {
    /// Whether there is room for the record in this minute.
    fn admits(&mut self, record: &Record) -> bool {
        if !matches!(record.transition.subject, Subject::Endpoint { .. } | Subject::Route { .. }) {
            return true;
        }
        self.count = self.count.saturating_add(1);
        let admits = self.count <= DETAIL_MAX;
        self.left_out += u64::from(!admits);
        admits
    }

    /// It is this minute now. Answers how many were left out, once.
    fn turn(&mut self, minute: u64) -> u64 {
        if minute != self.minute {
            *self = Self { minute, count: 0, left_out: self.left_out };
        }
        std::mem::take(&mut self.left_out)
    }
}

pub(super) fn stamp(boot: &str, clock: &Boottime) -> Stamp {
    let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Stamp {
        boot: boot.to_owned(),
        boottime_ns: clock.now().as_nanos(),
        at_unix_ms: u64::try_from(at.as_millis()).unwrap_or(u64::MAX),
    }
}

/// Which start of the machine this is (proc(5)).
pub(super) fn boot_id() -> String {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    text.trim().to_owned()
}

//! The access log: lines gathered by each worker, written by a thread of its own. A log that cannot keep up, or whose disk
//! is full, costs lines, which are counted; it never costs a request.

mod target;

use std::cell::RefCell;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use self::target::Target;
use crate::spec::{AccessLog, Rotate};
use crate::telemetry::Events;

/// Bytes that a worker gathers before it hands them over: some hundred lines, since each hand-over wakes the writer, which
/// takes the place of a worker where both have to share a core.
const BATCH: usize = 128 * 1024;
/// Room for the line that fills a batch.
const SPILL: usize = BATCH / 8;
/// Batches that may wait for the writer.
const QUEUE: usize = 32;
/// Written batches that are kept for the next lines.
const SPARE: usize = 8;

/// What the writer is told.
#[derive(Debug)]
enum Message {
    Lines(Vec<u8>),
    Open(AccessLog, Option<Rotate>),
    End(SyncSender<()>),
}

/// The gateway's end of the log.
#[derive(Clone, Debug)]
pub(crate) struct Writer {
    sender: SyncSender<Message>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    on: AtomicBool,
    /// Who else gets the lines.
    events: Option<Arc<dyn Events>>,
    dropped: AtomicU64,
    /// Written batches, empty again.
    spare: Mutex<Vec<Vec<u8>>>,
}

impl Shared {
    fn take_spare(&self) -> Option<Vec<u8>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn give_spare(&self, mut lines: Vec<u8>) {
        lines.clear();
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        // One that a very long line has stretched is not kept.
        if spare.len() < SPARE && lines.capacity() <= BATCH + 2 * SPILL {
            spare.push(lines);
        }
    }
}

/// One worker's end of the log.
#[derive(Debug)]
pub(crate) struct Log {
    writer: Writer,
    lines: RefCell<Vec<u8>>,
}

impl Writer {
    /// Starts the writing thread.
    pub(crate) fn start(
        target: &AccessLog,
        rotate: Option<Rotate>,
        events: Option<Arc<dyn Events>>,
    ) -> io::Result<Self> {
        let (sender, receiver) = sync_channel(QUEUE);
        let shared = Arc::new(Shared { events, ..Shared::default() });
        let writer = Self { sender, shared: Arc::clone(&shared) };
        let _runs_until_the_end = mainstay_runtime::thread::spawn_blocking_thread("access-log", move || {
            write_all(&receiver, &shared);
        })?;
        writer.open(target.clone(), rotate);
        Ok(writer)
    }

    /// Writes to `target` from now on; opens a file anew, after others have put it aside.
    pub(crate) fn open(&self, target: AccessLog, rotate: Option<Rotate>) {
        self.shared.on.store(target != AccessLog::Off, Ordering::Release);
        // The queue may be full while a disk hangs; the writer opens the file anew at each failure anyway.
        let _told = self.sender.try_send(Message::Open(target, rotate));
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    /// Waits until everything handed over is written.
    pub(crate) fn flush(&self) {
        let (done, written) = sync_channel(1);
        if self.sender.try_send(Message::End(done)).is_ok() {
            let _written = written.recv_timeout(std::time::Duration::from_secs(2));
        }
    }

    /// A worker's end.
    pub(crate) fn log(&self) -> Log {
        Log { writer: self.clone(), lines: RefCell::new(Vec::new()) }
    }
}

impl Log {
    pub(crate) fn is_on(&self) -> bool {
        let shared = &self.writer.shared;
        shared.on.load(Ordering::Relaxed) || shared.events.as_ref().is_some_and(|events| events.is_on())
    }

    /// Adds what `write` writes: one line.
    pub(crate) fn line(&self, write: impl FnOnce(&mut Vec<u8>)) {
        let full = {
            let mut lines = self.lines.borrow_mut();
            if lines.capacity() == 0 {
                *lines = self.writer.shared.take_spare().unwrap_or_else(|| Vec::with_capacity(BATCH + SPILL));
            }
            write(&mut lines);
            lines.len() >= BATCH
        };
        if full {
            self.flush();
        }
    }

    /// Hands over what was gathered.
    pub(crate) fn flush(&self) {
        let lines = self.lines.take();
        if lines.is_empty() {
            return;
        }
        if let Err(TrySendError::Full(Message::Lines(lines)) | TrySendError::Disconnected(Message::Lines(lines))) =
            self.writer.sender.try_send(Message::Lines(lines))
        {
            drop_lines(&self.writer.shared, &lines);
            let mut lines = lines;
            lines.clear();
            *self.lines.borrow_mut() = lines;
        }
    }
}

fn drop_lines(shared: &Shared, lines: &[u8]) {
    let count = memchr::memchr_iter(b'\n', lines).count();
    shared.dropped.fetch_add(count as u64, Ordering::Relaxed);
}

fn write_all(receiver: &Receiver<Message>, shared: &Shared) {
    let mut target = Target::Nowhere;
    let mut failing = false;
    for message in receiver {
        match message {
            Message::Open(log, rotate) => target = Target::open(log, rotate),
            Message::End(done) => {
                let _nobody_waits = done.try_send(());
            }
            Message::Lines(lines) => {
                match target.write(&lines) {
                    Ok(()) => failing = false,
                    Err(target::Unwritten { error, written }) => {
                        if !std::mem::replace(&mut failing, true) {
                            tracing::error!(%error, "access log cannot be written; lines are dropped and counted");
                        }
                        drop_lines(shared, &lines[written..]);
                    }
                }
                if let Some(events) = shared.events.as_ref().filter(|events| events.is_on()) {
                    events.lines(&lines);
                }
                shared.give_spare(lines);
            }
        }
    }
}

//! Telemetry for other systems, over OTLP: the lines of requests as logs and traces, and the node's metrics
//! (<https://opentelemetry.io/docs/specs/otlp/>).
//!
//! Whoever has something to send hands it over and goes on: queues are bounded, what finds no room is counted and gone. One
//! thread makes messages of it and sends them, and tries again where the protocol says that this makes sense.

mod attributes;
mod events;
mod line;
mod metrics;
mod operations;
mod retry;
mod send;
mod settings;
#[cfg(test)]
mod tests;
mod way;

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use mainstay_core::random::Rng;
use mainstay_gateway::telemetry::Events;
use mainstay_runtime::journal::{Heard, Journal, Subscription};
use mainstay_runtime::thread;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use self::operations::{Operation, Operations};
use self::send::Sink;
pub use self::settings::{Protocol, Settings, Signals, Tls};

/// Batches of lines that wait, each of at most some 150 KiB.
const QUEUE: usize = 64;
/// Batches that are made into one round of messages.
const ROUND: usize = 16;
/// How long lines are gathered before they are sent.
const GATHER: Duration = Duration::from_millis(500);
/// Records, spans or points in one message.
const ITEMS_MAX: usize = 2_000;

/// What is to be sent.
#[derive(Debug)]
enum Job {
    /// Lines of requests.
    Lines(Vec<u8>),
    /// The node's metrics as OpenMetrics text.
    Metrics { text: String, started: SystemTime },
    /// Something that the cluster did.
    Operation(Box<Operation>),
    /// Says so when everything before it is done.
    Flush(SyncSender<()>),
}

/// The handle: cheap to clone, usable from any thread.
#[derive(Clone, Debug)]
pub struct Exporter {
    jobs: Sender<Job>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    wants_lines: AtomicBool,
    wants_metrics: AtomicBool,
    next_metrics: Mutex<Option<Instant>>,
    /// `None`: nothing is sent.
    settings: Mutex<Option<Arc<Settings>>>,
    counters: Counters,
}

#[derive(Debug, Default)]
struct Counters {
    sent: AtomicU64,
    dropped: AtomicU64,
    failures: AtomicU64,
}

/// What has become of what was handed over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records, spans and points that the collector has accepted.
    pub sent: u64,
    /// Those that found no room, were refused, or were given up; lines count as one each before they are read.
    pub dropped: u64,
    /// Messages that were not accepted, each try counted.
    pub failures: u64,
}

impl Exporter {
    /// Starts the thread. Nothing is sent before [`Exporter::configure`]. `journal` says what the node calls itself, and what its
    /// cluster does.
    ///
    /// # Errors
    /// If the system refuses the thread.
    pub fn start(journal: &Journal, version: &'static str) -> io::Result<Self> {
        let (jobs, waiting) = channel(QUEUE);
        let shared = Arc::new(Shared::default());
        let (node, of_thread) = (journal.node().to_owned(), Arc::clone(&shared));
        let followed = journal.subscribe();
        let _runs_until_the_end = thread::spawn_local_runtime("telemetry", move || async move {
            let origin = attributes::Origin { node, version };
            run(waiting, followed, &of_thread, &origin).await;
        })?;
        Ok(Self { jobs, shared })
    }

    /// Sends by these settings from now on; `None`: nothing.
    pub fn configure(&self, settings: Option<Settings>) {
        let wants = |read: fn(&Signals) -> bool| settings.as_ref().is_some_and(|settings| read(&settings.signals));
        self.shared.wants_lines.store(wants(|it| it.logs || it.traces), Ordering::Release);
        self.shared.wants_metrics.store(wants(|it| it.metrics), Ordering::Release);
        let mut known = self.shared.settings.lock().unwrap_or_else(PoisonError::into_inner);
        if known.as_deref() != settings.as_ref() {
            *known = settings.map(Arc::new);
        }
    }

    /// Whether metrics are to be sent now, as often as the settings say; asked again, they are not, before the next time.
    pub fn are_metrics_due(&self, now: Instant) -> bool {
        if !self.shared.wants_metrics.load(Ordering::Acquire) {
            return false;
        }
        let settings = self.shared.settings.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(interval) = settings.map(|settings| settings.metrics_interval) else { return false };
        let mut next = self.shared.next_metrics.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = next.is_none_or(|next| next <= now || next > now + interval);
        if is_due {
            *next = Some(now + interval);
        }
        is_due
    }

    /// Waits until what was handed over is sent or given up, but not longer than `limit`.
    pub fn flush(&self, limit: Duration) {
        let (done, flushed) = sync_channel(1);
        if self.jobs.try_send(Job::Flush(done)).is_ok() {
            let _in_time = flushed.recv_timeout(limit);
        }
    }

    /// Sends the metrics of an OpenMetrics text, whose counters count from `started`.
    pub fn metrics(&self, text: String, started: SystemTime) {
        if self.jobs.try_send(Job::Metrics { text, started }).is_err() {
            self.shared.counters.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What has become of what was handed over.
    pub fn counts(&self) -> Counts {
        let counters = &self.shared.counters;
        Counts {
            sent: counters.sent.load(Ordering::Relaxed),
            dropped: counters.dropped.load(Ordering::Relaxed),
            failures: counters.failures.load(Ordering::Relaxed),
        }
    }
}

impl Events for Exporter {
    fn is_on(&self) -> bool {
        self.shared.wants_lines.load(Ordering::Relaxed)
    }

    fn lines(&self, lines: &[u8]) {
        // Nothing is copied that would find no room.
        match self.jobs.try_reserve() {
            Ok(place) => place.send(Job::Lines(lines.to_vec())),
            Err(_full) => {
                let count = lines.iter().filter(|byte| **byte == b'\n').count();
                self.shared.counters.dropped.fetch_add(count as u64, Ordering::Relaxed);
            }
        }
    }
}

async fn run(mut jobs: Receiver<Job>, mut journal: Subscription, shared: &Shared, origin: &attributes::Origin) {
    let seed = u64::from(std::process::id())
        ^ SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos() as u64;
    let mut rng = Rng::seeded(seed);
    let mut sink: Option<Sink> = None;
    let mut operations = Operations::default();
    loop {
        let first = tokio::select! {
            biased;
            job = jobs.recv() => match job {
                Some(job) => job,
                None => return,
            },
            heard = journal.next() => match hear(&mut operations, &heard) {
                Some(operation) => operation,
                None => continue,
            },
        };
        if !matches!(first, Job::Flush(_)) {
            tokio::time::sleep(GATHER).await;
        }
        let mut round = vec![first];
        while round.len() < ROUND
            && let Ok(job) = jobs.try_recv()
        {
            round.push(job);
        }
        while round.len() < ROUND
            && let Some(heard) = journal.try_next()
        {
            round.extend(hear(&mut operations, &heard));
        }
        let settings = shared.settings.lock().unwrap_or_else(PoisonError::into_inner).clone();
        send_round(&round, settings, &mut sink, (shared, origin), &mut rng).await;
        for job in round {
            if let Job::Flush(done) = job {
                let _nobody_waits = done.try_send(());
            }
        }
    }
}

/// What is over with what the journal told.
fn hear(operations: &mut Operations, heard: &Heard) -> Option<Job> {
    match heard {
        Heard::Record(record) => operations.hear(record).map(|operation| Job::Operation(Box::new(operation))),
        Heard::Missed(_count) => {
            operations.forget();
            None
        }
    }
}

/// Sends what was gathered, if anything is to be sent.
async fn send_round(
    round: &[Job],
    settings: Option<Arc<Settings>>,
    sink: &mut Option<Sink>,
    (shared, origin): (&Shared, &attributes::Origin),
    rng: &mut Rng,
) {
    let Some(settings) = settings else {
        *sink = None;
        return;
    };
    if sink.as_ref().is_none_or(|sink| !Arc::ptr_eq(&sink.settings, &settings)) {
        *sink = Sink::new(&settings).inspect_err(|error| tracing::error!(%error, "telemetry cannot be sent")).ok();
    }
    let Some(sink) = sink else { return };
    for message in messages(round, &settings.signals, origin, rng) {
        let items = message.items();
        let outcome = sink.deliver(message, &shared.counters.failures, rng).await;
        let refused = outcome.min(items);
        shared.counters.sent.fetch_add(items - refused, Ordering::Relaxed);
        shared.counters.dropped.fetch_add(refused, Ordering::Relaxed);
    }
}

/// Makes messages of what was gathered.
fn messages(round: &[Job], signals: &Signals, origin: &attributes::Origin, rng: &mut Rng) -> Vec<send::Message> {
    let (mut logs, mut spans, mut metrics) = (Vec::new(), Vec::new(), Vec::new());
    for job in round {
        match job {
            Job::Lines(lines) => {
                for line in lines.split(|byte| *byte == b'\n').filter_map(line::Line::read) {
                    if signals.logs {
                        logs.push(events::record(&line));
                    }
                    if signals.traces {
                        events::spans(&line, &mut spans);
                    }
                }
            }
            Job::Metrics { text, started } if signals.metrics => {
                metrics.extend(metrics::read(text, *started, SystemTime::now()));
            }
            Job::Operation(operation) if signals.traces => events::operation(operation, rng, &mut spans),
            Job::Metrics { .. } | Job::Operation(_) | Job::Flush(_) => {}
        }
    }
    let mut messages = Vec::new();
    messages.extend(pieces(logs).map(|logs| origin.logs(logs)));
    messages.extend(pieces(spans).map(|spans| origin.spans(spans)));
    messages.extend(pieces(metrics).map(|metrics| origin.metrics(metrics)));
    messages
}

/// Cuts a list into pieces that one message may hold.
fn pieces<T>(mut items: Vec<T>) -> impl Iterator<Item = Vec<T>> {
    std::iter::from_fn(move || {
        if items.is_empty() {
            return None;
        }
        let rest = items.split_off(items.len().min(ITEMS_MAX));
        Some(std::mem::replace(&mut items, rest))
    })
}

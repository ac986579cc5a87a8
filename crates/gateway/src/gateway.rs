//! The handle on a running gateway: start, apply, drain, shut down.

mod accounts;
mod discovered;
mod leads;
mod opinions;
mod orders;
mod purge;
mod requests;
mod shared_limits;
mod telemetry;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mainstay_runtime::clock::Clock;
use mainstay_runtime::journal::Journal;
use mainstay_runtime::thread;
use mainstay_runtime::tls::Issued;
use tokio::sync::mpsc;

use crate::access_log::Writer;
use crate::assemble::{self, Sockets};
use crate::cells::Cells;
use crate::discovery::Discovery;
use crate::health::Driver;
use crate::inherit::{self, Inheritance, InheritedListener, Remembered};
use crate::sessions::Sessions;
use crate::spec::{Shutdown, Spec};
use crate::state::State;
use crate::telemetry::{Events, choice::Common};
use crate::worker::table::Tls;
use crate::worker::{Command, Parts, Worker};

pub use accounts::AccountError;
pub use leads::LeadError;
pub use opinions::endpoint_number;
pub use orders::UnknownEndpoint;
pub use purge::PurgeError;
pub use telemetry::{Sampling, UnknownRoute};

/// How long a worker may take to carry out a command. It only ever takes this long if it is stuck.
const COMMAND_LIMIT: Duration = Duration::from_secs(10);
/// How long workers may take to tell of a request, which they do between two others.
const EXPLAIN_LIMIT: Duration = Duration::from_secs(2);

/// A running gateway. Dropping it does not stop it; [`Gateway::shutdown`] does.
pub struct Gateway {
    clock: Clock,
    workers: Vec<WorkerHandle>,
    health: Driver,
    discovery: Discovery,
    log: Writer,
    choices: Arc<Common>,
    leaving: AtomicBool,
    /// Held while a spec is applied: one at a time. Readers of `current` do not wait for it.
    applying: Mutex<()>,
    /// What is served now.
    current: Mutex<Current>,
    /// Bound and not accepted from yet.
    closed: Mutex<Sockets>,
    issued: Arc<Issued>,
    /// The part of shared limits that this node begins with, as its bits.
    even_part: AtomicU64,
}

/// What a gateway uses that others provide.
#[derive(Clone, Debug, Default)]
pub struct Outside {
    /// The table of sessions. Without one, services cannot keep theirs in a table.
    pub sessions: Option<Arc<dyn Sessions>>,
    /// Where changes of endpoints, services and routes are told.
    pub journal: Journal,
    /// Who gets the lines of requests beside the access log.
    pub events: Option<Arc<dyn Events>>,
    /// Certificates that authorities issue, and what these are answered.
    pub issued: Arc<Issued>,
}

struct WorkerHandle {
    commands: mpsc::UnboundedSender<Command>,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
    open: Arc<AtomicUsize>,
}

struct Current {
    /// As it was given: without the endpoints that were discovered since.
    spec: Spec,
    state: Arc<State>,
    tls: Tls,
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway").field("workers", &self.workers.len()).finish_non_exhaustive()
    }
}

/// Why a spec could not be served. What was served before goes on.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener's address could not be bound.
    #[error("listener `{listener}`: cannot listen on {bind}")]
    Bind {
        /// The listener's name.
        listener: String,
        /// Its address.
        bind: SocketAddr,
        /// What to do about it.
        hint: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Certificates or keys could not be loaded.
    #[error("{place}: {message}")]
    Tls {
        /// `listener NAME` or `service NAME`.
        place: String,
        /// Which file and why.
        message: String,
    },
    /// The spec contradicts itself.
    #[error("{0}")]
    Spec(String),
    /// The system refused a thread or a runtime.
    #[error("cannot start a worker")]
    Worker(#[source] std::io::Error),
}

impl Gateway {
    /// Binds every listener, starts the workers and, on a thread of its own, the health checks.
    ///
    /// # Errors
    /// If an address, a certificate or a thread cannot be had; nothing is left running then.
    pub fn start(spec: Spec) -> Result<Arc<Self>, StartError> {
        let gateway = Self::prepare(spec, Inheritance::default(), Outside::default())?;
        gateway.open();
        Ok(gateway)
    }

    /// As [`Gateway::start`], with what another process hands over, and without accepting connections: that begins with
    /// [`Gateway::open`]. Health checks run already.
    ///
    /// # Errors
    /// As [`Gateway::start`]. Sockets that the spec has no use for are closed.
    pub fn prepare(spec: Spec, inheritance: Inheritance, outside: Outside) -> Result<Arc<Self>, StartError> {
        assemble::check(&spec, outside.sessions.is_some())?;
        let count = spec.node.workers.max(1);
        let (clock, records) = (Clock::new(), spec.node.explain);
        let tls = assemble::tls(&spec, &outside.issued)?;
        let sockets = assemble::sockets(&spec, count, None, inheritance.listeners)?;
        let cells = Cells::new(&spec, None)?;
        let state = assemble::state(&spec, count, None, cells, clock.now());
        let state = Arc::new(State { sessions: outside.sessions, ..state });
        inherit::recall(&state, &inheritance.endpoints, clock.now());
        let rotate = spec.telemetry.events.rotate;
        let log = Writer::start(&spec.node.access_log, rotate, outside.events).map_err(StartError::Worker)?;
        let choices = Arc::new(Common::default());
        let (health, runner) = Driver::start(clock, &spec.node.resolver, outside.journal);
        let _runs_until_the_end =
            thread::spawn_local_runtime("health", move || runner.run()).map_err(StartError::Worker)?;
        let mut workers = Vec::with_capacity(count);
        for index in 0..count {
            workers.push(start_worker(index, count, clock, (&log, &choices), &health).map_err(StartError::Worker)?);
        }
        health.apply(Arc::clone(&state), tls.services.clone());
        let (discovery, finder) = Discovery::start(clock);
        let gateway = Arc::new(Self {
            clock,
            workers,
            health,
            discovery,
            log,
            choices,
            leaving: AtomicBool::new(false),
            applying: Mutex::new(()),
            current: Mutex::new(Current { spec, state: Arc::clone(&state), tls: tls.clone() }),
            closed: Mutex::new(sockets),
            issued: outside.issued,
            even_part: AtomicU64::new(1.0f64.to_bits()),
        });
        gateway.tell_workers(&state, tls, Sockets::new(), records);
        gateway.follow_names(finder).map_err(StartError::Worker)?;
        Ok(gateway)
    }

    /// Accepts connections from now on.
    pub fn open(&self) {
        let sockets = std::mem::take(&mut *self.closed.lock().unwrap_or_else(PoisonError::into_inner));
        let (done, told) = sync_channel(self.workers.len());
        for (worker, sockets) in self.workers.iter().zip(assemble::deal(sockets, self.workers.len())) {
            let _stopped = worker.commands.send(Command::Listen { sockets, done: done.clone() });
        }
        self.await_all(&told);
    }

    /// What another process needs to go on in this one's place. Both then accept from the same sockets, until this one
    /// shuts down.
    ///
    /// # Errors
    /// If a worker does not answer, or has no descriptor left.
    pub fn hand_over(&self) -> std::io::Result<Inheritance> {
        let (answer, answers) = sync_channel(self.workers.len());
        for worker in &self.workers {
            let _stopped = worker.commands.send(Command::Duplicate { answer: answer.clone() });
        }
        let mut listeners: Vec<InheritedListener> = Vec::new();
        for _worker in &self.workers {
            let duplicates = answers.recv_timeout(COMMAND_LIMIT).map_err(std::io::Error::other)?;
            for (name, bind, sockets) in duplicates? {
                match listeners.iter_mut().find(|it| it.name == name) {
                    Some(known) => known.sockets.extend(sockets),
                    None => listeners.push(InheritedListener { name, bind, sockets }),
                }
            }
        }
        Ok(Inheritance { listeners, endpoints: self.remember() })
    }

    /// What is known of each endpoint.
    pub fn remember(&self) -> Vec<Remembered> {
        inherit::remember(&self.state(), self.clock.now())
    }

    /// Swaps in another spec whole, or keeps the present one. Blocks for as long as certificates take to load.
    ///
    /// # Errors
    /// As [`Gateway::start`].
    pub fn apply(&self, spec: Spec) -> Result<(), StartError> {
        assemble::check(&spec, self.state().sessions.is_some())?;
        let tls = assemble::tls(&spec, &self.issued)?;
        let _one_at_a_time = self.applying.lock().unwrap_or_else(PoisonError::into_inner);
        let previous = self.state();
        let sockets = assemble::sockets(&spec, self.workers.len(), Some(&previous), Vec::new())?;
        let cells = Cells::new(&spec, previous.cells.as_ref())?;
        let state = Arc::new(assemble::state(&spec, self.workers.len(), Some(&previous), cells, self.clock.now()));
        shared_limits::begin(&state, f64::from_bits(self.even_part.load(Ordering::Relaxed)));
        self.open_access_log(&spec);
        self.health.apply(Arc::clone(&state), tls.services.clone());
        self.discovery.apply(&state);
        self.tell_workers(&state, tls.clone(), sockets, spec.node.explain);
        *self.current() = Current { spec, state, tls };
        Ok(())
    }

    /// Hands every worker the state and waits until all serve by it.
    fn tell_workers(&self, state: &Arc<State>, tls: Tls, sockets: Sockets, records: usize) {
        let explain = records.div_ceil(self.workers.len().max(1));
        let tls = Arc::new(tls);
        let (done, told) = sync_channel(self.workers.len());
        for (worker, sockets) in self.workers.iter().zip(assemble::deal(sockets, self.workers.len())) {
            let (state, tls) = (Arc::clone(state), Arc::clone(&tls));
            let apply = Command::Apply { state, tls, sockets, explain, done: done.clone() };
            let _stopped = worker.commands.send(apply);
        }
        self.await_all(&told);
    }

    fn await_all(&self, told: &Receiver<()>) {
        for _worker in &self.workers {
            let _told = told.recv_timeout(COMMAND_LIMIT);
        }
    }

    /// The state that is served now.
    pub fn state(&self) -> Arc<State> {
        Arc::clone(&self.current().state)
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        // Whoever panicked under the lock left a whole value behind: it is only ever replaced as one.
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether every endpoint with a check has had its first verdict and no shutdown has begun.
    pub fn is_ready(&self) -> bool {
        self.health.is_settled() && self.discovery.is_settled(&self.state()) && !self.leaving.load(Ordering::Acquire)
    }

    /// Connections open now, at all workers.
    pub fn open_connections(&self) -> usize {
        self.workers.iter().map(|worker| worker.open.load(Ordering::Relaxed)).sum()
    }

    /// Leaves in phases: readiness fails, connections are accepted for `lead` more, then drained until `deadline`; blocks
    /// until it is done. Answers how many connections were still open and had to be cut.
    pub fn shutdown(&self) -> usize {
        let Shutdown { lead, deadline } = self.current().spec.node.shutdown;
        tracing::info!(phase = "readiness", ?lead, ?deadline, "shutting down: not ready any more");
        self.leave(lead, Arc::new([]))
    }

    /// As [`Gateway::shutdown`], after another process has begun to accept from the sockets of the addresses in
    /// `handed_over`: there is no need to wait, and what the kernel has queued is left to that process.
    pub fn shutdown_after_hand_over(&self, handed_over: Vec<SocketAddr>) -> usize {
        self.leave(Duration::ZERO, handed_over.into())
    }

    fn leave(&self, lead: Duration, handed_over: Arc<[SocketAddr]>) -> usize {
        let began = Instant::now();
        let deadline = self.current().spec.node.shutdown.deadline;
        self.leaving.store(true, Ordering::Release);
        // Idle connections close over this time, so that clients do not all come back at once.
        let spread = deadline.saturating_sub(lead).div_f64(4.0).min(Duration::from_secs(2));
        if !lead.is_zero() {
            std::thread::sleep(lead.min(deadline));
        }
        for worker in &self.workers {
            let _stopped = worker.commands.send(Command::Drain { spread });
        }
        tracing::info!(phase = "listeners", "shutting down: no new connections");
        let (done, closed) = sync_channel(self.workers.len());
        for worker in &self.workers {
            let handed_over = Arc::clone(&handed_over);
            let _stopped = worker.commands.send(Command::CloseListeners { handed_over, done: done.clone() });
        }
        for _worker in &self.workers {
            let _closed = closed.recv_timeout(COMMAND_LIMIT.min(deadline));
        }
        tracing::info!(phase = "drain", connections = self.open_connections(), "shutting down: draining");
        // Tunnels get what there is of the time but its last part, in which they are told.
        let notice = deadline.div_f64(10.0).min(Duration::from_secs(1));
        self.wait_until_closed(began, deadline.saturating_sub(notice));
        for worker in &self.workers {
            let _stopped = worker.commands.send(Command::CloseTunnels);
        }
        self.wait_until_closed(began, deadline);
        let cut = self.open_connections();
        for worker in &self.workers {
            let _stopped = worker.commands.send(Command::Stop);
        }
        for worker in &self.workers {
            let thread = worker.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
            let _ended = thread.map(std::thread::JoinHandle::join);
        }
        self.log.flush();
        tracing::info!(phase = "done", cut, took = ?began.elapsed(), "shut down");
        cut
    }

    fn wait_until_closed(&self, began: Instant, limit: Duration) {
        while self.open_connections() > 0 && began.elapsed() < limit {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn start_worker(
    index: usize,
    workers: usize,
    clock: Clock,
    (log, choices): (&Writer, &Arc<Common>),
    health: &Driver,
) -> std::io::Result<WorkerHandle> {
    let (commands, receiver) = mpsc::unbounded_channel();
    let open = Arc::new(AtomicUsize::new(0));
    let parts = Parts {
        index,
        workers,
        clock,
        seed: seed(),
        log: log.log(),
        choices: Arc::clone(choices),
        health: health.clone(),
        open: Arc::clone(&open),
    };
    let thread = thread::spawn_local_runtime(&format!("worker-{index}"), move || Worker::run(parts, receiver))?;
    Ok(WorkerHandle { commands, thread: Mutex::new(Some(thread)), open })
}

/// A seed from the system's randomness, by way of the keys that the standard library draws for its hash maps.
pub(crate) fn seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::process::id())
}

//! One worker: a thread with its own listeners, connections, pools, balancers and counters. Workers share nothing on a
//! request's way but the endpoints' state.

pub(crate) mod account;
mod cells;
mod choose;
mod connect;
pub(crate) mod deadline;
mod digits;
pub(crate) mod listen;
pub(crate) mod pool;
mod present;
mod seen;
pub(crate) mod shard;
mod store;
pub(crate) mod table;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use mainstay_core::random::Rng;
use mainstay_core::time::Moment;
use mainstay_runtime::clock::Clock;
use mainstay_runtime::task::{self, Kind};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::{Notify, oneshot};

use self::deadline::Wheel;
pub(crate) use self::digits::hexadecimal;
use self::present::Present;
use self::store::Store;
use self::table::{Table, Tls};
use crate::access_log::Log;
use crate::database::group;
use crate::explain::ring::Ring;
use crate::explain::{self, Explanation};
use crate::health;
use crate::http1::websocket;
use crate::state::State;
use crate::stream::Stream;
use crate::telemetry::choice::{Choice, Common};

/// Idle connections to an address that goes to another node close within this time, so that their clients do not all come back
/// at once.
const RELIEF_SPREAD: Duration = Duration::from_secs(1);
/// How often idle connections are looked through, batched deposits made and the log flushed.
const SWEEP: Duration = Duration::from_millis(250);

/// What the gateway tells its workers.
#[derive(Debug)]
pub(crate) enum Command {
    /// Serve from this state. `sockets` are this worker's own for listeners that are new.
    Apply {
        state: Arc<State>,
        tls: Arc<Tls>,
        sockets: Vec<(String, std::net::TcpListener)>,
        explain: usize,
        done: Done,
    },
    /// Tell what is remembered of the requests with this id, the newest first.
    Explain { id: String, answer: oneshot::Sender<Vec<Explanation>> },
    /// Tell which requests are wanted of those that are remembered, the newest first.
    Search { wanted: Box<explain::Search>, answer: oneshot::Sender<Vec<Explanation>> },
    /// Answer with `Connection: close`, close idle connections within `spread`.
    Drain { spread: Duration },
    /// Answer with `Connection: close` where clients came to one of these addresses, and nowhere else.
    Relieve { ips: Arc<[IpAddr]> },
    /// The servers of this group have other roles now.
    Lead { group: String },
    /// Tell tunnels that the gateway leaves, and close them.
    CloseTunnels,
    /// Accept from these sockets, too.
    Listen { sockets: Vec<(String, std::net::TcpListener)>, done: Done },
    /// Answer with duplicates of the sockets, by their listeners' names and addresses.
    Duplicate { answer: std::sync::mpsc::SyncSender<listen::Duplicates> },
    /// Stop accepting. Another process accepts from the sockets of the addresses in `handed_over`.
    CloseListeners { handed_over: Arc<[SocketAddr]>, done: Done },
    /// Let go of everything.
    Stop,
}

/// Says that a command was carried out.
pub(crate) type Done = std::sync::mpsc::SyncSender<()>;

/// What a worker is made of.
pub(crate) struct Parts {
    pub(crate) index: usize,
    pub(crate) workers: usize,
    pub(crate) clock: Clock,
    pub(crate) seed: u64,
    pub(crate) log: Log,
    pub(crate) choices: Arc<Common>,
    pub(crate) health: health::Driver,
    /// Connections open at this worker.
    pub(crate) open: Arc<AtomicUsize>,
}

/// A worker, shared by its connections.
pub(crate) struct Worker {
    pub(crate) index: usize,
    pub(crate) workers: usize,
    pub(crate) clock: Clock,
    pub(crate) wheel: Rc<Wheel>,
    pub(crate) log: Log,
    /// Which requests leave a line.
    pub(crate) choice: Choice,
    pub(crate) open: Arc<AtomicUsize>,
    health: health::Driver,
    rng: RefCell<Rng>,
    present: Present,
    table: RefCell<Rc<Table>>,
    /// Some service of the table has a change to take over between requests.
    late: Rc<Notify>,
    pub(crate) store: Store,
    /// The last requests that ended.
    pub(crate) explain: RefCell<Ring>,
    draining: Cell<Option<Draining>>,
    closes_tunnels: Cell<bool>,
    /// Addresses that other nodes are about to have.
    relieved: RefCell<Arc<[IpAddr]>>,
}

#[derive(Clone, Copy, Debug)]
struct Draining {
    spread: Duration,
}

impl Worker {
    /// Carries out commands until told to stop.
    pub(crate) async fn run(parts: Parts, mut commands: UnboundedReceiver<Command>) {
        let worker = Rc::new(Self {
            index: parts.index,
            workers: parts.workers,
            clock: parts.clock,
            wheel: Wheel::new(parts.clock),
            log: parts.log,
            choice: Choice::new(parts.choices, parts.workers),
            open: parts.open,
            health: parts.health,
            rng: RefCell::new(Rng::seeded(parts.seed)),
            present: Present::new(parts.clock),
            table: RefCell::default(),
            late: Rc::default(),
            store: Store::default(),
            explain: RefCell::default(),
            draining: Cell::new(None),
            closes_tunnels: Cell::new(false),
            relieved: RefCell::new(Arc::new([])),
        });
        let _wheel = task::spawn_local(Kind::Control, Rc::clone(&worker.wheel).run()).abort_on_drop();
        let _sweeper = task::spawn_local(Kind::Control, Rc::clone(&worker).sweep()).abort_on_drop();
        let _catching_up = task::spawn_local(Kind::Control, Rc::clone(&worker).catch_up()).abort_on_drop();
        let mut listening: HashMap<String, listen::Listening> = HashMap::new();
        while let Some(command) = commands.recv().await {
            match command {
                Command::Apply { state, tls, sockets, explain, done } => {
                    worker.explain.borrow_mut().resize(explain);
                    worker.apply(&state, &tls, sockets, &mut listening).await;
                    // Nobody may be waiting any more, which is no reason to stop.
                    let _told = done.try_send(());
                }
                Command::Explain { id, answer } => {
                    let found = explain::tell(&worker.explain.borrow(), &id, worker.index, worker.clock.now());
                    // Whoever asked may have given up.
                    let _told = answer.send(found);
                }
                Command::Search { wanted, answer } => {
                    let now = worker.clock.now();
                    let _told = answer.send(explain::search(&worker.explain.borrow(), &wanted, worker.index, now));
                }
                Command::Drain { spread } => worker.drain(spread),
                Command::Relieve { ips } => worker.relieve(ips),
                Command::Lead { group } => worker.lead(&group),
                Command::CloseTunnels => worker.close_tunnels(),
                Command::Listen { sockets, done } => {
                    listen::start(&worker, sockets, &mut listening);
                    let _told = done.try_send(());
                }
                Command::Duplicate { answer } => {
                    let each = listening.iter().map(|(name, it)| Ok((name.clone(), it.bind(), it.duplicates()?)));
                    let _told = answer.try_send(each.collect());
                }
                Command::CloseListeners { handed_over, done } => {
                    for (_name, listening) in listening.drain() {
                        listening.leave(&worker, &handed_over).await;
                    }
                    let _told = done.try_send(());
                }
                Command::Stop => break,
            }
        }
        worker.log.flush();
    }

    async fn apply(
        self: &Rc<Self>,
        state: &Arc<State>,
        tls: &Tls,
        sockets: Vec<(String, std::net::TcpListener)>,
        listening: &mut HashMap<String, listen::Listening>,
    ) {
        let table = Rc::new(Table::new(state, tls, &self.table.borrow(), &self.late));
        let gone: Vec<String> = listening
            .iter()
            .filter(|(name, known)| table.listeners.get(*name).is_none_or(|now| now.state.spec.bind != known.bind()))
            .map(|(name, _known)| name.clone())
            .collect();
        for name in gone {
            if let Some(known) = listening.remove(&name) {
                // Awaited, so that the address is free again once the reload is through.
                known.close(self).await;
            }
        }
        for (name, listener) in &table.listeners {
            if let Some(known) = listening.get(name) {
                known.update(Rc::clone(listener));
            }
        }
        let before = self.table.replace(table);
        before.close_what_left(&self.table.borrow());
        if group::leave(&before.groups, &self.table.borrow().groups) {
            self.wake_led();
        }
        listen::start(self, sockets, listening);
    }

    fn drain(&self, spread: Duration) {
        self.draining.set(Some(Draining { spread }));
        let now = self.clock.now();
        self.wheel.for_each(|slot| {
            if slot.idle.get() || slot.multiplexed.get() {
                slot.hasten(self.idle_close_at(now));
            }
        });
        for service in self.table.borrow().services.values() {
            for endpoint in &service.endpoints {
                endpoint.pool.clear();
                endpoint.links.leave();
            }
        }
    }

    /// Clients that came to one of these addresses are to go elsewhere. Who waits for nothing but its next request looks
    /// whether it is one of them.
    fn relieve(&self, ips: Arc<[IpAddr]>) {
        let is_any = !ips.is_empty();
        *self.relieved.borrow_mut() = ips;
        if is_any {
            self.wheel.for_each(|slot| {
                if slot.idle.get() || slot.multiplexed.get() {
                    slot.wake();
                }
            });
        }
    }

    /// Takes over the roles that the servers of a group have now.
    fn lead(&self, group: &str) {
        if let Some(group) = self.table.borrow().groups.get(group) {
            group.catch_up();
            self.wake_led();
        }
    }

    /// Has connections to databases look whether they may go on, and those that wait whether there is a server.
    fn wake_led(&self) {
        self.wheel.for_each(|slot| {
            if slot.led.get() {
                slot.wake();
            }
        });
    }

    fn close_tunnels(&self) {
        self.closes_tunnels.set(true);
        let now = self.clock.now();
        self.wheel.for_each(|slot| {
            if slot.tunnel.get() {
                slot.hasten(now);
            }
        });
    }

    /// Whether tunnels are told to end.
    pub(crate) fn closes_tunnels(&self) -> bool {
        self.closes_tunnels.get()
    }

    /// Whether responses say `Connection: close`.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.get().is_some()
    }

    /// Whether the client of this connection came to an address that another node is about to have. The kernel is asked only
    /// while there is such an address.
    pub(crate) fn is_relieved(&self, stream: &Stream) -> bool {
        let relieved = self.relieved.borrow();
        if relieved.is_empty() {
            return false;
        }
        let own = stream.socket().and_then(|socket| socket2::SockRef::from(&socket).local_addr().ok());
        own.and_then(|own| own.as_socket()).is_some_and(|own| relieved.contains(&own.ip().to_canonical()))
    }

    /// When an idle connection to an address that another node is about to have closes: as [`Worker::idle_close_at`].
    pub(crate) fn relief_close_at(&self, now: Moment) -> Moment {
        now.after(RELIEF_SPREAD.mul_f64(0.25 + 0.75 * self.with_rng(Rng::unit)))
    }

    /// When an idle connection closes during a drain: at a random moment, so that clients do not all come back at once,
    /// and not at once, so that a request that is on its way still finds it open.
    pub(crate) fn idle_close_at(&self, now: Moment) -> Moment {
        let spread = self.draining.get().map_or(Duration::ZERO, |draining| draining.spread);
        now.after(spread.mul_f64(0.25 + 0.75 * self.with_rng(Rng::unit)))
    }

    /// Takes over between requests what has changed of endpoints, where these change so often that no request should have to.
    async fn catch_up(self: Rc<Self>) {
        loop {
            self.late.notified().await;
            loop {
                let due = self.table.borrow().catch_up(self.clock.now());
                let Some(due) = due else { break };
                self.clock.sleep_until(due).await;
            }
        }
    }

    /// Looks after what no request waits for.
    async fn sweep(self: Rc<Self>) {
        let mut interval = tokio::time::interval(SWEEP);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            let now = self.clock.now();
            let table = Rc::clone(&self.table.borrow());
            if self.index == 0 {
                table.look_after_breakers(now);
            }
            for route in table.listeners.values().flat_map(|listener| &listener.targets) {
                self.flush_deposit(&route.purse);
            }
            for service in table.services.values() {
                self.flush_deposit(&service.purse);
                for endpoint in &service.endpoints {
                    if endpoint.state.is_draining() || self.is_draining() {
                        endpoint.pool.clear();
                        endpoint.links.leave();
                    } else {
                        endpoint.leave_if_moved();
                        endpoint.pool.sweep(now, &service.state.spec.connections);
                    }
                }
            }
            self.log.flush();
            self.present.adjust();
        }
    }

    /// A new `Sec-WebSocket-Key`: 16 random bytes in Base64 (RFC 6455, section 4.1).
    pub(crate) fn websocket_key(&self) -> [u8; 24] {
        let half = || self.with_rng(Rng::next_u64).to_ne_bytes();
        websocket::key(half(), half())
    }

    pub(crate) fn with_rng<T>(&self, with: impl FnOnce(&mut Rng) -> T) -> T {
        with(&mut self.rng.borrow_mut())
    }

    /// The present, read once in each turn of a task.
    pub(crate) fn now(&self) -> Moment {
        self.present.now()
    }

    /// Lets a task take one turn.
    pub(crate) fn turn<T>(&self, poll: impl FnOnce() -> T) -> T {
        self.present.turn(poll)
    }

    /// Writes a new request id: 128 random bits in hexadecimal.
    pub(crate) fn write_request_id(&self, out: &mut Vec<u8>) {
        let (high, low) = self.with_rng(|rng| (rng.next_u64(), rng.next_u64()));
        out.clear();
        out.extend_from_slice(&hexadecimal(high));
        out.extend_from_slice(&hexadecimal(low));
    }
}

//! A worker's listening sockets: accepting, and closing without losing a connection that the kernel has accepted already.

use std::cell::{self, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use mainstay_runtime::socket;
use mainstay_runtime::task::{self, Kind, Task};
use mainstay_runtime::tls::ACME_TLS;
use tokio::net::{TcpListener, TcpStream};

use super::Worker;
use super::deadline::Slot;
use super::table::Listener;
use crate::database;
use crate::http::client::Client;
use crate::http2;
use crate::peer::Peer;
use crate::proxy_protocol::receive::receive;
use crate::spec::Protocol;
use crate::stream::{Buffer, Socket, Stream};
use crate::tcp;

/// The listener as it is now; connections look it up again for each request, so that a reload reaches them.
#[derive(Debug)]
pub(crate) struct Cell {
    listener: RefCell<Rc<Listener>>,
    is_closed: cell::Cell<bool>,
}

impl Cell {
    pub(crate) fn current(&self) -> Rc<Listener> {
        Rc::clone(&self.listener.borrow())
    }

    /// Whether the listener is gone. Connections that came by it are told to close with the next response: clients are to
    /// come back where somebody listens.
    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed.get()
    }
}

/// A listener's sockets at this worker, which are accepted from. There is one, or more if a process with more workers
/// handed its own over: none of them may be closed while the kernel puts connections into its queue.
#[derive(Debug)]
pub(crate) struct Listening {
    cell: Rc<Cell>,
    bind: SocketAddr,
    sockets: Vec<Accepting>,
}

#[derive(Debug)]
struct Accepting {
    socket: Rc<TcpListener>,
    task: Task,
}

/// The sockets of each listener once more, by its name and address, or why they cannot be had.
pub(crate) type Duplicates = std::io::Result<Vec<(String, SocketAddr, Vec<std::net::TcpListener>)>>;

/// Pause after the system has refused to accept (no descriptors left, say); connections wait in the queue meanwhile.
const PAUSE: Duration = Duration::from_millis(50);
/// A queue out of which nothing came for this long is empty: no new handshake can begin any more.
const QUIET: Duration = Duration::from_millis(20);
/// The queue is emptied for no longer than this.
const EMPTYING: Duration = Duration::from_secs(1);

impl Listening {
    /// A listener that accepts from nothing yet.
    pub(crate) fn new(listener: Rc<Listener>) -> Self {
        let bind = listener.state.spec.bind;
        let cell = Cell { listener: RefCell::new(listener), is_closed: cell::Cell::new(false) };
        Self { cell: Rc::new(cell), bind, sockets: Vec::new() }
    }

    /// Accepts from `socket` from now on.
    pub(crate) fn add(&mut self, worker: &Rc<Worker>, socket: std::net::TcpListener) {
        // Inherited by every accepted socket, which saves each a system call.
        let _best_effort = socket::set_nodelay(&socket);
        // Only where a client asks something is there an answer soon.
        if matches!(self.cell.current().state.spec.protocol, Protocol::Http(_)) {
            let _best_effort = socket::acknowledge_with_answer(&socket);
        }
        match TcpListener::from_std(socket) {
            Ok(socket) => {
                let socket = Rc::new(socket);
                let accepting = accept(Rc::clone(worker), Rc::clone(&self.cell), Rc::clone(&socket));
                let task = task::spawn_local(Kind::Listener, accepting);
                self.sockets.push(Accepting { socket, task });
            }
            Err(error) => {
                tracing::error!(listener = self.cell.current().state.spec.name, %error, "cannot listen");
            }
        }
    }

    pub(crate) const fn bind(&self) -> SocketAddr {
        self.bind
    }

    /// Serves by other settings from the next request on.
    pub(crate) fn update(&self, listener: Rc<Listener>) {
        *self.cell.listener.borrow_mut() = listener;
    }

    /// The sockets once more, for another process to accept from.
    pub(crate) fn duplicates(&self) -> std::io::Result<Vec<std::net::TcpListener>> {
        let duplicate = |it: &Accepting| Ok(socket2::SockRef::from(&*it.socket).try_clone()?.into());
        self.sockets.iter().map(duplicate).collect()
    }

    /// Stops accepting, and leaves the queue to the process that holds the sockets as well if that is so.
    pub(crate) async fn leave(self, worker: &Rc<Worker>, handed_over: &[SocketAddr]) {
        if !handed_over.contains(&self.bind) {
            return self.close(worker).await;
        }
        for Accepting { task, .. } in self.sockets {
            task.abort();
            let _aborted = task.await;
        }
    }

    /// Stops accepting. What the kernel has queued is taken first: closing the socket would reset it.
    pub(crate) async fn close(self, worker: &Rc<Worker>) {
        self.cell.is_closed.set(true);
        for Accepting { socket, task } in self.sockets {
            task.abort();
            // The task holds the socket open until it is gone.
            let _aborted = task.await;
            if let Ok(socket) = socket2::SockRef::from(&*socket).try_clone() {
                let _best_effort = socket::stop_listening_softly(&socket.into());
            }
            let until = worker.clock.now().after(EMPTYING);
            while worker.clock.now() < until
                && let Ok(Ok((stream, peer))) = tokio::time::timeout(QUIET, socket.accept()).await
            {
                admit(worker, &self.cell, stream, peer);
            }
        }
    }
}

/// Accepts from further sockets, each given with its listener's name.
pub(crate) fn start(
    worker: &Rc<Worker>,
    sockets: Vec<(String, std::net::TcpListener)>,
    listening: &mut HashMap<String, Listening>,
) {
    let table = Rc::clone(&worker.table.borrow());
    for (name, socket) in sockets {
        if let Some(listener) = table.listeners.get(&name) {
            let started = listening.entry(name).or_insert_with(|| Listening::new(Rc::clone(listener)));
            started.add(worker, socket);
        }
    }
}

async fn accept(worker: Rc<Worker>, cell: Rc<Cell>, socket: Rc<TcpListener>) {
    loop {
        let share = cell.current().state.spec.max_connections.div_ceil(worker.workers);
        if worker.open.load(Ordering::Relaxed) >= share {
            tokio::time::sleep(PAUSE).await;
            continue;
        }
        match socket.accept().await {
            Ok((stream, peer)) => admit(&worker, &cell, stream, peer),
            Err(error) => {
                tracing::warn!(listener = cell.current().state.spec.name, %error, "cannot accept; waiting");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Counts a connection for as long as it lives.
pub(crate) struct Open {
    pub(crate) worker: Rc<Worker>,
    pub(crate) cell: Rc<Cell>,
}

impl Open {
    fn new(worker: &Rc<Worker>, cell: &Rc<Cell>) -> Self {
        worker.open.fetch_add(1, Ordering::Relaxed);
        cell.current().state.shards.of(worker.index).accepted.add(1);
        Self { worker: Rc::clone(worker), cell: Rc::clone(cell) }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.worker.open.fetch_sub(1, Ordering::Relaxed);
        self.cell.current().state.shards.of(self.worker.index).closed.add(1);
    }
}

fn admit(worker: &Rc<Worker>, cell: &Rc<Cell>, mut stream: TcpStream, address: SocketAddr) {
    let open = Open::new(worker, cell);
    let slot = worker.wheel.slot();
    let listener = cell.current();
    if listener.state.spec.proxy_protocol.is_none() {
        return dispatch(worker, listener, stream, address.into(), slot, open);
    }
    let worker = Rc::clone(worker);
    task::spawn_local(Kind::Connection, async move {
        let Some(policy) = &listener.state.spec.proxy_protocol else { return };
        let peer = receive(&worker, &listener, policy, &mut stream, address, &slot).await;
        if let Some(peer) = peer {
            dispatch(&worker, Rc::clone(&listener), stream, peer, slot, open);
        }
    });
}

/// Serves a connection whose client is known.
fn dispatch(
    worker: &Rc<Worker>,
    listener: Rc<Listener>,
    stream: TcpStream,
    mut peer: Peer,
    slot: Rc<Slot>,
    open: Open,
) {
    if listener.sends_proxy && peer.destination.is_none() {
        peer.destination = stream.local_addr().ok().map(Rc::new);
    }
    let worker = Rc::clone(worker);
    if matches!(listener.state.spec.protocol, Protocol::Database(_)) {
        task::spawn_local(Kind::Tunnel, async move {
            database::serve(worker, listener, stream, peer, slot).await;
            drop(open);
        });
        return;
    }
    match (&listener.tls, &listener.state.spec.protocol) {
        (None, Protocol::Http(_)) => {
            task::spawn_local(Kind::Connection, Client::new(open, slot, Stream::Plain(stream), peer));
        }
        (None, Protocol::Tcp { .. } | Protocol::Database(_)) => {
            task::spawn_local(Kind::Tunnel, async move {
                tcp::serve(worker, listener, Stream::Plain(stream), peer, slot).await;
                drop(open);
            });
        }
        (Some(config), protocol) => {
            let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::clone(config));
            let (limit, is_http) = match protocol {
                Protocol::Http(http) => (http.head_timeout, true),
                Protocol::Tcp { .. } | Protocol::Database(_) => (Duration::from_secs(10), false),
            };
            slot.set(worker.clock.now().after(limit));
            task::spawn_local(Kind::Connection, async move {
                // Boxed: a handshake needs much that the connection does not need afterwards.
                let handshake = Box::pin(acceptor.accept(Socket(stream)));
                match slot.within(handshake).await {
                    // The authority has seen what it wanted to see (RFC 8737, section 3: nothing else is exchanged).
                    Ok(Ok(tls)) if tls.get_ref().1.alpn_protocol() == Some(ACME_TLS) => drop(tls),
                    Ok(Ok(tls)) if is_http && tls.get_ref().1.alpn_protocol() == Some(b"h2") => {
                        let stream = Stream::TlsServer(Box::new(tls));
                        let cell = Rc::clone(&open.cell);
                        Box::pin(http2::serve::serve(worker, cell, stream, peer, slot, Buffer::new())).await;
                    }
                    Ok(Ok(tls)) if is_http => {
                        return Client::new(open, slot, Stream::TlsServer(Box::new(tls)), peer).await;
                    }
                    Ok(Ok(tls)) => tcp::serve(worker, listener, Stream::TlsServer(Box::new(tls)), peer, slot).await,
                    Ok(Err(error)) => {
                        tracing::debug!(listener = listener.state.spec.name, peer = %peer.address, %error, "TLS handshake failed");
                        listener.state.shards.of(worker.index).tls_failures.add(1);
                    }
                    Err(_expired) => listener.state.shards.of(worker.index).tls_failures.add(1),
                }
                drop(open);
            });
        }
    }
}

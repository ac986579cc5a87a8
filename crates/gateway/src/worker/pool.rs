//! Idle connections of one worker to one endpoint, and connections while they are used.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use mainstay_core::time::Moment;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio_rustls::client::TlsStream;

use super::Worker;
use super::connect::{self, Place};
use super::table::{Endpoint, Service};
use crate::http2::connect::Links;
use crate::spec::{Address, Connections, HttpVersion, LOCAL_NAME};
use crate::state::EndpointCounters;
use crate::stream::{Socket, Stream};

/// Idle connections, the one used last on top: the others age out when traffic falls.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    idle: RefCell<Vec<Idle>>,
    /// Its endpoint is not served any more: connections that come back are closed.
    is_closed: Cell<bool>,
}

#[derive(Debug)]
struct Idle {
    connection: Box<Connection>,
    since: Moment,
}

/// A connection to an endpoint. Dropping it closes it and counts that. It is owned by a pointer, since it passes through many
/// hands in each request.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) stream: Stream,
    opened: Moment,
    /// It has carried a request before.
    pub(crate) reused: bool,
    /// Where it leads; `None` for a Unix socket.
    place: Option<Place>,
    owner: Rc<Endpoint>,
    worker: usize,
}

impl Drop for Connection {
    fn drop(&mut self) {
        // A stream of HTTP/2 is only a part of a connection, which counts itself.
        if self.stream.http2().is_none() {
            self.counters().connections_closed.add(1);
        }
    }
}

impl Connection {
    fn opened((stream, place): (Stream, Option<Place>), now: Moment, owner: &Rc<Endpoint>, worker: usize) -> Box<Self> {
        owner.state.shards.of(worker).connections_opened.add(1);
        Box::new(Self { stream, opened: now, reused: false, place, owner: Rc::clone(owner), worker })
    }

    fn counters(&self) -> &EndpointCounters {
        self.owner.state.shards.of(self.worker)
    }

    /// Whether the endpoint has left the address, closed the connection, or sent something that nobody asked for. Asks the
    /// readiness that the runtime knows; with `ask_kernel` also the socket itself.
    fn is_stale(&self, ask_kernel: bool) -> bool {
        self.place.as_ref().is_some_and(|place| place.is_left(&self.owner.state))
            || self.stream.is_readable()
            || (ask_kernel && self.stream.socket().is_some_and(|socket| mainstay_runtime::socket::peek_closed(&socket)))
    }
}

impl Pool {
    /// Takes an idle connection that is still good. `careful` asks the kernel too: for requests that must not be sent
    /// twice, a system call is cheaper than an error.
    pub(crate) fn take(&self, now: Moment, limits: &Connections, careful: bool) -> Option<Box<Connection>> {
        loop {
            // The borrow ends before the connection is looked at or dropped.
            let idle = self.idle.borrow_mut().pop()?;
            if !is_expired(&idle, now, limits) && !idle.connection.is_stale(careful) {
                let mut connection = idle.connection;
                connection.reused = true;
                return Some(connection);
            }
        }
    }

    /// Keeps a connection for later, unless there are enough.
    pub(crate) fn give(&self, connection: Box<Connection>, now: Moment, limits: &Connections) {
        if connection.stream.http2().is_some() {
            return;
        }
        let mut idle = self.idle.borrow_mut();
        if idle.len() < limits.max_idle && !self.is_closed.get() {
            idle.push(Idle { connection, since: now });
        }
    }

    /// Closes what is too old, has idled for too long or was closed by the endpoint.
    pub(crate) fn sweep(&self, now: Moment, limits: &Connections) {
        let expired = |idle: &mut Idle| is_expired(idle, now, limits) || idle.connection.is_stale(false);
        let _closed: Vec<Idle> = self.idle.borrow_mut().extract_if(.., expired).collect();
    }

    /// Closes all idle connections, and those that come back later. An idle connection owns its endpoint, which owns this pool:
    /// without this neither would ever end.
    pub(crate) fn close(&self) {
        self.is_closed.set(true);
        self.clear();
    }

    /// Closes all idle connections.
    pub(crate) fn clear(&self) {
        let _closed = self.idle.take();
    }
}

fn is_expired(idle: &Idle, now: Moment, limits: &Connections) -> bool {
    now.since(idle.since) >= limits.idle_timeout || now.since(idle.connection.opened) >= limits.max_age
}

/// A new stream on an HTTP/2 connection to `owner` that is open already.
pub(crate) fn share(owner: &Rc<Endpoint>, worker: usize, now: Moment) -> Option<Box<Connection>> {
    owner.leave_if_moved();
    let stream = Stream::Http2(owner.links.stream()?);
    Some(Box::new(Connection { stream, opened: now, reused: true, place: None, owner: Rc::clone(owner), worker }))
}

/// Opens what a request to endpoint `index` of `service` goes through: a connection, or a stream on a shared one.
pub(crate) async fn open(
    worker: &Rc<Worker>,
    service: &Service,
    index: usize,
    header: &[u8],
    now: Moment,
) -> io::Result<Box<Connection>> {
    let protocol = service.state.spec.protocol;
    if protocol == HttpVersion::Http1 || (protocol == HttpVersion::Auto && service.tls.is_none()) {
        return connect(service, index, header, worker.index, now).await;
    }
    let owner = endpoint(service, index)?;
    let _turn = owner.links.opening.lock().await;
    if let Some(shared) = share(owner, worker.index, now) {
        return Ok(shared);
    }
    let (stream, place) = dial(service, owner, header).await?;
    if service.tls.is_some() && stream.alpn() != Some(b"h2") {
        if protocol == HttpVersion::Http2 {
            return Err(io::Error::other("the endpoint does not speak HTTP/2 (it did not choose h2 by ALPN)"));
        }
        return Ok(Connection::opened((stream, place), now, owner, worker.index));
    }
    let stream = Links::start(worker, owner, service.state.spec.connections, stream)
        .ok_or_else(|| io::Error::other("no stream to be had"))?;
    if owner.pool.is_closed.get() || place.is_some_and(|place| place.is_left(&owner.state)) {
        // The endpoint has gone elsewhere, or is not served any more, since the connection was begun: it is for this request only.
        owner.links.leave();
    }
    let stream = Stream::Http2(stream);
    let (owner, worker) = (Rc::clone(owner), worker.index);
    Ok(Box::new(Connection { stream, opened: now, reused: false, place: None, owner, worker }))
}

fn endpoint(service: &Service, index: usize) -> io::Result<&Rc<Endpoint>> {
    service.endpoints.get(index).ok_or_else(|| io::Error::other("no such endpoint"))
}

/// Opens a connection to endpoint `index` of `service`, TLS included. A PROXY `header` goes before everything else.
pub(crate) async fn connect(
    service: &Service,
    index: usize,
    header: &[u8],
    worker: usize,
    now: Moment,
) -> io::Result<Box<Connection>> {
    let owner = endpoint(service, index)?;
    Ok(Connection::opened(dial(service, owner, header).await?, now, owner, worker))
}

async fn dial(service: &Service, owner: &Rc<Endpoint>, header: &[u8]) -> io::Result<(Stream, Option<Place>)> {
    let mut place = None;
    let stream = match &owner.state.address {
        Address::Unix(path) => {
            let mut unix = mainstay_runtime::socket::connect_unix(path).await?;
            // Nothing is written if there is no header.
            unix.write_all(header).await?;
            match &service.tls {
                None => Stream::Unix(unix),
                Some(config) => Stream::TlsUnix(Box::new(handshake(service, config, owner, unix).await?)),
            }
        }
        Address::Socket(_) | Address::Name { .. } | Address::Member { .. } => {
            let (mut tcp, to) = connect::tcp(&owner.state).await?;
            place = Some(to);
            tcp.write_all(header).await?;
            match &service.tls {
                None => Stream::Plain(tcp),
                Some(config) => Stream::TlsClient(Box::new(handshake(service, config, owner, tcp).await?)),
            }
        }
    };
    Ok((stream, place))
}

async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(
    service: &Service,
    config: &Arc<ClientConfig>,
    endpoint: &Endpoint,
    stream: S,
) -> io::Result<TlsStream<Socket<S>>> {
    let name = server_name(service, endpoint)?;
    tokio_rustls::TlsConnector::from(Arc::clone(config)).connect(name, Socket(stream)).await
}

fn server_name(service: &Service, endpoint: &Endpoint) -> io::Result<ServerName<'static>> {
    let configured = service.state.spec.tls.as_ref().and_then(|tls| tls.server_name.clone());
    let name = configured.unwrap_or_else(|| match &endpoint.state.address {
        Address::Socket(address) => address.ip().to_string(),
        Address::Name { host, .. } | Address::Member { host, .. } => host.clone(),
        Address::Unix(_) => LOCAL_NAME.to_owned(),
    });
    ServerName::try_from(name).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
}

/// Counts an attempt at an endpoint, and the request as in flight there for as long as this lives.
#[derive(Debug)]
pub(crate) struct InFlight {
    endpoint: Rc<Endpoint>,
    worker: usize,
    is_awaited: bool,
}

impl InFlight {
    pub(crate) fn new(endpoint: &Rc<Endpoint>, worker: usize) -> Self {
        endpoint.state.shards.of(worker).attempts.add(1);
        endpoint.state.in_flight.fetch_add(1, Ordering::Relaxed);
        Self { endpoint: Rc::clone(endpoint), worker, is_awaited: true }
    }

    /// The response head is there: from now on the request is in flight, but its answer not awaited.
    pub(crate) fn is_answered(&mut self) {
        if std::mem::replace(&mut self.is_awaited, false) {
            self.endpoint.state.shards.of(self.worker).settled.add(1);
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        // However the attempt ended, it is not awaited any more.
        self.is_answered();
        self.endpoint.state.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

//! Idle connections of one worker to one endpoint, and connections while they are used.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use mainstay_core::time::Moment;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::Worker;
use super::table::{Endpoint, Service};
use crate::http2::connect::Links;
use crate::spec::{Address, Connections, HttpVersion, LOCAL_NAME};
use crate::state::EndpointCounters;
use crate::stream::Stream;

/// Idle connections, the one used last on top: the others age out when traffic falls.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    idle: RefCell<Vec<Idle>>,
}

#[derive(Debug)]
struct Idle {
    connection: Connection,
    since: Moment,
}

/// A connection to an endpoint. Dropping it closes it and counts that.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) stream: Stream,
    opened: Moment,
    /// It has carried a request before.
    pub(crate) reused: bool,
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
    fn opened(stream: Stream, now: Moment, owner: &Rc<Endpoint>, worker: usize) -> Self {
        owner.state.shards.of(worker).connections_opened.add(1);
        Self { stream, opened: now, reused: false, owner: Rc::clone(owner), worker }
    }

    fn counters(&self) -> &EndpointCounters {
        self.owner.state.shards.of(self.worker)
    }

    /// Whether the endpoint has closed it, or sent something that nobody asked for. Asks the readiness that the runtime
    /// knows; with `ask_kernel` also the socket itself.
    fn is_stale(&self, ask_kernel: bool) -> bool {
        self.stream.is_readable()
            || (ask_kernel && self.stream.socket().is_some_and(|socket| mainstay_runtime::socket::peek_closed(&socket)))
    }
}

impl Pool {
    /// Takes an idle connection that is still good. `careful` asks the kernel too: for requests that must not be sent
    /// twice, a system call is cheaper than an error.
    pub(crate) fn take(&self, now: Moment, limits: &Connections, careful: bool) -> Option<Connection> {
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
    pub(crate) fn give(&self, connection: Connection, now: Moment, limits: &Connections) {
        if connection.stream.http2().is_some() {
            return;
        }
        let mut idle = self.idle.borrow_mut();
        if idle.len() < limits.max_idle {
            idle.push(Idle { connection, since: now });
        }
    }

    /// Closes what is too old, has idled for too long or was closed by the endpoint.
    pub(crate) fn sweep(&self, now: Moment, limits: &Connections) {
        let expired = |idle: &mut Idle| is_expired(idle, now, limits) || idle.connection.is_stale(false);
        let _closed: Vec<Idle> = self.idle.borrow_mut().extract_if(.., expired).collect();
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
pub(crate) fn share(owner: &Rc<Endpoint>, worker: usize, now: Moment) -> Option<Connection> {
    let stream = Stream::Http2(owner.links.stream()?);
    Some(Connection { stream, opened: now, reused: true, owner: Rc::clone(owner), worker })
}

/// Opens what a request to endpoint `index` of `service` goes through: a connection, or a stream on a shared one.
pub(crate) async fn open(
    worker: &Rc<Worker>,
    service: &Service,
    index: usize,
    header: &[u8],
    now: Moment,
) -> io::Result<Connection> {
    let protocol = service.state.spec.protocol;
    if protocol == HttpVersion::Http1 || (protocol == HttpVersion::Auto && service.tls.is_none()) {
        return connect(service, index, header, worker.index, now).await;
    }
    let owner = endpoint(service, index)?;
    let _turn = owner.links.opening.lock().await;
    if let Some(shared) = share(owner, worker.index, now) {
        return Ok(shared);
    }
    let stream = dial(service, owner, header).await?;
    if service.tls.is_some() && stream.alpn() != Some(b"h2") {
        if protocol == HttpVersion::Http2 {
            return Err(io::Error::other("the endpoint does not speak HTTP/2 (it did not choose h2 by ALPN)"));
        }
        return Ok(Connection::opened(stream, now, owner, worker.index));
    }
    let stream = Links::start(worker, owner, service.state.spec.connections, stream)
        .ok_or_else(|| io::Error::other("no stream to be had"))?;
    let stream = Stream::Http2(stream);
    Ok(Connection { stream, opened: now, reused: false, owner: Rc::clone(owner), worker: worker.index })
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
) -> io::Result<Connection> {
    let owner = endpoint(service, index)?;
    Ok(Connection::opened(dial(service, owner, header).await?, now, owner, worker))
}

async fn dial(service: &Service, owner: &Rc<Endpoint>, header: &[u8]) -> io::Result<Stream> {
    Ok(match &owner.state.address {
        Address::Unix(path) => {
            let mut unix = mainstay_runtime::socket::connect_unix(path).await?;
            // Nothing is written if there is no header.
            unix.write_all(header).await?;
            match &service.tls {
                None => Stream::Unix(unix),
                Some(config) => Stream::TlsUnix(Box::new(handshake(service, config, owner, unix).await?)),
            }
        }
        Address::Socket(_) | Address::Name { .. } => {
            let unresolved = || io::Error::new(io::ErrorKind::NotFound, "name does not resolve");
            let mut tcp = TcpStream::connect(resolved(owner).ok_or_else(unresolved)?).await?;
            tcp.set_nodelay(true)?;
            tcp.write_all(header).await?;
            match &service.tls {
                None => Stream::Plain(tcp),
                Some(config) => Stream::TlsClient(Box::new(handshake(service, config, owner, tcp).await?)),
            }
        }
    })
}

async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(
    service: &Service,
    config: &Arc<ClientConfig>,
    endpoint: &Endpoint,
    stream: S,
) -> io::Result<TlsStream<S>> {
    let name = server_name(service, endpoint)?;
    tokio_rustls::TlsConnector::from(Arc::clone(config)).connect(name, stream).await
}

fn resolved(endpoint: &Endpoint) -> Option<SocketAddr> {
    // A poisoned lock holds an address all the same: nothing is half-written under it.
    *endpoint.state.resolved.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn server_name(service: &Service, endpoint: &Endpoint) -> io::Result<ServerName<'static>> {
    let configured = service.state.spec.tls.as_ref().and_then(|tls| tls.server_name.clone());
    let name = configured.unwrap_or_else(|| match &endpoint.state.address {
        Address::Socket(address) => address.ip().to_string(),
        Address::Name { host, .. } => host.clone(),
        Address::Unix(_) => LOCAL_NAME.to_owned(),
    });
    ServerName::try_from(name).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
}

/// Counts a request in flight at an endpoint for as long as it lives.
#[derive(Debug)]
pub(crate) struct InFlight(Rc<Endpoint>);

impl InFlight {
    pub(crate) fn new(endpoint: &Rc<Endpoint>) -> Self {
        endpoint.state.in_flight.fetch_add(1, Ordering::Relaxed);
        Self(Rc::clone(endpoint))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.state.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

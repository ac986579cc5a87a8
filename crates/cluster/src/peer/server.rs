//! The port where other nodes ask. Whoever connects shows a certificate of the cluster's authority, or comes by the join
//! protocol, which has one frame of bounded size for the doorkeeper and nothing else.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use mainstay_runtime::task::{self, Kind};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::directory::Directory;
use super::tls::{JOIN_PROTOCOL, PEER_PROTOCOL, Tls};
use super::wire::{self, Answer, Request, WireError};
use super::{Handler, MESSAGE_BYTES_MAX, NodeId, Service};
use crate::identity::PeerIdentity;

/// Connections of nodes at once.
const CONNECTIONS_MAX: usize = 512;
/// Handshakes at once, and so connections of which it is not known yet who they are.
const HANDSHAKES_MAX: usize = 64;
/// Nodes that want to come in at once.
const JOINS_MAX: usize = 4;
/// From the connection to the end of the handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two requests. Peers close before.
const IDLE_TIMEOUT: Duration = Duration::from_secs(120);
/// From the first byte of a frame to its last, and for an answer to be taken.
const FRAME_TIMEOUT: Duration = Duration::from_secs(30);
/// No handler takes longer, whatever the sender is ready to wait.
const HANDLER_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes of a request to come in, at most.
const JOIN_BYTES_MAX: usize = 16 * 1024;
/// After a failed accept (no file descriptors, most likely).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Who answers which service. All copies are the same one.
#[derive(Clone, Default)]
pub struct Handlers(Arc<RwLock<HashMap<Service, Arc<dyn Handler>>>>);

impl fmt::Debug for Handlers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handlers(..)")
    }
}

impl Handlers {
    /// Lets `handler` answer messages for `service`, in place of the one before.
    pub fn attach(&self, service: Service, handler: Arc<dyn Handler>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(service, handler);
    }

    fn of(&self, service: Service) -> Option<Arc<dyn Handler>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(&service).cloned()
    }
}

/// Lets nodes in that have no certificate yet.
#[async_trait]
pub trait Doorkeeper: Send + Sync {
    /// Answers a request to come in. Nothing is known of who sends it.
    ///
    /// # Errors
    /// Why not, for whoever tries; a stranger reads it.
    async fn admit(&self, message: Bytes) -> Result<Bytes, String>;
}

/// What the server needs.
#[derive(Clone)]
pub struct Server {
    /// Certificates.
    pub tls: Tls,
    /// Who no longer belongs.
    pub directory: Directory,
    /// Who answers.
    pub handlers: Handlers,
    /// Who lets new nodes in; nobody on nodes that cannot.
    pub doorkeeper: Option<Arc<dyn Doorkeeper>>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("tls", &self.tls).finish_non_exhaustive()
    }
}

/// Places for connections.
struct Places {
    handshakes: Arc<Semaphore>,
    connections: Arc<Semaphore>,
    joins: Arc<Semaphore>,
}

impl Server {
    /// Accepts and serves until it is dropped; connections that were accepted live in tasks that end with the thread.
    pub async fn serve(self, listener: TcpListener) {
        let server = Rc::new(self);
        let places = Rc::new(Places {
            handshakes: Arc::new(Semaphore::new(HANDSHAKES_MAX)),
            connections: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
            joins: Arc::new(Semaphore::new(JOINS_MAX)),
        });
        loop {
            let Ok(place) = Arc::clone(&places.handshakes).acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, from)) => {
                    let (server, places) = (Rc::clone(&server), Rc::clone(&places));
                    task::spawn_local(Kind::Control, async move {
                        if let Err(reason) = server.welcome(stream, place, &places).await {
                            tracing::debug!(%from, reason, "peer connection ended");
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept connections of other nodes");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn welcome(&self, stream: TcpStream, place: OwnedSemaphorePermit, places: &Places) -> Result<(), String> {
        let _without_it_only_slower = stream.set_nodelay(true);
        let from = stream.peer_addr().map_err(|error| error.to_string())?;
        let handshake = timeout(HANDSHAKE_TIMEOUT, self.handshake(stream)).await;
        let (stream, wants) = handshake.map_err(|_elapsed| "the handshake took too long".to_owned())??;
        drop(place);
        match wants {
            Wants::Join => {
                let _place = places.joins.try_acquire().map_err(|_full| "too many nodes join at once".to_owned())?;
                self.join(stream, from).await
            }
            Wants::Peer => {
                let _place = places.connections.try_acquire().map_err(|_full| "too many connections".to_owned())?;
                let identity = self.identify(&stream).inspect_err(|reason| {
                    tracing::warn!(%from, reason, "a node was refused");
                })?;
                self.answer_all(stream, identity.node).await
            }
        }
    }

    async fn handshake(&self, stream: TcpStream) -> Result<(TlsStream<TcpStream>, Wants), String> {
        let start = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream).await;
        let start = start.map_err(|error| format!("handshake: {error}"))?;
        let offered = |wanted: &[u8]| start.client_hello().alpn().is_some_and(|mut all| all.any(|it| it == wanted));
        let material = self.tls.present();
        let (config, wants) = if offered(PEER_PROTOCOL) {
            (Arc::clone(&material.members), Wants::Peer)
        } else if offered(JOIN_PROTOCOL) && self.doorkeeper.is_some() {
            (Arc::clone(&material.joins), Wants::Join)
        } else {
            return Err("it speaks neither of the protocols of this port".to_owned());
        };
        let stream = start.into_stream(config).await.map_err(|error| format!("handshake: {error}"))?;
        Ok((stream, wants))
    }

    /// Who the peer is, by the certificate that was verified.
    fn identify(&self, stream: &TlsStream<TcpStream>) -> Result<PeerIdentity, String> {
        let (_io, session) = stream.get_ref();
        let certificate = session.peer_certificates().and_then(<[_]>::first).ok_or("it shows no certificate")?;
        let identity = PeerIdentity::of(certificate).ok_or("its certificate is not a node's")?;
        if identity.cluster != *self.tls.cluster() {
            return Err(format!("its certificate is for another cluster, {}", identity.cluster));
        }
        self.belongs(identity.node)?;
        Ok(identity)
    }

    fn belongs(&self, node: NodeId) -> Result<(), String> {
        match self.directory.is_removed(node) {
            true => Err(format!("node {node} was removed from the cluster")),
            false => Ok(()),
        }
    }

    async fn answer_all(&self, mut stream: TlsStream<TcpStream>, from: NodeId) -> Result<(), String> {
        loop {
            let Some(frame) = next_frame(&mut stream, MESSAGE_BYTES_MAX, IDLE_TIMEOUT).await? else { return Ok(()) };
            let answer = match Request::decode(frame) {
                Ok(request) => self.answer(from, request).await,
                // A service of a newer version: the next message may be one that is known.
                Err(error @ WireError::Service(_)) => Err(error.to_string()),
                Err(error) => return Err(error.to_string()),
            };
            send(&mut stream, &answer).await?;
        }
    }

    async fn answer(&self, from: NodeId, request: Request) -> Answer {
        self.belongs(from)?;
        let Request { service, limit, message } = request;
        let Some(handler) = self.handlers.of(service) else {
            return Err(format!("{service:?} is not served by this node, or not yet"));
        };
        match timeout(limit.min(HANDLER_TIMEOUT), handler.handle(from, message)).await {
            Ok(answer) => answer,
            Err(_elapsed) => Err(format!("{service:?} took longer than {limit:?}")),
        }
    }

    async fn join(&self, mut stream: TlsStream<TcpStream>, from: SocketAddr) -> Result<(), String> {
        let Some(doorkeeper) = &self.doorkeeper else { return Ok(()) };
        let Some(frame) = next_frame(&mut stream, JOIN_BYTES_MAX, HANDSHAKE_TIMEOUT).await? else { return Ok(()) };
        let answer = match timeout(FRAME_TIMEOUT, doorkeeper.admit(frame)).await {
            Ok(answer) => answer,
            Err(_elapsed) => Err("the cluster did not decide in time".to_owned()),
        };
        if let Err(reason) = &answer {
            tracing::warn!(%from, reason, "a node was not let in");
        }
        send(&mut stream, &answer).await?;
        let _peer_may_be_gone = stream.shutdown().await;
        Ok(())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wants {
    Peer,
    Join,
}

/// The next frame; `None` if the peer has nothing more to say, or says nothing for `idle`.
async fn next_frame(stream: &mut TlsStream<TcpStream>, most: usize, idle: Duration) -> Result<Option<Bytes>, String> {
    let Ok(first) = timeout(idle, wire::first_byte(stream)).await else { return Ok(None) };
    let Some(first) = first.map_err(|error| error.to_string())? else { return Ok(None) };
    match timeout(FRAME_TIMEOUT, wire::rest_of_frame(stream, first, most)).await {
        Ok(frame) => frame.map(Some).map_err(|error| error.to_string()),
        Err(_elapsed) => Err("a message took too long to arrive".to_owned()),
    }
}

async fn send(stream: &mut TlsStream<TcpStream>, answer: &Answer) -> Result<(), String> {
    let bytes = match wire::encode_answer(answer) {
        Ok(bytes) => bytes,
        Err(error) => wire::encode_answer(&Err(error.to_string())).map_err(|error| error.to_string())?,
    };
    let write = async {
        stream.write_all(&bytes).await?;
        stream.flush().await
    };
    match timeout(FRAME_TIMEOUT, write).await {
        Ok(written) => written.map_err(|error| error.to_string()),
        Err(_elapsed) => Err("the peer does not take its answer".to_owned()),
    }
}

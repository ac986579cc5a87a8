//! Asks other nodes over TLS. Connections are kept and used again, each by one request at a time; one that timed out is
//! never used again, and neither are those that were made before it.
//!
//! All connections live on the thread that [`start`] was called on. Any thread may ask.

mod pool;

use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use mainstay_runtime::task::{self, AbortOnDrop, Kind};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use self::pool::{Lane, Pools};
use super::directory::Directory;
use super::tls::{Tls, joining};
use super::wire::{self, Request};
use super::{CallError, MESSAGE_BYTES_MAX, NodeId, Service, Transport};
use crate::identity::JoinToken;

/// Requests that wait for the thread, at most.
const QUEUE_MAX: usize = 4096;
/// The transport's own deadline is so much before the caller's, so that the caller hears what became of its request.
const HEAD_START: Duration = Duration::from_millis(10);

/// Asks other nodes. All copies are the same one.
#[derive(Clone)]
pub struct TlsTransport {
    calls: mpsc::Sender<Call>,
    contacts: Contacts,
}

impl fmt::Debug for TlsTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsTransport(..)")
    }
}

struct Call {
    to: NodeId,
    request: Request,
    deadline: Instant,
    reply: oneshot::Sender<Result<Bytes, CallError>>,
}

/// What became of the last request to a node.
#[derive(Clone, Debug)]
pub struct Contact {
    /// When it last answered.
    pub answered: Option<Instant>,
    /// Why it did not answer, if the last request failed.
    pub failed: Option<String>,
}

type Contacts = Arc<Mutex<HashMap<NodeId, Contact>>>;

/// Starts the transport on this thread. It ends with what is returned beside it.
pub fn start(tls: Tls, directory: Directory) -> (TlsTransport, AbortOnDrop) {
    let (calls, mut asked) = mpsc::channel::<Call>(QUEUE_MAX);
    let contacts = Contacts::default();
    let noted = Arc::clone(&contacts);
    let driver = task::spawn_local(Kind::Control, async move {
        let pools = Rc::new(Pools::new(tls, directory));
        while let Some(call) = asked.recv().await {
            let (pools, noted) = (Rc::clone(&pools), Arc::clone(&noted));
            task::spawn_local(Kind::Control, carry(pools, noted, call));
        }
    });
    (TlsTransport { calls, contacts }, driver.abort_on_drop())
}

async fn carry(pools: Rc<Pools>, contacts: Contacts, call: Call) {
    let Call { to, request, deadline, mut reply } = call;
    let result = tokio::select! {
        biased;
        result = exchange(&pools, to, &request, deadline) => result,
        // Nobody waits any more; the connection, on which an answer may come at any time, is dropped with the exchange.
        () = reply.closed() => return,
    };
    let contact = match &result {
        Ok(_) | Err(CallError::Refused { .. }) => Contact { answered: Some(Instant::now()), failed: None },
        Err(CallError::Unreachable { reason, .. } | CallError::Lost { reason, .. }) => {
            Contact { answered: None, failed: Some(reason.clone()) }
        }
    };
    {
        let mut contacts = contacts.lock().unwrap_or_else(PoisonError::into_inner);
        let known = contacts.entry(to).or_insert_with(|| contact.clone());
        *known = Contact { answered: contact.answered.or(known.answered), ..contact };
    }
    let _nobody_waits = reply.send(result);
}

async fn exchange(pools: &Pools, to: NodeId, request: &Request, deadline: Instant) -> Result<Bytes, CallError> {
    let unreachable = |reason: String| CallError::Unreachable { to, reason };
    let lost = |reason: String| CallError::Lost { to, reason };
    let late = || format!("no answer within {:?}", request.limit);
    let bytes = request.encode().map_err(|error| CallError::Refused { to, reason: error.to_string() })?;
    let lane = pools.lane(to, request.service);
    let connected = timeout_at(deadline, connection(pools, &lane, to)).await;
    let (mut stream, since, _place) = match connected {
        Ok(connected) => connected.map_err(unreachable)?,
        Err(_elapsed) => {
            lane.failed(None);
            return Err(lost(format!("no connection within {:?}", request.limit)));
        }
    };
    let speak = async {
        stream.write_all(&bytes).await?;
        stream.flush().await?;
        wire::read_frame(&mut stream, MESSAGE_BYTES_MAX).await
    };
    let frame = match timeout_at(deadline, speak).await {
        Ok(Ok(Some(frame))) => frame,
        Ok(Ok(None)) => return Err(lost("it closed the connection".to_owned())),
        Ok(Err(error)) => return Err(lost(error.to_string())),
        Err(_elapsed) => {
            // If packets no longer get through, then not on the connections of that time either.
            lane.forget();
            return Err(lost(late()));
        }
    };
    let answer = wire::decode_answer(frame).map_err(|error| lost(error.to_string()))?;
    lane.keep(stream, since);
    answer.map_err(|reason| CallError::Refused { to, reason })
}

/// A kept connection, or a new one, and the place that it takes.
async fn connection<'l>(
    pools: &Pools,
    lane: &'l Lane,
    to: NodeId,
) -> Result<(TlsStream<TcpStream>, Instant, tokio::sync::SemaphorePermit<'l>), String> {
    let place = lane.places.acquire().await.map_err(|_closed| "the transport has ended".to_owned())?;
    let address = pools.address(to)?;
    if let Some((stream, since)) = lane.take(&address) {
        return Ok((stream, since, place));
    }
    lane.may_connect().await?;
    let since = Instant::now();
    match pools.connect(to, &address).await {
        Ok(stream) => {
            lane.connected(address);
            Ok((stream, since, place))
        }
        Err(reason) => {
            lane.failed(Some(reason.clone()));
            Err(reason)
        }
    }
}

impl TlsTransport {
    /// What became of the last request to each node.
    pub fn contacts(&self) -> HashMap<NodeId, Contact> {
        self.contacts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait]
impl Transport for TlsTransport {
    async fn call(&self, to: NodeId, service: Service, message: Bytes, limit: Duration) -> Result<Bytes, CallError> {
        let now = Instant::now();
        let deadline = now + limit.saturating_sub(HEAD_START.min(limit / 4));
        let (reply, answer) = oneshot::channel();
        let call = Call { to, request: Request { service, limit, message }, deadline, reply };
        if let Err(error) = self.calls.try_send(call) {
            return Err(CallError::Unreachable { to, reason: format!("the transport takes no requests: {error}") });
        }
        match timeout(limit, answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_ended)) => Err(CallError::Lost { to, reason: "the transport has ended".to_owned() }),
            Err(_elapsed) => Err(CallError::Lost { to, reason: format!("no answer within {limit:?}") }),
        }
    }
}

/// Sends a new node's request to come in to one address.
///
/// # Errors
/// Why it was not answered, or refused.
pub async fn join(token: &JoinToken, address: &str, message: Bytes, limit: Duration) -> Result<Bytes, JoinError> {
    let failed = |reason: String| JoinError::Failed { address: address.to_owned(), reason };
    let (config, name) = joining(&token.cluster, token.authority).map_err(|error| failed(error.to_string()))?;
    let exchange = async {
        let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
        let mut stream = TlsConnector::from(config).connect(name, stream).await.map_err(|error| error.to_string())?;
        let mut frame = u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes().to_vec();
        frame.extend_from_slice(&message);
        stream.write_all(&frame).await.map_err(|error| error.to_string())?;
        stream.flush().await.map_err(|error| error.to_string())?;
        let frame = wire::read_frame(&mut stream, MESSAGE_BYTES_MAX).await.map_err(|error| error.to_string())?;
        let frame = frame.ok_or_else(|| "it closed the connection without an answer".to_owned())?;
        wire::decode_answer(frame).map_err(|error| error.to_string())
    };
    match timeout(limit, exchange).await {
        Ok(Ok(answer)) => answer.map_err(|reason| JoinError::Refused { address: address.to_owned(), reason }),
        Ok(Err(reason)) => Err(failed(reason)),
        Err(_elapsed) => Err(failed(format!("no answer within {limit:?}"))),
    }
}

/// Why a node did not come in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// This address did not answer; another may.
    #[error("{address}: {reason}")]
    Failed {
        /// Which one.
        address: String,
        /// Why.
        reason: String,
    },
    /// The cluster does not want it; asking elsewhere will not help.
    #[error("the cluster refuses (asked at {address}): {reason}")]
    Refused {
        /// Where it was asked.
        address: String,
        /// Why.
        reason: String,
    },
}

//! Asks other nodes over TLS. Connections are kept and used again, each by one request at a time.
//!
//! On a link that is slow or loses packets, an answer or a connection may come later than its request could wait. Both are
//! waited for a while longer, for the sake of the next request, since beginning anew takes three round trips. Silence for longer
//! than that means that packets no longer get through, and then no connection of that time is used again.
//!
//! Of the answers about the log, late ones included, and of each connection that is made, it is learned how long a round trip
//! takes: who asks for votes waits that long.
//!
//! All connections live on the thread that [`start`] was called on. Any thread may ask.

mod pool;

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use mainstay_core::round_trip::RoundTrip;
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
use super::wire::{self, Request, WireError};
use super::{CallError, MESSAGE_BYTES_MAX, NodeId, Service, Transport};
use crate::identity::JoinToken;

/// Requests that wait for the thread, at most.
const QUEUE_MAX: usize = 4096;
/// The transport's own deadline is so much before the caller's, so that the caller hears what became of its request.
const HEAD_START: Duration = Duration::from_millis(10);
/// A connection may take so long, whatever the limit of the request that it was begun for: enough for a first packet that is
/// lost, which TCP sends again after a second, and little enough not to be waited for long after a cable is mended.
const CONNECT_MAX: Duration = Duration::from_millis(1_500);
/// An answer may come so long after its request's limit for its connection to be used again.
const LATE_MAX: Duration = Duration::from_secs(2);
/// Answers to longer messages say more of the link's width, and of the other side's disk, than of its length.
const MEASURED_BYTES: usize = 16 * 1024;

/// Asks other nodes. All copies are the same one.
#[derive(Clone)]
pub struct TlsTransport {
    calls: mpsc::Sender<Call>,
    contacts: Contacts,
    round_trips: RoundTrips,
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

/// How long answers take, by node.
#[derive(Clone, Default)]
struct RoundTrips(Arc<Mutex<HashMap<NodeId, RoundTrip>>>);

impl RoundTrips {
    fn observe(&self, node: NodeId, took: Duration) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(node).or_default().observe(took);
    }

    fn bound(&self, node: NodeId) -> Option<Duration> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&node).and_then(RoundTrip::bound)
    }
}

/// Starts the transport on this thread. It ends with what is returned beside it.
pub fn start(tls: Tls, directory: Directory) -> (TlsTransport, AbortOnDrop) {
    let (calls, mut asked) = mpsc::channel::<Call>(QUEUE_MAX);
    let contacts = Contacts::default();
    let (noted, round_trips) = (Arc::clone(&contacts), RoundTrips::default());
    let measured = round_trips.clone();
    let driver = task::spawn_local(Kind::Control, async move {
        let pools = Rc::new(Pools::new(tls, directory, measured));
        while let Some(call) = asked.recv().await {
            let (pools, noted) = (Rc::clone(&pools), Arc::clone(&noted));
            task::spawn_local(Kind::Control, carry(pools, noted, call));
        }
    });
    (TlsTransport { calls, contacts, round_trips }, driver.abort_on_drop())
}

async fn carry(pools: Rc<Pools>, contacts: Contacts, call: Call) {
    let Call { to, request, deadline, reply } = call;
    let result = exchange(&pools, to, &request, deadline).await;
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

async fn exchange(pools: &Rc<Pools>, to: NodeId, request: &Request, deadline: Instant) -> Result<Bytes, CallError> {
    let unreachable = |reason: String| CallError::Unreachable { to, reason };
    let lost = |reason: String| CallError::Lost { to, reason };
    let late = || format!("no answer within {:?}", request.limit);
    let bytes = request.encode().map_err(|error| CallError::Refused { to, reason: error.to_string() })?;
    let lane = pools.lane(to, request.service);
    let connected = timeout_at(deadline, connection(pools, &lane, to)).await;
    let (stream, since, _place) = match connected {
        Ok(connected) => connected.map_err(unreachable)?,
        Err(_elapsed) => return Err(lost(format!("no connection within {:?}", request.limit))),
    };
    let measured = request.service == Service::Raft && bytes.len() <= MEASURED_BYTES;
    let measured = measured.then(|| pools.round_trips.clone());
    let mut speaking = Box::pin(speak(stream, bytes, to, measured));
    let (stream, frame) = match timeout_at(deadline, &mut speaking).await {
        Ok(Ok((stream, Some(frame)))) => (stream, frame),
        Ok(Ok((_closed, None))) => return Err(lost("it closed the connection".to_owned())),
        Ok(Err(error)) => return Err(lost(error.to_string())),
        Err(_elapsed) => {
            task::spawn_local(Kind::Control, hear_out(Rc::clone(&lane), speaking, since));
            return Err(lost(late()));
        }
    };
    let answer = wire::decode_answer(frame).map_err(|error| lost(error.to_string()))?;
    lane.keep(stream, since);
    answer.map_err(|reason| CallError::Refused { to, reason })
}

/// Sends a request, and reads its answer; `None` if the connection was closed instead. How long it took is told to
/// `measured`, also when the answer comes too late for who asked.
async fn speak(
    mut stream: TlsStream<TcpStream>,
    bytes: Bytes,
    to: NodeId,
    measured: Option<RoundTrips>,
) -> Result<(TlsStream<TcpStream>, Option<Bytes>), WireError> {
    let asked = Instant::now();
    stream.write_all(&bytes).await?;
    stream.flush().await?;
    let frame = wire::read_frame(&mut stream, MESSAGE_BYTES_MAX).await?;
    if let (Some(round_trips), Some(_answer)) = (measured, &frame) {
        round_trips.observe(to, asked.elapsed());
    }
    Ok((stream, frame))
}

/// Waits for an answer that is late. Nobody reads it, but it shows that the connection is good.
async fn hear_out<F>(lane: Rc<Lane>, speaking: Pin<Box<F>>, since: Instant)
where
    F: Future<Output = Result<(TlsStream<TcpStream>, Option<Bytes>), WireError>>,
{
    match timeout(LATE_MAX, speaking).await {
        Ok(Ok((stream, Some(_answer)))) => lane.keep(stream, since),
        Ok(Ok((_, None)) | Err(_)) => {}
        Err(_elapsed) => lane.forget(),
    }
}

/// A kept connection, or a new one, and the place that it takes.
async fn connection<'l>(
    pools: &Rc<Pools>,
    lane: &'l Rc<Lane>,
    to: NodeId,
) -> Result<(TlsStream<TcpStream>, Instant, tokio::sync::SemaphorePermit<'l>), String> {
    let place = lane.places.acquire().await.map_err(|_closed| "the transport has ended".to_owned())?;
    let address = pools.address(to)?;
    loop {
        if let Some((stream, since)) = lane.take(&address) {
            return Ok((stream, since, place));
        }
        lane.may_connect().await?;
        let (tell, mut told) = oneshot::channel();
        if !lane.begins_to_connect() {
            lane.news.notified().await;
            continue;
        }
        task::spawn_local(Kind::Control, connect(Rc::clone(pools), Rc::clone(lane), to, address.clone(), tell));
        while !told.is_terminated() {
            tokio::select! {
                biased;
                result = &mut told => match result {
                    Ok(connected) => return connected.map(|(stream, since)| (stream, since, place)),
                    Err(_silence) => {}
                },
                // Another one's connection may be free before this one's is made.
                () = lane.news.notified() => if let Some((stream, since)) = lane.take(&address) {
                    return Ok((stream, since, place));
                },
            }
        }
    }
}

/// Makes a connection for who waits for it, or else for whoever asks next.
async fn connect(
    pools: Rc<Pools>,
    lane: Rc<Lane>,
    to: NodeId,
    address: String,
    tell: oneshot::Sender<Result<(TlsStream<TcpStream>, Instant), String>>,
) {
    let since = Instant::now();
    let connected = timeout(CONNECT_MAX, pools.connect(to, &address)).await;
    lane.ends_to_connect();
    match connected {
        Ok(Ok(stream)) => {
            lane.connected(address);
            if pools.round_trips.bound(to).is_none() {
                // It is two round trips or more, which is better to go by than nothing.
                pools.round_trips.observe(to, since.elapsed());
            }
            if let Err(Ok((stream, since))) = tell.send(Ok((stream, since))) {
                lane.keep(stream, since);
            }
        }
        Ok(Err(reason)) => {
            lane.failed(Some(reason.clone()));
            let _nobody_waits = tell.send(Err(reason));
        }
        Err(_elapsed) => {
            // Nothing is told: silence is no refusal.
            lane.failed(None);
            drop(tell);
        }
    }
    lane.news.notify_waiters();
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

    fn round_trip(&self, to: NodeId) -> Option<Duration> {
        self.round_trips.bound(to)
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

//! A client of HTTP/2 that is not ours, for tests that block: the crate `h2` on a runtime of its own.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

/// No answer of a test takes longer.
const LIMIT: Duration = Duration::from_secs(30);

/// A connection by prior knowledge.
#[derive(Debug)]
pub struct Http2 {
    runtime: Runtime,
    send: SendRequest<Bytes>,
    connection: JoinHandle<Result<(), h2::Error>>,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// Status and headers.
    pub head: http::response::Parts,
    /// The body.
    pub body: Vec<u8>,
    /// What came behind it.
    pub trailers: HeaderMap,
}

impl Answer {
    /// A header's value, or nothing.
    pub fn header(&self, name: &str) -> &str {
        self.head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// A request whose answer is to come.
#[derive(Debug)]
pub struct Pending {
    response: ResponseFuture,
    /// Its body, if that is still to be sent.
    pub body: SendStream<Bytes>,
}

/// A request without anything special.
///
/// # Panics
/// If it is not valid.
pub fn request(method: &str, path: &str) -> Request<()> {
    let uri = format!("http://test.example{path}");
    Request::builder().method(method).uri(uri).body(()).expect("a valid request")
}

impl Http2 {
    /// Connects.
    ///
    /// # Panics
    /// If that fails.
    pub fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).unwrap_or_else(|error| panic!("HTTP/2 with {address}: {error}"))
    }

    /// Connects, or says why not.
    ///
    /// # Panics
    /// If there is no runtime to be had.
    pub fn try_connect(address: SocketAddr) -> Result<Self, Box<dyn std::error::Error>> {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let (send, connection) = runtime.block_on(async {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let (send, connection) = h2::client::handshake(stream).await?;
            Ok::<_, Box<dyn std::error::Error>>((send, tokio::spawn(connection)))
        })?;
        Ok(Self { runtime, send, connection })
    }

    /// Begins a request; `end` says that it has no body.
    pub fn begin(&mut self, request: Request<()>, end: bool) -> Result<Pending, h2::Error> {
        let (send, limit) = (self.send.clone(), LIMIT);
        self.runtime.block_on(async move {
            let ready = tokio::time::timeout(limit, send.ready()).await;
            let mut send = ready.map_err(|_slow| h2::Error::from(h2::Reason::SETTINGS_TIMEOUT))??;
            let (response, body) = send.send_request(request, end)?;
            Ok(Pending { response, body })
        })
    }

    /// Sends a piece of a body as the window allows.
    pub fn send(&self, body: &mut SendStream<Bytes>, data: &[u8], end: bool) -> Result<(), h2::Error> {
        self.runtime.block_on(async {
            let mut rest = Bytes::copy_from_slice(data);
            while !rest.is_empty() {
                body.reserve_capacity(rest.len());
                let granted = tokio::time::timeout(LIMIT, std::future::poll_fn(|cx| body.poll_capacity(cx))).await;
                match granted.map_err(|_slow| h2::Error::from(h2::Reason::FLOW_CONTROL_ERROR))? {
                    Some(granted) => body.send_data(rest.split_to(granted?.min(rest.len())), false)?,
                    None => return Err(h2::Reason::STREAM_CLOSED.into()),
                }
            }
            if end { body.send_data(Bytes::new(), true) } else { Ok(()) }
        })
    }

    /// The answer's head, and its body to be read.
    ///
    /// # Panics
    /// If nothing comes for long.
    pub fn head_of(&self, pending: &mut Pending) -> Result<(http::response::Parts, RecvStream), h2::Error> {
        let response = self
            .runtime
            .block_on(async { tokio::time::timeout(LIMIT, &mut pending.response).await.expect("an answer in time") })?;
        Ok(response.into_parts())
    }

    /// The next piece of a body; nothing at its end.
    ///
    /// # Panics
    /// If nothing comes for long.
    pub fn read(&self, body: &mut RecvStream) -> Result<Vec<u8>, h2::Error> {
        self.runtime.block_on(async {
            let piece = tokio::time::timeout(LIMIT, body.data()).await.expect("data in time");
            let Some(piece) = piece.transpose()? else { return Ok(Vec::new()) };
            body.flow_control().release_capacity(piece.len())?;
            Ok(piece.to_vec())
        })
    }

    /// Waits for an answer as a whole.
    ///
    /// # Panics
    /// If nothing comes for long.
    pub fn finish(&self, mut pending: Pending) -> Result<Answer, h2::Error> {
        let (head, mut stream) = self.head_of(&mut pending)?;
        let mut body = Vec::new();
        loop {
            let piece = self.read(&mut stream)?;
            if piece.is_empty() && stream.is_end_stream() {
                break;
            }
            if piece.is_empty() {
                // The end may be in trailers.
                let trailers = self.runtime.block_on(async {
                    tokio::time::timeout(LIMIT, stream.trailers()).await.expect("trailers in time")
                })?;
                return Ok(Answer { head, body, trailers: trailers.unwrap_or_default() });
            }
            body.extend_from_slice(&piece);
        }
        Ok(Answer { head, body, trailers: HeaderMap::new() })
    }

    /// A whole request and its answer.
    ///
    /// # Panics
    /// If there is no answer.
    pub fn exchange(&mut self, request: Request<()>, body: &[u8]) -> Answer {
        let path = request.uri().path().to_owned();
        self.try_exchange(request, body).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// The same, with what went wrong.
    pub fn try_exchange(&mut self, request: Request<()>, body: &[u8]) -> Result<Answer, h2::Error> {
        let mut pending = self.begin(request, body.is_empty())?;
        if !body.is_empty() {
            self.send(&mut pending.body, body, true)?;
        }
        self.finish(pending)
    }

    /// Waits until the server has ended the connection, at most `limit`. `true` if it ended in good order.
    pub fn wait_for_end(&mut self, limit: Duration) -> Option<bool> {
        let connection = &mut self.connection;
        self.runtime
            .block_on(async { tokio::time::timeout(limit, connection).await.ok() })
            .map(|ended| matches!(ended, Ok(Ok(()))))
    }
}

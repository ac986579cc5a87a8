//! gRPC from both sides by `tonic`, which is not ours: a server with switches, and a client that blocks.

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::HeaderMap;
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::server::StreamingService;
use tonic::{Request, Response, Status, Streaming};
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};
use tonic_prost::ProstCodec;

pub use self::client::{Client, LIMIT, codec, ready, unary};
use crate::tls::Identity;

mod client;

/// The one message of the service.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Message {
    /// What is sent back.
    #[prost(bytes = "vec", tag = "1")]
    pub body: Vec<u8>,
    /// How many, of what the method says.
    #[prost(uint32, tag = "2")]
    pub count: u32,
}

impl Message {
    /// One with a text.
    pub fn of(text: &str, count: u32) -> Self {
        Self { body: text.as_bytes().to_vec(), count }
    }
}

/// One message, sent back.
pub const UNARY: &str = "/test.Echo/Unary";
/// All messages, sent back as one.
pub const COLLECT: &str = "/test.Echo/Collect";
/// One message, sent back `count` times.
pub const EXPAND: &str = "/test.Echo/Expand";
/// Each message, sent back as it comes.
pub const ECHO: &str = "/test.Echo/Echo";

/// How calls are answered.
#[derive(Clone, Debug, Default)]
pub struct Switches {
    /// The call fails with this.
    pub status: Option<Status>,
    /// But only after a message.
    pub after_message: bool,
    /// Before anything is said.
    pub delay: Duration,
}

#[derive(Debug, Default)]
struct State {
    switches: Mutex<Switches>,
    heads: Mutex<Vec<HeaderMap>>,
    abandoned: AtomicUsize,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A server on a runtime of its own.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    state: Arc<State>,
    health: HealthReporter,
    runtime: Option<Runtime>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Server {
    /// One on a free port.
    pub fn start() -> Self {
        Self::listen(None)
    }

    /// One that speaks TLS, HTTP/2 by ALPN only.
    pub fn start_tls(identity: &Identity) -> Self {
        Self::listen(Some(identity))
    }

    fn listen(identity: Option<&Identity>) -> Self {
        let acceptor = identity.map(acceptor);
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a socket that does not block");
        let address = listener.local_addr().expect("the address of the socket");
        let (state, health) = (Arc::<State>::default(), HealthReporter::new());
        let service = HealthServer::new(HealthService::from_health_reporter(health.clone()));
        let shared = Arc::clone(&state);
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a socket of this runtime");
            while let Ok((stream, _peer)) = listener.accept().await {
                let _slower = stream.set_nodelay(true);
                let (state, service, acceptor) = (Arc::clone(&shared), service.clone(), acceptor.clone());
                tokio::spawn(async move {
                    match acceptor {
                        None => serve(stream, state, service).await,
                        Some(acceptor) => {
                            if let Ok(stream) = acceptor.accept(stream).await {
                                serve(stream, state, service).await;
                            }
                        }
                    }
                });
            }
        });
        Self { address, state, health, runtime: Some(runtime) }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets how calls are answered from here on.
    pub fn answer(&self, switches: Switches) {
        *locked(&self.state.switches) = switches;
    }

    /// Calls of the echo service fail with this from here on, before any message.
    pub fn fail(&self, status: Status) {
        self.answer(Switches { status: Some(status), ..Switches::default() });
    }

    /// How many calls of the echo service have come.
    pub fn calls(&self) -> usize {
        locked(&self.state.heads).len()
    }

    /// The head of each call, in order.
    pub fn heads(&self) -> Vec<HeaderMap> {
        locked(&self.state.heads).clone()
    }

    /// How many calls ended before they were answered.
    pub fn abandoned(&self) -> usize {
        self.state.abandoned.load(Ordering::SeqCst)
    }

    /// What the standard health check says of a service; of the server as a whole if the name is empty.
    ///
    /// # Panics
    /// If the server was killed.
    pub fn set_health(&self, service: &str, is_well: bool) {
        let status = if is_well { ServingStatus::Serving } else { ServingStatus::NotServing };
        let runtime = self.runtime.as_ref().expect("a server that runs");
        runtime.block_on(self.health.set_service_status(service, status));
    }

    /// Breaks every connection and stops listening, without a goodbye.
    pub fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(5));
        }
    }
}

fn acceptor(identity: &Identity) -> TlsAcceptor {
    let cert = CertificateDer::from_pem_slice(identity.cert.as_bytes()).expect("a certificate");
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).expect("a key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.expect("versions of TLS").with_no_client_auth();
    let mut config = builder.with_single_cert(vec![cert], key).expect("a certificate and its key");
    config.alpn_protocols = vec![b"h2".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

async fn serve<S>(stream: S, state: Arc<State>, health: HealthServer<HealthService>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| {
        let (state, health) = (Arc::clone(&state), health.clone());
        async move { Ok::<_, Infallible>(answer(state, health, request).await) }
    });
    // How a connection ends is for its client to judge.
    let _ended = http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(
    state: Arc<State>,
    mut health: HealthServer<HealthService>,
    request: http::Request<Incoming>,
) -> http::Response<Body> {
    let path = request.uri().path().to_owned();
    if path.starts_with("/grpc.health.v1.Health/") {
        return health.call(request).await.unwrap_or_else(|never| match never {});
    }
    let headers = request.headers().clone();
    locked(&state.heads).push(headers.clone());
    let mut grpc = tonic::server::Grpc::new(ProstCodec::<Message, Message>::default());
    let response = grpc.streaming(Echo { state, path }, request).await;
    let starting = |prefix: &str| {
        let fields = headers.iter().filter(|(name, _)| name.as_str().starts_with(prefix));
        fields.map(|(name, value)| (name.clone(), value.clone())).collect::<HeaderMap>()
    };
    let (initial, trailing) = (starting("x-echo"), starting("x-trail"));
    let mut response = response.map(|body| {
        Body::new(body.map_frame(move |frame| match frame.into_trailers() {
            Ok(mut trailers) => {
                trailers.extend(trailing.clone());
                Frame::trailers(trailers)
            }
            Err(data) => data,
        }))
    });
    response.headers_mut().extend(initial);
    response
}

/// Counts a call that is dropped before it was answered.
struct Guard {
    state: Arc<State>,
    is_answered: bool,
}

impl Guard {
    /// A method, so that closures hold the whole and not a copy of the flag.
    fn answered(&mut self, is_answered: bool) {
        self.is_answered = is_answered;
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if !self.is_answered {
            self.state.abandoned.fetch_add(1, Ordering::SeqCst);
        }
    }
}

struct Echo {
    state: Arc<State>,
    path: String,
}

type Future<T> = Pin<Box<dyn std::future::Future<Output = T> + Send>>;

/// On the wire the four kinds of calls differ in the number of messages only.
impl StreamingService<Message> for Echo {
    type Response = Message;
    type ResponseStream = ReceiverStream<Result<Message, Status>>;
    type Future = Future<Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<Streaming<Message>>) -> Self::Future {
        let switches = locked(&self.state.switches).clone();
        let mut guard = Guard { state: Arc::clone(&self.state), is_answered: false };
        let path = self.path.clone();
        Box::pin(async move {
            tokio::time::sleep(switches.delay).await;
            if let Some(status) = switches.status.clone().filter(|_| !switches.after_message) {
                guard.answered(true);
                return Err(status);
            }
            let (tell, told) = mpsc::channel(4);
            tokio::spawn(async move {
                let done = echo(&path, request.into_inner(), &tell).await.is_ok();
                let ending = match switches.status {
                    Some(status) => tell.send(Err(status)).await.is_ok(),
                    None => true,
                };
                guard.answered(done && ending);
            });
            Ok(Response::new(ReceiverStream::new(told)))
        })
    }
}

type Outbox = mpsc::Sender<Result<Message, Status>>;

async fn echo(path: &str, mut messages: Streaming<Message>, tell: &Outbox) -> Result<(), Status> {
    let gone = |_gone| Status::cancelled("nobody listens");
    match path {
        COLLECT => {
            let mut whole = Message::default();
            while let Some(message) = messages.message().await? {
                whole.body.extend_from_slice(&message.body);
                whole.count += 1;
            }
            tell.send(Ok(whole)).await.map_err(gone)
        }
        EXPAND => {
            let message = messages.message().await?.unwrap_or_default();
            for count in 0..message.count {
                tell.send(Ok(Message { body: message.body.clone(), count })).await.map_err(gone)?;
            }
            Ok(())
        }
        UNARY | ECHO => {
            while let Some(message) = messages.message().await? {
                tell.send(Ok(message)).await.map_err(gone)?;
            }
            Ok(())
        }
        _other => tell.send(Err(Status::unimplemented("no such method"))).await.map_err(gone),
    }
}

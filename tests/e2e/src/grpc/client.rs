//! The client.

use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tonic::body::Body;
use tonic::client::Grpc;
use tonic::codegen::Service;
use tonic::{IntoStreamingRequest, Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

use super::Message;
use crate::tls::Authority;

/// No call of a test takes longer.
pub const LIMIT: Duration = Duration::from_secs(30);

/// One connection, without deadlines of its own: those are for the gateway to keep.
#[derive(Clone, Debug)]
pub struct Plain(SendRequest<Body>);

type Future<T> = std::pin::Pin<Box<dyn std::future::Future<Output = T> + Send>>;

impl Service<http::Request<Body>> for Plain {
    type Response = http::Response<Incoming>;
    type Error = hyper::Error;
    type Future = Future<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}

/// A channel over a stream that stands.
///
/// # Errors
/// If the peer does not speak HTTP/2.
pub async fn channel<S>(stream: S, origin: &str) -> Result<Grpc<Plain>, hyper::Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (send, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(Grpc::with_origin(Plain(send), origin.parse::<Uri>().expect("an origin")))
}

/// A client that blocks.
#[derive(Debug)]
pub struct Client {
    runtime: Runtime,
    grpc: Grpc<Plain>,
}

impl Client {
    /// By prior knowledge.
    ///
    /// # Panics
    /// If there is no connection.
    pub fn connect(address: SocketAddr) -> Self {
        Self::over(async move {
            let stream = TcpStream::connect(address).await.expect("a connection");
            stream.set_nodelay(true).expect("a socket that does not wait");
            channel(stream, "http://test.example").await.expect("HTTP/2")
        })
    }

    /// Over TLS, by ALPN.
    ///
    /// # Panics
    /// If there is no connection, or the server does not choose HTTP/2.
    pub fn connect_tls(address: SocketAddr, authority: &Authority, name: &str) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).expect("PEM")).expect("an authority");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let mut config = builder.expect("versions of TLS").with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let (server, origin) = (ServerName::try_from(name.to_owned()).expect("a name"), format!("https://{name}"));
        Self::over(async move {
            let stream = TcpStream::connect(address).await.expect("a connection");
            let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
            let stream = connector.connect(server, stream).await.expect("TLS");
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
            channel(stream, &origin).await.expect("HTTP/2")
        })
    }

    fn over(connecting: impl std::future::Future<Output = Grpc<Plain>>) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let grpc = runtime.block_on(connecting);
        Self { runtime, grpc }
    }

    /// The channel, to be used within [`Client::run`].
    pub fn grpc(&self) -> Grpc<Plain> {
        self.grpc.clone()
    }

    /// Runs to the end.
    ///
    /// # Panics
    /// If that takes too long.
    pub fn run<T>(&self, work: impl std::future::Future<Output = T>) -> T {
        self.runtime.block_on(async { tokio::time::timeout(LIMIT, work).await.expect("an end of the call") })
    }

    /// A call that goes on while the test does something else.
    pub fn spawn<T: Send + 'static>(
        &self,
        work: impl std::future::Future<Output = T> + Send + 'static,
    ) -> tokio::task::JoinHandle<T> {
        self.runtime.spawn(work)
    }

    /// One message, one answer.
    ///
    /// # Errors
    /// What the call has come to.
    pub fn unary(&self, path: &'static str, request: Request<Message>) -> Result<Response<Message>, Status> {
        self.run(unary(self.grpc(), path, request))
    }

    /// Sends `messages`, expects one.
    ///
    /// # Errors
    /// What the call has come to.
    pub fn collect(&self, path: &'static str, messages: Vec<Message>) -> Result<Response<Message>, Status> {
        let mut grpc = self.grpc();
        self.run(async move {
            ready(&mut grpc).await?;
            let request = tokio_stream::iter(messages).into_streaming_request();
            grpc.client_streaming(request, http::uri::PathAndQuery::from_static(path), codec()).await
        })
    }

    /// Sends one, takes all that comes, and how it ended.
    pub fn expand(&self, path: &'static str, request: Request<Message>) -> (Vec<Message>, Result<(), Status>) {
        let mut grpc = self.grpc();
        self.run(async move {
            let mut messages = Vec::new();
            let opened = async {
                ready(&mut grpc).await?;
                grpc.server_streaming(request, http::uri::PathAndQuery::from_static(path), codec()).await
            };
            let mut stream: Streaming<Message> = match opened.await {
                Ok(response) => response.into_inner(),
                Err(status) => return (messages, Err(status)),
            };
            loop {
                match stream.message().await {
                    Ok(Some(message)) => messages.push(message),
                    Ok(None) => return (messages, Ok(())),
                    Err(status) => return (messages, Err(status)),
                }
            }
        })
    }
}

/// How messages are written and read.
pub fn codec() -> ProstCodec<Message, Message> {
    ProstCodec::default()
}

/// Waits until the connection takes a call.
///
/// # Errors
/// If it is gone.
pub async fn ready(grpc: &mut Grpc<Plain>) -> Result<(), Status> {
    grpc.ready().await.map_err(|error| Status::unknown(format!("the connection is gone: {error}")))
}

/// One message, one answer.
///
/// # Errors
/// What the call has come to.
pub async fn unary(
    mut grpc: Grpc<Plain>,
    path: &'static str,
    request: Request<Message>,
) -> Result<Response<Message>, Status> {
    ready(&mut grpc).await?;
    grpc.unary(request, http::uri::PathAndQuery::from_static(path), codec()).await
}

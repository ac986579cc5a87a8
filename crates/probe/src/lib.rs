//! Runs one health probe and says how it went, in words fit for a status table.
//!
//! When probes run and how many failures count is decided by `mainstay_core::health`; this crate only asks once.

mod failed;
mod grpc;
mod http;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub use failed::{Expected, Failed, Stage};

/// Where it is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// An address.
    Tcp(SocketAddr),
    /// A Unix stream socket.
    Unix(PathBuf),
}

/// What is asked.
#[derive(Clone, Debug)]
pub enum Target {
    /// A connection comes to be, over TCP or to the Unix socket.
    Tcp,
    /// A `GET` is answered with an expected status.
    Http {
        /// The request.
        get: Get,
        /// For HTTPS.
        tls: Option<Tls>,
    },
    /// The standard health check of gRPC says that the service serves.
    Grpc {
        /// The call.
        check: Check,
        /// For gRPC over TLS; ALPN must offer `h2`.
        tls: Option<Tls>,
    },
}

/// A call of grpc.health.v1.Health/Check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Which service is asked about, at most 127 bytes; empty for the server as a whole.
    pub service: String,
    /// `:authority`.
    pub authority: String,
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Get {
    /// Path and query.
    pub path: String,
    /// `Host` header.
    pub host: String,
    /// Which answers pass.
    pub expect: Expected,
}

/// How TLS is spoken.
#[derive(Clone, Debug)]
pub struct Tls {
    /// Authorities and own certificate.
    pub config: Arc<ClientConfig>,
    /// The name in SNI and verification.
    pub server_name: ServerName<'static>,
}

/// The endpoint is well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passed {
    /// From the start of the probe to the connection (TCP) or the response's head (HTTP).
    pub latency: Duration,
}

/// Asks once. Always answers within `timeout` and a little. `header` goes before everything else, TLS included, if it is not
/// empty: a PROXY header for endpoints that expect one.
///
/// # Errors
/// Why the endpoint is not well.
pub async fn probe(target: &Target, place: &Place, header: &[u8], timeout: Duration) -> Result<Passed, Failed> {
    let started = Instant::now();
    let mut stage = Stage::Connection;
    let asking = ask(target, place, header, started, &mut stage);
    match tokio::time::timeout(timeout, asking).await {
        Ok(result) => result,
        Err(_elapsed) => Err(Failed::Timeout { stage, after: timeout }),
    }
}

async fn ask(
    target: &Target,
    place: &Place,
    header: &[u8],
    started: Instant,
    stage: &mut Stage,
) -> Result<Passed, Failed> {
    match place {
        Place::Tcp(address) => {
            let stream = TcpStream::connect(address).await.map_err(Failed::Connect)?;
            converse(target, stream, header, started, stage).await
        }
        Place::Unix(path) => {
            let stream = mainstay_runtime::socket::connect_unix(path).await.map_err(Failed::Connect)?;
            converse(target, stream, header, started, stage).await
        }
    }
}

async fn converse<S>(
    target: &Target,
    mut stream: S,
    header: &[u8],
    started: Instant,
    stage: &mut Stage,
) -> Result<Passed, Failed>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    stream.write_all(header).await.map_err(Failed::Closed)?;
    match target {
        Target::Tcp => Ok(Passed { latency: started.elapsed() }),
        Target::Http { get, tls: None } => {
            *stage = Stage::Answer;
            http::get(stream, get, started).await
        }
        Target::Http { get, tls: Some(tls) } => {
            let stream = handshake(tls, stream, stage).await?;
            http::get(stream, get, started).await
        }
        Target::Grpc { check, tls: None } => {
            *stage = Stage::Answer;
            grpc::check(stream, check, "http", started).await
        }
        Target::Grpc { check, tls: Some(tls) } => {
            let stream = handshake(tls, stream, stage).await?;
            grpc::check(stream, check, "https", started).await
        }
    }
}

async fn handshake<S>(tls: &Tls, stream: S, stage: &mut Stage) -> Result<TlsStream<S>, Failed>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    *stage = Stage::Handshake;
    let connector = TlsConnector::from(Arc::clone(&tls.config));
    let connecting = connector.connect(tls.server_name.clone(), stream);
    let stream = connecting.await.map_err(|error| Failed::handshake(&error))?;
    *stage = Stage::Answer;
    Ok(stream)
}

//! Runs one health probe and says how it went, in words fit for a status table.
//!
//! When probes run and how many failures count is decided by `mainstay_core::health`; this crate only asks once.

mod command;
mod failed;
mod grpc;
mod http;
pub mod json;
pub mod script;
mod template;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

pub use command::Command;
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
    /// Several requests are answered as they should be.
    Script {
        /// The requests.
        script: script::Script,
        /// `Host` header of each.
        host: String,
        /// For HTTPS.
        tls: Option<Tls>,
    },
    /// A program says that the endpoint is well.
    Command {
        /// The program. `{host}` and `{port}` in its arguments stand for the endpoint's (of a Unix socket, `{host}` for its
        /// path).
        command: Command,
        /// Variables of its environment, beside those that say where the endpoint is: `MAINSTAY_HOST`, `MAINSTAY_PORT` and
        /// `MAINSTAY_ADDRESS`, or `MAINSTAY_SOCKET`.
        environment: Vec<(String, String)>,
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
#[derive(Clone, Debug, PartialEq)]
pub struct Get {
    /// Path and query.
    pub path: String,
    /// `Host` header.
    pub host: String,
    /// Which answers pass.
    pub expect: Expected,
    /// What their body must say.
    pub json: Option<json::Rules>,
}

/// How TLS is spoken.
#[derive(Clone, Debug)]
pub struct Tls {
    /// Authorities and own certificate.
    pub config: Arc<ClientConfig>,
    /// The name in SNI and verification.
    pub server_name: ServerName<'static>,
}

/// The endpoint serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passed {
    /// From the start of the probe to the connection (TCP) or the response's head (HTTP).
    pub latency: Duration,
    /// What is amiss, if it says that it serves all the same.
    pub degraded: Option<String>,
}

/// How far a probe has come, for when its time is up.
struct Progress {
    stage: Stage,
    /// Of a script.
    step: Option<String>,
}

/// Asks once. Always answers within `timeout` and a little. `header` goes before everything else, TLS included, if it is not
/// empty: a PROXY header for endpoints that expect one.
///
/// # Errors
/// Why the endpoint is not well.
pub async fn probe(target: &Target, place: &Place, header: &[u8], timeout: Duration) -> Result<Passed, Failed> {
    let started = Instant::now();
    if let Target::Command { command, environment } = target {
        // It minds the time itself, since what the command has said until then is worth telling.
        let environment = [environment.as_slice(), &whereabouts(place)].concat();
        return command::run(&command.at(place), &environment, timeout, started).await;
    }
    let mut progress = Progress { stage: Stage::Connection, step: None };
    let asking = ask(target, place, header, started, &mut progress);
    let result = tokio::time::timeout(timeout, asking).await;
    result.unwrap_or_else(|_elapsed| {
        let failed = Failed::Timeout { stage: progress.stage, after: timeout };
        Err(match progress.step {
            Some(step) => Failed::Step { step, failed: Box::new(failed) },
            None => failed,
        })
    })
}

async fn ask(
    target: &Target,
    place: &Place,
    header: &[u8],
    started: Instant,
    progress: &mut Progress,
) -> Result<Passed, Failed> {
    let stage = &mut progress.stage;
    match target {
        Target::Tcp => {
            let _connected = open(place, header, None, stage).await?;
            Ok(Passed { latency: started.elapsed(), degraded: None })
        }
        Target::Http { get, tls } => {
            let stream = open(place, header, tls.as_ref(), stage).await?;
            http::get(stream, get, started, stage).await
        }
        Target::Grpc { check, tls } => {
            let stream = open(place, header, tls.as_ref(), stage).await?;
            grpc::check(stream, check, if tls.is_some() { "https" } else { "http" }, started).await
        }
        Target::Script { script, host, tls } => {
            let around = script::Around { host, tls: tls.as_ref(), place, header };
            script::run(script, &around, started, progress).await
        }
        Target::Command { .. } => Err(Failed::Malformed("a command asks for no connection")),
    }
}

/// A connection of whatever kind; a box for each probe is nothing.
trait Connection: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection for S {}

/// Connects, says `header`, and speaks TLS if it is wanted.
async fn open(
    place: &Place,
    header: &[u8],
    tls: Option<&Tls>,
    stage: &mut Stage,
) -> Result<Box<dyn Connection>, Failed> {
    *stage = Stage::Connection;
    let mut stream: Box<dyn Connection> = match place {
        Place::Tcp(address) => Box::new(TcpStream::connect(address).await.map_err(Failed::Connect)?),
        Place::Unix(path) => Box::new(mainstay_runtime::socket::connect_unix(path).await.map_err(Failed::Connect)?),
    };
    stream.write_all(header).await.map_err(Failed::Closed)?;
    if let Some(tls) = tls {
        *stage = Stage::Handshake;
        let connector = TlsConnector::from(Arc::clone(&tls.config));
        let connecting = connector.connect(tls.server_name.clone(), stream);
        stream = Box::new(connecting.await.map_err(|error| Failed::handshake(&error))?);
    }
    *stage = Stage::Answer;
    Ok(stream)
}

/// What a command is told of the endpoint's address.
fn whereabouts(place: &Place) -> Vec<(String, String)> {
    let pairs = match place {
        Place::Tcp(address) => vec![
            ("MAINSTAY_HOST", address.ip().to_string()),
            ("MAINSTAY_PORT", address.port().to_string()),
            ("MAINSTAY_ADDRESS", address.to_string()),
        ],
        Place::Unix(path) => vec![("MAINSTAY_SOCKET", path.display().to_string())],
    };
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

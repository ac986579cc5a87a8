//! Asks the admin interface of a running node, over its unix socket or TCP.

mod admin_args;
mod credentials;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use mainstay_runtime::thread;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use crate::admin::api::Problem;
use crate::config::defaults;
use crate::failure::Failure;

pub use admin_args::AdminArgs;
pub use credentials::Credentials;

/// No answer takes longer, even with thousands of endpoints.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Through another node: it waits for so long for a change, and then says so.
const THROUGH_TIMEOUT: Duration = Duration::from_secs(25);
/// No answer is larger.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Where the admin interface is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A unix socket.
    Socket(PathBuf),
    /// An address.
    Tcp(String),
    /// An address where TLS is spoken.
    Tls(String),
    /// A node of the cluster, asked through another one.
    Through {
        /// Where that one is.
        place: Box<Place>,
        /// The node that is meant.
        node: String,
    },
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Socket(path) => path.display().fmt(f),
            Self::Tcp(address) => f.write_str(address),
            Self::Tls(address) => write!(f, "https://{address}"),
            Self::Through { place, node } => write!(f, "{node} through {place}"),
        }
    }
}

impl Place {
    /// What a person wrote: whatever has a slash is a socket, and `:7900` is a port of this machine.
    pub fn parse(text: &str) -> Self {
        if let Some(host) = text.strip_prefix("https://") {
            return Self::Tls(with_port(host.trim_end_matches('/')));
        }
        let text = text.strip_prefix("http://").map_or(text, |host| host.trim_end_matches('/'));
        if text.contains('/') {
            return Self::Socket(PathBuf::from(text));
        }
        let text = text.strip_prefix(':').unwrap_or(text);
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Self::Tcp(format!("127.0.0.1:{text}"));
        }
        if Path::new(text).exists() {
            return Self::Socket(PathBuf::from(text));
        }
        Self::Tcp(with_port(text))
    }

    /// Where a node with default settings can be asked, the best place first.
    pub fn defaults() -> Vec<Self> {
        vec![Self::Socket(defaults::admin_socket()), Self::Tcp(defaults::ADMIN.to_string())]
    }
}

fn with_port(text: &str) -> String {
    let has_port =
        text.parse::<SocketAddr>().is_ok() || text.rsplit_once(':').is_some_and(|(_, port)| !port.is_empty());
    if has_port { text.to_owned() } else { format!("{text}:{}", defaults::ADMIN.port()) }
}

/// Where the node at a place has the answer of another one.
fn passed_on(node: &str, path: &str) -> Result<String, Failure> {
    if node.is_empty() || !node.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) {
        return Err(Failure::usage(format!("--node: `{node}` is no node's name")));
    }
    match path.strip_prefix("/api/v1/") {
        Some(rest) => Ok(format!("/api/v1/nodes/{node}/{rest}")),
        None => Err(Failure::usage("this is not asked of another node").hint("ask that node itself, with --admin")),
    }
}

/// A question that has no answer from this place.
#[derive(Debug)]
enum Unanswered {
    /// Nobody is there.
    Unreachable(io::Error),
    /// Somebody is, and this came of it.
    Failed(Failure),
}

/// Asks the first of `places` where a node is, and reads the answer as JSON.
///
/// # Errors
/// If no place answers (the failure lists what was tried), or the node refuses.
pub fn ask<T: DeserializeOwned>(
    places: &[Place],
    method: Method,
    path: &str,
    sent: Option<String>,
) -> Result<T, Failure> {
    ask_within(places, method, path, sent, TIMEOUT)
}

/// As [`ask`], but only if what is changed is of this version still (`If-Match`).
///
/// # Errors
/// As [`ask`]; the node refuses if it is another one.
pub fn ask_if<T: DeserializeOwned>(
    places: &[Place],
    method: Method,
    path: &str,
    sent: Option<String>,
    version: &str,
) -> Result<T, Failure> {
    ask_for(places, &Asked { method, path, sent, version: Some(version) }, TIMEOUT)
}

/// As [`ask`], for what may take longer than a look.
///
/// # Errors
/// As [`ask`].
pub fn ask_within<T: DeserializeOwned>(
    places: &[Place],
    method: Method,
    path: &str,
    sent: Option<String>,
    limit: Duration,
) -> Result<T, Failure> {
    ask_for(places, &Asked { method, path, sent, version: None }, limit)
}

/// What is asked.
#[derive(Clone, Debug)]
struct Asked<'a> {
    method: Method,
    path: &'a str,
    sent: Option<String>,
    /// Which version of it is changed; any if absent.
    version: Option<&'a str>,
}

fn ask_for<T: DeserializeOwned>(places: &[Place], asked: &Asked<'_>, limit: Duration) -> Result<T, Failure> {
    let mut tried = Vec::new();
    for place in places {
        match ask_one(place, asked, limit) {
            Ok(answer) => {
                return serde_json::from_slice(&answer).map_err(|error| {
                    let hint = "is it another program, or another version of mainstay?";
                    Failure::new(format!("{place}: the answer cannot be understood: {error}")).hint(hint)
                });
            }
            Err(Unanswered::Failed(failure)) => return Err(failure),
            Err(Unanswered::Unreachable(error)) => tried.push(format!("{place} ({})", reason(&error))),
        }
    }
    Err(unreachable_failure(&tried))
}

fn unreachable_failure(tried: &[String]) -> Failure {
    let hint = "is a node running on this machine, as this user? start one with `mainstay run -c FILE`; if its \
                `admin_socket` or `admin` is not the default, name it with --admin";
    Failure::new(format!("no node answers: tried {}", tried.join(", "))).hint(hint)
}

fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such socket".to_owned(),
        io::ErrorKind::ConnectionRefused => "nobody listens".to_owned(),
        io::ErrorKind::PermissionDenied => "it belongs to another user: try as that user or root".to_owned(),
        _other => error.to_string(),
    }
}

/// Asks a node that answers with one line of JSON after another, and gives each to `heed`; if a version is given, only if
/// what is changed is of it still.
///
/// # Errors
/// If the node does not answer or breaks off or refuses, or `heed` fails.
pub fn follow<T: DeserializeOwned>(
    place: &Place,
    path: &str,
    (sent, version): (String, Option<&str>),
    limit: Duration,
    mut heed: impl FnMut(T) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut heeded = Ok(());
    let mut line = Vec::new();
    let each = |data: Bytes| {
        line.extend_from_slice(&data);
        while let Some(end) = line.iter().position(|byte| *byte == b'\n') {
            let event: Vec<u8> = line.drain(..=end).collect();
            if let (Ok(event), true) = (serde_json::from_slice(&event), heeded.is_ok()) {
                heeded = heed(event);
            }
        }
    };
    let asked = Asked { method: Method::POST, path, sent: Some(sent), version };
    match ask_with(place, &asked, limit, each) {
        Ok(()) => heeded,
        Err(Unanswered::Failed(failure)) => Err(failure),
        Err(Unanswered::Unreachable(error)) => Err(unreachable_failure(&[format!("{place} ({})", reason(&error))])),
    }
}

fn ask_one(place: &Place, asked: &Asked<'_>, limit: Duration) -> Result<Bytes, Unanswered> {
    let mut answer = Vec::new();
    ask_with(place, asked, limit, |data| answer.extend_from_slice(&data))?;
    Ok(answer.into())
}

/// Gives each part of a successful answer to `each`.
fn ask_with(place: &Place, asked: &Asked<'_>, limit: Duration, each: impl FnMut(Bytes)) -> Result<(), Unanswered> {
    let passed;
    let (place, path, limit) = match place {
        Place::Through { place, node } => {
            passed = passed_on(node, asked.path).map_err(Unanswered::Failed)?;
            (place.as_ref(), passed.as_str(), limit.max(THROUGH_TIMEOUT))
        }
        direct => (direct, asked.path, limit),
    };
    let asked = &Asked { path, ..asked.clone() };
    let exchange = async {
        match place {
            Place::Through { .. } => Err(failed(place, "a node is asked through one other at most".to_owned())),
            Place::Socket(socket) => {
                let stream = UnixStream::connect(socket).await.map_err(Unanswered::Unreachable)?;
                exchange(stream, "localhost", asked, each).await.map_err(|why| failed(place, why))
            }
            Place::Tcp(address) => {
                let stream = TcpStream::connect(address).await.map_err(Unanswered::Unreachable)?;
                exchange(stream, address, asked, each).await.map_err(|why| failed(place, why))
            }
            Place::Tls(address) => {
                let stream = TcpStream::connect(address).await.map_err(Unanswered::Unreachable)?;
                let stream = credentials::encrypted(stream, address).await.map_err(|why| failed(place, why))?;
                exchange(stream, address, asked, each).await.map_err(|why| failed(place, why))
            }
        }
    };
    let bounded = async { tokio::time::timeout(limit, exchange).await };
    let late = || failed(place, format!("no answer within {} s", limit.as_secs()));
    let (status, answer) = match thread::run_here(bounded) {
        Ok(answered) => answered.map_err(|_elapsed| late())??,
        Err(error) => return Err(failed(place, error.to_string())),
    };
    if status.is_success() {
        return Ok(());
    }
    let strange = || format!("{place} answered {status}: it does not seem to be a mainstay node");
    let refusal: Problem = serde_json::from_slice(&answer).unwrap_or_else(|_no_json| Problem::new(status, strange()));
    let failure = Failure::new(refusal.detail);
    Err(Unanswered::Failed(match refusal.hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }))
}

fn failed(place: &Place, why: String) -> Unanswered {
    Unanswered::Failed(Failure::new(format!("{place}: {why}")))
}

async fn exchange<S>(
    stream: S,
    host: &str,
    asked: &Asked<'_>,
    mut each: impl FnMut(Bytes),
) -> Result<(StatusCode, Bytes), String>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let text = |error: &dyn std::error::Error| crate::failure::chain(error);
    let request = Request::builder()
        .method(asked.method.clone())
        .uri(asked.path)
        .header(header::HOST, host)
        .header(header::CONTENT_TYPE, "application/json");
    let request = match credentials::bearer()? {
        Some(bearer) => request.header(header::AUTHORIZATION, bearer),
        None => request,
    };
    let request = match asked.version {
        Some(version) => request.header(header::IF_MATCH, version),
        None => request,
    };
    let sent = asked.sent.clone().unwrap_or_default();
    let request = request.body(Full::new(Bytes::from(sent))).map_err(|error| text(&error))?;
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| text(&error))?;
    let exchange = async move {
        let response = sender.send_request(request).await.map_err(|error| text(&error))?;
        let status = response.status();
        let mut body = Limited::new(response.into_body(), ANSWER_BYTES_MAX);
        if status.is_success() {
            while let Some(frame) = body.frame().await {
                if let Ok(data) = frame.map_err(|error| error.to_string())?.into_data() {
                    each(data);
                }
            }
            return Ok((status, Bytes::new()));
        }
        let body = body.collect().await;
        Ok((status, body.map_err(|error| error.to_string())?.to_bytes()))
    };
    // The connection moves the bytes and ends once the sender is gone; its error shows in the exchange as well.
    let (answer, _connection_ended) = tokio::join!(exchange, connection);
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_as_people_write_them() {
        let tcp = |address: &str| Place::Tcp(address.to_owned());
        assert_eq!(Place::parse("/run/x.sock"), Place::Socket("/run/x.sock".into()));
        assert_eq!(Place::parse("./x.sock"), Place::Socket("./x.sock".into()));
        assert_eq!(Place::parse(":7901"), tcp("127.0.0.1:7901"));
        assert_eq!(Place::parse("7901"), tcp("127.0.0.1:7901"));
        assert_eq!(Place::parse("127.0.0.1:7901"), tcp("127.0.0.1:7901"));
        assert_eq!(Place::parse("localhost"), tcp("localhost:7900"));
        assert_eq!(Place::parse("[::1]:7901"), tcp("[::1]:7901"));
        assert_eq!(Place::parse("http://127.0.0.1:7901/"), tcp("127.0.0.1:7901"));
        assert_eq!(Place::parse("https://lb1.example"), Place::Tls("lb1.example:7900".to_owned()));
    }

    #[test]
    fn another_node_is_asked_for_what_is_its_own() {
        let path = |node: &str, path: &str| passed_on(node, path).map_err(|failure| failure.to_string());
        assert_eq!(path("lb2", "/api/v1/history?name=a"), Ok("/api/v1/nodes/lb2/history?name=a".to_owned()));
        assert!(path("lb2", "/metrics").is_err() && path("lb2/../lb3", "/api/v1/status").is_err());
        assert!(path("", "/api/v1/status").is_err());
    }

    #[test]
    fn when_nobody_is_there_it_says_what_was_tried() {
        let places = [Place::Socket("/nonexistent/admin.sock".into()), Place::Tcp("127.0.0.1:1".to_owned())];
        let failure = ask::<serde_json::Value>(&places, Method::GET, "/health", None).expect_err("nobody is there");
        let text = failure.to_string();
        assert!(text.contains("/nonexistent/admin.sock (no such socket), 127.0.0.1:1 (nobody listens)"), "{text}");
        assert!(text.contains("hint: "), "{text}");
    }
}

//! The clients: a steady rate of requests over a few keep-alive connections, on a thread of their own so that nothing that
//! is drawn or steered disturbs what is measured.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::{Method, Request, Response};
use mainstay_runtime::task::{self, Kind};
use mainstay_runtime::thread::spawn_local_runtime;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};

use crate::demo::schedule::{NAMES, NODE_NAMES};
use crate::demo::service::{ENDPOINT_HEADER, ORDERS};
use crate::demo::tally::{Sample, Tally};
use crate::demo::wire::Connection;

/// The header that the gateway's configuration sets to its number.
pub(crate) const CONFIG_HEADER: &str = "x-demo-config";

/// The header by which an answer says which node it came by, if there are several.
pub(crate) const NODE_HEADER: &str = "x-demo-node";

/// Requests a second, over all connections.
pub(crate) const RATE: u32 = 200;

/// Keep-alive connections.
pub(crate) const CONNECTIONS: usize = 16;

/// Of so many requests one is a POST.
const POST_EVERY: u64 = 10;

/// How long a client waits.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// What the clients share.
struct Clients {
    gateway: SocketAddr,
    started: Instant,
    end: Instant,
    next: Cell<u64>,
    stop: Arc<AtomicBool>,
    tally: Arc<Mutex<Tally>>,
}

/// The running load.
pub(crate) struct Load {
    started: Instant,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    tally: Arc<Mutex<Tally>>,
}

impl Load {
    /// Starts the clients. No request is due after `duration`.
    ///
    /// # Errors
    /// If the system refuses the thread.
    pub(crate) fn start(gateway: SocketAddr, duration: Duration) -> std::io::Result<Self> {
        let started = Instant::now();
        let stop = Arc::new(AtomicBool::new(false));
        let tally = Arc::new(Mutex::new(Tally::default()));
        let (thread_stop, thread_tally) = (Arc::clone(&stop), Arc::clone(&tally));
        let thread = spawn_local_runtime("demo-load", move || async move {
            let next = Cell::new(0);
            let end = started + duration;
            let clients = Rc::new(Clients { gateway, started, end, next, stop: thread_stop, tally: thread_tally });
            let client = |_number| task::spawn_local(Kind::Demo, run(Rc::clone(&clients)));
            let running: Vec<_> = (0..CONNECTIONS).map(client).collect();
            for client in running {
                // A client that panicked has said so on standard error; the others go on.
                let _ended = client.await;
            }
        })?;
        Ok(Self { started, stop, thread: Some(thread), tally })
    }

    /// Time since the start.
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// What was measured so far.
    pub(crate) fn tally(&self) -> MutexGuard<'_, Tally> {
        lock(&self.tally)
    }

    /// Ends the load after the requests that are under way, which takes [`PATIENCE`] at most.
    pub(crate) fn finish(mut self) -> Tally {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
        std::mem::take(&mut *lock(&self.tally))
    }
}

// A poisoned lock only says that its holder panicked between two additions.
fn lock(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One client: takes the next request that nobody has taken, waits until it is due, sends it. A client that is kept
/// waiting by an answer takes none meanwhile, so that the others keep up the rate.
async fn run(clients: Rc<Clients>) {
    let mut connection = None;
    while !clients.stop.load(Ordering::Acquire) {
        let number = clients.next.get();
        clients.next.set(number + 1);
        let due = clients.started + Duration::from_secs(1).mul_f64(number as f64 / f64::from(RATE));
        if due >= clients.end {
            return;
        }
        // Only a client that was free in time tells how late the machine woke it up.
        let waits = Instant::now() < due;
        sleep_until(due).await;
        if waits {
            lock(&clients.tally).woke(due.elapsed());
        }
        let post = number % POST_EVERY == POST_EVERY - 1;
        let outcome = match timeout(PATIENCE, clients.request(&mut connection, number, post)).await {
            Ok(outcome) => outcome,
            Err(_elapsed) => Err((format!("no answer within {} s", PATIENCE.as_secs()), None)),
        };
        if outcome.is_err() {
            connection = None;
        }
        clients.record(due, number, post, outcome);
    }
}

/// An answer as far as it is of interest.
struct Answer {
    endpoint: usize,
    config: Option<u64>,
    node: Option<usize>,
    id: Option<String>,
}

/// How a request failed, and its id if the answer bore one.
type Failed = (String, Option<String>);

impl Clients {
    async fn request(&self, connection: &mut Option<Connection>, number: u64, post: bool) -> Result<Answer, Failed> {
        let path = if post { format!("{ORDERS}{number}") } else { format!("/items/{number}") };
        if let Some(open) = connection.as_mut() {
            open.look().await;
        }
        if connection.as_ref().is_none_or(Connection::is_closed) {
            *connection = Some(self.connect().await.map_err(|how| (how, None))?);
        }
        let Some(open) = connection.as_mut() else { return Err(("connection closed".to_owned(), None)) };
        let request = request(self.gateway, &path, post).map_err(|error| (error.to_string(), None))?;
        let response = open.exchange(request).await.map_err(|how| (how, None))?;
        judge(&response, &path, post)
    }

    async fn connect(&self) -> Result<Connection, String> {
        let stream = TcpStream::connect(self.gateway).await.map_err(|error| match error.kind() {
            std::io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
            _other => format!("cannot connect: {error}"),
        })?;
        let _refused = stream.set_nodelay(true);
        Connection::over(stream).await.map_err(|error| error.to_string())
    }

    fn record(&self, due: Instant, number: u64, post: bool, outcome: Result<Answer, Failed>) {
        let due = due.duration_since(self.started);
        let done = self.started.elapsed();
        let mut tally = lock(&self.tally);
        let (outcome, id) = match outcome {
            Ok(answer) => {
                if let Some(config) = answer.config {
                    tally.saw_config(config, done);
                }
                if let Some(node) = answer.node {
                    tally.saw_node(node, done);
                }
                if post {
                    tally.confirm(number);
                }
                (Ok(answer.endpoint), answer.id)
            }
            Err((how, id)) => (Err(how), id),
        };
        tally.record(Sample { due, done, post, outcome, id });
    }
}

fn request(gateway: SocketAddr, path: &str, post: bool) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
    let method = if post { Method::POST } else { Method::GET };
    let body = if post { Bytes::from_static(b"{\"item\":1}") } else { Bytes::new() };
    Request::builder().method(method).uri(path).header("host", gateway.to_string()).body(Full::new(body))
}

/// A success is a 200 from one of the endpoints that repeats the path it was asked for: an answer to somebody else's
/// request is a failure, and not a small one.
fn judge(response: &Response<Bytes>, path: &str, post: bool) -> Result<Answer, Failed> {
    let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
    let id = header("x-request-id").map(str::to_owned);
    let method = if post { "POST" } else { "GET" };
    let status = response.status().as_u16();
    if let Some(reason) = header("x-mainstay-error") {
        return Err((format!("gateway {status} ({reason}), {method}"), id));
    }
    if status != 200 {
        return Err((format!("endpoint {status}, {method}"), id));
    }
    let endpoint = header(ENDPOINT_HEADER).and_then(|name| NAMES.iter().position(|it| *it == name));
    match endpoint {
        Some(endpoint) if response.body().strip_suffix(b"\n") == Some(path.as_bytes()) => {
            let config = header(CONFIG_HEADER).and_then(|number| number.parse().ok());
            let node = header(NODE_HEADER).and_then(|name| NODE_NAMES.iter().position(|it| *it == name));
            Ok(Answer { endpoint, config, node, id })
        }
        _other => Err(("answer to another request".to_owned(), id)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(status: u16, headers: &[(&str, &str)], body: &str) -> Response<Bytes> {
        let mut builder = Response::builder().status(status).header("x-request-id", "r1");
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        builder.body(Bytes::from(body.to_owned())).unwrap()
    }

    #[test]
    fn answers_are_judged_by_status_origin_and_body() {
        let good = response(200, &[(ENDPOINT_HEADER, "bravo"), (CONFIG_HEADER, "2")], "/items/7\n");
        let answer = judge(&good, "/items/7", false).ok().unwrap();
        assert_eq!((answer.endpoint, answer.config, answer.id.as_deref()), (1, Some(2), Some("r1")));
        let by = response(200, &[(ENDPOINT_HEADER, "bravo"), (NODE_HEADER, "node3")], "/items/7\n");
        assert_eq!(judge(&by, "/items/7", false).ok().unwrap().node, Some(2));
        let failed = |response: &Response<Bytes>, post| judge(response, "/items/8", post).err().unwrap();
        assert_eq!(failed(&good, false).0, "answer to another request");
        assert_eq!(failed(&response(503, &[(ENDPOINT_HEADER, "bravo")], "/items/8\n"), true).0, "endpoint 503, POST");
        let own = response(504, &[("x-mainstay-error", "timeout")], "");
        assert_eq!(failed(&own, false), ("gateway 504 (timeout), GET".to_owned(), Some("r1".to_owned())));
    }
}

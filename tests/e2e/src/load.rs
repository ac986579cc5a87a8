//! A bounded load client that remembers the outcome of every request.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::wire::{Broken, Wire};

/// What is sent, and how much of it.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The gateway.
    pub target: SocketAddr,
    /// Clients side by side, each waiting for its response before the next request.
    pub clients: usize,
    /// Requests of all clients together, at most.
    pub requests: u64,
    /// Time for all of it, at most.
    pub time: Duration,
    /// Longest wait for a response.
    pub patience: Duration,
    /// A connection for each request.
    pub short: bool,
    /// Pause of each client between requests.
    pub pause: Duration,
    /// Every so many requests is a POST with an id and a body; 0 for none.
    pub post_every: u64,
    /// The path asked for.
    pub path: String,
    /// Further header lines, each with CRLF.
    pub headers: String,
    /// Comes before the number in `x-id`, so that several loads can share a backend's record.
    pub tag: &'static str,
}

impl Plan {
    /// Keep-alive GETs of `/ok` by 16 clients until [`Load::stop`], 100,000 requests or 60 s.
    pub fn new(target: SocketAddr) -> Self {
        Self {
            target,
            clients: 16,
            requests: 100_000,
            time: Duration::from_secs(60),
            patience: Duration::from_secs(20),
            short: false,
            pause: Duration::ZERO,
            post_every: 0,
            path: "/ok".to_owned(),
            headers: String::new(),
            tag: "",
        }
    }

    /// Starts the clients.
    pub fn start(self) -> Load {
        let shared = Arc::new(Shared { next: AtomicU64::new(0), stop: AtomicBool::new(false) });
        let end = Instant::now() + self.time;
        let clients = (0..self.clients).map(|_index| {
            let (plan, shared) = (self.clone(), Arc::clone(&shared));
            std::thread::spawn(move || client(&plan, &shared, end))
        });
        Load { clients: clients.collect(), shared }
    }

    /// Starts the clients and waits until they are done.
    pub fn run(self) -> Report {
        self.start().wait()
    }
}

/// What became of a request.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Its number, which its `x-id` ends with.
    pub number: u64,
    /// Whether it was a POST.
    pub post: bool,
    /// When it was sent.
    pub at: Instant,
    /// How long it took.
    pub took: Duration,
    /// The first request of its connection.
    pub fresh: bool,
    /// The status and the gateway's own reason, if a whole response came.
    pub result: Result<(u16, String), Broken>,
    /// The backend that answered.
    pub origin: Option<SocketAddr>,
}

impl Outcome {
    /// Whether it was answered as it should be.
    pub fn is_ok(&self) -> bool {
        matches!(&self.result, Ok((200, _)))
    }

    /// Whether nobody listened, which is how a client learns to go elsewhere. A reset is something else.
    pub fn is_refused(&self) -> bool {
        matches!(&self.result, Err(Broken::Connect(error)) if error.contains("refused"))
    }
}

/// Clients at work.
#[derive(Debug)]
pub struct Load {
    clients: Vec<JoinHandle<Vec<Outcome>>>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    next: AtomicU64,
    stop: AtomicBool,
}

impl Load {
    /// Requests begun so far.
    pub fn begun(&self) -> u64 {
        self.shared.next.load(Ordering::Relaxed)
    }

    /// Ends it after the requests in flight.
    pub fn stop(self) -> Report {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.wait()
    }

    /// Waits until every client is done.
    ///
    /// # Panics
    /// If a client panicked.
    pub fn wait(self) -> Report {
        let mut outcomes = Vec::new();
        for client in self.clients {
            outcomes.extend(client.join().expect("a client ends without a panic"));
        }
        Report { outcomes }
    }
}

/// What became of all requests.
#[derive(Debug)]
pub struct Report {
    /// One for each request.
    pub outcomes: Vec<Outcome>,
}

impl Report {
    /// Requests that were not answered with 200.
    pub fn failed(&self) -> Vec<&Outcome> {
        self.outcomes.iter().filter(|outcome| !outcome.is_ok()).collect()
    }

    /// Answers by backend.
    pub fn by_origin(&self) -> HashMap<SocketAddr, usize> {
        let mut counts = HashMap::new();
        for origin in self.outcomes.iter().filter_map(|outcome| outcome.origin) {
            *counts.entry(origin).or_insert(0) += 1;
        }
        counts
    }

    /// The longest that a request took.
    pub fn slowest(&self) -> Duration {
        self.outcomes.iter().map(|outcome| outcome.took).max().unwrap_or_default()
    }

    /// Requires that every request was answered with 200, and at least `least` of them.
    ///
    /// # Panics
    /// If that is not so, naming the failures.
    pub fn assert_clean(&self, least: usize) {
        let failed = self.failed();
        let shown: Vec<_> = failed.iter().take(10).map(|outcome| format!("{outcome:?}")).collect();
        assert!(failed.is_empty(), "{} of {} failed:\n{}", failed.len(), self.outcomes.len(), shown.join("\n"));
        assert!(self.outcomes.len() >= least, "only {} requests of at least {least}", self.outcomes.len());
    }
}

fn client(plan: &Plan, shared: &Shared, end: Instant) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    let mut wire: Option<Wire> = None;
    while !shared.stop.load(Ordering::Relaxed) && Instant::now() < end {
        let number = shared.next.fetch_add(1, Ordering::Relaxed);
        if number >= plan.requests {
            break;
        }
        let post = plan.post_every != 0 && number.is_multiple_of(plan.post_every);
        let (at, fresh) = (Instant::now(), wire.is_none());
        let response = one(plan, &mut wire, number, post);
        let origin = response.as_ref().ok().and_then(|response| response.header("x-origin")?.parse().ok());
        let result = response.map(|response| (response.status, response.reason().to_owned()));
        let refused = matches!(result, Err(Broken::Connect(_)));
        outcomes.push(Outcome { number, post, at, took: at.elapsed(), fresh, result, origin });
        // Nothing listens: a short pause keeps the records bounded.
        std::thread::sleep(if refused { Duration::from_millis(20) } else { plan.pause });
    }
    outcomes
}

/// One exchange. The connection is given up after a failure, or when either side said `Connection: close`.
fn one(plan: &Plan, slot: &mut Option<Wire>, number: u64, post: bool) -> Result<crate::wire::Response, Broken> {
    let mut wire = match slot.take() {
        Some(wire) => wire,
        None => Wire::try_connect(plan.target, plan.patience)?,
    };
    let (method, body) = if post { ("POST", "twelve bytes") } else { ("GET", "") };
    let length = if post { "content-length: 12\r\n" } else { "" };
    let close = if plan.short { "connection: close\r\n" } else { "" };
    let head = format!(
        "{method} {} HTTP/1.1\r\nhost: load.test\r\nx-id: {}{number}\r\n{length}{close}{}\r\n{body}",
        plan.path, plan.tag, plan.headers
    );
    // A write that fails may still have an answer waiting (an early final response); reading tells.
    let sent = wire.send(head);
    let response = wire.response()?;
    let keep = sent.is_ok() && !plan.short && !response.head.has("connection", "close");
    *slot = keep.then_some(wire);
    Ok(response)
}

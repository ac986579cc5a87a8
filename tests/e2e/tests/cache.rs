//! The response cache: what is stored and served by RFC 9111 and RFC 5861, and one request upstream for a thousand clients.

#[path = "cache/herd.rs"]
mod herd;
#[path = "cache/rules.rs"]
mod rules;
#[path = "cache/stale.rs"]
mod stale;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use mainstay_e2e::scripted::{Exchange, Scripted};
use mainstay_e2e::wire::Response;
use mainstay_e2e::{Mainstay, Wire};

/// What an origin answers to the request with this head: everything but the body's length.
type Script = dyn Fn(&mainstay_e2e::http::Head) -> (String, Vec<u8>) + Send + Sync;

/// An origin whose answers a test decides, and counts.
struct Counting {
    origin: Scripted,
    count: Arc<AtomicUsize>,
    broken: Arc<AtomicBool>,
}

impl Counting {
    /// `script` answers each request with head lines and a body; the status line is the first line.
    fn start(script: impl Fn(&mainstay_e2e::http::Head) -> (String, Vec<u8>) + Send + Sync + 'static) -> Self {
        Self::slow(Duration::ZERO, script)
    }

    /// The same, after a while.
    fn slow(
        delay: Duration,
        script: impl Fn(&mainstay_e2e::http::Head) -> (String, Vec<u8>) + Send + Sync + 'static,
    ) -> Self {
        let (count, broken) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (counted, fails, script) = (Arc::clone(&count), Arc::clone(&broken), Arc::new(script) as Arc<Script>);
        let origin =
            Scripted::start(move |mut exchange| serve(&mut exchange, delay, &counted, &fails, script.as_ref()));
        Self { origin, count, broken }
    }

    fn address(&self) -> SocketAddr {
        self.origin.address()
    }

    /// Requests that reached it.
    fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    /// Has it answer 503 from now on, or not any more.
    fn fail(&self, fails: bool) {
        self.broken.store(fails, Ordering::SeqCst);
    }
}

fn serve(exchange: &mut Exchange, delay: Duration, count: &AtomicUsize, fails: &AtomicBool, script: &Script) {
    while let Some((head, _body)) = exchange.request() {
        count.fetch_add(1, Ordering::SeqCst);
        std::thread::sleep(delay);
        if fails.load(Ordering::SeqCst) {
            exchange.send("HTTP/1.1 503 Out Of Order\r\ncontent-length: 6\r\n\r\nbroken");
            continue;
        }
        let (lines, body) = script(&head);
        let bare = lines.starts_with("HTTP/1.1 304") || lines.starts_with("HTTP/1.1 204");
        let length = if bare { String::new() } else { format!("content-length: {}\r\n", body.len()) };
        exchange.send(format!("{lines}\r\n{length}\r\n"));
        if !bare && !head.line.starts_with("HEAD ") {
            exchange.send(&body);
        }
    }
}

/// One route with a cache; `cache` is the value of its key, `more` is added to the route.
fn config(listen: SocketAddr, origin: SocketAddr, cache: &str, more: &str) -> String {
    format!(
        "[[listener]]\nname = \"web\"\nbind = \"{listen}\"\n\
         [[route]]\nname = \"all\"\nservice = \"app\"\ncache = {cache}\ntimeout = \"10s\"\n{more}\n\
         [[service]]\nname = \"app\"\nendpoints = [\"{origin}\"]\nhealth = \"off\"\noutlier = \"off\"\n"
    )
}

/// A GET with further header lines.
fn get(listen: SocketAddr, path: &str, lines: &[&str]) -> Response {
    request(listen, "GET", path, lines)
}

fn request(listen: SocketAddr, method: &str, path: &str, lines: &[&str]) -> Response {
    let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    Wire::connect(listen)
        .exchange(format!("{method} {path} HTTP/1.1\r\nHost: shop\r\n{lines}Connection: close\r\n\r\n"))
}

/// What the cache says about an answer.
fn status_of(response: &Response) -> &str {
    response.header("cache-status").unwrap_or("none")
}

fn is_hit(response: &Response) -> bool {
    status_of(response).contains("; hit")
}

fn results(gateway: &Mainstay, result: &str) -> f64 {
    gateway.metric("mainstay_cache_requests_total", &[&format!("\"{result}\"")])
}

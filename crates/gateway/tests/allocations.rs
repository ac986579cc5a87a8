//! A request on a kept-alive connection, of HTTP/1.1 or HTTP/2, allocates nothing in its worker, with health checks, passive
//! ejection, retries, metrics and the access log on as by default. Only the log's batches, of some hundred lines each, are
//! handed over.

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use mainstay_core::adaptive;
use mainstay_core::criticality::Criticality;
use mainstay_core::limiter;
use mainstay_core::sampling::{Policy, Rate};
use mainstay_gateway::Gateway;
use mainstay_gateway::spec::{
    AccessLog, Address, Admission, Bulkhead, ByCriticality, Connections, Deadline, Endpoint, Events, Http, Http2,
    Listener, Node, Protocol, Queue, RateKey, RateLimit, Resolver, Route, Scope, Service, Shutdown, Spec, Telemetry,
};

struct Counting;

/// The worker's thread, once it is known.
static WORKER: AtomicI64 = AtomicI64::new(-1);
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
/// Bytes that the worker holds more, or less, than when it was known.
static HELD: AtomicI64 = AtomicI64::new(0);

/// Whether this is the worker's thread.
fn is_worker() -> bool {
    let worker = WORKER.load(Ordering::Relaxed);
    // SAFETY: `gettid` has no preconditions.
    worker >= 0 && i64::from(unsafe { libc::gettid() }) == worker
}

// SAFETY: every call goes to the system's allocator unchanged; counting asks the kernel for the thread's number and
// touches atomics, neither of which allocates.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if is_worker() {
            ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
            HELD.fetch_add(layout.size() as i64, Ordering::Relaxed);
        }
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        if is_worker() {
            HELD.fetch_sub(layout.size() as i64, Ordering::Relaxed);
        }
        // SAFETY: the pointer came from `System.alloc` above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Answers every request on every connection with one byte, and says how busy it is.
fn origin() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut buffer = [0; 4096];
                while let Ok(1..) = stream.read(&mut buffer) {
                    let load = "Endpoint-Load-Metrics: TEXT cpu_utilization=0.5,mem_utilization=0.25\r\n";
                    let answer = ["HTTP/1.1 200 OK\r\nContent-Length: 1\r\nServer: o\r\n", load, "\r\nx"].concat();
                    if stream.write_all(answer.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

/// Every limit, none of which is reached.
fn limits() -> Admission {
    let rate = limiter::Rate::new(1_000_000, Duration::from_secs(1), 1_000_000);
    let limit = |key| RateLimit { rate, key, keys_max: 1000, scope: Scope::Cluster };
    Admission {
        deadline: Some(Deadline { header: "x-mainstay-deadline-ms".to_owned() }),
        rate_limits: vec![
            limit(RateKey::All),
            limit(RateKey::Client),
            limit(RateKey::Path),
            limit(RateKey::Header("accept".to_owned())),
        ],
        criticality: Some(ByCriticality { default: Criticality::High, header: "x-mainstay-criticality".to_owned() }),
        bulkhead: Some(Bulkhead { concurrency: 100 }),
        adaptive: Some(adaptive::Policy::default()),
        queue: Queue { size: 50, timeout: Duration::from_secs(1) },
    }
}

/// Traces, and everything that a line can hold; one in a hundred requests leaves one.
fn telemetry() -> Telemetry {
    let events = Events {
        policy: Policy { rate: Rate(100), slow: Duration::from_secs(60) },
        max_per_second: Some(1_000_000),
        headers: vec!["accept".to_owned(), "user-agent".to_owned()],
        query: true,
        ..Events::default()
    };
    Telemetry { events, traces: true }
}

fn spec(
    bind: SocketAddr,
    endpoint: SocketAddr,
    log: AccessLog,
    (admission, telemetry): (Admission, Telemetry),
) -> Spec {
    let second = Duration::from_secs(1);
    Spec {
        acme: Vec::new(),
        node: Node {
            name: "test".to_owned(),
            zone: None,
            workers: 1,
            access_log: log,
            explain: 1024,
            shutdown: Shutdown { lead: Duration::ZERO, deadline: 5 * second },
            resolver: Resolver::default(),
            cache_memory: 1 << 20,
            data_dir: None,
        },
        listeners: vec![Listener {
            name: "web".to_owned(),
            bind,
            floating: false,
            proxy_protocol: None,
            tls: None,
            max_connections: 100,
            protocol: Protocol::Http(Http {
                trusted_proxies: Vec::new(),
                head_timeout: 10 * second,
                keep_alive_timeout: 60 * second,
                body_timeout: 30 * second,
                max_head_bytes: 64 * 1024,
                max_headers: 100,
                redirect_https: None,
                http2: Some(Http2::default()),
            }),
        }],
        routes: vec![Route { listeners: vec!["web".to_owned()], admission, ..Route::new("all", "origin") }],
        services: vec![Service {
            endpoints: vec![Endpoint::new(Address::Socket(endpoint))],
            connections: Connections { max_idle: 16, ..Connections::default() },
            ..Service::new("origin")
        }],
        cells: Vec::new(),
        telemetry,
    }
}

fn free_port() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("bound")
}

/// With a trace, as most requests of other services have one.
const HEAD: &str = "GET /path?query=1&token=2 HTTP/1.1\r\nHost: example.com\r\nAccept: */*\r\n\
     traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\ntracestate: a=1,b=2\r\n\r\n";

fn request(stream: &mut TcpStream) {
    stream.write_all(HEAD.as_bytes()).expect("sent");
    let mut response = [0; 1024];
    let mut length = 0;
    while !response[..length].ends_with(b"\r\n\r\nx") {
        let read = stream.read(&mut response[length..]).expect("answered");
        assert!(read > 0, "closed: {}", String::from_utf8_lossy(&response[..length]));
        length += read;
    }
    assert!(response.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&response[..length]));
}

fn worker_thread() -> i64 {
    let threads = std::fs::read_dir("/proc/self/task").expect("threads");
    let is_worker = |id: &i64| {
        std::fs::read_to_string(format!("/proc/self/task/{id}/comm")).is_ok_and(|name| name.trim() == "worker-0")
    };
    let mut ids = threads.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i64>().ok());
    ids.find(is_worker).expect("the worker's thread")
}

/// A whole frame of HTTP/2: its kind, its flags, its stream, and its payload, which stands in `into`.
fn frame<'a>(stream: &mut TcpStream, into: &'a mut [u8]) -> (u8, u8, u32, &'a [u8]) {
    let mut head = [0; 9];
    stream.read_exact(&mut head).expect("a frame");
    let [a, b, c, kind, flags, id @ ..] = head;
    let payload = &mut into[..u32::from_be_bytes([0, a, b, c]) as usize];
    stream.read_exact(payload).expect("its payload");
    (kind, flags, u32::from_be_bytes(id), payload)
}

/// The preface of HTTP/2, SETTINGS, and the acknowledgement of what the gateway will say of its own.
const GREETING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\0\x04\x01\0\0\0\0";

const END_STREAM: u8 = 1;

/// Asks for `GET /` of `http` at `example.com`, on stream `id`.
fn ask_http2(stream: &mut TcpStream, id: u32) {
    const BLOCK: &[u8] = b"\x82\x86\x84\x01\x0bexample.com";
    let bytes = [&[0, 0, BLOCK.len() as u8, 1, 4 | END_STREAM][..], &id.to_be_bytes(), BLOCK].concat();
    stream.write_all(&bytes).expect("sent");
}

/// Reads to the end of the next answer.
fn answer_http2(stream: &mut TcpStream) {
    let mut bytes = [0; 16_384];
    loop {
        let (kind, flags, _id, payload) = frame(stream, &mut bytes);
        assert!(!matches!(kind, 3 | 7), "refused: {payload:?}");
        if kind == 0 && flags & END_STREAM != 0 {
            return assert_eq!(payload, b"x");
        }
    }
}

const REQUESTS: u64 = 5000;
/// Two buffers and a message for each batch of 32 KiB of the log, a batch for at most 250 ms, and room for tokio's own timers.
const LOG_AND_TIMERS: u64 = 400;

/// Held while a worker is watched: one at a time is counted.
static WATCHED: Mutex<()> = Mutex::new(());

/// Allocations of a worker that is asked [`REQUESTS`] times on one connection, which begins with `greeting`.
fn allocations(
    target: AccessLog,
    settings: (Admission, Telemetry),
    greeting: &[u8],
    mut ask: impl FnMut(&mut TcpStream),
) -> u64 {
    let _alone = WATCHED.lock().unwrap_or_else(PoisonError::into_inner);
    let bind = free_port();
    let gateway = Gateway::start(spec(bind, origin(), target, settings)).expect("started");
    let mut stream = TcpStream::connect(bind).expect("connected");
    stream.write_all(greeting).expect("sent");
    for _warm in 0..100 {
        ask(&mut stream);
    }
    WORKER.store(worker_thread(), Ordering::Relaxed);
    ALLOCATIONS.store(0, Ordering::Relaxed);
    for _request in 0..REQUESTS {
        ask(&mut stream);
    }
    let count = ALLOCATIONS.load(Ordering::Relaxed);
    WORKER.store(-1, Ordering::Relaxed);
    drop(stream);
    assert_eq!(gateway.shutdown(), 0);
    count
}

#[test]
fn a_kept_alive_request_allocates_nothing() {
    let log = tempfile::NamedTempFile::new().expect("a file");
    let file = || AccessLog::File(log.path().to_owned());
    for (target, settings) in [
        (AccessLog::Off, Default::default()),
        (file(), Default::default()),
        (file(), (limits(), Telemetry::default())),
        (file(), (limits(), telemetry())),
        (file(), (limits(), Telemetry { traces: true, ..Telemetry::default() })),
    ] {
        let count = allocations(target, settings, b"", request);
        assert!(count <= LOG_AND_TIMERS, "{count} allocations for {REQUESTS} requests");
    }
}

#[test]
fn a_request_over_http2_allocates_nothing() {
    let log = tempfile::NamedTempFile::new().expect("a file");
    for target in [AccessLog::Off, AccessLog::File(log.path().to_owned())] {
        let mut ids = (1..).step_by(2);
        let ask = |stream: &mut TcpStream| {
            ask_http2(stream, ids.next().expect("there is no end"));
            answer_http2(stream);
        };
        let count = allocations(target, Default::default(), GREETING, ask);
        assert!(count <= LOG_AND_TIMERS, "{count} allocations for {REQUESTS} requests");
    }
}

#[test]
fn an_http2_connection_without_requests_gives_memory_back() {
    const AT_ONCE: u32 = 64;
    // Answers of a hundred bytes each wait to be written together, and a connection that rests keeps room for 2 KiB.
    const GIVEN_BACK: i64 = 4096;
    let _alone = WATCHED.lock().unwrap_or_else(PoisonError::into_inner);
    let bind = free_port();
    let gateway = Gateway::start(spec(bind, origin(), AccessLog::Off, Default::default())).expect("started");
    let mut stream = TcpStream::connect(bind).expect("connected");
    stream.write_all(GREETING).expect("sent");
    WORKER.store(worker_thread(), Ordering::Relaxed);
    (0..AT_ONCE).for_each(|nth| ask_http2(&mut stream, 2 * nth + 1));
    (0..AT_ONCE).for_each(|_nth| answer_http2(&mut stream));
    let busy = HELD.load(Ordering::Relaxed);
    let begin = Instant::now();
    while HELD.load(Ordering::Relaxed) > busy - GIVEN_BACK {
        assert!(begin.elapsed() < Duration::from_secs(30), "it still holds {}", HELD.load(Ordering::Relaxed) - busy);
        std::thread::sleep(Duration::from_millis(50));
    }
    WORKER.store(-1, Ordering::Relaxed);
    drop(stream);
    assert_eq!(gateway.shutdown(), 0);
}

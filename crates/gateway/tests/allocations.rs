//! A request on a kept-alive connection allocates nothing in its worker, with health checks, passive ejection, retries,
//! metrics and the access log on as by default. Only the log's batches, of some hundred lines each, are handed over.

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use mainstay_core::adaptive;
use mainstay_core::criticality::Criticality;
use mainstay_core::limiter;
use mainstay_core::sampling::{Policy, Rate};
use mainstay_gateway::Gateway;
use mainstay_gateway::spec::{
    AccessLog, Address, Admission, Bulkhead, ByCriticality, Connections, Deadline, Endpoint, Events, Http, Listener,
    Node, Protocol, Queue, RateKey, RateLimit, Resolver, Route, Scope, Service, Shutdown, Spec, Telemetry,
};

struct Counting;

/// The worker's thread, once it is known.
static WORKER: AtomicI64 = AtomicI64::new(-1);
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call goes to the system's allocator unchanged; counting asks the kernel for the thread's number and
// touches atomics, neither of which allocates.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let worker = WORKER.load(Ordering::Relaxed);
        // SAFETY: `gettid` has no preconditions.
        if worker >= 0 && i64::from(unsafe { libc::gettid() }) == worker {
            ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        }
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
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
                http2: None,
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

#[test]
fn a_kept_alive_request_allocates_nothing() {
    const REQUESTS: u64 = 5000;
    // Two buffers and a message for each batch of 32 KiB, a batch for at most 250 ms, and room for tokio's own timers.
    const LOG_AND_TIMERS: u64 = 400;
    let log = tempfile::NamedTempFile::new().expect("a file");
    let file = || AccessLog::File(log.path().to_owned());
    for (target, settings) in [
        (AccessLog::Off, Default::default()),
        (file(), Default::default()),
        (file(), (limits(), Telemetry::default())),
        (file(), (limits(), telemetry())),
        (file(), (limits(), Telemetry { traces: true, ..Telemetry::default() })),
    ] {
        let bind = free_port();
        let gateway = Gateway::start(spec(bind, origin(), target, settings)).expect("started");
        let mut stream = TcpStream::connect(bind).expect("connected");
        for _warm in 0..100 {
            request(&mut stream);
        }
        WORKER.store(worker_thread(), Ordering::Relaxed);
        ALLOCATIONS.store(0, Ordering::Relaxed);
        for _request in 0..REQUESTS {
            request(&mut stream);
        }
        let count = ALLOCATIONS.load(Ordering::Relaxed);
        WORKER.store(-1, Ordering::Relaxed);
        assert!(count <= LOG_AND_TIMERS, "{count} allocations for {REQUESTS} requests");
        drop(stream);
        assert_eq!(gateway.shutdown(), 0);
    }
}

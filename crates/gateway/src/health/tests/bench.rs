//! Servers that behave as told, and a driver over them.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use mainstay_core::health::{Policy, State as Health};
use mainstay_core::outlier;
use mainstay_runtime::clock::Clock;
use mainstay_runtime::journal::Journal;
use mainstay_runtime::socket::listen_tcp;
use mainstay_runtime::thread::spawn_local_runtime;
use rustls::ClientConfig;

use super::super::driver::Driver;
use super::super::names::Names;
use crate::spec;
use crate::state::{Endpoint, Service, State};

pub(super) const QUICK: Policy =
    Policy { interval: Duration::from_millis(100), timeout: Duration::from_millis(100), unhealthy: 3, healthy: 2 };

/// How a server answers.
#[derive(Clone, Copy)]
pub(super) enum Answers {
    With(&'static str),
    /// Accepts, and never says a word.
    Never,
}

pub(super) const WELL: Answers = Answers::With("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
pub(super) const ILL: Answers = Answers::With("HTTP/1.1 500 Internal Server Error\r\ncontent-length: 3\r\n\r\nill");

/// A server that leaves when dropped.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) asked: Arc<AtomicUsize>,
    leave: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(super) fn new(answers: Answers) -> Self {
        Self::at("127.0.0.1:0".parse().unwrap(), answers)
    }

    pub(super) fn at(address: SocketAddr, answers: Answers) -> Self {
        let listener = listen_tcp(address, 1024, false).unwrap();
        let address = listener.local_addr().unwrap();
        let (leave, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (told, count) = (Arc::clone(&leave), Arc::clone(&asked));
        let thread = std::thread::spawn(move || serve(&listener, answers, &told, &count));
        Self { address, asked, leave, thread: Some(thread) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.leave.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

fn serve(listener: &TcpListener, answers: Answers, leave: &AtomicBool, asked: &AtomicUsize) {
    let mut silent = Vec::new();
    while !leave.load(Ordering::Acquire) {
        let Ok((mut stream, _peer)) = listener.accept() else {
            std::thread::sleep(Duration::from_millis(2));
            continue;
        };
        asked.fetch_add(1, Ordering::Relaxed);
        match answers {
            Answers::With(response) => answer(&mut stream, response),
            Answers::Never => silent.push(stream),
        }
    }
}

fn answer(stream: &mut TcpStream, response: &str) {
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    // A probe that checks only the connection sends nothing, which is no concern of the server's.
    let _request = stream.read(&mut [0; 1024]);
    let _sent = stream.write_all(response.as_bytes());
}

/// A driver on a thread of its own; it ends when this is dropped.
pub(super) struct Bench {
    pub(super) driver: Driver,
    pub(super) journal: Journal,
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::with_names(Names::new(&spec::Resolver::default()))
    }

    pub(super) fn with_names(names: Names) -> Self {
        let journal = Journal::default();
        let (driver, runner) = Driver::start_with(Clock::new(), names, journal.clone());
        let _ends_with_the_driver = spawn_local_runtime("test-control", move || runner.run()).unwrap();
        Self { driver, journal }
    }

    pub(super) fn apply(&self, services: &[&Arc<Service>]) {
        self.apply_with(services, HashMap::new());
    }

    pub(super) fn apply_with(&self, services: &[&Arc<Service>], tls: HashMap<String, Arc<ClientConfig>>) {
        let state = State {
            databases: Vec::new(),
            telemetry: Arc::default(),
            generation: 1,
            applied_at: SystemTime::now(),
            listeners: Vec::new(),
            routes: Vec::new(),
            services: services.iter().map(|service| Arc::clone(service)).collect(),
            resolver: spec::Resolver::default(),
            cells: None,
            cache: None,
            sessions: None,
        };
        self.driver.apply(Arc::new(state), tls);
    }
}

pub(super) fn http_check(policy: Policy) -> Option<spec::HealthCheck> {
    let probe =
        spec::Probe::Http { path: "/health".to_owned(), host: None, expect: vec![(200, 299)], tls: false, json: None };
    Some(spec::HealthCheck { policy, probe, ..spec::HealthCheck::default() })
}

pub(super) fn tcp_check(policy: Policy) -> Option<spec::HealthCheck> {
    Some(spec::HealthCheck { policy, probe: spec::Probe::Tcp, ..spec::HealthCheck::default() })
}

pub(super) fn endpoint(address: SocketAddr) -> Arc<Endpoint> {
    endpoint_of(spec::Address::Socket(address))
}

pub(super) fn endpoint_of(address: spec::Address) -> Arc<Endpoint> {
    Arc::new(Endpoint::new(spec::Endpoint::new(address), Health::Unknown, 1))
}

pub(super) fn service(health: Option<spec::HealthCheck>, endpoints: &[&Arc<Endpoint>]) -> Arc<Service> {
    service_with(health, None, endpoints)
}

pub(super) fn service_with(
    health: Option<spec::HealthCheck>,
    outlier: Option<outlier::Policy>,
    endpoints: &[&Arc<Endpoint>],
) -> Arc<Service> {
    let spec = spec::Service { health, outlier, ..spec::Service::new("checkout") };
    let endpoints = endpoints.iter().map(|endpoint| Arc::clone(endpoint)).collect();
    Arc::new(Service::new(spec, endpoints, Vec::new(), 1, None, Clock::new().now()))
}

pub(super) fn reason(endpoint: &Endpoint) -> String {
    endpoint.reason.lock().unwrap().clone()
}

pub(super) fn becomes(endpoint: &Endpoint, health: Health) {
    eventually(&format!("{} becomes {health:?}", endpoint.name), || endpoint.health() == health);
}

pub(super) fn eventually(what: &str, condition: impl Fn() -> bool) {
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(30) {
        if condition() {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("not within 30 s: {what}");
}

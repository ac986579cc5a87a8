//! A backend of limited capacity: so many workers, each busy with one request for a while, and a queue without end in front
//! of them. It works on what nobody waits for any more, as real servers do; that is how overload turns into collapse.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use mainstay_e2e::http::{Head, Reader};

/// The backend; it serves until the test's process ends.
#[derive(Clone, Debug)]
pub struct Backend {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    service: Duration,
    workers: usize,
    line: Mutex<Line>,
    moved: Condvar,
    served: AtomicU64,
    busy_nanos: AtomicU64,
    /// Requests of `/upload` do not end before this is set.
    uploads_end: AtomicBool,
}

/// Who waits for a worker: first come, first served.
#[derive(Debug, Default)]
struct Line {
    free: usize,
    next_ticket: u64,
    next_served: u64,
}

impl Backend {
    pub fn start(workers: usize, service: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let shared = Arc::new(Shared {
            service,
            workers,
            line: Mutex::new(Line { free: workers, ..Line::default() }),
            moved: Condvar::new(),
            served: AtomicU64::new(0),
            busy_nanos: AtomicU64::new(0),
            uploads_end: AtomicBool::new(false),
        });
        let backend = Self { address, shared: Arc::clone(&shared) };
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                let serve = move || serve(&shared, stream);
                std::thread::Builder::new().stack_size(128 * 1024).spawn(serve).expect("a thread");
            }
        });
        backend
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Requests that workers have finished.
    pub fn served(&self) -> u64 {
        self.shared.served.load(Ordering::Relaxed)
    }

    /// Requests a second that the workers can serve at most, going by what a request has really taken so far: on a busy
    /// machine that is more than was asked for.
    pub fn capacity(&self) -> f64 {
        let busy = Duration::from_nanos(self.shared.busy_nanos.load(Ordering::Relaxed)).as_secs_f64();
        self.shared.workers as f64 * self.served() as f64 / busy.max(1e-9)
    }

    /// Lets those uploads end that are stuck.
    pub fn end_uploads(&self) {
        self.shared.uploads_end.store(true, Ordering::Relaxed);
    }
}

fn serve(shared: &Shared, stream: TcpStream) {
    let _no_delay = stream.set_nodelay(true);
    let mut reader = Reader::new(stream);
    while let Ok(Some(bytes)) = reader.head() {
        let head = Head::parse(&bytes).expect("the gateway sends whole heads");
        let framing = head.request_framing().expect("a framing");
        if reader.body(framing, 1024).is_err() {
            return;
        }
        work(shared, head.line.contains("/upload"));
        if reader.stream().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").is_err() {
            return;
        }
    }
}

fn work(shared: &Shared, is_upload: bool) {
    let mut line = shared.line.lock().expect("nobody panics");
    let ticket = line.next_ticket;
    line.next_ticket += 1;
    while line.free == 0 || line.next_served != ticket {
        line = shared.moved.wait(line).expect("nobody panics");
    }
    line.next_served += 1;
    line.free -= 1;
    drop(line);
    shared.moved.notify_all();
    let began = Instant::now();
    if is_upload {
        while !shared.uploads_end.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(10));
        }
    } else {
        std::thread::sleep(shared.service);
        let busy = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        shared.busy_nanos.fetch_add(busy, Ordering::Relaxed);
        shared.served.fetch_add(1, Ordering::Relaxed);
    }
    shared.line.lock().expect("nobody panics").free += 1;
    shared.moved.notify_all();
}

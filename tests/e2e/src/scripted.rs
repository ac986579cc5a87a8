//! A backend inside the test, for answers that no honest server gives and for looking at the raw bytes that arrive.

use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::address;
use crate::http::{Body, Head, Reader};

/// A listening socket whose connections are each handed to a function, on a thread of their own.
#[derive(Debug)]
pub struct Scripted {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<Vec<String>>>,
}

/// One connection to it.
#[derive(Debug)]
pub struct Exchange {
    reader: Reader<TcpStream>,
    seen: Arc<Mutex<Vec<String>>>,
    /// Number of the connection, from 0.
    pub serial: usize,
}

impl Scripted {
    /// Starts one. `serve` is called with each connection and may block.
    ///
    /// # Panics
    /// If the address is taken.
    pub fn start(serve: impl Fn(Exchange) + Send + Sync + 'static) -> Self {
        let address = address::free();
        let listener = TcpListener::bind(address).expect("a free address");
        // Hundreds may connect at once, which the backlog of the standard library does not hold.
        socket2::SockRef::from(&listener).listen(4096).expect("a longer backlog");
        let (stop, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (halt, notes, serve) = (Arc::clone(&stop), Arc::clone(&seen), Arc::new(serve));
        std::thread::spawn(move || {
            for (serial, stream) in listener.incoming().enumerate() {
                if halt.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a read limit");
                stream.set_nodelay(true).expect("no delay");
                let exchange = Exchange { reader: Reader::new(stream), seen: Arc::clone(&notes), serial };
                let serve = Arc::clone(&serve);
                std::thread::spawn(move || serve(exchange));
            }
        });
        Self { address, stop, seen }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What [`Exchange::note`] and [`Exchange::request`] left, in order.
    ///
    /// # Panics
    /// If a connection's thread panicked while it noted something.
    pub fn seen(&self) -> Vec<String> {
        self.seen.lock().expect("no thread panics with the lock").clone()
    }

    /// Forgets what was seen.
    ///
    /// # Panics
    /// If a connection's thread panicked while it noted something.
    pub fn forget(&self) {
        self.seen.lock().expect("no thread panics with the lock").clear();
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Wakes the accepting thread, so that it sees the flag.
        drop(TcpStream::connect(self.address));
    }
}

impl Exchange {
    /// Leaves a note for [`Scripted::seen`].
    ///
    /// # Panics
    /// If another connection's thread panicked while it noted something.
    pub fn note(&self, what: impl Into<String>) {
        self.seen.lock().expect("no thread panics with the lock").push(what.into());
    }

    /// The next request, strictly parsed and noted as its request line. `None` at the end of the connection or when it is
    /// malformed, which is noted as `MALFORMED ...`.
    pub fn request(&mut self) -> Option<(Head, Body)> {
        let bytes = self.reader.head().ok().flatten()?;
        let parsed = Head::parse(&bytes).and_then(|head| Ok((head.request_framing()?, head)));
        let (framing, head) = match parsed {
            Ok(parsed) => parsed,
            Err(what) => {
                self.note(format!("MALFORMED {what}: {:?}", String::from_utf8_lossy(&bytes)));
                return None;
            }
        };
        self.note(head.line.clone());
        match self.reader.body(framing, 1 << 20) {
            Ok(body) => Some((head, body)),
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                self.note(format!("MALFORMED body: {error}"));
                None
            }
            Err(_incomplete) => None,
        }
    }

    /// The next head, without its body.
    pub fn head(&mut self) -> Option<Head> {
        let bytes = self.reader.head().ok().flatten()?;
        Head::parse(&bytes).ok()
    }

    /// Sends bytes as they are; a peer that has left is no fault here.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _peer_left = self.reader.stream().write_all(bytes.as_ref());
    }

    /// Sends FIN.
    pub fn finish(&mut self) {
        let _peer_left = self.reader.stream().shutdown(Shutdown::Write);
    }

    /// Waits until the peer closes, for at most 20 s.
    pub fn wait_for_close(&mut self) {
        while matches!(self.reader.fill(), Ok(count) if count > 0) {}
    }

    /// How many bytes come until the peer finishes its side.
    pub fn count_to_end(&mut self) -> u64 {
        let mut total = self.reader.buffered().len() as u64;
        while let Ok(count @ 1..) = self.reader.fill() {
            total += count as u64;
            self.reader.discard();
        }
        total
    }

    /// Closes with RST.
    pub fn reset(self) {
        let socket = socket2::SockRef::from(self.reader.stream_ref());
        let _peer_left = socket.set_linger(Some(Duration::ZERO));
    }
}

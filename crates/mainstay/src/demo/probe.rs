//! Looks all the time at how many nodes accept connections for the address: never two.
//!
//! It reads the kernel's own list of listening sockets, so that it also sees one of a process that is frozen: the kernel
//! would go on accepting for it. Each node listens by one socket, as it has one worker.

use std::fs::File;
use std::io::{self, Read};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use mainstay_runtime::thread::spawn_local_runtime;
use serde::Serialize;
use tokio::time::{MissedTickBehavior, interval};

/// How often it looks.
pub(crate) const EVERY: Duration = Duration::from_millis(10);

/// The kernel's table. Those that listen come first in it.
const TABLE: &str = "/proc/net/tcp";

/// Bytes of it that are read at a time.
const CHUNK: usize = 16 << 10;

/// The state of a socket that listens.
const LISTEN: &str = "0A";

/// What it found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Holders {
    /// How often it looked.
    pub(crate) looks: u64,
    /// How often nobody listened.
    pub(crate) nobody: u64,
    /// How often more than one did.
    pub(crate) several: u64,
    /// How often the table could not be read.
    pub(crate) unreadable: u64,
}

#[derive(Debug, Default)]
struct Counts {
    looks: AtomicU64,
    nobody: AtomicU64,
    several: AtomicU64,
    unreadable: AtomicU64,
}

/// The probe that runs. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Probe {
    counts: Arc<Counts>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Probe {
    /// Starts to look at a port of 127.0.0.1.
    ///
    /// # Errors
    /// If the system refuses the thread.
    pub(crate) fn start(port: u16) -> io::Result<Self> {
        let (counts, stop) = (Arc::new(Counts::default()), Arc::new(AtomicBool::new(false)));
        let (thread_counts, thread_stop) = (Arc::clone(&counts), Arc::clone(&stop));
        let thread = spawn_local_runtime("demo-probe", move || async move {
            let mut ticks = interval(EVERY);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            while !thread_stop.load(Ordering::Acquire) {
                ticks.tick().await;
                let count = match File::open(TABLE).and_then(|table| listening(table, port)) {
                    Ok(0) => Some(&thread_counts.nobody),
                    Ok(1) => None,
                    Ok(_several) => Some(&thread_counts.several),
                    Err(_error) => Some(&thread_counts.unreadable),
                };
                thread_counts.looks.fetch_add(1, Ordering::Relaxed);
                if let Some(count) = count {
                    count.fetch_add(1, Ordering::Relaxed);
                }
            }
        })?;
        Ok(Self { counts, stop, thread: Some(thread) })
    }

    /// What was found so far.
    pub(crate) fn holders(&self) -> Holders {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Holders {
            looks: read(&self.counts.looks),
            nobody: read(&self.counts.nobody),
            several: read(&self.counts.several),
            unreadable: read(&self.counts.unreadable),
        }
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

/// Sockets of the table that listen on a port of 127.0.0.1. Reads no further than to the end of those that listen.
fn listening(mut table: impl Read, port: u16) -> io::Result<usize> {
    let wanted = format!("{:08X}:{port:04X}", u32::from_ne_bytes(Ipv4Addr::LOCALHOST.octets()));
    let mut chunk = vec![0; CHUNK];
    let (mut text, mut found) = (Vec::new(), 0);
    loop {
        let length = table.read(&mut chunk)?;
        if length == 0 {
            return Ok(found);
        }
        text.extend_from_slice(chunk.get(..length).unwrap_or_default());
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        for line in text.drain(..whole).collect::<Vec<u8>>().split(|byte| *byte == b'\n') {
            let line = String::from_utf8_lossy(line);
            let mut words = line.split_ascii_whitespace();
            let (_number, local, _remote, state) = (words.next(), words.next(), words.next(), words.next());
            match state {
                Some(LISTEN) => found += usize::from(local == Some(wanted.as_str())),
                // The heading, or nothing.
                Some("st") | None => {}
                Some(_connected) => return Ok(found),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn it_counts_who_listens_and_not_who_is_connected() {
        let text = "  sl  local_address rem_address   st tx_queue\n\
                       0: 0100007F:1F90 00000000:0000 0A 0:0\n   1: 00000000:1F90 00000000:0000 0A 0:0\n\
                       2: 0100007F:1F90 00000000:0000 0A 0:0\n   3: 0100007F:1F90 0100007F:9999 01 0:0\n";
        if cfg!(target_endian = "little") {
            assert_eq!(listening(text.as_bytes(), 8080).unwrap(), 2);
            assert_eq!(listening(text.as_bytes(), 8081).unwrap(), 0);
        }
    }

    #[test]
    fn the_kernel_lists_a_listener_until_it_is_closed() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let count = || listening(File::open(TABLE).unwrap(), port).unwrap();
        let _client = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        assert_eq!(count(), 1);
        drop(listener);
        assert_eq!(count(), 0);
    }
}

//! Resident memory of connections that do nothing.

use crate::measure;
use crate::proxy::Proxy;
use crate::report::Sample;
use anyhow::{Context as _, Result, ensure};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Connections that are made and closed before the first look, so that what a proxy allocates once is not counted.
const WARM_UP: usize = 200;

/// Opens connections one after the other, makes one request on each, leaves them open, and sees what the proxy grew by.
pub(crate) fn measure(proxy: &Proxy, connections: usize) -> Result<Sample> {
    drop(open(proxy.addresses.plain, WARM_UP)?);
    std::thread::sleep(Duration::from_secs(1));
    let before = measure::resident(proxy.pid()?)?;
    let held = open(proxy.addresses.plain, connections)
        .with_context(|| format!("while {} held idle connections", proxy.name))?;
    std::thread::sleep(Duration::from_secs(2));
    let after = measure::resident(proxy.pid()?)?;
    let open = held.iter().filter(|stream| is_open(stream)).count();
    let grown = after.saturating_sub(before) as f64;
    Ok(Sample::Idle { bytes_per_connection: grown / connections as f64, open, asked: connections })
}

fn open(address: SocketAddr, count: usize) -> Result<Vec<TcpStream>> {
    (0..count).map(|at| request(address).with_context(|| format!("connection {at}"))).collect()
}

/// A connection on which one request has been answered.
fn request(address: SocketAddr) -> Result<TcpStream> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"GET /1k HTTP/1.1\r\nHost: bench.example\r\nUser-Agent: bench\r\n\r\n")?;
    let mut buffer = [0; 4096];
    let mut have = 0;
    // The answer is a head of under 1 KiB and a body of exactly that.
    loop {
        let count = stream.read(&mut buffer[have..])?;
        ensure!(count > 0, "closed before the answer was complete");
        have += count;
        let head = memchr::memmem::find(&buffer[..have], b"\r\n\r\n");
        if head.is_some_and(|end| have >= end + 4 + 1024) {
            ensure!(buffer.starts_with(b"HTTP/1.1 200"), "refused: {}", String::from_utf8_lossy(&buffer[..64]));
            return Ok(stream);
        }
        ensure!(have < buffer.len(), "an answer that is too long");
    }
}

/// Whether the other side has neither closed nor sent anything.
fn is_open(stream: &TcpStream) -> bool {
    let waiting = stream.set_nonblocking(true).and_then(|()| stream.peek(&mut [0; 1]));
    waiting.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

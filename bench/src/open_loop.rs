//! An open-loop load: requests begin at set times, whatever became of those before.
//!
//! A load that waits for each answer before the next request asks less of a proxy just when it stalls, and so hides the
//! stall (coordinated omission). Here the time to an answer counts from the moment at which its request was due, including
//! the time in which no connection was free for it.

use crate::measure;
use anyhow::{Context as _, Result, ensure};
use rustix::event::epoll;
use rustix::time::Timespec;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::time::{Duration, Instant};

/// Requests due in this first part are made and not counted: the proxy has yet to connect to its backends.
const WARM_UP: Duration = Duration::from_millis(300);
/// How long answers are awaited after the last request was due.
const GRACE: Duration = Duration::from_secs(2);
const REQUEST: &[u8] = b"GET /1k HTTP/1.1\r\nHost: bench.example\r\nUser-Agent: bench\r\n\r\n";
/// The body of every answer.
const BODY: usize = 1024;

/// What was seen.
#[derive(Serialize, Deserialize)]
pub(crate) struct Seen {
    /// Requests that were answered and counted.
    pub answered: u64,
    /// Requests that were not answered with 200, or not in time.
    pub errors: u64,
    pub p50_us: f64,
    pub p99_us: f64,
    pub p999_us: f64,
    /// How late this program began a request although a connection was free.
    pub own_p99_us: f64,
}

/// The command that puts this load on a proxy: this program, as a process of its own.
pub(crate) fn command(address: SocketAddr, connections: usize, rate: u64, duration: Duration) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe().context("cannot find this program")?);
    command.arg("open-loop").arg(address.to_string()).arg(connections.to_string());
    command.arg(rate.to_string()).arg((duration + WARM_UP).as_secs_f64().to_string());
    // Not as a batch process: it has to interrupt the origin when a request is due.
    // SAFETY: between fork and exec only system calls are made, on memory of the child's own stack.
    unsafe {
        command.pre_exec(|| {
            libc::prctl(libc::PR_SET_TIMERSLACK, 1_000);
            measure::pin_to(measure::LOAD_CORE)
        });
    }
    Ok(command)
}

/// Makes requests until the time is over.
pub(crate) fn run(address: SocketAddr, connections: usize, rate: u64, duration: Duration) -> Result<Seen> {
    ensure!(connections > 0 && rate > 0, "connections and rate must be at least 1");
    Generator::new(address, connections, rate, duration)?.run()
}

struct Connection {
    stream: TcpStream,
    /// When the request under way was due, if one is.
    due: Option<Duration>,
    have: usize,
    buffer: [u8; 2048],
}

struct Generator {
    address: SocketAddr,
    poll: rustix::fd::OwnedFd,
    connections: Vec<Connection>,
    idle: VecDeque<usize>,
    interval: f64,
    total: u64,
    begun: u64,
    /// No connection was free for the next request when it was due: what begins late then is the proxy's doing.
    starved: bool,
    errors: u64,
    latencies: Vec<Duration>,
    lateness: Vec<Duration>,
}

impl Generator {
    fn new(address: SocketAddr, connections: usize, rate: u64, duration: Duration) -> Result<Generator> {
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let total = (rate as f64 * duration.as_secs_f64()) as u64;
        let mut generator = Generator {
            address,
            poll,
            connections: Vec::with_capacity(connections),
            idle: (0..connections).collect(),
            interval: 1.0 / rate as f64,
            total,
            begun: 0,
            starved: false,
            errors: 0,
            latencies: Vec::with_capacity(total as usize),
            lateness: Vec::with_capacity(total as usize),
        };
        for at in 0..connections {
            let connection = generator.connect(at)?;
            generator.connections.push(connection);
        }
        Ok(generator)
    }

    fn connect(&self, at: usize) -> Result<Connection> {
        let stream = TcpStream::connect_timeout(&self.address, Duration::from_secs(5))?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let data = epoll::EventData::new_u64(at as u64);
        epoll::add(&self.poll, &stream, data, epoll::EventFlags::IN)?;
        Ok(Connection { stream, due: None, have: 0, buffer: [0; 2048] })
    }

    /// When a request is due, counted from the start.
    fn due(&self, request: u64) -> Duration {
        Duration::from_secs_f64(request as f64 * self.interval)
    }

    fn run(mut self) -> Result<Seen> {
        let start = Instant::now();
        let end = self.due(self.total) + GRACE;
        let mut events = Vec::with_capacity(self.connections.len());
        // Each step ends at the next time at which a request is due, or at the end.
        while self.idle.len() < self.connections.len() || self.begun < self.total {
            let now = start.elapsed();
            if now > end {
                break;
            }
            self.begin_due(start)?;
            let next = if self.idle.is_empty() || self.begun == self.total { end } else { self.due(self.begun) };
            let wait = next.saturating_sub(start.elapsed());
            events.clear();
            let timeout = Timespec::try_from(wait).context("a wait that is too long")?;
            match epoll::wait(&self.poll, rustix::buffer::spare_capacity(&mut events), Some(&timeout)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in &events {
                self.receive(event.data.u64() as usize, start)?;
            }
        }
        Ok(self.finish(start.elapsed()))
    }

    /// Begins every request that is due, as far as connections are free.
    fn begin_due(&mut self, start: Instant) -> Result<()> {
        while self.begun < self.total && !self.idle.is_empty() {
            let (due, now) = (self.due(self.begun), start.elapsed());
            let Some(late) = now.checked_sub(due) else {
                self.starved = false;
                return Ok(());
            };
            let Some(at) = self.idle.pop_front() else { break };
            self.begun += 1;
            if !self.starved {
                self.lateness.push(late);
            }
            let connection = &mut self.connections[at];
            connection.due = Some(due);
            connection.have = 0;
            if !matches!(connection.stream.write(REQUEST), Ok(count) if count == REQUEST.len()) {
                self.lost(at)?;
            }
        }
        self.starved |= self.idle.is_empty();
        Ok(())
    }

    /// Takes what has come on a connection.
    fn receive(&mut self, at: usize, start: Instant) -> Result<()> {
        let connection = &mut self.connections[at];
        match connection.stream.read(&mut connection.buffer[connection.have..]) {
            Ok(count) if count > 0 && connection.due.is_some() => connection.have += count,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => return Ok(()),
            Ok(_) | Err(_) => return self.lost(at),
        }
        let have = &connection.buffer[..connection.have];
        let complete = memchr::memmem::find(have, b"\r\n\r\n").is_some_and(|end| have.len() == end + 4 + BODY);
        if complete && have.starts_with(b"HTTP/1.1 200 ") {
            let due = connection.due.take().unwrap_or_default();
            self.idle.push_back(at);
            if due >= WARM_UP {
                self.latencies.push(start.elapsed().saturating_sub(due));
            }
        } else if complete || have.len() == connection.buffer.len() {
            return self.lost(at);
        }
        Ok(())
    }

    /// Replaces a connection that broke or on which something else than the answer came.
    fn lost(&mut self, at: usize) -> Result<()> {
        if self.connections[at].due.is_some() {
            self.errors += 1;
            self.idle.push_back(at);
        }
        ensure!(self.errors < 1_000, "a thousand requests failed");
        self.connections[at] = self.connect(at)?;
        Ok(())
    }

    fn finish(mut self, now: Duration) -> Seen {
        let answered = self.latencies.len() as u64;
        // What was never answered, or never begun, has taken at least until now.
        let open: Vec<Duration> = self.connections.iter().filter_map(|it| it.due).collect();
        let never: Vec<Duration> = (self.begun..self.total).map(|request| self.due(request)).collect();
        self.errors += (open.len() + never.len()) as u64;
        self.latencies.extend(open.iter().chain(&never).map(|due| now.saturating_sub(*due)));
        self.latencies.sort_unstable();
        self.lateness.sort_unstable();
        Seen {
            answered,
            errors: self.errors,
            p50_us: quantile_us(&self.latencies, 0.5),
            p99_us: quantile_us(&self.latencies, 0.99),
            p999_us: quantile_us(&self.latencies, 0.999),
            own_p99_us: quantile_us(&self.lateness, 0.99),
        }
    }
}

/// Of values in order, that which a share of them do not exceed.
fn quantile_us(sorted: &[Duration], share: f64) -> f64 {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).map_or(0.0, |it| it.as_secs_f64() * 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn quantiles_are_values_that_were_seen() {
        let values: Vec<Duration> = (1..=1000).map(Duration::from_micros).collect();
        assert_eq!(
            [0.5, 0.99, 0.999, 1.0].map(|share| quantile_us(&values, share).round()),
            [500.0, 990.0, 999.0, 1000.0]
        );
        assert_eq!(quantile_us(&[], 0.99), 0.0);
    }

    /// Answers on every connection, except that for a while it does not.
    fn serve(listener: &TcpListener, connections: usize, stall: std::ops::Range<Duration>) {
        let answer = [b"HTTP/1.1 200 OK\r\nContent-Length: 1024\r\n\r\n".as_slice(), &[b'x'; BODY]].concat();
        let start = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..connections {
                let (mut stream, _) = listener.accept().unwrap();
                let (answer, stall) = (&answer, stall.clone());
                scope.spawn(move || {
                    let mut request = vec![0; REQUEST.len()];
                    while stream.read_exact(&mut request).is_ok() {
                        if stall.contains(&start.elapsed()) {
                            std::thread::sleep(stall.end.saturating_sub(start.elapsed()));
                        }
                        stream.write_all(answer).unwrap();
                    }
                });
            }
        });
    }

    #[test]
    fn a_stall_counts_for_every_request_that_was_due_in_it() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen = std::thread::scope(|scope| {
            scope.spawn(|| serve(&listener, 4, Duration::from_millis(1000)..Duration::from_millis(1600)));
            run(address, 4, 200, Duration::from_secs(3)).unwrap()
        });
        assert_eq!(seen.errors, 0);
        // In the stall of 0.6 s, 120 of 540 requests were due and only four were under way: a load that waits for its
        // answers would have found a stall in under one of a hundred.
        assert!(seen.answered >= 500, "{}", seen.answered);
        assert!(seen.p99_us > 400_000.0, "{}", seen.p99_us);
        assert!(seen.p50_us < 300_000.0, "{}", seen.p50_us);
    }
}

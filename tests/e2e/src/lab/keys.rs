//! A client that writes numbered keys into a Redis and notes which were acknowledged, and when.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{enter, within};

/// Between two keys.
const PERIOD: Duration = Duration::from_millis(20);
/// No answer is waited for longer; whether such a key was written is not known.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// What the servers of a lab have.
pub const PASSWORD: &str = "secret";

/// A connection that has logged in.
#[derive(Debug)]
pub struct Client {
    reader: BufReader<TcpStream>,
}

impl Client {
    /// Connects from the namespace of the calling thread.
    pub fn open(server: SocketAddr) -> Option<Self> {
        let stream = TcpStream::connect_timeout(&server, ANSWER_WITHIN).ok()?;
        stream.set_read_timeout(Some(ANSWER_WITHIN)).ok()?;
        stream.set_nodelay(true).ok()?;
        let mut client = Self { reader: BufReader::new(stream) };
        client.ask(&format!("AUTH {PASSWORD}")).filter(|answer| answer == "OK")?;
        Some(client)
    }

    /// The answer to a command; of a list of any kind only how long it is. `None`: a refusal, or none in time.
    pub fn ask(&mut self, command: &str) -> Option<String> {
        self.reader.get_mut().write_all(format!("{command}\r\n").as_bytes()).ok()?;
        let mut line = String::new();
        self.reader.read_line(&mut line).ok()?;
        let rest = line.get(1..)?.trim_end().to_owned();
        match line.as_bytes().first()? {
            b'+' | b':' => Some(rest),
            b'$' => {
                let mut bytes = vec![0; rest.parse::<usize>().ok()? + 2];
                self.reader.read_exact(&mut bytes).ok()?;
                Some(String::from_utf8_lossy(&bytes).trim_end().to_owned())
            }
            _ => None,
        }
    }
}

/// What a server answers to one client in a namespace.
pub fn ask(namespace: &str, server: SocketAddr, command: &str) -> Option<String> {
    within(namespace, || Client::open(server)?.ask(command))
}

/// The writer. Dropping it ends it.
#[derive(Debug)]
pub struct Writer {
    acknowledged: Arc<Mutex<Vec<(u64, Instant)>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Writes from a namespace to whichever of these servers takes writes, and to the next one after a failure.
    pub fn start(namespace: &str, servers: &[SocketAddr], first: u64) -> Self {
        let (acknowledged, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (namespace, servers) = (namespace.to_owned(), servers.to_vec());
        let (noted, stopped) = (Arc::clone(&acknowledged), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            enter(&namespace);
            let (mut client, mut next) = (None, 0);
            for key in first.. {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let began = Instant::now();
                client = client.or_else(|| Client::open(servers[next % servers.len()]));
                if client.as_mut().and_then(|it| it.ask(&format!("SET key{key} {key}"))).is_some() {
                    noted.lock().expect("no writer panics").push((key, Instant::now()));
                } else {
                    (client, next) = (None, next + 1);
                }
                std::thread::sleep(PERIOD.saturating_sub(began.elapsed()));
            }
        });
        Self { acknowledged, stop, thread: Some(thread) }
    }

    /// The longest time without an acknowledgement between these two moments.
    pub fn gap(&self, since: Instant, until: Instant) -> Duration {
        let acknowledged = self.acknowledged.lock().expect("no writer panics");
        let inside = acknowledged.iter().map(|(_key, at)| *at).filter(|at| *at >= since && *at <= until);
        let times: Vec<Instant> = [since].into_iter().chain(inside).chain([until]).collect();
        times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
    }

    /// Whether a key was acknowledged after that moment.
    pub fn goes_on(&self, since: Instant) -> bool {
        self.acknowledged.lock().expect("no writer panics").last().is_some_and(|(_key, at)| *at > since)
    }

    /// All keys that were acknowledged so far.
    pub fn acknowledged(&self) -> Vec<u64> {
        self.acknowledged.lock().expect("no writer panics").iter().map(|(key, _at)| *key).collect()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

/// How many of these keys a server has not.
///
/// # Panics
/// If it does not answer.
pub fn lost(namespace: &str, server: SocketAddr, keys: &[u64]) -> usize {
    within(namespace, || {
        let mut client = Client::open(server).expect("the primary answers");
        let has = |key: &&u64| client.ask(&format!("EXISTS key{key}")).expect("an answer") == "0";
        keys.iter().filter(has).count()
    })
}

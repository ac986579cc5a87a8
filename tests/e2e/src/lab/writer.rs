//! A client that writes numbered rows into a PostgreSQL and notes which were acknowledged, and when.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use postgres::{Client, Config, NoTls};

use super::enter;

/// Between two rows.
const PERIOD: Duration = Duration::from_millis(50);
/// No answer is waited for longer; whether such a row was written is not known.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
const CONNECT_WITHIN: Duration = Duration::from_secs(1);

/// The client. Dropping it ends it.
#[derive(Debug)]
pub struct Writer {
    acknowledged: Arc<Mutex<Vec<(i64, Instant)>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Writes from a namespace to the first of these servers that answers, and to the next one after a failure. `login` has user,
    /// password and database.
    pub fn start(namespace: &str, targets: &[SocketAddr], login: &Config) -> Self {
        Self::stepping(namespace, targets, login, 0, 1)
    }

    /// One of several, each of which has rows of its own: the one with this number, and every so manieth one after it.
    pub fn stepping(namespace: &str, targets: &[SocketAddr], login: &Config, first: i64, step: usize) -> Self {
        let (acknowledged, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (namespace, targets, login) = (namespace.to_owned(), targets.to_vec(), login.clone());
        let (noted, stopped) = (Arc::clone(&acknowledged), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let mut connection: Option<Connection> = None;
            let mut next = 0;
            for row in (first..).step_by(step) {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let began = Instant::now();
                let open = || Connection::open(&namespace, &to(&login, targets[next % targets.len()]));
                let used = connection.take().unwrap_or_else(open);
                if used.write(row) {
                    noted.lock().expect("no writer panics").push((row, Instant::now()));
                    connection = Some(used);
                } else {
                    next += 1;
                }
                std::thread::sleep(PERIOD.saturating_sub(began.elapsed()));
            }
        });
        Self { acknowledged, stop, thread: Some(thread) }
    }

    /// The longest time without an acknowledgement between these two moments.
    pub fn gap(&self, since: Instant, until: Instant) -> Duration {
        let acknowledged = self.acknowledged.lock().expect("no writer panics");
        let within = acknowledged.iter().map(|(_row, at)| *at).filter(|at| *at >= since && *at <= until);
        let times: Vec<Instant> = [since].into_iter().chain(within).chain([until]).collect();
        times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
    }

    /// Whether a row was acknowledged after that moment.
    pub fn goes_on(&self, since: Instant) -> bool {
        let acknowledged = self.acknowledged.lock().expect("no writer panics");
        acknowledged.last().is_some_and(|(_row, at)| *at > since)
    }

    /// When rows were acknowledged so far.
    pub fn times(&self) -> Vec<Instant> {
        self.acknowledged.lock().expect("no writer panics").iter().map(|(_row, at)| *at).collect()
    }

    /// All rows that were acknowledged so far.
    pub fn acknowledged(&self) -> BTreeSet<i64> {
        self.acknowledged.lock().expect("no writer panics").iter().map(|(row, _at)| *row).collect()
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

/// `login` with where the server is.
pub fn to(login: &Config, target: SocketAddr) -> Config {
    let mut config = login.clone();
    config.host(&target.ip().to_string()).port(target.port()).connect_timeout(CONNECT_WITHIN);
    config
}

/// The rows that a server has; the table is made if it is not there.
///
/// # Errors
/// If it cannot be asked.
pub fn rows(client: &mut Client) -> Result<BTreeSet<i64>, postgres::Error> {
    Ok(client.query("SELECT n FROM rows", &[])?.iter().map(|row| row.get(0)).collect())
}

/// Makes the table.
///
/// # Errors
/// If the server refuses.
pub fn prepare(client: &mut Client) -> Result<(), postgres::Error> {
    client.batch_execute("CREATE TABLE IF NOT EXISTS rows (n bigint PRIMARY KEY)")
}

/// A connection on a thread of its own, which is left behind when an answer does not come.
struct Connection {
    orders: Sender<i64>,
    answers: Receiver<bool>,
}

impl Connection {
    fn open(namespace: &str, config: &Config) -> Self {
        let (orders, ordered) = channel::<i64>();
        let (answer, answers) = channel();
        let (namespace, config) = (namespace.to_owned(), config.clone());
        std::thread::spawn(move || {
            enter(&namespace);
            let mut client = config.connect(NoTls).ok();
            for row in ordered {
                let written =
                    client.as_mut().is_some_and(|it| it.execute("INSERT INTO rows VALUES ($1)", &[&row]).is_ok());
                if answer.send(written).is_err() || !written {
                    return;
                }
            }
        });
        Self { orders, answers }
    }

    fn write(&self, row: i64) -> bool {
        self.orders.send(row).is_ok() && self.answers.recv_timeout(ANSWER_WITHIN).unwrap_or(false)
    }
}

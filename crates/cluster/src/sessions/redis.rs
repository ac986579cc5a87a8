//! A table of sessions in Redis, for those who have one: nodes then need not know of each other.
//!
//! A session is one key, `mainstay:session:SERVICE:ID`, whose value says where it belongs and since when. Its life in Redis
//! is its time to live: each look-up begins it anew (`GETEX`), so that when a session was last used can be told from what is
//! left of it, and no write of that time can come in the way of one that moves the session.
//!
//! While Redis does not answer, nobody waits for it: after a failure look-ups fail at once, and one of them is let through
//! now and then to see whether it is back.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mainstay_core::backoff;
use mainstay_core::random::Rng;
use mainstay_runtime::task::{Kind, spawn_local};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, IntoConnectionInfo, RedisConnectionInfo, RedisError};
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::now;

/// What waits for the thread that speaks to Redis, at most.
const ASKS_MAX: usize = 4096;
/// What is under way at Redis at once, at most.
const UNDER_WAY_MAX: usize = 1024;
/// How long after a failure Redis is left alone: at random up to twice as long after each further one.
const PAUSE: backoff::Policy = backoff::Policy { base: Duration::from_millis(500), cap: Duration::from_secs(5) };
/// At least so long.
const PAUSE_MIN: Duration = Duration::from_millis(100);

/// Where Redis is.
#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    /// A name or an address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The number of the database.
    pub database: u32,
    /// Who we are, if it wants to know.
    pub username: Option<String>,
    /// Our password, if it wants one.
    pub password: Option<String>,
    /// How long an answer, or a connection, is waited for.
    pub timeout: Duration,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The password is left out.
        write!(f, "redis at {}:{}/{}", self.host, self.port, self.database)
    }
}

/// What is said of a session in Redis.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Value {
    /// The endpoint's name.
    endpoint: String,
    /// When it was bound to it, in milliseconds since 1970.
    bound_at: u64,
}

/// Redis could not be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Away;

/// An answer of Redis that is on its way.
pub type Awaited<T> = oneshot::Receiver<Result<T, Away>>;

/// What was counted.
#[derive(Debug, Default)]
pub struct Counts {
    /// What Redis has answered.
    pub answers: AtomicU64,
    /// What it has not answered, or with an error.
    pub failures: AtomicU64,
    /// What it was not asked because it had failed just before.
    pub skipped: AtomicU64,
    /// Connections opened.
    pub connections: AtomicU64,
}

/// The way to Redis, usable from any thread. None of its methods waits.
#[derive(Clone, Debug)]
pub struct Handle {
    asks: mpsc::Sender<Ask>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    started: Instant,
    /// Until when Redis is left alone, in milliseconds since the start; 0 while it answers.
    paused_until: AtomicU64,
    counts: Counts,
}

#[derive(Debug)]
enum Ask {
    Find { key: String, ttl: u32, reply: oneshot::Sender<Result<Option<Arc<str>>, Away>>, asked: Instant },
    Bind { key: String, ttl: u32, value: String, reply: oneshot::Sender<Result<(), Away>>, asked: Instant },
}

impl Handle {
    /// The way to Redis at `settings`, and what speaks to it, to be run on some thread.
    pub fn new(settings: Settings) -> (Self, Runner) {
        let (asks, asked) = mpsc::channel(ASKS_MAX);
        let (started, paused_until) = (Instant::now(), AtomicU64::new(0));
        let shared = Arc::new(Shared { started, paused_until, counts: Counts::default() });
        (Self { asks, shared: Arc::clone(&shared) }, Runner { settings, asked, shared })
    }

    /// Where the session belongs; begins its life anew.
    ///
    /// # Errors
    /// If Redis is not to be asked now.
    pub fn find(&self, service: &str, id: u128, ttl: u32) -> Result<Awaited<Option<Arc<str>>>, Away> {
        self.shared.let_through()?;
        let (reply, told) = oneshot::channel();
        self.send(Ask::Find { key: key(service, id), ttl, reply, asked: Instant::now() })?;
        Ok(told)
    }

    /// Binds the session to `endpoint`.
    ///
    /// # Errors
    /// If Redis is not to be asked now.
    pub fn bind(&self, service: &str, id: u128, endpoint: &str, ttl: u32) -> Result<Awaited<()>, Away> {
        self.shared.let_through()?;
        let value = Value { endpoint: endpoint.to_owned(), bound_at: now() };
        let value = serde_json::to_string(&value).map_err(|_impossible| Away)?;
        let (reply, told) = oneshot::channel();
        self.send(Ask::Bind { key: key(service, id), ttl, value, reply, asked: Instant::now() })?;
        Ok(told)
    }

    /// What was counted.
    pub fn counts(&self) -> &Counts {
        &self.shared.counts
    }

    /// Whether it answered when it was asked last.
    pub fn is_here(&self) -> bool {
        self.shared.paused_until.load(Ordering::Acquire) == 0
    }

    fn send(&self, ask: Ask) -> Result<(), Away> {
        self.asks.try_send(ask).map_err(|_full| {
            self.shared.counts.skipped.fetch_add(1, Ordering::Relaxed);
            Away
        })
    }
}

impl Shared {
    fn millis(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Whether Redis may be asked: always while it answers, and after a pause by one at a time.
    fn let_through(&self) -> Result<(), Away> {
        let until = self.paused_until.load(Ordering::Acquire);
        if until == 0 {
            return Ok(());
        }
        let now = self.millis();
        let later = now + u64::try_from(PAUSE_MIN.as_millis()).unwrap_or(u64::MAX);
        let mine = now >= until
            && self.paused_until.compare_exchange(until, later, Ordering::AcqRel, Ordering::Acquire).is_ok();
        if mine {
            return Ok(());
        }
        self.counts.skipped.fetch_add(1, Ordering::Relaxed);
        Err(Away)
    }
}

/// Speaks to Redis. One connection carries everything, and is opened when something is asked.
pub struct Runner {
    settings: Settings,
    asked: mpsc::Receiver<Ask>,
    shared: Arc<Shared>,
}

struct Line {
    settings: Settings,
    shared: Arc<Shared>,
    connection: RefCell<Option<MultiplexedConnection>>,
    failures: Cell<u32>,
    rng: RefCell<Rng>,
}

impl Runner {
    /// Runs until every [`Handle`] is gone.
    pub async fn run(mut self) {
        let line = Rc::new(Line {
            settings: self.settings,
            shared: self.shared,
            connection: RefCell::default(),
            failures: Cell::new(0),
            rng: RefCell::new(Rng::seeded(now() ^ u64::from(std::process::id()))),
        });
        let places = Arc::new(Semaphore::new(UNDER_WAY_MAX));
        while let Some(ask) = self.asked.recv().await {
            // The semaphore is never closed.
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            let connection = line.connection().await;
            let line = Rc::clone(&line);
            spawn_local(Kind::Control, async move {
                line.answer(ask, connection).await;
                drop(place);
            });
        }
    }
}

impl Line {
    /// The connection, opened if there is none.
    async fn connection(&self) -> Option<MultiplexedConnection> {
        let known = self.connection.borrow().clone();
        if known.is_some() {
            return known;
        }
        match tokio::time::timeout(self.settings.timeout, self.open()).await {
            Ok(Ok(connection)) => {
                self.shared.counts.connections.fetch_add(1, Ordering::Relaxed);
                self.connection.replace(Some(connection.clone()));
                Some(connection)
            }
            Ok(Err(error)) => {
                self.failed(&error.to_string());
                None
            }
            Err(_elapsed) => {
                self.failed("no connection in time");
                None
            }
        }
    }

    async fn open(&self) -> Result<MultiplexedConnection, RedisError> {
        let settings = &self.settings;
        let mut login = RedisConnectionInfo::default().set_db(i64::from(settings.database));
        if let Some(username) = &settings.username {
            login = login.set_username(username);
        }
        if let Some(password) = &settings.password {
            login = login.set_password(password);
        }
        let place = (settings.host.as_str(), settings.port).into_connection_info()?.set_redis_settings(login);
        let limits = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(settings.timeout))
            .set_response_timeout(Some(settings.timeout));
        Client::open(place)?.get_multiplexed_async_connection_with_config(&limits).await
    }

    async fn answer(&self, ask: Ask, connection: Option<MultiplexedConnection>) {
        match ask {
            Ask::Find { key, ttl, reply, asked } => {
                let mut command = redis::cmd("GETEX");
                command.arg(&key).arg("EX").arg(ttl);
                let found = self.perform::<Option<String>>(&command, connection, asked).await;
                let endpoint = found.map(|text| {
                    // What somebody else has put there is no session.
                    text.and_then(|text| serde_json::from_str::<Value>(&text).ok()).map(|value| value.endpoint.into())
                });
                let _gone = reply.send(endpoint);
            }
            Ask::Bind { key, ttl, value, reply, asked } => {
                let mut command = redis::cmd("SET");
                command.arg(&key).arg(&value).arg("EX").arg(ttl);
                let _gone = reply.send(self.perform::<()>(&command, connection, asked).await);
            }
        }
    }

    async fn perform<T: redis::FromRedisValue>(
        &self,
        command: &redis::Cmd,
        connection: Option<MultiplexedConnection>,
        asked: Instant,
    ) -> Result<T, Away> {
        let Some(mut connection) = connection else { return Err(Away) };
        // What has waited for its time here is not worth asking any more.
        let Some(left) = self.settings.timeout.checked_sub(asked.elapsed()) else {
            self.failed("too slow");
            return Err(Away);
        };
        match tokio::time::timeout(left, command.query_async::<T>(&mut connection)).await {
            Ok(Ok(value)) => {
                self.works();
                Ok(value)
            }
            Ok(Err(error)) => {
                self.failed(&error.to_string());
                Err(Away)
            }
            Err(_elapsed) => {
                self.failed("no answer in time");
                Err(Away)
            }
        }
    }

    fn works(&self) {
        self.shared.counts.answers.fetch_add(1, Ordering::Relaxed);
        self.failures.set(0);
        if self.shared.paused_until.swap(0, Ordering::AcqRel) != 0 {
            tracing::info!(redis = ?self.settings, "sessions: redis answers again");
        }
    }

    /// Leaves Redis alone for a while; the connection may be of no use any more.
    fn failed(&self, reason: &str) {
        self.shared.counts.failures.fetch_add(1, Ordering::Relaxed);
        self.connection.replace(None);
        let failures = self.failures.get();
        // All that were under way fail together: that is one failure.
        if self.shared.paused_until.load(Ordering::Acquire) > self.shared.millis() && failures > 0 {
            return;
        }
        self.failures.set(failures.saturating_add(1));
        let pause = backoff::delay(&PAUSE, failures, &mut self.rng.borrow_mut()).max(PAUSE_MIN);
        let until = self.shared.millis() + u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        self.shared.paused_until.store(until.max(1), Ordering::Release);
        if failures == 0 {
            tracing::warn!(redis = ?self.settings, reason, "sessions: redis is away; sessions go wherever there is room");
        }
    }
}

/// The key of a session.
fn key(service: &str, id: u128) -> String {
    format!("mainstay:session:{service}:{id:032x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_stay_out_of_what_is_shown_and_keys_are_readable() {
        let settings = Settings {
            host: "r".into(),
            port: 6379,
            database: 2,
            username: None,
            password: Some("hush".into()),
            timeout: PAUSE_MIN,
        };
        assert_eq!(format!("{settings:?}"), "redis at r:6379/2");
        assert_eq!(key("shop", 255), "mainstay:session:shop:000000000000000000000000000000ff");
    }

    #[test]
    fn after_a_failure_one_at_a_time_is_let_through() {
        let (handle, runner) = Handle::new(Settings {
            host: "127.0.0.1".into(),
            port: 1,
            database: 0,
            username: None,
            password: None,
            timeout: Duration::from_secs(5),
        });
        mainstay_runtime::thread::run_here(async move {
            let running = spawn_local(Kind::Control, runner.run()).abort_on_drop();
            let first = handle.find("shop", 1, 60).expect("asked").await.expect("answered");
            assert_eq!((first, handle.is_here()), (Err(Away), false), "nobody listens there");
            assert!(handle.find("shop", 1, 60).is_err(), "left alone");
            let mut let_through = None;
            for _turn in 0..500 {
                let_through = handle.find("shop", 1, 60).ok();
                if let_through.is_some() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            assert!(handle.find("shop", 1, 60).is_err(), "one at a time");
            assert_eq!(let_through.expect("after the pause").await.expect("answered"), Err(Away));
            drop(running);
        })
        .unwrap();
    }
}

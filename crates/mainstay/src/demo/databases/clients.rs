//! Clients that write all the time through the nodes' ports, and note what was acknowledged.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::future::Future;
use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};
use tokio_postgres::{Config, NoTls};

use super::resp::Client;
use crate::failure::Failure;

/// Between two writes.
const EVERY: Duration = Duration::from_millis(20);
/// After one that failed.
const PAUSE: Duration = Duration::from_millis(50);
/// No write is waited for longer. Whether it was carried out is not known then.
const WRITE_MAX: Duration = Duration::from_secs(5);
/// The same of what is asked in the end.
const ASK_MAX: Duration = Duration::from_secs(10);

/// What was acknowledged, and when. Numbers are never used twice, so that none is taken for another one.
#[derive(Debug, Default)]
pub(super) struct Tally(RefCell<Vec<(u64, Instant)>>);

impl Tally {
    fn note(&self, number: u64) {
        self.0.borrow_mut().push((number, Instant::now()));
    }

    pub(super) fn numbers(&self) -> BTreeSet<u64> {
        self.0.borrow().iter().map(|(number, _)| *number).collect()
    }

    pub(super) fn since(&self, begun: Instant) -> usize {
        self.0.borrow().iter().filter(|(_, at)| *at >= begun).count()
    }

    /// The longest time without an acknowledgement from then on.
    pub(super) fn gap(&self, from: Instant) -> Duration {
        let times = self.0.borrow();
        let mut before = times.iter().rev().map(|(_, at)| *at).find(|at| *at < from).unwrap_or(from);
        let mut longest = Duration::ZERO;
        for (_, at) in times.iter().filter(|(_, at)| *at >= from) {
            longest = longest.max(*at - before);
            before = *at;
        }
        longest
    }
}

/// Writes rows for ever, through one of these ports after the other.
pub(super) async fn write_rows(ports: &[u16], login: &(String, String), tally: &Tally) {
    let mut next = 0;
    for port in ports.iter().cycle() {
        let config = login_at(*port, login);
        let work = with_postgres(&config, async |client| {
            loop {
                next += 1;
                let number = i64::try_from(next).unwrap_or(i64::MAX);
                let row = [&number as &(dyn tokio_postgres::types::ToSql + Sync)];
                let written = client.execute("INSERT INTO demo_rows VALUES ($1)", &row);
                if !matches!(timeout(WRITE_MAX, written).await, Ok(Ok(_))) {
                    return;
                }
                tally.note(next);
                sleep(EVERY).await;
            }
        });
        let _failed = work.await;
        sleep(PAUSE).await;
    }
}

fn login_at(port: u16, login: &(String, String)) -> Config {
    let mut config = Config::new();
    config.host("127.0.0.1").port(port).user(&login.0).password(&login.1).dbname("postgres");
    // What a server says beside its answers would stand among the demo's own lines.
    config.options("-c client_min_messages=error");
    config
}

/// The numbers of all rows that are there.
pub(super) async fn rows(port: u16, login: &(String, String)) -> Result<BTreeSet<u64>, Failure> {
    let config = login_at(port, login);
    let read = with_postgres(&config, async |client| client.query("SELECT n FROM demo_rows", &[]).await);
    let late = |_elapsed| Failure::new("the rows cannot be counted in time");
    let rows = timeout(ASK_MAX, read).await.map_err(late)?.and_then(|rows| rows);
    let rows = rows.map_err(|error| Failure::from_error(&error))?;
    Ok(rows.iter().filter_map(|row| u64::try_from(row.get::<_, i64>(0)).ok()).collect())
}

/// Does something on a connection of its own, which is driven along with it.
pub(super) async fn with_postgres<T>(
    config: &Config,
    work: impl AsyncFnOnce(&tokio_postgres::Client) -> T,
) -> Result<T, tokio_postgres::Error> {
    let (client, connection) = config.connect(NoTls).await?;
    let mut connection = Box::pin(connection);
    let done = work(&client);
    tokio::pin!(done);
    tokio::select! {
        biased;
        done = &mut done => Ok(done),
        _ended = &mut connection => {
            // Whoever waits for an answer is told only so that there will be none.
            drop(connection);
            Ok(done.await)
        }
    }
}

/// Writes keys for ever, through one of these ports after the other.
pub(super) async fn write_keys(ports: &[u16], password: &str, tally: &Tally) {
    let mut next = 0;
    for port in ports.iter().cycle() {
        if let Some(mut client) = in_time(Client::open(*port, password)).await {
            loop {
                next += 1;
                if in_time(client.ask(&["SET", &key(next), "1"])).await.is_none_or(|said| said != "OK") {
                    break;
                }
                tally.note(next);
                sleep(EVERY).await;
            }
        }
        sleep(PAUSE).await;
    }
}

/// How many of these keys are there.
pub(super) async fn keys(port: u16, password: &str, numbers: &BTreeSet<u64>) -> Result<usize, Failure> {
    let count = async {
        let mut client = Client::open(port, password).await?;
        let mut found = 0;
        for number in numbers {
            found += usize::from(client.ask(&["EXISTS", &key(*number)]).await? == "1");
        }
        Ok::<_, std::io::Error>(found)
    };
    let counted =
        timeout(ASK_MAX, count).await.map_err(|_elapsed| Failure::new("the keys cannot be counted in time"))?;
    counted.map_err(|error| Failure::new(format!("the keys cannot be counted: {error}")))
}

/// The process of a Redis server.
pub(super) async fn redis_process(port: u16, password: &str) -> Option<i32> {
    let info = in_time(async { Client::open(port, password).await?.ask(&["INFO", "server"]).await }).await?;
    info.lines().find_map(|line| line.strip_prefix("process_id:"))?.trim().parse().ok()
}

async fn in_time<T>(work: impl Future<Output = std::io::Result<T>>) -> Option<T> {
    timeout(WRITE_MAX, work).await.ok()?.ok()
}

fn key(number: u64) -> String {
    format!("demo:{number}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_gap_reaches_back_to_the_last_before_it() {
        let tally = Tally::default();
        let begun = Instant::now();
        let at = |ms: u64| begun + Duration::from_millis(ms);
        tally.0.borrow_mut().extend([(1, at(0)), (2, at(5_000)), (3, at(5_100)), (4, at(7_100)), (5, at(7_200))]);
        assert_eq!(tally.gap(at(5_500)), Duration::from_millis(2_000));
        assert_eq!(tally.gap(at(7_150)), Duration::from_millis(100));
        assert_eq!(tally.gap(at(9_000)), Duration::ZERO);
        assert_eq!((tally.since(at(7_100)), tally.numbers().len()), (2, 5));
    }
}

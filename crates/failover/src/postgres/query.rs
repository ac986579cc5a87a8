//! What the running server is asked, over its local socket.

use std::future::Future;
use std::time::Duration;

use mainstay_core::database::{Lsn, Regime};
use tokio_postgres::{Client, Config, NoTls};

use super::adopt::Door;
use super::control::lsn;
use super::files::waits_for;
use super::{SUPERUSER, Settings};
use crate::Error;

/// No answer is waited for longer, except those of work.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// What a running server says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) is_replica: bool,
    pub(super) system: Option<u64>,
    /// That of the current segment of a primary; of what a replica receives or has replayed.
    pub(super) timeline: u32,
    pub(super) checkpoint_timeline: u32,
    pub(super) position: Lsn,
    /// A process receives from another server.
    pub(super) receives: bool,
    /// That process, once it streams.
    pub(super) receiver: Option<i32>,
    /// Bytes of a segment of the log.
    pub(super) segment_bytes: u64,
}

/// Asks on a connection of its own. A server that does not answer in time is as good as none.
async fn ask<T, F>(
    settings: &Settings,
    what: &'static str,
    limit: Duration,
    ask: impl FnOnce(Client) -> F,
) -> Result<T, Error>
where
    F: Future<Output = Result<T, tokio_postgres::Error>>,
{
    let refused = |source| Error::Query { what, source };
    let asked = async {
        let mut config = Config::new();
        let door = Door::of(settings);
        config.host_path(&door.folder).port(door.port).user(SUPERUSER).dbname("postgres");
        config.application_name("mainstay");
        let (client, connection) = config.connect(NoTls).await.map_err(refused)?;
        let answer = ask(client);
        tokio::pin!(answer, connection);
        tokio::select! {
            biased;
            answer = &mut answer => answer.map_err(refused),
            ended = &mut connection => match ended {
                // The answer may have come with the end.
                Ok(()) => answer.await.map_err(refused),
                Err(error) => Err(refused(error)),
            },
        }
    };
    let late = |_elapsed| Error::Late { what: what.to_owned(), limit };
    tokio::time::timeout(limit, asked).await.map_err(late)?
}

const STATE: &str = "SELECT pg_is_in_recovery() AS replica, \
    (SELECT system_identifier::text FROM pg_control_system()) AS system, \
    (SELECT timeline_id FROM pg_control_checkpoint()) AS checkpoint_timeline, \
    (SELECT min_recovery_end_timeline FROM pg_control_recovery()) AS recovery_timeline, \
    (SELECT received_tli FROM pg_stat_wal_receiver) AS received_timeline, \
    EXISTS (SELECT FROM pg_stat_wal_receiver) AS receives, \
    (SELECT pid FROM pg_stat_wal_receiver WHERE status = 'streaming') AS receiver, \
    (SELECT setting::int8 FROM pg_settings WHERE name = 'wal_segment_size') AS segment_bytes, \
    CASE WHEN pg_is_in_recovery() THEN NULL ELSE pg_walfile_name(pg_current_wal_lsn()) END AS segment, \
    CASE WHEN pg_is_in_recovery() THEN greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()) \
         ELSE pg_current_wal_lsn() END::text AS position";

pub(super) async fn state(settings: &Settings) -> Result<Seen, Error> {
    let row = ask(settings, "to say what it does", ANSWER_WITHIN, async |client| client.query_one(STATE, &[]).await);
    let row = row.await?;
    let timeline = |column: &str| {
        let timeline: Option<i32> = row.try_get(column).ok().flatten();
        timeline.and_then(|timeline| u32::try_from(timeline).ok()).unwrap_or(0)
    };
    let text = |column: &str| row.try_get::<_, Option<&str>>(column).ok().flatten();
    let segment = text("segment").and_then(|name| u32::from_str_radix(name.get(..8)?, 16).ok());
    let (checkpoint, recovery) = (timeline("checkpoint_timeline"), timeline("recovery_timeline"));
    let received = timeline("received_timeline").max(checkpoint).max(recovery);
    Ok(Seen {
        is_replica: row.try_get("replica").unwrap_or(true),
        system: text("system").and_then(|system| system.parse().ok()),
        timeline: segment.unwrap_or(received),
        checkpoint_timeline: checkpoint,
        position: text("position").and_then(lsn).unwrap_or(0),
        receives: row.try_get("receives").unwrap_or(true),
        receiver: row.try_get("receiver").ok().flatten(),
        segment_bytes: row.try_get::<_, i64>("segment_bytes").ok().and_then(|it| u64::try_from(it).ok()).unwrap_or(0),
    })
}

/// Why the running server could not be the primary of a group as it is set up.
pub(super) async fn unsuitable(settings: &Settings) -> Result<Option<String>, Error> {
    const SQL: &str = "SELECT name, setting FROM pg_settings WHERE (name = 'wal_level' AND setting = 'minimal') \
                       OR (name IN ('max_wal_senders', 'max_replication_slots') AND setting::int < 4)";
    let rows = ask(settings, "its settings", ANSWER_WITHIN, async |client| client.query(SQL, &[]).await).await?;
    let found: Vec<String> =
        rows.iter().map(|row| format!("{} = {}", row.get::<_, &str>(0), row.get::<_, &str>(1))).collect();
    Ok((!found.is_empty()).then(|| found.join(", ")))
}

/// Commands that answer nothing.
pub(super) async fn run(settings: &Settings, what: &'static str, sql: &str, limit: Duration) -> Result<(), Error> {
    ask(settings, what, limit, async |client| client.batch_execute(sql).await).await
}

/// A number that a query answers with.
pub(super) async fn number(settings: &Settings, what: &'static str, sql: &str) -> Result<u64, Error> {
    let row = ask(settings, what, ANSWER_WITHIN, async |client| client.query_one(sql, &[]).await).await?;
    Ok(row.try_get::<_, i64>(0).ok().and_then(|number| u64::try_from(number).ok()).unwrap_or(0))
}

/// Promotes a replica and waits until it takes writes. `pg_promote` would wait itself, and look ten times a second.
pub(super) async fn promote(settings: &Settings, limit: Duration) -> Result<(), Error> {
    const LOOK: Duration = Duration::from_millis(10);
    let promoted = ask(settings, "its promotion", limit, async |client| {
        client.batch_execute("SELECT pg_promote(false)").await?;
        while client.query_one("SELECT pg_is_in_recovery()", &[]).await?.get(0) {
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    });
    promoted.await
}

/// Whether commits wait for these, and everything that was written before this question is on enough of them.
pub(super) async fn is_caught_up(settings: &Settings, sync: &Regime) -> Result<bool, Error> {
    const WHAT: &str = "to say what its commits wait for";
    let names: Vec<&str> = sync.names.iter().map(String::as_str).collect();
    let wanted = waits_for(sync);
    let have = ask(settings, WHAT, ANSWER_WITHIN, async |client| {
        let shown: String = client.query_one("SHOW synchronous_standby_names", &[]).await?.get(0);
        if shown != wanted {
            return Ok(None);
        }
        let end: String = client.query_one("SELECT pg_current_wal_insert_lsn()::text", &[]).await?.get(0);
        // Each process that sends must have taken the setting over before the position counts.
        let sql = "SELECT count(DISTINCT application_name) FROM pg_stat_replication WHERE state = 'streaming' \
                   AND sync_state = 'quorum' AND application_name = ANY($1) AND flush_lsn >= $2::text::pg_lsn";
        let mut have = 0;
        // What was written lately needs a moment to get there.
        for _ in 0..20 {
            have = client.query_one(sql, &[&names, &end]).await?.get::<_, i64>(0);
            if usize::try_from(have).is_ok_and(|have| have >= sync.acks) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        Ok(Some(have))
    });
    Ok(have.await?.is_some_and(|have| usize::try_from(have).is_ok_and(|have| have >= sync.acks)))
}

//! Rows that are written through the primary each second, so that those which were acknowledged and are gone can be counted after a
//! failover: a second opinion beside what the log says.
//!
//! Which rows were acknowledged stands beside the data directory, since the data may have to be rewound. An operator who cancels the
//! very commit that waits for replicas has it counted as acknowledged, as any client would be told.

use std::fs;
use std::time::Duration;

use mainstay_runtime::task::{AbortOnDrop, Kind, spawn_local};
use serde::{Deserialize, Serialize};

use super::files::Files;
use super::process::LONG;
use super::{Settings, query};
use crate::Error;

const EVERY: Duration = Duration::from_secs(1);
/// Rows that are kept of a term; what is lost of more than the last hour is told as an hour of it.
const ROWS_MAX: u64 = 3600;
/// Terms whose rows are kept for old primaries that come back: as many as there are failovers remembered.
const TERMS_MAX: u64 = crate::group::board::FAILOVERS_MAX as u64;
const FILE: &str = "probe.json";
const TABLE: &str = "CREATE SCHEMA IF NOT EXISTS mainstay; \
    CREATE TABLE IF NOT EXISTS mainstay.probe (term int8, number int8, written timestamptz DEFAULT now(), PRIMARY KEY (term, number))";

/// Writes them while it is there.
#[derive(Debug)]
pub(super) struct Probe {
    term: u64,
    _task: AbortOnDrop,
}

impl Probe {
    pub(super) fn begin(settings: &Settings, term: u64) -> Self {
        let settings = settings.clone();
        let task = spawn_local(Kind::Control, async move {
            loop {
                // A primary that does not answer is another's business, and another session is begun.
                if let Err(error) = write(&settings, term).await {
                    tracing::debug!(%error, "database: the rows of the probe are not written");
                }
                tokio::time::sleep(EVERY).await;
            }
        });
        Self { term, _task: task.abort_on_drop() }
    }

    pub(super) const fn term(&self) -> u64 {
        self.term
    }
}

/// The last row that was acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Acknowledged {
    term: u64,
    row: u64,
}

impl Acknowledged {
    fn read(settings: &Settings) -> Option<Self> {
        let known: Self = serde_json::from_slice(&fs::read(settings.state_dir.join(FILE)).ok()?).ok()?;
        // What the table cannot hold was not written by it.
        i64::try_from(known.row).is_ok().then_some(known)
    }

    fn note(self, settings: &Settings) -> Result<(), Error> {
        Files(settings).write(FILE, &serde_json::to_vec(&self).unwrap_or_default())
    }

    /// Of those that are kept.
    fn first(self) -> u64 {
        self.row.saturating_sub(ROWS_MAX) + 1
    }
}

async fn write(settings: &Settings, term: u64) -> Result<(), Error> {
    // One commit at a time is waited for, however long there is no replica for it.
    query::run(settings, "the table of its probe", TABLE, LONG).await?;
    let known = Acknowledged::read(settings).filter(|known| known.term == term).map_or(0, |known| known.row);
    let last = format!("SELECT coalesce(max(number), 0) FROM mainstay.probe WHERE term = {term}");
    let mut row = query::number(settings, "the last row of its probe", &last).await?.max(known);
    loop {
        row += 1;
        let now = Acknowledged { term, row };
        let sql = format!(
            "INSERT INTO mainstay.probe (term, number) VALUES ({term}, {row}); \
             DELETE FROM mainstay.probe WHERE term < {} OR (term = {term} AND number < {})",
            term.saturating_sub(TERMS_MAX),
            now.first()
        );
        query::run(settings, "a row of its probe", &sql, LONG).await?;
        now.note(settings)?;
        tokio::time::sleep(EVERY).await;
    }
}

/// It begins to lead with this term: what an earlier one acknowledged says nothing of that.
pub(super) fn forget_earlier(settings: &Settings, term: u64) {
    if Acknowledged::read(settings).is_some_and(|known| known.term != term) {
        // What stays is overwritten by the first row.
        let _absent = fs::remove_file(settings.state_dir.join(FILE));
    }
}

/// How many of the rows that were acknowledged the last time that it led are not in what it has now; `None`: nothing probed it.
pub(super) async fn missing(settings: &Settings) -> Option<u64> {
    let known = Acknowledged::read(settings)?;
    let Acknowledged { term, row } = known;
    let first = known.first();
    let sql = format!("SELECT count(*) FROM mainstay.probe WHERE term = {term} AND number BETWEEN {first} AND {row}");
    let found = query::number(settings, "the rows of its probe", &sql).await.ok()?;
    Some((row + 1 - first).saturating_sub(found))
}

//! What the demo has measured, as text and as JSON.

use std::fmt::Write as _;
use std::io::{self, Write};

use serde::Serialize;

use crate::admin::databases::document::FailoverStatus;
use crate::failure::Failure;

/// Of what was acknowledged.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Kept {
    pub(super) acknowledged: usize,
    pub(super) found: usize,
    pub(super) lost: usize,
}

/// A change of primary: what clients saw of it, and what the ledger says.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Change {
    pub(super) what: String,
    pub(super) database: String,
    #[serde(skip)]
    pub(super) server: String,
    /// The longest time in which no write was acknowledged.
    #[serde(rename = "without_writes_seconds")]
    pub(super) without_writes: f64,
    pub(super) failover: FailoverStatus,
}

/// Seconds of a node, and those in which nobody could write.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Seconds {
    pub(super) all: u64,
    pub(super) bad: u64,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Report {
    /// Of PostgreSQL.
    pub(super) rows: Kept,
    /// Of Redis.
    pub(super) keys: Kept,
    pub(super) changes: Vec<Change>,
    /// Of the objective on PostgreSQL, since the nodes run.
    pub(super) objective: Seconds,
    pub(super) seconds: f64,
}

impl Report {
    pub(super) fn print(&self, json: bool) -> Result<(), Failure> {
        let text = if json {
            serde_json::to_string_pretty(self).map_err(|error| Failure::from_error(&error))? + "\n"
        } else {
            self.text()
        };
        let mut out = io::stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            // Whoever reads has read enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            result => result.map_err(|error| Failure::new(format!("cannot print the report: {error}"))),
        }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for change in &self.changes {
            let Change { what, database, server, without_writes, failover } = change;
            let known = failover.parts.iter().filter_map(|part| Some(format!("{} {} ms", part.name, part.ms?)));
            let _infallible = write!(
                text,
                "\n{what} ({server}, {database}): {} -> {}\n  no write for  {without_writes:.2} s, as clients saw it\n  \
                 by phase      {}\n  lost          {}\n",
                failover.from,
                failover.to,
                known.collect::<Vec<_>>().join(", "),
                failover.loss.text
            );
        }
        for (what, kept) in [("rows of PostgreSQL", self.rows), ("keys of Redis", self.keys)] {
            let Kept { acknowledged, found, lost } = kept;
            let _infallible = write!(text, "\n{what}: {acknowledged} acknowledged, {found} found, {lost} lost");
        }
        let Seconds { all, bad } = self.objective;
        let _infallible = write!(text, "\nobjective on orders: {} of {all} seconds with writes", all - bad);
        let _infallible = writeln!(text, "\nin {:.0} s", self.seconds);
        text
    }
}

//! The families about what objectives count that is no request: judged runs of probes, and seconds of databases. Labels are names
//! from the configuration.

use std::fmt;
use std::sync::Arc;

use mainstay_observe::history::{Added, History, Kind};

use super::Families;

/// What objectives of probes and of databases count, by the name of their series.
#[derive(Clone, Debug, Default)]
pub struct Events {
    /// Runs of probes, as the nodes judge them together.
    probes: Vec<(Arc<str>, Added)>,
    /// Seconds of groups of databases; those of reads are of `GROUP/read`.
    databases: Vec<(Arc<str>, Added)>,
}

impl From<&History> for Events {
    fn from(history: &History) -> Self {
        Self { probes: history.added(Kind::Probe), databases: history.added(Kind::Database) }
    }
}

impl Families<'_, '_> {
    pub(super) fn events(&mut self, of: &Events) -> fmt::Result {
        if !of.probes.is_empty() {
            let rows = of.probes.iter().flat_map(|(name, of)| {
                outcomes(of).map(|(outcome, count)| ([("probe", name.as_ref()), ("outcome", outcome)], count))
            });
            let help =
                "Runs of a probe on this node, bad if they failed and most nodes see that: what objectives count.";
            self.counter(("mainstay_probe_events", help), rows)?;
        }
        if of.databases.is_empty() {
            return Ok(());
        }
        let rows = of.databases.iter().flat_map(|(name, of)| {
            let (group, access) = name.strip_suffix("/read").map_or((name.as_ref(), "write"), |group| (group, "read"));
            outcomes(of)
                .map(move |(outcome, count)| ([("database", group), ("access", access), ("outcome", outcome)], count))
        });
        let help =
            "Seconds of this node, bad without a server for writes or reads or with a client of theirs sent away.";
        self.counter(("mainstay_database_seconds", help), rows)
    }
}

fn outcomes(of: &Added) -> [(&'static str, u64); 2] {
    [("good", of.events.saturating_sub(of.bad)), ("bad", of.bad)]
}

//! The families about the history itself, and about what it alone counts: judged runs of probes, and seconds of databases. Labels are
//! names from the configuration.

use std::fmt;
use std::sync::Arc;

use mainstay_observe::history::{Access, Added};

use super::{Facts, Families};

impl Families<'_, '_> {
    pub(super) fn history(&mut self, facts: &Facts) -> fmt::Result {
        let of = &facts.history;
        self.probe_events(&of.probes)?;
        self.database_seconds(&of.databases)?;
        self.gauge(("mainstay_history_series", "Series that the history keeps."), None, [([], of.series as f64)])?;
        let name = ("mainstay_history_memory_bytes", "Memory that the history takes, about.");
        self.gauge(name, None, [([], of.memory_bytes as f64)])?;
        let name = ("mainstay_history_disk_bytes", "Disk that the history takes.");
        self.gauge(name, None, [([], of.disk_bytes as f64)])?;
        let name =
            ("mainstay_history_series_dropped", "Readings of series that were not taken, because there are enough.");
        self.counter(name, [([], of.series_dropped)])?;
        let name = ("mainstay_history_batches_lost", "Minutes that the disk did not take in time.");
        self.counter(name, [([], of.batches_lost)])?;
        let name = ("mainstay_history_write_failures", "Writes of the history that failed.");
        self.counter(name, [([], of.write_failures)])?;
        let name =
            ("mainstay_history_files_damaged", "Files of the history that were set aside because they were damaged.");
        self.counter(name, [([], of.files_damaged)])
    }
    fn probe_events(&mut self, of: &[(Arc<str>, Added)]) -> fmt::Result {
        if of.is_empty() {
            return Ok(());
        }
        let rows = of.iter().flat_map(|(name, of)| {
            outcomes(of).map(|(outcome, count)| ([("probe", name.as_ref()), ("outcome", outcome)], count))
        });
        let help = "Runs of a probe on this node, bad if they failed and most nodes see that: what objectives count.";
        self.counter(("mainstay_probe_events", help), rows)
    }

    fn database_seconds(&mut self, of: &[(Arc<str>, Added)]) -> fmt::Result {
        if of.is_empty() {
            return Ok(());
        }
        let rows = of.iter().flat_map(|(name, of)| {
            let (group, access) = Access::of(name);
            outcomes(of).map(move |(outcome, count)| {
                ([("database", group), ("access", access.word()), ("outcome", outcome)], count)
            })
        });
        let help =
            "Seconds of this node, bad without a server for writes or reads or with a client of theirs sent away.";
        self.counter(("mainstay_database_seconds", help), rows)
    }
}

fn outcomes(of: &Added) -> [(&'static str, u64); 2] {
    [("good", of.events.saturating_sub(of.bad)), ("bad", of.bad)]
}

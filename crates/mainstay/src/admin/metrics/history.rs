//! The families about the history itself.

use std::fmt;

use super::{Facts, Families};

impl Families<'_, '_> {
    pub(super) fn history(&mut self, facts: &Facts) -> fmt::Result {
        let of = &facts.history;
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
}

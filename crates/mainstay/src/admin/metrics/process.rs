//! The families about the process itself, by the names that every exporter has for them.

use std::fmt;

use prometheus_client::encoding::NoLabelSet;
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use super::{Facts, Families, unix_seconds};

impl Families<'_, '_> {
    pub(super) fn process(&mut self, facts: &Facts) -> fmt::Result {
        let mut info = self.0.encode_descriptor("mainstay_build", "The program.", None, MetricType::Info)?;
        info.encode_info(&[("version", env!("CARGO_PKG_VERSION"))])?;
        let name = "process_cpu";
        let help = "User and system time that the process has used.";
        let mut cpu = self.0.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Counter)?;
        cpu.encode_counter::<NoLabelSet, _, u64>(&facts.usage.cpu.as_secs_f64(), None)?;
        let resident = [([], facts.usage.resident_bytes as f64)];
        self.gauge(("process_resident_memory", "Resident memory."), Some(&Unit::Bytes), resident)?;
        self.gauge(("process_open_fds", "Open file descriptors."), None, [([], facts.usage.open_files as f64)])?;
        self.gauge(
            ("process_max_fds", "File descriptors that may be open."),
            None,
            [([], facts.usage.open_files_max as f64)],
        )?;
        let name = ("mainstay_defects", "Parts of the node that have ended by a panic, which is a defect.");
        self.counter(name, [([], facts.usage.defects)])?;
        let started_at = facts.started_at.map_or(0.0, unix_seconds);
        self.gauge(("process_start_time", "When the process started."), Some(&Unit::Seconds), [([], started_at)])
    }
}

//! What sends requests and metrics to other systems, for the life of the process.

pub mod command;

use std::time::Duration;

use mainstay_observe::otlp::Exporter;
use mainstay_runtime::journal::Journal;

use crate::config::Config;
use crate::failure::Failure;

/// What is left to be sent when the node leaves is waited for so long.
pub const LAST: Duration = Duration::from_secs(2);

/// Starts it; it follows `journal`. A configuration that comes later may want it, if this one does not.
///
/// # Errors
/// If the system refuses the thread.
pub fn start(config: &Config, journal: &Journal) -> Result<Exporter, Failure> {
    let exporter = Exporter::start(journal, env!("CARGO_PKG_VERSION"));
    let exporter = exporter.map_err(|error| Failure::new(format!("cannot start the telemetry thread: {error}")))?;
    exporter.configure(config.otlp.clone());
    Ok(exporter)
}

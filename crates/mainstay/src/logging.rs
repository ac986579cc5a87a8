//! The operational log: what the process does (start, reload, health changes, drains, shutdown), on standard error.

use tracing_subscriber::EnvFilter;

use crate::failure::Failure;

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// Where the level comes from if the command line does not say.
pub const LEVEL_VARIABLE: &str = "MAINSTAY_LOG";

/// Starts the log, which people read if it goes to a terminal. A second call (tests) changes nothing.
///
/// # Errors
/// If the level cannot be understood.
pub fn start(format: Option<Format>, level: Option<&str>, terminal: bool) -> Result<(), Failure> {
    let from_environment = std::env::var(LEVEL_VARIABLE).ok().filter(|level| !level.is_empty());
    let level = level.map(str::to_owned).or(from_environment).unwrap_or_else(|| "info".to_owned());
    // The consensus library tells of every message that was lost. What people need of it the cluster says itself; who wants
    // the rest names it: `info,openraft=debug`.
    let filter = EnvFilter::try_new(format!("openraft=off,{level}")).map_err(|error| {
        Failure::usage(format!("log level `{level}`: {error}"))
            .hint("use error, warn, info, debug, trace or off, or parts such as `info,mainstay_gateway=debug`")
    })?;
    let format = format.unwrap_or(if terminal { Format::Text } else { Format::Json });
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match format {
        Format::Json => builder.json().flatten_event(true).with_target(false).with_current_span(false).try_init(),
        Format::Text => builder.with_ansi(terminal).with_target(false).try_init(),
    };
    // The only possible error is that a log already runs, which then serves as well.
    drop(started);
    Ok(())
}

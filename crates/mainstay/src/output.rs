//! Results of commands, on standard output.

use std::io::{self, Write};

use serde::Serialize;

use crate::failure::Failure;

/// Writes text as it is.
///
/// # Errors
/// If standard output does not take it.
pub fn text(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // Whoever reads has seen enough, as in `mainstay status | head -1`.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Failure::new(format!("cannot write the result: {error}"))),
        Ok(()) => Ok(()),
    }
}

/// Writes a value as JSON.
///
/// # Errors
/// If standard output does not take it.
pub fn json(value: &impl Serialize) -> Result<(), Failure> {
    let mut line = serde_json::to_string_pretty(value).map_err(|error| Failure::new(error.to_string()))?;
    line.push('\n');
    text(&line)
}

//! The command line.

use std::process::ExitCode;

/// Runs what the arguments of the process ask for.
pub fn main() -> ExitCode {
    ExitCode::FAILURE
}

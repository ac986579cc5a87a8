//! What a command says when it fails, and the exit code it leaves.

use std::fmt;

/// Why a command failed, for the person who gave it.
#[derive(Debug)]
pub struct Failure {
    what: String,
    hint: Option<String>,
    code: u8,
    complete: bool,
}

impl Failure {
    /// The command was understood and could not be carried out.
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), hint: None, code: 1, complete: false }
    }

    /// The command or the configuration is wrong; running it again cannot help.
    pub fn usage(what: impl Into<String>) -> Self {
        Self { what: what.into(), hint: None, code: 2, complete: false }
    }

    /// The configuration is wrong, and `text` says everything about it already.
    pub fn rendered(text: impl Into<String>) -> Self {
        Self { complete: true, ..Self::usage(text) }
    }

    /// An error together with everything that caused it.
    pub fn from_error(error: &dyn std::error::Error) -> Self {
        Self::new(chain(error))
    }

    /// Adds what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The exit code: 1 failed, 2 bad usage or bad configuration.
    pub fn code(&self) -> u8 {
        self.code
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.complete {
            return f.write_str(self.what.trim_end());
        }
        write!(f, "error: {}", self.what)?;
        match &self.hint {
            Some(hint) => write!(f, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
}

/// An error and its causes on one line. A cause that the message above it already quotes is not repeated.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        if !text.contains(&message) {
            text.push_str(": ");
            text.push_str(&message);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_what_and_what_to_do() {
        let failure = Failure::usage("no such file: lb.toml").hint("give the file with -c");
        assert_eq!(failure.to_string(), "error: no such file: lb.toml\n  hint: give the file with -c");
        assert_eq!(failure.code(), 2);
    }
}

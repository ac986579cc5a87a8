//! What is wrong with a configuration, and what to do about it.

use std::fmt;

pub use super::source::Excerpt;

/// Whether a problem stands in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The configuration cannot be used.
    Error,
    /// It can be used, but probably does not do what was meant.
    Warning,
}

/// One thing that is wrong, where, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Whether it stands in the way.
    pub severity: Severity,
    /// The file, as it was named; `command line` if there is none.
    pub file: String,
    /// Line, from 1; 0 if the problem is with the file as a whole.
    pub line: usize,
    /// Column in characters, from 1; 0 as above.
    pub column: usize,
    /// The key, such as `route[0].retry.attempts`; empty if the problem is with the syntax or the file as a whole.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
    /// The line in the file, without secrets.
    pub excerpt: Option<Excerpt>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        if self.severity == Severity::Warning {
            f.write_str(": warning")?;
        }
        if !self.path.is_empty() {
            write!(f, ": {}", self.path)?;
        }
        write!(f, ": {}", self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

/// What is wrong with a value, before it is known where the value stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) message: String,
    pub(super) hint: Option<String>,
}

impl Fault {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// With a hint if it has none.
    pub(super) fn or_hint(self, hint: &str) -> Self {
        if self.hint.is_some() { self } else { self.hint(hint) }
    }
}

/// A problem with a file as a whole.
pub(super) fn of_file(file: &str, fault: Fault) -> Problem {
    Problem {
        severity: Severity::Error,
        file: file.to_owned(),
        line: 0,
        column: 0,
        path: String::new(),
        message: fault.message,
        hint: fault.hint,
        excerpt: None,
    }
}

/// How many names are compared with a misspelt one; a hint is not worth more time.
const CANDIDATES_MAX: usize = 1_000;

/// The one of `known` that `word` was probably meant to be.
pub(super) fn near<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    // Comparing is quadratic in the length, and no name is this long.
    if word.len() > 128 {
        return None;
    }
    let lower = word.to_ascii_lowercase().replace('-', "_");
    let distance =
        |candidate: &str| strsim::damerau_levenshtein(&lower, &candidate.to_ascii_lowercase().replace('-', "_"));
    let best = known
        .into_iter()
        .take(CANDIDATES_MAX)
        .map(|candidate| (distance(candidate), candidate))
        .min_by_key(|(distance, _name)| *distance)?;
    let longest = word.chars().count().max(best.1.chars().count());
    (best.0 <= (longest / 3).max(1) && best.0 < longest).then_some(best.1)
}

/// A list of names for a hint, cut if it is long.
pub(super) fn listed<'k>(names: impl IntoIterator<Item = &'k str>) -> String {
    let quoted: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    match quoted.get(..20) {
        Some(first) if quoted.len() > 20 => format!("{} and {} more", first.join(", "), quoted.len() - 20),
        Some(_) | None => quoted.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::near;

    #[test]
    fn near_names() {
        let known = ["timeout", "retry", "service", "max_headers"];
        for (word, expected) in [
            ("timout", Some("timeout")),
            ("Timeout", Some("timeout")),
            ("max-headers", Some("max_headers")),
            ("rety", Some("retry")),
            ("services", Some("service")),
            ("x", None),
            ("", None),
            ("bulkhead", None),
        ] {
            assert_eq!(near(word, known), expected, "{word}");
        }
        assert_eq!(near("a", []), None);
        assert_eq!(near("ab", ["a"]), Some("a"));
    }
}

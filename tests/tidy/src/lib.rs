//! Rules of the house that the compiler does not know. Every check is a function from what was read to what is wrong
//! with it, so that each can be shown to go red; `tests/tree.rs` runs them all over this repository.

pub mod calls;
pub mod invariants;
pub mod layers;
pub mod length;
pub mod names;
pub mod rules;
pub mod tree;

use std::fmt;

/// One breach of a rule, in the form that editors jump to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The file, relative to the repository's root, or the crate that is at fault.
    pub place: String,
    /// The line, 0 when the finding is about the whole.
    pub line: usize,
    /// What is wrong, and what to do about it.
    pub what: String,
}

impl Finding {
    /// A finding at a line of a file.
    pub fn new(place: &str, line: usize, what: impl Into<String>) -> Finding {
        Finding { place: place.to_owned(), line, what: what.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.place, self.what),
            line => write!(f, "{}:{line}: {}", self.place, self.what),
        }
    }
}

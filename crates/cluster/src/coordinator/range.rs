//! Which keys.

use serde::{Deserialize, Serialize};

/// A set of keys.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Range {
    /// One.
    Key(String),
    /// Those that begin so; the empty string stands for all.
    Prefix(String),
}

impl Range {
    /// One key.
    pub fn key(key: impl Into<String>) -> Self {
        Self::Key(key.into())
    }

    /// The keys that begin with `prefix`.
    pub fn prefix(prefix: impl Into<String>) -> Self {
        Self::Prefix(prefix.into())
    }

    /// Whether `key` is one of them.
    pub fn contains(&self, key: &str) -> bool {
        match self {
            Self::Key(own) => own == key,
            Self::Prefix(prefix) => key.starts_with(prefix.as_str()),
        }
    }

    /// Where they begin in the order of keys.
    pub fn start(&self) -> &str {
        match self {
            Self::Key(text) | Self::Prefix(text) => text,
        }
    }
}

//! Silences: alerts that somebody wants to hear nothing of, for a while.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Millis;
use super::labels::Labels;
use super::matcher::{Matcher, Unreadable};

/// Alerts of which nobody is told. What it holds back is told when it ends, if it still is so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Silence {
    /// Its name.
    pub id: String,
    /// It is about the alerts of which all of these are true.
    pub matchers: Vec<Matcher>,
    /// From when.
    pub starts: Millis,
    /// Until when.
    pub ends: Millis,
    /// When it was made or changed.
    pub updated: Millis,
    /// Who wants it.
    pub author: String,
    /// Why.
    pub comment: String,
}

/// Where a silence is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SilenceState {
    /// It has not begun.
    Pending,
    /// It holds.
    Active,
    /// It is over.
    Expired,
}

impl Silence {
    /// Matchers, at most.
    pub const MATCHERS_MAX: usize = 16;
    /// Bytes of the author and of the comment, at most.
    pub const TEXT_BYTES_MAX: usize = 1024;
    /// A silence that is over is kept for as long, in milliseconds.
    pub const KEPT: Millis = 24 * 3_600_000;

    /// Where it is in its life.
    pub const fn state(&self, now: Millis) -> SilenceState {
        if now >= self.ends {
            SilenceState::Expired
        } else if now >= self.starts {
            SilenceState::Active
        } else {
            SilenceState::Pending
        }
    }

    /// Whether it is about an alert with these labels.
    pub fn is_about(&self, labels: &Labels) -> bool {
        self.matchers.iter().all(|matcher| matcher.matches(labels))
    }

    /// Whether it may be taken.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self, now: Millis) -> Result<(), Unreadable> {
        let refused = |why: &str| Err(Unreadable(why.to_owned()));
        if self.matchers.is_empty() || self.matchers.len() > Self::MATCHERS_MAX {
            return refused("a silence has 1 to 16 matchers");
        }
        if self.matchers.iter().all(|matcher| matcher.matches(&Labels::new())) {
            return refused(
                "one matcher at least must not match an alert without labels: this would silence everything",
            );
        }
        if self.ends <= self.starts || self.ends <= now {
            return refused("it ends before it starts, or is over already");
        }
        if self.comment.trim().is_empty() || self.author.trim().is_empty() {
            return refused("a silence says who wants it and why: give an author and a comment");
        }
        if self.comment.len() > Self::TEXT_BYTES_MAX || self.author.len() > Self::TEXT_BYTES_MAX {
            return refused("author and comment have at most 1024 bytes each");
        }
        Ok(())
    }
}

/// All silences, by name.
pub type Silences = BTreeMap<String, Silence>;

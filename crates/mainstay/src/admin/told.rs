//! What the node tells its journal of itself.

use std::time::{SystemTime, UNIX_EPOCH};

use mainstay_core::transition::{Aspect, Subject, Transition, Word};

use super::document::{Reload, ReloadOutcome};
use super::{Node, lock};
use crate::timestamp::rfc3339;

impl Node {
    /// Tells the journal how the node itself fares; whatever it is, somebody wanted it.
    pub fn tell_life(&self, from: Word, to: Word, cause: &str) {
        let change = Transition::new(Subject::node(&self.name), Aspect::Life, from, to);
        self.journal.record(change.because(cause).planned(true));
    }

    /// Records how a reload went, and why there was one; no problems means that it was applied.
    pub fn reloaded(&self, cause: &str, problems: Vec<String>) {
        let now = SystemTime::now();
        let before = match lock(&self.reload).outcome {
            ReloadOutcome::None => Word::Unknown,
            ReloadOutcome::Applied => Word::Applied,
            ReloadOutcome::Refused => Word::Refused,
        };
        let (to, cause) = match problems.first() {
            None => (Word::Applied, cause.to_owned()),
            Some(first) => (Word::Refused, format!("{cause}: {} problems: {first}", problems.len())),
        };
        let subject = Subject::Config { name: "node".to_owned() };
        let change = Transition::new(subject, Aspect::Configuration, before, to);
        self.journal.record(change.because(cause).planned(problems.is_empty()));
        *lock(&self.reload) = Reload {
            outcome: if problems.is_empty() { ReloadOutcome::Applied } else { ReloadOutcome::Refused },
            at: Some(rfc3339(now)),
            problems,
            at_unix_seconds: now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
        };
    }
}

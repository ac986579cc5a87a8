//! Transitions as people read them.

use serde::{Deserialize, Serialize};

use crate::transition::{Aspect, Subject, Transition, Word};

/// Whether something got worse or better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Worse.
    Bad,
    /// Better.
    Good,
    /// Neither.
    Note,
}

impl Level {
    /// As JSON has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bad => "bad",
            Self::Good => "good",
            Self::Note => "note",
        }
    }
}

/// Whether a transition is for the worse or for the better; what is wanted is neither.
pub const fn level(transition: &Transition) -> Level {
    match (transition.change.to, transition.planned) {
        (
            Word::Down
            | Word::Degraded
            | Word::Ejected
            | Word::Eased
            | Word::Open
            | Word::Refused
            | Word::Lost
            | Word::Away
            | Word::RollingBack
            | Word::RolledBack
            | Word::Vetoed
            | Word::Firing
            | Word::Expiring
            | Word::Expired
            | Word::Burning
            | Word::Exhausted
            | Word::On,
            false,
        ) => Level::Bad,
        (
            Word::Up
            | Word::Well
            | Word::Serving
            | Word::Full
            | Word::Closed
            | Word::Applied
            | Word::Present
            | Word::Done
            | Word::Resolved
            | Word::Renewed
            | Word::Met
            | Word::Off,
            _,
        ) => Level::Good,
        _neither => Level::Note,
    }
}

/// A transition as a sentence, without its cause.
pub fn text(transition: &Transition) -> String {
    let subject = match &transition.subject {
        Subject::Endpoint { service, name } => format!("{service}/{name}"),
        Subject::Service { name } => name.clone(),
        Subject::Cluster => "the cluster".to_owned(),
        Subject::Config { name } if name == "node" => "configuration".to_owned(),
        Subject::Config { name } => format!("configuration {name}"),
        other => format!("{} {}", other.kind(), other.name()),
    };
    let to = transition.change.to;
    let what = match (transition.change.aspect, to) {
        (Aspect::Health, Word::Down) => "is taken out of rotation".to_owned(),
        (Aspect::Health, Word::Up) => "is back in rotation".to_owned(),
        (Aspect::Ejection, Word::Ejected) => "is ejected".to_owned(),
        (Aspect::Ejection, _over) => "is no longer ejected".to_owned(),
        (Aspect::Weight, Word::Eased) => "gets less of its weight".to_owned(),
        (Aspect::Weight | Aspect::SlowStart, Word::Full) => "gets all of its weight".to_owned(),
        (Aspect::SlowStart, _begins) => "gets its weight little by little".to_owned(),
        (Aspect::Breaker, _phase) => format!("circuit breaker is {}", to.as_str().replace('_', "-")),
        (Aspect::Drain, Word::Draining) => "is drained".to_owned(),
        (Aspect::Drain, _over) => "is no longer drained".to_owned(),
        (Aspect::Guard, Word::On) => "cascade guard holds".to_owned(),
        (Aspect::Guard, _over) => "cascade guard has ended".to_owned(),
        (Aspect::Quarantine, Word::On) => "requests are quarantined".to_owned(),
        (Aspect::Quarantine, _over) => "quarantine has ended".to_owned(),
        (Aspect::Holder, Word::Held) => "is taken over by this node".to_owned(),
        (Aspect::Holder, Word::Absent) => "is given up by this node".to_owned(),
        (Aspect::Holder, _moved) => "has moved".to_owned(),
        (Aspect::Quorum, Word::Lost) => "has no quorum".to_owned(),
        (Aspect::Quorum, _there) => "has a quorum".to_owned(),
        (Aspect::Session, _any) => format!("session of this node is {}", to.as_str()),
        (_, Word::Applied | Word::Refused | Word::Ejected | Word::Removed) => format!("was {}", to.as_str()),
        (_, _any) => format!("is {}", to.as_str().replace('_', " ")),
    };
    format!("{subject} {what}")
}

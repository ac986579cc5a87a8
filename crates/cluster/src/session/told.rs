//! What the journal is told of a session and of the roles on it.

use mainstay_core::lease::{Reason, Why};
use mainstay_core::transition::{Aspect, Subject, Transition, Word};
use mainstay_runtime::journal::Journal;

use crate::{keys, role};

/// The session is held from now on, lost, or left on purpose.
pub(super) fn session(journal: &Journal, to: Word, cause: &str, planned: bool) {
    let from = if to == Word::Held { Word::Absent } else { Word::Held };
    journal.record(Transition::new(Subject::Cluster, Aspect::Session, from, to).because(cause).planned(planned));
}

/// What stands under `key` was `before` and is held from now on.
pub(super) fn held(journal: &Journal, key: &str, before: role::Standing, token: u64) {
    if matches!(before, role::Standing::Holding { .. }) {
        return;
    }
    let change = Transition::new(subject(key), Aspect::Holder, Word::Absent, Word::Held);
    journal.record(change.because(format!("won, token {token}")));
}

/// What stands under `key` is given up.
pub(super) fn stopped(journal: &Journal, key: &str, why: Why) {
    let (cause, planned) = match why {
        Why::Resigned => ("given up", true),
        Why::SessionLost => ("the session was lost", false),
        Why::Taken => ("taken away", false),
    };
    let change = Transition::new(subject(key), Aspect::Holder, Word::Held, Word::Absent);
    journal.record(change.because(cause).planned(planned));
}

/// Why a session ended, in words.
pub(super) const fn why_lost(reason: Reason) -> &'static str {
    match reason {
        Reason::Expired => "no renewal was confirmed in time",
        Reason::Gone => "the coordinator has ended it",
        Reason::ClockWentBack => "the clock went backwards",
        Reason::Closed => "the node leaves",
    }
}

fn subject(key: &str) -> Subject {
    match (key.strip_prefix(keys::HOLDERS), key.strip_prefix(keys::ROLES)) {
        (Some(address), _) => Subject::Address { name: address.to_owned() },
        (None, Some(role)) => Subject::Role { name: role.to_owned() },
        (None, None) => Subject::Role { name: key.to_owned() },
    }
}

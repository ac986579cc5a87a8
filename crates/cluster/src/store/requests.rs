//! Requests that were performed: one that comes again gets the answer that the first one got.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::command::Request;
use super::limits::{self, Limits};
use crate::coordinator::{Error, Outcome, TransactionReply};

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Requests {
    /// In the order in which they were performed.
    answered: VecDeque<Answered>,
    /// Where each is, counted from the first request that ever was.
    places: BTreeMap<Request, u64>,
    /// How many were forgotten.
    dropped: u64,
    /// The number of the last command that was forgotten; what was issued before may have been performed.
    forgotten: u64,
    bytes: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Answered {
    request: Request,
    /// The number of the command that performed it.
    command: u64,
    reply: TransactionReply,
}

impl Requests {
    /// The answer to a request that was performed.
    ///
    /// # Errors
    /// [`Error::Unknown`] if it is so old that this is forgotten.
    pub(super) fn answered(&self, request: &Request) -> Result<Option<TransactionReply>, Error> {
        let place = self.places.get(request).and_then(|place| place.checked_sub(self.dropped));
        if let Some(found) = place.and_then(|place| self.answered.get(usize::try_from(place).ok()?)) {
            return Ok(Some(found.reply.clone()));
        }
        if request.issued < self.forgotten {
            return Err(Error::Unknown(
                "the request is older than what is remembered of requests; read what it was to change".to_owned(),
            ));
        }
        Ok(None)
    }

    pub(super) fn remember(&mut self, request: Request, reply: &TransactionReply, command: u64, limits: &Limits) {
        self.places.insert(request, self.dropped.saturating_add(self.answered.len() as u64));
        self.bytes = self.bytes.saturating_add(bytes(reply));
        self.answered.push_back(Answered { request, command, reply: reply.clone() });
        while self.answered.len() > 1
            && (self.answered.len() > limits.requests || self.bytes > limits.request_bytes)
            && let Some(first) = self.answered.pop_front()
        {
            self.bytes = self.bytes.saturating_sub(bytes(&first.reply));
            self.places.remove(&first.request);
            self.dropped = self.dropped.saturating_add(1);
            self.forgotten = first.command;
        }
    }

    /// Whether each place leads to its request.
    pub(super) fn is_sound(&self) -> bool {
        self.places.len() == self.answered.len()
            && self
                .answered
                .iter()
                .zip(self.dropped..)
                .all(|(one, place)| self.places.get(&one.request) == Some(&place))
            && self.bytes == self.answered.iter().map(|one| bytes(&one.reply)).fold(0, usize::saturating_add)
    }
}

fn bytes(reply: &TransactionReply) -> usize {
    let outcomes = reply.outcomes.iter().map(|outcome| match outcome {
        Outcome::Put | Outcome::Deleted(_) => 16,
        Outcome::Found { entries, more: _ } => entries.iter().map(limits::cost).fold(16, usize::saturating_add),
    });
    outcomes.fold(128, usize::saturating_add)
}

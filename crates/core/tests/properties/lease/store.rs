//! What a coordinator does with one key and its leases, no better than it promises.

use std::time::Duration;

use mainstay_core::lease::{Token, holding, renewal};

#[derive(Clone, Debug)]
pub(super) enum Ask {
    Grant,
    Renew(i64),
    Campaign(i64),
    Resign(i64, Option<Token>),
    Revoke(i64),
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Answer {
    Session(renewal::Input),
    Role(holding::Input),
}

/// What the coordinator keeps.
#[derive(Default)]
pub(super) struct Store {
    revision: u64,
    leases: Vec<(i64, u64)>,
    key: Option<(Token, i64)>,
    /// When what was seen.
    pub(super) history: Vec<(u64, holding::Seen)>,
    now_ms: u64,
}

impl Store {
    fn change(&mut self, key: Option<(Token, i64)>) {
        self.key = key;
        self.history.push((self.now_ms, holding::Seen { revision: self.revision, holder: key }));
    }

    fn end(&mut self, lease: i64) {
        self.leases.retain(|(id, _)| *id != lease);
        if self.key.is_some_and(|(_, of)| of == lease) {
            self.revision += 1;
            self.change(None);
        }
    }

    pub(super) fn expire(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
        let ended: Vec<i64> = self.leases.iter().filter(|(_, end)| now_ms >= *end).map(|(id, _)| *id).collect();
        ended.into_iter().for_each(|lease| self.end(lease));
    }

    /// A lease lives no longer than what is promised: its time to live, from when it was asked for.
    pub(super) fn answer(&mut self, sent_ms: u64, ttl: Duration, attempt: u64, ask: &Ask) -> Option<Answer> {
        self.revision += 1;
        let end = sent_ms + ttl.as_millis() as u64;
        Some(match *ask {
            Ask::Grant => {
                self.leases.push((self.revision as i64, end));
                Answer::Session(renewal::Input::Granted { attempt, lease: self.revision as i64, ttl })
            }
            Ask::Renew(lease) => match self.leases.iter_mut().find(|(id, _)| *id == lease) {
                Some((_, ends)) => {
                    *ends = end.max(*ends);
                    Answer::Session(renewal::Input::Renewed { attempt, ttl })
                }
                None => Answer::Session(renewal::Input::Gone { lease }),
            },
            Ask::Campaign(lease) => {
                if !self.leases.iter().any(|(id, _)| *id == lease) {
                    return Some(Answer::Role(holding::Input::Failed { attempt }));
                }
                if self.key.is_none() {
                    self.change(Some((self.revision, lease)));
                }
                let seen = holding::Seen { revision: self.revision, holder: self.key };
                Answer::Role(holding::Input::Answer { attempt, seen })
            }
            Ask::Resign(lease, token) => {
                if self.key.is_some_and(|(created, of)| of == lease && token.is_none_or(|token| token == created)) {
                    self.change(None);
                }
                Answer::Role(holding::Input::Resigned { attempt })
            }
            Ask::Revoke(lease) => {
                self.end(lease);
                return None;
            }
        })
    }
}

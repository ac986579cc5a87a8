//! One address at one node: what the node has of it, and how it lets go of it.

use std::time::Duration;

use mainstay_core::lease::{Term, Token};
use mainstay_core::time::Moment;

use super::board::{Doors, Floating, Relief};
use super::holding::Holding;
use super::view::MoveDrain;
use crate::role::{Follow, Role};

/// One address, and what this node has of it.
pub(super) struct Slot {
    pub(super) floating: Floating,
    pub(super) role: Role,
    pub(super) follow: Follow,
    pub(super) held: Option<Held>,
    /// How often it was taken.
    pub(super) taken: u64,
    pub(super) unfit_until: Moment,
    pub(super) problem: Option<String>,
    /// While it belongs elsewhere and its connections are waited for, and until when.
    pub(super) relief: Option<(Box<dyn Relief>, Moment)>,
}

impl Slot {
    pub(super) fn new(floating: Floating, role: Role) -> Self {
        let follow = role.follow();
        Self { floating, role, follow, held: None, taken: 0, unfit_until: Moment::ZERO, problem: None, relief: None }
    }

    /// How long connections are waited for when the address goes elsewhere: as long as who asked for this move said.
    pub(super) fn drain(&self, asked: Option<&MoveDrain>) -> Duration {
        let token = self.held.as_ref().map(|held| held.token_and_term().0);
        asked.filter(|asked| Some(asked.from) == token).map_or(self.floating.drain, |asked| asked.drain)
    }

    /// Campaigns or gives up. An address on an interface that goes to another node while this one could hold it waits for
    /// its connections to end, `drain` at most: they would be reset when it goes.
    pub(super) fn want(&mut self, wanted: bool, fit: bool, now: Moment, drain: Duration, doors: &dyn Doors) {
        let ip = self.floating.address.ip;
        let waits = !wanted && fit && matches!(self.held, Some(Held::Interface(_)));
        if !waits {
            // Once it is gone from here; until then what came would be refused.
            if self.held.is_none() || wanted {
                self.relief = None;
            }
            return self.role.want(wanted);
        }
        let (relief, until) = self.relief.get_or_insert_with(|| (doors.relieve(ip), now.after(drain)));
        if now >= *until || relief.is_done() {
            self.role.want(false);
        }
    }
}

pub(super) enum Held {
    Interface(Holding),
    Listening(Token, Term),
}

impl Held {
    pub(super) fn token_and_term(&self) -> (Token, Term) {
        match self {
            Self::Interface(holding) => (holding.token, holding.term),
            Self::Listening(token, term) => (*token, *term),
        }
    }
}

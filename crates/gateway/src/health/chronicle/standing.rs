//! Whether users of a service are served, from what is known of its endpoints.

use std::sync::atomic::Ordering;

use mainstay_core::balance::Share;
use mainstay_core::breaker::Phase;
use mainstay_core::health;
use mainstay_core::transition::Word;

use super::reason;
use crate::state::{Endpoint, Service};

/// Endpoints that a cause names; of the others it gives the number.
const NAMED_MAX: usize = 3;

/// How a service stands.
pub(super) struct Standing {
    /// Unknown, up, degraded or down.
    pub(super) word: Word,
    pub(super) cause: String,
    /// Whether it would serve if nobody had drained anything.
    pub(super) planned: bool,
}

/// Down: no endpoint that is known to be well gets requests. Degraded: some do, and others that should do not, or checks are
/// overruled. Endpoints that are drained on purpose are no fault.
pub(super) fn of(service: &Service) -> Standing {
    let choices = service.choices();
    let breaks = |index: usize| service.breakers.get(index).is_some_and(|breaker| breaker.phase() == Phase::Open);
    let guarded = service.guarded_since().is_some();
    let mut tally = Tally::default();
    for (index, endpoint) in service.endpoints.iter().enumerate() {
        let (breaks, ejected) = (breaks(index), endpoint.ejected.load(Ordering::Acquire));
        let standing = endpoint.standing();
        if endpoint.is_draining() {
            tally.drained_well |= standing == health::State::Up && !ejected && !breaks;
            continue;
        }
        tally.wanted += 1;
        let chosen = !choices.last_resort && choices.shares.get(index).is_some_and(|share| *share != Share::NONE);
        // Under guard whoever takes connections serves, whatever checks say.
        let proven = standing == health::State::Up || guarded;
        tally.serving += usize::from(chosen && proven && !breaks);
        tally.unproven += usize::from(standing == health::State::Unknown && !ejected);
        let is_out = standing == health::State::Down || ejected || breaks;
        if is_out || endpoint.degraded.load(Ordering::Acquire) {
            tally.out(endpoint, breaks);
        }
    }
    tally.standing(guarded)
}

#[derive(Default)]
struct Tally {
    wanted: usize,
    serving: usize,
    unproven: usize,
    amiss: usize,
    named: Vec<String>,
    drained_well: bool,
}

impl Tally {
    fn out(&mut self, endpoint: &Endpoint, breaks: bool) {
        self.amiss += 1;
        if self.named.len() < NAMED_MAX {
            let reason = if breaks { "its circuit breaker is open".to_owned() } else { reason(endpoint) };
            let reason = if reason.is_empty() { "other nodes find it down".to_owned() } else { reason };
            self.named.push(format!("{}: {reason}", endpoint.name));
        }
    }

    fn standing(self, guarded: bool) -> Standing {
        let word = match (self.serving, self.unproven, self.amiss) {
            (0, 1.., _) => Word::Unknown,
            (0, 0, _) => Word::Down,
            (_, _, 0) if !guarded => Word::Up,
            _some_serve_and_some_do_not => Word::Degraded,
        };
        let planned = word == Word::Down && self.drained_well;
        let cause = match word {
            Word::Down if self.wanted == 0 => "every endpoint is drained".to_owned(),
            Word::Down | Word::Degraded => self.told(guarded),
            _well_or_unproven => String::new(),
        };
        Standing { word, cause, planned }
    }

    fn told(&self, guarded: bool) -> String {
        let guard = if guarded { "cascade guard; " } else { "" };
        let more = self.amiss - self.named.len();
        let more = if more == 0 { String::new() } else { format!(" and {more} more") };
        format!("{guard}{} of {} endpoints amiss: {}{more}", self.amiss, self.wanted, self.named.join(" | "))
    }
}

//! Which requests leave a line: decided when they end, by what became of them.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use mainstay_core::grpc::Status;
use mainstay_core::random;
use mainstay_core::sampling::{self, Policy, Rate, Seen};
use mainstay_core::time::Moment;

use crate::http::exchange::Exchange;
use crate::http::quarantine;
use crate::http::record::Ending;
use crate::spec;
use crate::worker::table::{Listener, Route};

/// Says that no rate but the configured one holds.
const CONFIGURED: u32 = u32::MAX;

/// A rate that somebody has asked for, for a time: of the node, or of one route. Shared by all workers.
#[derive(Debug)]
pub(crate) struct Wish {
    one_in: AtomicU32,
    until_nanos: AtomicU64,
}

impl Default for Wish {
    fn default() -> Self {
        Self { one_in: AtomicU32::new(CONFIGURED), until_nanos: AtomicU64::new(0) }
    }
}

impl Wish {
    /// Has `rate` hold until then, in place of what is configured.
    pub(crate) fn set(&self, rate: Rate, until: Moment) {
        self.until_nanos.store(until.as_nanos(), Ordering::Relaxed);
        self.one_in.store(rate.0.min(CONFIGURED - 1), Ordering::Relaxed);
    }

    /// Goes back to what is configured.
    pub(crate) fn clear(&self) {
        self.one_in.store(CONFIGURED, Ordering::Relaxed);
    }

    /// The rate that was asked for, and for how much longer it holds.
    pub(crate) fn get(&self, now: Moment) -> Option<(Rate, Duration)> {
        let one_in = self.one_in.load(Ordering::Relaxed);
        if one_in == CONFIGURED {
            return None;
        }
        let left = self.until_nanos.load(Ordering::Relaxed).saturating_sub(now.as_nanos());
        (left > 0).then(|| (Rate(one_in), Duration::from_nanos(left)))
    }
}

/// What all workers' choices have in common.
#[derive(Debug, Default)]
pub(crate) struct Common {
    /// What was asked for of all routes.
    pub(crate) wish: Wish,
    /// Lines that were left out because there were too many in a second.
    limited: AtomicU64,
}

impl Common {
    /// Lines that were left out because there were too many in a second.
    pub(crate) fn limited(&self) -> u64 {
        self.limited.load(Ordering::Relaxed)
    }
}

/// One worker's choice of lines.
#[derive(Debug)]
pub(crate) struct Choice {
    common: Arc<Common>,
    workers: u32,
    /// The present second, and the lines in it.
    second: Cell<(u64, u32)>,
}

impl Choice {
    pub(crate) fn new(common: Arc<Common>, workers: usize) -> Self {
        Self { common, workers: u32::try_from(workers.max(1)).unwrap_or(u32::MAX), second: Cell::default() }
    }

    /// The policy for requests of a route, or for those that no route took.
    pub(crate) fn policy(&self, listener: &Listener, route: Option<&Route>, now: Moment) -> Policy {
        let configured = route.and_then(|route| route.state.spec.events).unwrap_or(listener.telemetry.events.policy);
        // What was asked for of one route says more than what was asked for of all.
        let of_route = route.and_then(|route| route.state.sampling.get(now));
        match of_route.or_else(|| self.common.wish.get(now)) {
            Some((rate, _left)) => Policy { rate, ..configured },
            None => configured,
        }
    }

    /// Whether the request leaves a line, and how many requests that stands for.
    pub(crate) fn keep(
        &self,
        listener: &Listener,
        route: Option<&Route>,
        exchange: &Exchange,
        (ending, duration): (Ending, Duration),
        now: Moment,
    ) -> Option<u32> {
        let policy = self.policy(listener, route, now);
        let rate = match policy.rate {
            // Nothing has to be found out about what is kept anyway.
            Rate::ALL => 1,
            _some => sampling::decide(&policy, draw(exchange), &seen(exchange, ending, duration))?,
        };
        self.has_room(&listener.telemetry.events, now).then_some(rate)
    }

    /// Whether the second has room for another line. Each worker has its part of the limit, so that none has to ask others.
    fn has_room(&self, events: &spec::Events, now: Moment) -> bool {
        let Some(max) = events.max_per_second else { return true };
        let second = now.as_nanos() / 1_000_000_000;
        let (known, count) = self.second.get();
        let count = if known == second { count } else { 0 };
        self.second.set((second, count.saturating_add(1)));
        let has_room = count < max.div_ceil(self.workers);
        if !has_room {
            self.common.limited.fetch_add(1, Ordering::Relaxed);
        }
        has_room
    }
}

/// What all services that the request goes through draw by: its trace, or else its id.
fn draw(exchange: &Exchange) -> u128 {
    match exchange.context.trace {
        0 => u128::from(random::hash(&exchange.request_id)),
        trace => trace,
    }
}

fn seen(exchange: &Exchange, ending: Ending, duration: Duration) -> Seen {
    let said = exchange.call.and_then(|call| call.status).map_or(0, Status::http_equivalent);
    // What the gateway refuses for the client's sake is as common as clients make it.
    let broken = ending.error.is_some() && !(300..500).contains(&ending.status);
    Seen {
        failed: !ending.client_gone && (ending.status >= 500 || ending.status == 0 || said >= 500 || broken),
        retried: exchange.attempts.len() > 1,
        faulted: exchange.fallback.is_some() || ending.error == Some(quarantine::REASON),
        wanted: exchange.context.wanted,
        duration,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_ends_by_itself_or_when_it_is_taken_back() {
        let wish = Wish::default();
        let at = |second: u64| Moment::from_millis(second * 1000);
        assert_eq!(wish.get(at(0)), None);
        wish.set(Rate(10), at(60));
        assert_eq!(wish.get(at(50)), Some((Rate(10), Duration::from_secs(10))));
        assert_eq!(wish.get(at(60)), None);
        wish.set(Rate::ALL, at(90));
        wish.clear();
        assert_eq!(wish.get(at(70)), None);
    }

    #[test]
    fn a_second_has_room_for_so_many_lines() {
        let choice = Choice::new(Arc::default(), 2);
        let events = spec::Events { max_per_second: Some(5), ..spec::Events::default() };
        let at = |milli| Moment::from_millis(milli);
        let kept = |milli| (0..10).filter(|_line| choice.has_room(&events, at(milli))).count();
        assert_eq!([kept(1000), kept(1999), kept(2000), kept(9000)], [3, 0, 3, 3]);
        assert_eq!(choice.common.limited(), 31);
        assert!((0..100).all(|_line| choice.has_room(&spec::Events::default(), at(9000))));
    }
}

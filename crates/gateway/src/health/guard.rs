//! The cascade guard of a service: asked whenever what a check says of an endpoint changes, before that is published, so that
//! there is no moment in which all endpoints are out.

use std::sync::atomic::Ordering;

use mainstay_core::guard::{self, Seen};
use mainstay_core::health::State;
use mainstay_core::time::Moment;

use crate::state::{Endpoint, Service};

/// The endpoint changes to `to`. Raises or ends the guard; the caller raises the service's epoch.
pub(super) fn before_change(service: &Service, endpoint: &Endpoint, to: State, now: Moment) {
    // A moment of 0 means that it passes or never did.
    let failing_since = match (endpoint.health(), to) {
        (State::Up, State::Down) => now.as_nanos().max(1),
        (State::Down, State::Down) => endpoint.failing_since.load(Ordering::Acquire),
        _passes_or_never_did => 0,
    };
    endpoint.failing_since.store(failing_since, Ordering::Release);
    judge(service, |it| if std::ptr::eq(it, endpoint) { to } else { it.health() }, now);
}

/// Judges anew, after a reload or a drain.
pub(super) fn again(service: &Service, now: Moment) {
    if judge(service, Endpoint::health, now) {
        service.epoch.fetch_add(1, Ordering::Release);
    }
}

/// Answers whether anything changed.
fn judge(service: &Service, health: impl Fn(&Endpoint) -> State, now: Moment) -> bool {
    let Some(policy) = service.spec.guard.as_ref().map(|guard| guard.policy) else { return false };
    let seen: Vec<Seen> = service
        .endpoints
        .iter()
        .filter(|endpoint| !endpoint.is_draining())
        .map(|endpoint| match (health(endpoint), endpoint.failing_since.load(Ordering::Acquire)) {
            (State::Up, _) => Seen::Passing,
            (State::Unknown, _) | (State::Down, 0) => Seen::Unproven,
            (State::Down, since) => Seen::Failing { since: Moment::from_nanos(since) },
        })
        .collect();
    let before = service.guarded_since();
    let after = guard::judge(&policy, before, &seen, now);
    service.guarded_since.store(after.map_or(0, |since| since.as_nanos().max(1)), Ordering::Release);
    let failing = seen.iter().filter(|seen| matches!(seen, Seen::Failing { .. })).count();
    let (name, of) = (&service.spec.name, seen.len());
    match (before, after) {
        (None, Some(_)) => {
            service.guard_trips.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(
                service = name,
                failing,
                of,
                window = ?policy.window,
                "CASCADE GUARD: checks fail nearly everywhere at once, which looks like something that the endpoints share; \
                 none is taken out, and requests go to all that take connections"
            );
        }
        (Some(_), None) => {
            tracing::warn!(service = name, failing, of, "cascade guard ended: checks decide again");
        }
        (None, None) | (Some(_), Some(_)) => return false,
    }
    true
}

//! Slow start: an endpoint that comes back gets its weight back little by little, since its caches and pools are cold. At the
//! start of the process all are cold alike, and there is nobody to spare them.

use std::sync::atomic::Ordering;
use std::time::Duration;

use mainstay_core::balance::Share;
use mainstay_core::time::Moment;

use crate::state::{Endpoint, Factor, Service};

/// What it begins with.
const FIRST: Share = Share::permille(100);

/// How often shares are renewed while an endpoint comes back.
pub(super) const PULSE: Duration = Duration::from_millis(250);

/// The endpoint comes back now. The caller raises the service's epoch.
pub(super) fn begin(service: &Service, endpoint: &Endpoint, now: Moment) {
    if service.spec.slow_start.is_some() {
        endpoint.recovered_at.store(now.as_nanos(), Ordering::Release);
        endpoint.set_factor(Factor::SlowStart, FIRST);
    }
}

/// Gives endpoints that have come back the share that is due by now.
pub(super) fn advance(service: &Service, now: Moment) {
    let mut is_news = false;
    for endpoint in &service.endpoints {
        let known = endpoint.factor(Factor::SlowStart);
        if known < Share::FULL {
            let since = Moment::from_nanos(endpoint.recovered_at.load(Ordering::Acquire));
            let due = service.spec.slow_start.map_or(Share::FULL, |lasts| share(now.since(since), lasts));
            endpoint.set_factor(Factor::SlowStart, due);
            is_news |= due != known;
        }
    }
    if is_news {
        service.epoch.fetch_add(1, Ordering::Release);
    }
}

/// In proportion to the time that has passed, and at least what it begins with.
fn share(passed: Duration, lasts: Duration) -> Share {
    if passed >= lasts {
        return Share::FULL;
    }
    Share::ratio(passed.as_secs_f64() / lasts.as_secs_f64()).max(FIRST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_grow_with_time() {
        let lasts = Duration::from_secs(10);
        for (seconds, permille) in [(0, 100), (1, 100), (2, 200), (5, 500), (9, 900), (10, 1000), (99, 1000)] {
            assert_eq!(share(Duration::from_secs(seconds), lasts).as_permille(), permille, "{seconds}");
        }
        assert_eq!(share(Duration::ZERO, Duration::ZERO), Share::FULL);
    }
}

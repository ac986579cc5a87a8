//! How old a stored response is and what may be done with it (RFC 9111, section 4.2; RFC 5861).

use std::time::Duration;

use super::RequestControl;
use crate::time::Moment;

/// Everything that the age of a stored response is held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freshness {
    /// When it arrived, or was validated last.
    pub arrived: Moment,
    /// How old it was then.
    pub age: Duration,
    /// The age up to which it is fresh.
    pub lifetime: Duration,
    /// For how long after that it may be served while it is validated.
    pub while_revalidate: Duration,
    /// For how long after that it may be served in place of an error.
    pub if_error: Duration,
    /// For how long after that it is the last good copy that a fallback may use.
    pub keep: Duration,
    /// It must be validated before each use.
    pub no_cache: bool,
    /// It may never be served stale: the origin said so.
    pub never_stale: bool,
}

/// What may be done with a stored response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// It may be served; it stays fresh for `left`.
    Fresh {
        /// Until it is stale.
        left: Duration,
    },
    /// It may be served at once, and is to be validated meanwhile.
    Refresh,
    /// It may be served stale, since the client allows that.
    Allowed,
    /// It must be validated first.
    Validate,
}

impl Freshness {
    /// Its age.
    pub fn age_at(&self, now: Moment) -> Duration {
        self.age.saturating_add(now.since(self.arrived))
    }

    /// For how long it has been stale.
    fn stale_by(&self, now: Moment) -> Option<Duration> {
        self.age_at(now).checked_sub(self.lifetime)
    }

    /// What may be done with it for a request that asks for `control`.
    pub fn usable(&self, control: &RequestControl, now: Moment) -> Use {
        let age = self.age_at(now);
        if self.no_cache || control.no_cache || control.max_age.is_some_and(|most| age > Duration::from_secs(most)) {
            return Use::Validate;
        }
        let Some(stale_by) = self.stale_by(now) else {
            let left = self.lifetime.saturating_sub(age);
            let is_enough = control.min_fresh.is_none_or(|least| left >= Duration::from_secs(least));
            return if is_enough { Use::Fresh { left } } else { Use::Validate };
        };
        if self.never_stale || control.min_fresh.is_some() {
            return Use::Validate;
        }
        // What the client wants fresh by its own words is not served stale, whatever the origin allows.
        if stale_by < self.while_revalidate && control.max_age.is_none() {
            return Use::Refresh;
        }
        match control.max_stale {
            Some(most) if stale_by <= Duration::from_secs(most) => Use::Allowed,
            Some(_) | None => Use::Validate,
        }
    }

    /// Whether it may be served in place of an error now.
    pub fn serves_on_error(&self, now: Moment) -> bool {
        !self.no_cache && self.stale_by(now).is_none_or(|by| !self.never_stale && by < self.if_error)
    }

    /// Whether a fallback may serve it as the last good copy, if that may be stale by `most`.
    pub fn serves_as_last_copy(&self, most: Duration, now: Moment) -> bool {
        let most = most.min(self.keep);
        !self.no_cache && self.stale_by(now).is_none_or(|by| !self.never_stale && by < most)
    }

    /// Until when it can be of any use as it is. Validators may make it useful beyond.
    pub fn until(&self) -> Moment {
        let longest = self.while_revalidate.max(self.if_error).max(self.keep);
        let stale = if self.never_stale { Duration::ZERO } else { longest };
        self.arrived.after(self.lifetime.saturating_sub(self.age).saturating_add(stale))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    const STORED: Freshness = Freshness {
        arrived: Moment::from_millis(1_000),
        age: s(10),
        lifetime: s(60),
        while_revalidate: s(20),
        if_error: s(100),
        keep: s(500),
        no_cache: false,
        never_stale: false,
    };
    const ANY: RequestControl = RequestControl {
        no_store: false,
        no_cache: false,
        max_age: None,
        min_fresh: None,
        max_stale: None,
        only_if_cached: false,
    };

    fn at(seconds: u64) -> Moment {
        Moment::from_millis(1_000 + seconds * 1_000)
    }

    #[test]
    fn time_passes_through_all_stages() {
        for (second, expected) in [
            (0, Use::Fresh { left: s(50) }),
            (49, Use::Fresh { left: s(1) }),
            (50, Use::Refresh),
            (69, Use::Refresh),
            (70, Use::Validate),
        ] {
            assert_eq!(STORED.usable(&ANY, at(second)), expected, "{second}");
        }
        assert_eq!(STORED.age_at(at(5)), s(15));
        assert!(STORED.serves_on_error(at(149)) && !STORED.serves_on_error(at(150)));
        assert!(STORED.serves_as_last_copy(s(300), at(349)) && !STORED.serves_as_last_copy(s(300), at(350)));
        assert_eq!(STORED.until(), at(550));
    }

    #[test]
    fn what_the_origin_forbids_is_never_served_stale() {
        let strict = Freshness { never_stale: true, ..STORED };
        let lenient = RequestControl { max_stale: Some(1_000), ..ANY };
        assert_eq!(strict.usable(&lenient, at(60)), Use::Validate);
        assert!(!strict.serves_on_error(at(60)) && !strict.serves_as_last_copy(s(300), at(60)));
        assert!(strict.serves_on_error(at(10)));
        let always = Freshness { no_cache: true, ..STORED };
        assert_eq!(always.usable(&ANY, at(0)), Use::Validate);
        assert!(!always.serves_on_error(at(0)));
    }

    #[test]
    fn clients_may_ask_for_more_or_for_less() {
        for (control, second, expected) in [
            (RequestControl { no_cache: true, ..ANY }, 0, Use::Validate),
            (RequestControl { max_age: Some(15), ..ANY }, 5, Use::Fresh { left: s(45) }),
            (RequestControl { max_age: Some(15), ..ANY }, 6, Use::Validate),
            (RequestControl { min_fresh: Some(40), ..ANY }, 10, Use::Fresh { left: s(40) }),
            (RequestControl { min_fresh: Some(40), ..ANY }, 11, Use::Validate),
            (RequestControl { max_stale: Some(30), ..ANY }, 80, Use::Allowed),
            (RequestControl { max_stale: Some(30), ..ANY }, 81, Use::Validate),
            (RequestControl { max_age: Some(500), ..ANY }, 55, Use::Validate),
            (RequestControl { max_age: Some(500), max_stale: Some(10), ..ANY }, 55, Use::Allowed),
        ] {
            assert_eq!(STORED.usable(&control, at(second)), expected, "{control:?} at {second}");
        }
    }
}

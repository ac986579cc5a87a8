//! Graceful degradation: what a client gets in place of an error, decided from what went wrong and what there is to give.
//!
//! A route may have several forms of fallback. They are tried in a fixed order, the nearest to the real answer first: the
//! last good copy, another service, then a fixed answer. None is ever taken once a byte of a response has gone out.

use std::time::Duration;

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// No endpoint gave an answer: none was eligible, none could be reached, time ran out.
    Upstream,
    /// An endpoint answered with this status.
    Status(u16),
    /// One of the gateway's own limits refused the request.
    Limit,
    /// The request itself is at fault; no fallback mends that.
    Request,
}

/// What a fallback can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The last good copy from the cache, although its time is over.
    Stale,
    /// One attempt at another service.
    Service,
    /// An answer that the configuration spells out.
    Static,
    /// An answer without content, for a part of a page that may be missing.
    Empty,
}

impl Form {
    /// The word for it in headers, metrics and logs.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Stale => "stale",
            Self::Service => "service",
            Self::Static => "static",
            Self::Empty => "empty",
        }
    }
}

/// The last resort, which cannot fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fixed {
    /// [`Form::Static`].
    Static,
    /// [`Form::Empty`].
    Empty,
}

/// When a route falls back, and on what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Statuses of endpoints that count as failures, as inclusive ranges.
    pub on: Vec<(u16, u16)>,
    /// Whether the gateway's own limits cause a fallback too.
    pub on_limit: bool,
    /// Methods that may be answered by a fallback.
    pub methods: Vec<String>,
    /// The last good copy will do until it is this much older than it may be; `None` for never.
    pub stale: Option<Duration>,
    /// Another service is asked.
    pub service: bool,
    /// What is answered when nothing else is to be had.
    pub fixed: Option<Fixed>,
}

/// The statuses that count unless the configuration says otherwise: what a server says when it cannot serve.
pub const STATUSES: [(u16, u16); 2] = [(500, 500), (502, 504)];

/// What is known when an answer would be an error.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    /// What went wrong.
    pub cause: Cause,
    /// The request's method.
    pub method: &'a str,
    /// The request is a gRPC call or wants to become a tunnel: an ordinary answer is none for it.
    pub is_special: bool,
    /// The request's body, if there is one, can be sent again.
    pub replayable: bool,
    /// There is time left for another attempt.
    pub has_time: bool,
}

impl Policy {
    /// Whether a failure for this cause is one to fall back from.
    pub fn counts(&self, cause: Cause) -> bool {
        match cause {
            Cause::Upstream => true,
            Cause::Status(status) => self.on.iter().any(|(from, to)| (*from..=*to).contains(&status)),
            Cause::Limit => self.on_limit,
            Cause::Request => false,
        }
    }
}

/// The form to try after `tried` came to nothing, or the first one; `None` leaves the error as it is.
pub fn next(policy: &Policy, situation: &Situation<'_>, tried: Option<Form>) -> Option<Form> {
    let method_fits = policy.methods.iter().any(|method| method == situation.method);
    if !policy.counts(situation.cause) || !method_fits || situation.is_special {
        return None;
    }
    let fixed = policy.fixed.map(|fixed| match fixed {
        Fixed::Static => Form::Static,
        Fixed::Empty => Form::Empty,
    });
    let order = [
        policy.stale.map(|_age| Form::Stale),
        (policy.service && situation.replayable && situation.has_time).then_some(Form::Service),
        fixed,
    ];
    let rank = |form: Form| match form {
        Form::Stale => 0,
        Form::Service => 1,
        Form::Static | Form::Empty => 2,
    };
    let behind = tried.map_or(0, |tried| rank(tried) + 1);
    order.into_iter().flatten().find(|form| rank(*form) >= behind)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> Policy {
        Policy {
            on: STATUSES.to_vec(),
            on_limit: false,
            methods: vec!["GET".to_owned(), "HEAD".to_owned()],
            stale: Some(Duration::from_secs(60)),
            service: true,
            fixed: Some(Fixed::Static),
        }
    }

    const FAILED: Situation<'static> =
        Situation { cause: Cause::Upstream, method: "GET", is_special: false, replayable: true, has_time: true };

    fn all(policy: &Policy, situation: &Situation<'_>) -> Vec<Form> {
        std::iter::successors(next(policy, situation, None), |tried| next(policy, situation, Some(*tried))).collect()
    }

    #[test]
    fn the_nearest_to_the_real_answer_comes_first() {
        assert_eq!(all(&policy(), &FAILED), [Form::Stale, Form::Service, Form::Static]);
        let empty = Policy { stale: None, service: false, fixed: Some(Fixed::Empty), ..policy() };
        assert_eq!(all(&empty, &FAILED), [Form::Empty]);
        let none = Policy { stale: None, service: false, fixed: None, ..policy() };
        assert_eq!(all(&none, &FAILED), []);
    }

    #[test]
    fn only_failures_that_count_cause_it() {
        let after = |cause| next(&policy(), &Situation { cause, ..FAILED }, None);
        for cause in [Cause::Upstream, Cause::Status(500), Cause::Status(502), Cause::Status(504)] {
            assert_eq!(after(cause), Some(Form::Stale), "{cause:?}");
        }
        for cause in [Cause::Limit, Cause::Request, Cause::Status(200), Cause::Status(404), Cause::Status(501)] {
            assert_eq!(after(cause), None, "{cause:?}");
        }
        let on_limit = Policy { on_limit: true, ..policy() };
        assert_eq!(next(&on_limit, &Situation { cause: Cause::Limit, ..FAILED }, None), Some(Form::Stale));
    }

    #[test]
    fn a_post_is_told_the_truth_unless_the_configuration_says_otherwise() {
        let post = Situation { method: "POST", ..FAILED };
        assert_eq!(all(&policy(), &post), []);
        let wide = Policy { methods: vec!["POST".to_owned()], ..policy() };
        assert_eq!(all(&wide, &post).len(), 3);
        // What cannot be sent twice, or has no time left, is not sent to another service.
        for post in [Situation { replayable: false, ..post }, Situation { has_time: false, ..post }] {
            assert_eq!(all(&wide, &post), [Form::Stale, Form::Static]);
        }
        assert_eq!(all(&policy(), &Situation { is_special: true, ..FAILED }), []);
    }
}

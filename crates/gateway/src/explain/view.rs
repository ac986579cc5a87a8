//! What a worker's balancer knew of a service's endpoints. Records of requests share a view; a new one is made when the
//! service's epoch changes.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use mainstay_core::balance::Share;
use mainstay_core::health::State;

use crate::spec;
use crate::state::{Choices, Endpoint, Service};

/// Reasons that one view holds; more endpoints than that are seldom unwell at once, and less often read about one by one.
const REASONS_MAX: usize = 64;
/// Letters of a reason that are kept.
const REASON_CHARS_MAX: usize = 200;

/// What was known of an endpoint, the most important first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// To get no new requests, by the configuration's or an operator's wish.
    Draining,
    /// Its name does not resolve.
    Unresolved,
    /// Taken out because it failed real requests.
    Ejected,
    /// Down by active checks.
    Down,
    /// Without a verdict yet.
    Unknown,
    /// Up by active checks, but a spare that is not needed, or of a priority that is served only while nobody of a lower one is
    /// eligible.
    Spare,
    /// Up by active checks, but degraded by its own word: it gets less.
    Degraded,
    /// Up by active checks, but of another zone than the node's, which has what it needs.
    OtherZone,
    /// Its checks fail, as do those of most others: it is served because it lives.
    Guarded,
    /// Up by active checks.
    Up,
}

impl Standing {
    fn of(endpoint: &Endpoint) -> Self {
        let resolved = !matches!(endpoint.address, spec::Address::Name { .. }) || endpoint.located().is_some();
        if endpoint.is_draining() {
            Self::Draining
        } else if !resolved {
            Self::Unresolved
        } else if endpoint.ejected.load(Ordering::Acquire) {
            Self::Ejected
        } else {
            match endpoint.health() {
                State::Down => Self::Down,
                State::Unknown => Self::Unknown,
                State::Up if endpoint.degraded.load(Ordering::Acquire) => Self::Degraded,
                State::Up => Self::Up,
            }
        }
    }
}

/// What was known of one endpoint.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub(crate) standing: Standing,
    pub(crate) eligible: bool,
    /// How much of its weight it got, for reasons of its own.
    pub(crate) share: Share,
}

/// The endpoints of a service at one epoch.
#[derive(Debug, Default)]
pub(crate) struct View {
    endpoints: Box<[Seen]>,
    /// Of the first [`REASONS_MAX`] endpoints that are not well, by their index.
    reasons: Vec<(usize, Box<str>)>,
}

impl View {
    /// The view of a service whose balancer is told of `choices`.
    pub(crate) fn new(service: &Service, choices: &Choices) -> Self {
        let is_elsewhere = |index: usize| {
            let elsewhere = choices.elsewhere.as_ref();
            elsewhere.and_then(|shares| shares.get(index)).is_some_and(|share| *share > Share::NONE)
        };
        let seen = service.endpoints.iter().zip(&choices.shares).enumerate();
        let refuses = choices.last_resort && service.spec.when_empty == spec::WhenEmpty::Refuse;
        let seen = seen.map(|(index, (endpoint, share))| {
            let eligible = *share > Share::NONE && !refuses;
            let standing = match Standing::of(endpoint) {
                Standing::Up | Standing::Degraded if !eligible && is_elsewhere(index) => Standing::OtherZone,
                Standing::Up | Standing::Degraded if !eligible => Standing::Spare,
                Standing::Down | Standing::Ejected if eligible && !choices.last_resort => Standing::Guarded,
                other => other,
            };
            Seen { standing, eligible, share: *share }
        });
        let endpoints: Box<[Seen]> = seen.collect();
        let reason = |(index, endpoint): (usize, &std::sync::Arc<Endpoint>)| {
            let reason = endpoint.reason.lock().unwrap_or_else(PoisonError::into_inner);
            let text: String = reason.chars().take(REASON_CHARS_MAX).collect();
            (!text.is_empty()).then(|| (index, text.into_boxed_str()))
        };
        let reasons = service.endpoints.iter().enumerate().filter_map(reason).take(REASONS_MAX).collect();
        Self { endpoints, reasons }
    }

    pub(crate) fn endpoints(&self) -> &[Seen] {
        &self.endpoints
    }

    pub(crate) fn reason(&self, index: usize) -> &str {
        self.reasons.iter().find(|(of, _reason)| *of == index).map_or("", |(_of, reason)| reason)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn endpoint(port: u16, change: impl Fn(&Endpoint)) -> Arc<Endpoint> {
        let address = spec::Address::Name { host: "shop.test".to_owned(), port };
        let spec = spec::Endpoint::new(address);
        let endpoint = Endpoint::new(spec, State::Up, 1);
        endpoint.locate(&[([127, 0, 0, 1], port).into()]);
        change(&endpoint);
        Arc::new(endpoint)
    }

    #[test]
    fn the_most_important_state_stands() {
        let eject = |endpoint: &Endpoint| endpoint.ejected.store(true, Ordering::Release);
        let unresolve = |endpoint: &Endpoint| endpoint.locate(&[]);
        let drain = |endpoint: &Endpoint| endpoint.drained.store(true, Ordering::Release);
        let down = |endpoint: &Endpoint| endpoint.set_health(State::Down);
        let all = |endpoint: &Endpoint| (eject(endpoint), unresolve(endpoint), drain(endpoint), down(endpoint));
        for (endpoint, expected) in [
            (endpoint(1, |_well| {}), Standing::Up),
            (endpoint(2, |it| it.set_health(State::Unknown)), Standing::Unknown),
            (endpoint(8, |it| it.degraded.store(true, Ordering::Release)), Standing::Degraded),
            (endpoint(3, down), Standing::Down),
            (endpoint(4, |it| (down(it), eject(it)).0), Standing::Ejected),
            (endpoint(5, |it| (eject(it), unresolve(it)).0), Standing::Unresolved),
            (endpoint(6, |it| all(it).0), Standing::Draining),
        ] {
            assert_eq!(Standing::of(&endpoint), expected, "{}", endpoint.name);
        }
    }
}

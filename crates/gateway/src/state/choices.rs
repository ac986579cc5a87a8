//! Which endpoints of a service get how much, from everything that is known of them.

use std::sync::atomic::Ordering;

use mainstay_core::balance::Share;
use mainstay_core::eligibility::{self, Eligible};
use mainstay_core::time::Moment;
use mainstay_core::zone;

use super::Service;
use crate::spec;

/// What a balancer is told of a service's endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choices {
    /// How much of its weight each endpoint gets.
    pub shares: Vec<Share>,
    /// The same for requests that have failed here: without regard to zones, and without those of the own one. `None` if zones
    /// play no part.
    pub elsewhere: Option<Vec<Share>>,
    /// Nobody is well: these are all that are not draining.
    pub last_resort: bool,
}

/// What would be left of a service's capacity without one zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneLoss {
    /// The zone.
    pub zone: String,
    /// Requests a second that the rest can serve.
    pub left_rps: u64,
    /// Whether that is less than the service must bear.
    pub is_short: bool,
}

impl Service {
    /// Which endpoints may be chosen now, a last resort told as such.
    fn candidates(&self) -> Eligible {
        let known: Vec<eligibility::Known> = self
            .endpoints
            .iter()
            .enumerate()
            .map(|(index, endpoint)| eligibility::Known {
                health: endpoint.standing(),
                live: endpoint.live.load(Ordering::Acquire),
                ejected: endpoint.ejected.load(Ordering::Acquire),
                draining: endpoint.is_draining(),
                priority: endpoint.priority.load(Ordering::Relaxed),
                spare: self.is_spare(index),
                share: endpoint.share(),
            })
            .collect();
        eligibility::eligible(&known, self.guarded_since().is_some())
    }

    /// Which endpoints get traffic now, in their order.
    pub fn eligible(&self) -> Vec<bool> {
        let Eligible { which, last_resort } = self.candidates();
        let refuses = last_resort && self.spec.when_empty == spec::WhenEmpty::Refuse;
        if refuses { vec![false; which.len()] } else { which }
    }

    /// Whether the endpoint stands in for others.
    pub fn is_spare(&self, index: usize) -> bool {
        self.spec.endpoints.get(index).is_some_and(|endpoint| endpoint.spare)
    }

    /// What balancers are to do now.
    pub fn choices(&self) -> Choices {
        let Eligible { which, last_resort } = self.candidates();
        let shares: Vec<Share> = self
            .endpoints
            .iter()
            .zip(&which)
            .map(|(endpoint, eligible)| if *eligible { endpoint.share() } else { Share::NONE })
            .collect();
        let by_zone = self.spec.zones.as_ref().filter(|_zones| !last_resort).map(|zones| self.by_zone(zones, &shares));
        match by_zone {
            Some(factors) if factors.iter().any(|factor| *factor < Share::FULL) => {
                let elsewhere = shares.iter().zip(&factors);
                let elsewhere =
                    elsewhere.map(|(share, factor)| if *factor < Share::FULL { *share } else { Share::NONE });
                let elsewhere = elsewhere.collect();
                let shares = shares.iter().zip(&factors).map(|(share, factor)| share.and(*factor)).collect();
                Choices { shares, elsewhere: Some(elsewhere), last_resort }
            }
            _no_zones => Choices { shares, elsewhere: None, last_resort },
        }
    }

    fn by_zone(&self, zones: &spec::Zones, shares: &[Share]) -> Vec<Share> {
        let places: Vec<zone::Place> = self
            .endpoints
            .iter()
            .zip(shares)
            .enumerate()
            .map(|(index, (endpoint, share))| zone::Place {
                own: self.zone_of(index) == Some(zones.own.as_str()),
                weight: endpoint.weight(),
                expected: !self.is_spare(index),
                share: *share,
            })
            .collect();
        zone::shares(&places, zones.min_endpoints)
    }

    /// The zone of an endpoint.
    pub fn zone_of(&self, index: usize) -> Option<&str> {
        self.spec.endpoints.get(index)?.zone.as_deref()
    }

    /// Since when the cascade guard holds, if it does.
    pub fn guarded_since(&self) -> Option<Moment> {
        match self.guarded_since.load(Ordering::Acquire) {
            0 => None,
            nanos => Some(Moment::from_nanos(nanos)),
        }
    }

    /// What would be left without each zone, of the endpoints of which nothing bad is known now. Nothing if the service has no `capacity`.
    pub fn zone_losses(&self) -> Vec<ZoneLoss> {
        let Some(capacity) = &self.spec.capacity else { return Vec::new() };
        let works = |index: usize| {
            self.endpoints.get(index).is_some_and(|endpoint| {
                let is_out = endpoint.standing() == mainstay_core::health::State::Down;
                !is_out && !endpoint.is_draining() && !endpoint.ejected.load(Ordering::Acquire)
            })
        };
        capacity.losses(self.spec.endpoints.iter().enumerate().filter(|(index, _)| works(*index)).map(|(_, it)| it))
    }
}

impl spec::Capacity {
    /// What would be left of these endpoints without each zone.
    pub fn losses<'a>(&self, endpoints: impl Iterator<Item = &'a spec::Endpoint>) -> Vec<ZoneLoss> {
        let rps = |endpoint: &spec::Endpoint| f64::from(endpoint.rps.or(self.endpoint_rps).unwrap_or(0));
        let each: Vec<(Option<&str>, f64)> = endpoints.map(|it| (it.zone.as_deref(), rps(it))).collect();
        let loss = |loss: zone::Loss<'_>| {
            // A sum of at most a few thousand 32-bit numbers.
            let left_rps = loss.left as u64;
            ZoneLoss { zone: loss.zone.to_owned(), left_rps, is_short: left_rps < u64::from(self.peak_rps) }
        };
        zone::losses(&each).into_iter().map(loss).collect()
    }
}

//! The families about how traffic spreads: shares of weights, the cascade guard, and what is left without a zone.

use std::fmt;
use std::sync::atomic::Ordering;

use mainstay_gateway::state::{Factor, State};

use super::{Families, endpoints};

/// Reasons for which an endpoint gets less than its weight.
const FACTORS: [(&str, Factor); 3] =
    [("gray", Factor::Gray), ("slow-start", Factor::SlowStart), ("degraded", Factor::Degraded)];

impl Families<'_, '_> {
    pub(super) fn balance(&mut self, state: &State) -> fmt::Result {
        let factors = endpoints(state).flat_map(|([service, name], endpoint)| {
            FACTORS.map(|(word, factor)| ([service, name, ("reason", word)], endpoint.factor(factor).as_ratio()))
        });
        let name =
            ("mainstay_endpoint_weight_share", "How much of its weight the endpoint gets, by reason; 1 is all of it.");
        self.gauge(name, None, factors)?;
        let chosen = state.services.iter().flat_map(|service| {
            let shares = service.choices().shares.into_iter().zip(&service.endpoints);
            shares.map(|(share, endpoint)| {
                let labels = [("service", service.spec.name.as_str()), ("endpoint", endpoint.name.as_str())];
                (labels, share.as_ratio())
            })
        });
        let name = (
            "mainstay_endpoint_share",
            "How much of its weight the endpoint gets, for all reasons and its zone; 0 is out.",
        );
        self.gauge(name, None, chosen)?;
        self.guards(state)?;
        self.zones(state)
    }

    fn guards(&mut self, state: &State) -> fmt::Result {
        let last_resorts = state
            .services
            .iter()
            .map(|service| ([("service", service.spec.name.as_str())], service.last_resorts.load(Ordering::Relaxed)));
        let name =
            ("mainstay_service_last_resort", "Requests that were sent although no endpoint was eligible (fail-open).");
        self.counter(name, last_resorts)?;
        let guarded = || state.services.iter().filter(|service| service.spec.guard.is_some());
        if guarded().next().is_none() {
            return Ok(());
        }
        let holds = guarded().map(|service| {
            let holds = f64::from(u8::from(service.guarded_since().is_some()));
            ([("service", service.spec.name.as_str())], holds)
        });
        self.gauge(("mainstay_service_guarded", "1 while the cascade guard holds."), None, holds)?;
        let trips = guarded()
            .map(|service| ([("service", service.spec.name.as_str())], service.guard_trips.load(Ordering::Relaxed)));
        self.counter(("mainstay_service_guard_trips", "Times that the cascade guard rose."), trips)
    }

    fn zones(&mut self, state: &State) -> fmt::Result {
        let sized = || state.services.iter().filter_map(|service| Some((service, service.spec.capacity.as_ref()?)));
        if sized().next().is_none() {
            return Ok(());
        }
        let peaks = sized()
            .map(|(service, capacity)| ([("service", service.spec.name.as_str())], f64::from(capacity.peak_rps)));
        self.gauge(("mainstay_service_peak_rps", "Requests a second that the service has to bear."), None, peaks)?;
        let losses: Vec<_> = sized().map(|(service, _capacity)| (service, service.zone_losses())).collect();
        let rows = losses.iter().flat_map(|(service, losses)| {
            losses.iter().map(|loss| {
                ([("service", service.spec.name.as_str()), ("zone", loss.zone.as_str())], loss.left_rps as f64)
            })
        });
        let name =
            ("mainstay_service_without_zone_rps", "Requests a second that the rest could serve without the zone.");
        self.gauge(name, None, rows)
    }
}

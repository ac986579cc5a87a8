//! The families about circuit breakers, for routes and services that have them.

use std::fmt;
use std::sync::atomic::Ordering;

use mainstay_core::breaker::Phase;
use mainstay_gateway::state::{Breaker, State};

use super::super::Families;

const PHASES: [Phase; 4] = [Phase::Closed, Phase::Open, Phase::HalfOpen, Phase::Ramping];
const STATE: &str = "1 for the state of the circuit breaker, 0 for others.";
const OPENED: &str = "Times that the circuit breaker opened.";
const REFUSED: &str = "Calls that the circuit breaker did not let through.";

impl Families<'_, '_> {
    pub(super) fn breakers(&mut self, state: &State) -> fmt::Result {
        self.route_breakers(state)?;
        self.endpoint_breakers(state)
    }

    fn route_breakers(&mut self, state: &State) -> fmt::Result {
        let each = || {
            let named = state.routes.iter().map(|route| (("route", route.spec.name.as_str()), &route.breaker));
            named.filter_map(|(label, breaker)| Some((label, breaker.as_deref()?)))
        };
        if each().next().is_none() {
            return Ok(());
        }
        let states = each()
            .flat_map(|(label, breaker)| PHASES.map(|phase| ([label, ("state", phase.word())], is(breaker, phase))));
        self.gauge(("mainstay_route_breaker_state", STATE), None, states)?;
        let opened = each().map(|(label, breaker)| ([label], breaker.opened.load(Ordering::Relaxed)));
        self.counter(("mainstay_route_breaker_opened", OPENED), opened)?;
        let refused = each().map(|(label, breaker)| ([label], breaker.refused.load(Ordering::Relaxed)));
        self.counter(("mainstay_route_breaker_refused", REFUSED), refused)
    }

    fn endpoint_breakers(&mut self, state: &State) -> fmt::Result {
        let each = || {
            state.services.iter().flat_map(|service| {
                service.endpoints.iter().zip(&service.breakers).map(|(endpoint, breaker)| {
                    (("service", service.spec.name.as_str()), ("endpoint", endpoint.name.as_str()), &**breaker)
                })
            })
        };
        if each().next().is_none() {
            return Ok(());
        }
        let states = each().flat_map(|(service, endpoint, breaker)| {
            PHASES.map(|phase| ([service, endpoint, ("state", phase.word())], is(breaker, phase)))
        });
        self.gauge(("mainstay_endpoint_breaker_state", STATE), None, states)?;
        let opened =
            |(service, endpoint, it): (_, _, &Breaker)| ([service, endpoint], it.opened.load(Ordering::Relaxed));
        self.counter(("mainstay_endpoint_breaker_opened", OPENED), each().map(opened))?;
        let refused =
            |(service, endpoint, it): (_, _, &Breaker)| ([service, endpoint], it.refused.load(Ordering::Relaxed));
        self.counter(("mainstay_endpoint_breaker_refused", REFUSED), each().map(refused))
    }
}

fn is(breaker: &Breaker, phase: Phase) -> f64 {
    if breaker.phase() == phase { 1.0 } else { 0.0 }
}

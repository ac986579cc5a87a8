//! The families about retries beyond their number, hedges, and ramps after outages.

use std::fmt;
use std::sync::atomic::Ordering;

use mainstay_gateway::state::State;
use prometheus_client::registry::Unit;

use super::super::Families;

impl Families<'_, '_> {
    pub(super) fn retries(&mut self, state: &State) -> fmt::Result {
        let refusals = state.routes.iter().map(|route| {
            let count = route.shards.sum(|counters| counters.budget_refusals.get());
            ([("route", route.spec.name.as_str())], count)
        });
        self.counter(("mainstay_route_budget_refusals", "Retries and hedges that the budget refused."), refusals)?;
        self.hedges(state)?;
        self.restarts(state)
    }

    fn restarts(&mut self, state: &State) -> fmt::Result {
        let each = || {
            let named = state.services.iter().map(|it| ([("service", it.spec.name.as_str())], &it.restart));
            named.filter_map(|(labels, restart)| Some((labels, restart.as_deref()?)))
        };
        if each().next().is_none() {
            return Ok(());
        }
        let ramps = each().map(|(labels, restart)| (labels, restart.ramps.load(Ordering::Relaxed)));
        self.counter(("mainstay_service_restart_ramps", "Ramps that followed an outage."), ramps)?;
        let refused = each().map(|(labels, restart)| (labels, restart.refused.load(Ordering::Relaxed)));
        self.counter(("mainstay_service_restart_refused", "Requests that were sent away during a ramp."), refused)
    }

    fn hedges(&mut self, state: &State) -> fmt::Result {
        let each = || {
            let named = state.routes.iter().map(|route| ([("route", route.spec.name.as_str())], &route.hedging));
            named.filter_map(|(labels, hedging)| Some((labels, hedging.as_deref()?)))
        };
        if each().next().is_none() {
            return Ok(());
        }
        let sent = each().map(|(labels, hedging)| (labels, hedging.sum(|counters| counters.sent.get())));
        self.counter(("mainstay_hedges_sent", "Requests that were sent to another endpoint as well."), sent)?;
        let won = each().map(|(labels, hedging)| (labels, hedging.sum(|counters| counters.won.get())));
        self.counter(("mainstay_hedges_won", "Those whose second endpoint answered first."), won)?;
        let delay = each().filter_map(|(labels, hedging)| Some((labels, hedging.delay()?.as_secs_f64())));
        let name = ("mainstay_hedge_delay", "After how long another endpoint is asked as well, on the slowest worker.");
        self.gauge(name, Some(&Unit::Seconds), delay)
    }
}

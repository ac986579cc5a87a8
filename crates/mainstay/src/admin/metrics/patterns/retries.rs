//! The families about retries beyond their number, by route.

use std::fmt;

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
        self.hedges(state)
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
